package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/internal/commandline"
)

func call(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	code = run(context.Background(), args, lookup, &out, &errs)
	return code, out.String(), errs.String()
}

func TestMistakesGetOneLineThatSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("controll_url: https://x.example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "state")
	for name, tc := range map[string]struct {
		args []string
		env  map[string]string
		code int
		says string
	}{
		"a verb that there is not":              {[]string{"bogus"}, nil, commandline.Usage, `"bogus" is not a verb of cardea-server-agent; type: cardea-server-agent --help`},
		"a flag that there is not":              {[]string{"run", "--bogus"}, nil, commandline.Usage, "type: cardea-server-agent run --help"},
		"a key that means nothing":              {[]string{"plan", "--config", bad}, nil, commandline.Usage, "controll_url"},
		"a file that is not there":              {[]string{"plan"}, map[string]string{"CARDEA_CONFIG": dir + "/none.yaml"}, commandline.Usage, "none.yaml"},
		"no TLS":                                {[]string{"plan", "--state-dir", empty, "--control-url", "http://10.0.0.1"}, nil, commandline.Usage, "control-url: \"http://10.0.0.1\" has no TLS"},
		"an address that is none":               {[]string{"plan", "--state-dir", empty, "--access-address", ":22"}, nil, commandline.Usage, "access-address"},
		"an interface beside an address":        {[]string{"plan", "--access-address", "10.0.0.7", "--access-interface", "eth0"}, nil, commandline.Usage, "leave out one"},
		"an interface that is none":             {[]string{"plan", "--access-interface", "eth0/1"}, nil, commandline.Usage, "access-interface"},
		"a name of an interface that is longer": {[]string{"plan", "--access-interface", "abcdefghijklmnop"}, nil, commandline.Usage, "access-interface"},
		"a proxy that is none":                  {[]string{"plan", "--https-proxy", "proxy:3128"}, nil, commandline.Usage, "https-proxy: this is not the URL of a proxy"},
		"a cloud that there is not":             {[]string{"run", "--cloud", "oracle"}, nil, commandline.Usage, "none of aws, gcp, azure and auto"},
		"a relative folder":                     {[]string{"plan", "--state-dir", "x"}, nil, commandline.Usage, "not an absolute path"},
		"a port that there is not":              {[]string{"plan", "--access-address", "web-1:99999"}, nil, commandline.Usage, "access-address"},
		"a shell without a folder":              {[]string{"plan", "--default-shell", "bash"}, nil, commandline.Usage, "default-shell"},
		"adopting root":                         {[]string{"plan", "--adopt", "root"}, nil, commandline.Usage, "adopt"},
		"a name that no server may have":        {[]string{"run", "--hostname", "-x"}, nil, commandline.Usage, "hostname"},
		"a label that is none":                  {[]string{"run", "--host-labels", "Env=prod"}, nil, commandline.Usage, "host-labels"},
		"a command that is to be found":         {[]string{"run", "--label-commands", "os=uname"}, nil, commandline.Usage, "label-commands: os: a command begins with the absolute path"},
		"an interval that is too short":         {[]string{"run"}, map[string]string{"CARDEA_LABEL_INTERVAL": "59s"}, commandline.Usage, "label-interval"},
		"an interval that is too long":          {[]string{"run", "--label-interval", "24h1s"}, nil, commandline.Usage, "label-interval"},
		"a label without a value":               {[]string{"run", "--host-labels", "env"}, nil, commandline.Usage, "key=value"},
		"no URL in a variable":                  {[]string{"status"}, map[string]string{"CARDEA_CONTROL_URL": "access"}, commandline.Usage, "is not the URL of a control plane"},
		"a format of logging that there is not": {[]string{"plan", "--state-dir", empty, "--log-format", "xml"}, nil, commandline.Usage, "use text or json"},
		"no enrolment":                          {[]string{"plan", "--state-dir", empty}, nil, commandline.Failed, "cardea admin tokens create --kind server"},
		"no token":                              {[]string{"enroll", "--state-dir", empty, "--control-url", "https://127.0.0.1:1"}, nil, commandline.Failed, "not enrolled"},
		"a status before the first run":         {[]string{"status", "--state-dir", empty}, nil, commandline.Failed, "cardea-server-agent run"},
		"an output that there is not":           {[]string{"status", "-o", "xml"}, nil, commandline.Usage, "neither text nor json"},
		"a level of logging that there is not":  {[]string{"plan", "--log-level", "loud"}, nil, commandline.Usage, `"loud" is none of debug, info, warn and error`},
		"a folder that others may read":         {[]string{"plan", "--state-dir", dir}, nil, commandline.Failed, "chmod 700"},
		"accounts without a restore":            {[]string{"unenroll", "--accounts", "lock"}, nil, commandline.Usage, "goes with --restore"},
		"a fate that there is not":              {[]string{"unenroll", "--restore", "--accounts", "sell"}, nil, commandline.Usage, "keep, lock and remove"},
		"a confirmation of what was never told": {[]string{"confirm-removals", "--state-dir", empty}, nil, commandline.Failed, "not enrolled"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if os.Geteuid() != 0 && tc.code == commandline.Failed && tc.args[0] != "status" {
				t.Skip("SKIPPED: needs root")
			}
			code, stdout, stderr := call(t, tc.env, tc.args...)
			if code != tc.code || stdout != "" || !strings.Contains(stderr, tc.says) || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "cardea-server-agent: ") {
				t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
			}
		})
	}
}

func TestVersionAndHelpNeedNothing(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"--help"}, {"status", "--help"}} {
		code, stdout, stderr := call(t, map[string]string{"CARDEA_CONFIG": "/nonexistent"}, args...)
		if code != 0 || !strings.Contains(stdout, "ardea") || stderr != "" {
			t.Errorf("%q: code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
}

// Mallory may write to the configuration, and names a program of hers there.
func TestAConfigurationOfOthersIsNotUsed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root")
	}
	dir := t.TempDir()
	file, state := filepath.Join(dir, "server-agent.yaml"), filepath.Join(dir, "state")
	if err := os.WriteFile(file, []byte("label_commands: {role: [/bin/sh, -c, id]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change func() error
		code   int
		says   string
	}{
		"root's own":                     {func() error { return os.Chmod(file, 0o644) }, commandline.Failed, "not enrolled"},
		"one that a group can write to":  {func() error { return os.Chmod(file, 0o664) }, commandline.Usage, "chmod go-w " + file},
		"one that is somebody else's":    {func() error { return os.Chown(file, 65534, 0) }, commandline.Usage, "is not root's own"},
		"one in a folder of everybody's": {func() error { return os.Chmod(dir, 0o777) }, commandline.Usage, "others than root can write to " + dir},
	} {
		t.Run(name, func(t *testing.T) {
			for path, mode := range map[string]os.FileMode{file: 0o600, dir: 0o755} {
				if err := errors.Join(os.Chown(path, 0, 0), os.Chmod(path, mode)); err != nil {
					t.Fatal(err)
				}
			}
			if err := tc.change(); err != nil {
				t.Fatal(err)
			}
			for _, verb := range []string{"plan", "enroll"} {
				if code, _, stderr := call(t, nil, verb, "--config", file, "--state-dir", state); code != tc.code || !strings.Contains(stderr, tc.says) {
					t.Errorf("%s: code %d, %q", verb, code, stderr)
				}
			}
		})
	}
}
