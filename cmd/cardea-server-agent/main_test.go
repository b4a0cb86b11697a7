package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
		"a verb that there is not":              {[]string{"bogus"}, nil, exitUsage, `"bogus" means nothing here`},
		"a flag that there is not":              {[]string{"run", "--bogus"}, nil, exitUsage, "type `cardea-server-agent run --help`"},
		"a key that means nothing":              {[]string{"plan", "--config", bad}, nil, exitUsage, "controll_url"},
		"a file that is not there":              {[]string{"plan"}, map[string]string{"CARDEA_CONFIG": dir + "/none.yaml"}, exitUsage, "none.yaml"},
		"no TLS":                                {[]string{"plan", "--state-dir", empty, "--control-url", "http://10.0.0.1"}, nil, exitFailed, "has no TLS"},
		"an address that is none":               {[]string{"plan", "--state-dir", empty, "--access-address", ":22"}, nil, exitFailed, "access_address"},
		"a relative folder":                     {[]string{"plan", "--state-dir", "x"}, nil, exitFailed, "not an absolute path"},
		"no enrolment":                          {[]string{"plan", "--state-dir", empty}, nil, exitFailed, "cardea admin tokens create --kind server"},
		"no token":                              {[]string{"enroll", "--state-dir", empty, "--control-url", "https://127.0.0.1:1"}, nil, exitFailed, "not enrolled"},
		"a status before the first run":         {[]string{"status", "--state-dir", empty}, nil, exitFailed, "cardea-server-agent run"},
		"an output that there is not":           {[]string{"status", "-o", "xml"}, nil, exitUsage, "neither text nor json"},
		"a level of logging that there is not":  {[]string{"plan", "--log-level", "loud"}, nil, exitUsage, "log-level"},
		"a folder that others may read":         {[]string{"plan", "--state-dir", dir}, nil, exitFailed, "chmod 700"},
		"a confirmation of what was never told": {[]string{"confirm-removals", "--state-dir", empty}, nil, exitFailed, "not enrolled"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if os.Geteuid() != 0 && tc.code == exitFailed && tc.args[0] != "status" {
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
