package editor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/doctor"
)

func TestSettingsAreFoundWhereEachPlatformKeepsThem(t *testing.T) {
	for _, tc := range []struct {
		home Home
		want string
	}{
		{Home{GOOS: "linux", Dir: "/home/alice"}, "/home/alice/.config/Code/User/settings.json"},
		{Home{GOOS: "linux", Dir: "/home/alice", XDGConfig: "/x"}, "/x/Code/User/settings.json"},
		{Home{GOOS: "darwin", Dir: "/Users/alice", XDGConfig: "/x"}, "/Users/alice/Library/Application Support/Code/User/settings.json"},
		{Home{GOOS: "windows", Dir: "/alice", AppData: "/alice/Roaming"}, "/alice/Roaming/Code/User/settings.json"},
	} {
		if got := filepath.ToSlash(tc.home.Places()[0].File); got != tc.want {
			t.Errorf("%+v: %s, want %s", tc.home, got, tc.want)
		}
	}
	if got := filepath.ToSlash((Home{GOOS: "linux", Dir: "/h"}).JetBrains()); got != "/h/.config/JetBrains/*/options/sshConfigs.xml" {
		t.Errorf("JetBrains: %s", got)
	}
}

// In a home as editors leave it: comments, commas too many, settings of all else.
func TestSettingsAreReadAsTheEditorDoes(t *testing.T) {
	home := Home{GOOS: "linux", Dir: t.TempDir()}
	place := home.Places()[2] // Cursor
	if err := os.MkdirAll(place.Folder, 0o700); err != nil {
		t.Fatal(err)
	}
	text := "{\n  // mine\n  \"editor.fontSize\": 12, /* large */\n  \"remote.SSH.configFile\": \"~/mine/ssh\",\n  \"remote.SSH.path\": \"/opt/ssh\",\n  \"remote.SSH.connectTimeout\": 5,\n  \"remote.SSH.useLocalServer\": true,\n}\n"
	if err := os.WriteFile(place.File, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	read, err := os.ReadFile(place.File)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Read(read)
	if err != nil || s.ConfigFile != "~/mine/ssh" || s.Path != "/opt/ssh" || *s.ConnectTimeout != 5 || !*s.UseLocalServer || s.EnableRemoteCommand != nil {
		t.Errorf("read %+v, %v", s, err)
	}
	if _, err := Read(nil); err != nil {
		t.Errorf("an empty file: %v", err)
	}
	for _, bad := range []string{"{", `{"remote.SSH.connectTimeout": "soon"}`, "[1]"} {
		if _, err := Read([]byte(bad)); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func states(found []doctor.Finding) string {
	var out []string
	for _, f := range found {
		out = append(out, string(f.State))
		if f.State == doctor.Failed || f.State == doctor.Warning {
			if f.Cure == "" {
				out = append(out, "(no cure)")
			}
		}
	}
	return strings.Join(out, " ")
}

func TestAnEditorIsJudged(t *testing.T) {
	five, yes := 5, true
	good := Facts{Place: Place{Editor: "VS Code", File: "/s.json"}, GOOS: "linux", Config: "/h/.ssh/config", Includes: true, SSH: "/usr/bin/ssh", Version: "OpenSSH_9.2p1"}
	for _, tc := range []struct {
		name   string
		change func(*Facts)
		states string
		says   string
	}{
		{"as it should be", func(*Facts) {}, "ok ok", "includes Cardea's file first"},
		{"settings that cannot be read", func(f *Facts) { _, f.Err = Read([]byte("{")) }, "failed", "cannot be read"},
		{"ssh is not set up", func(f *Facts) { f.Includes = false }, "failed ok", "type: cardea ssh-config --install"},
		{"a configuration of its own", func(f *Facts) { f.Includes, f.Settings.ConfigFile, f.Config = false, "/x", "/x" }, "failed ok", "remove remote.SSH.configFile from /s.json"},
		{"plink", func(f *Facts) { f.SSH, f.Settings.Path = `/c/plink.exe`, "x" }, "ok failed", "PuTTY's plink"},
		{"an old ssh of its own", func(f *Facts) { f.Version, f.Settings.Path = "OpenSSH_7.9p1", "x" }, "ok failed", "remove remote.SSH.path from /s.json"},
		{"no ssh", func(f *Facts) { f.SSH = "" }, "ok failed", "install OpenSSH"},
		{"little patience", func(f *Facts) { f.Settings.ConnectTimeout = &five }, "ok ok warning", "set it to 30"},
		{"a local server on Windows", func(f *Facts) { f.Settings.UseLocalServer, f.GOOS = &yes, "windows" }, "ok ok warning", "useLocalServer"},
		{"a local server elsewhere", func(f *Facts) { f.Settings.UseLocalServer = &yes }, "ok ok", ""},
		{"pitfalls", func(f *Facts) {
			f.Pitfalls = Pitfalls([]byte("Match exec \"vpn up\"\nHost *\n RemoteCommand tmux\n"), "linux")
		}, "ok ok warning failed", "line 3 of /h/.ssh/config"},
		{"a pitfall that a setting makes harmless", func(f *Facts) {
			f.Pitfalls, f.Settings.EnableRemoteCommand = Pitfalls([]byte("RemoteCommand tmux\n"), "linux"), &yes
		}, "ok ok", ""},
	} {
		f := good
		tc.change(&f)
		found := Judge(f)
		text := ""
		for _, x := range found {
			text += x.Text + "; " + x.Cure + "\n"
		}
		if got := states(found); got != tc.states || !strings.Contains(text, tc.says) {
			t.Errorf("%s: %s, want %s with %q:\n%s", tc.name, got, tc.states, tc.says, text)
		}
	}
}

func TestPitfallsAreThoseThatCountForEveryServer(t *testing.T) {
	for _, tc := range []struct {
		name, config, goos string
		lines              []int
	}{
		{"none", "Host a\n  RemoteCommand tmux\n  ControlPath ~/.ssh/x\n", "linux", nil},
		{"a program for every host", "Match exec true\n", "linux", []int{1}},
		{"a program for one host", "Match host a exec true\nMatch originalhost=b exec true\n", "linux", nil},
		{"a program for some, named too late", "# mine\nMatch exec true host a\n", "linux", []int{2}},
		{"a command before the first host", "RemoteCommand tmux\nHost a\n", "linux", []int{1}},
		{"a command below a star", "Host a\nHost *\n RemoteCommand=tmux\n", "linux", []int{3}},
		{"none after all", "Host *\n RemoteCommand none\n", "linux", nil},
		{"one socket for all", "Host *\n ControlMaster auto\n ControlPath ~/.ssh/mux\n", "linux", []int{3}},
		{"a socket for each", "Host *\n ControlMaster auto\n ControlPath ~/.ssh/%C\n", "linux", nil},
		{"a master on Windows", "Match all\n ControlMaster auto\n", "windows", []int{2}},
	} {
		var lines []int
		for _, p := range Pitfalls([]byte(tc.config), tc.goos) {
			if lines = append(lines, p.Line); p.Cure == "" {
				t.Errorf("%s: %q has no cure", tc.name, p.Text)
			}
		}
		if len(lines) != len(tc.lines) || len(lines) > 0 && lines[0] != tc.lines[0] {
			t.Errorf("%s: pitfalls in lines %v, want %v", tc.name, lines, tc.lines)
		}
	}
}

func TestWaysOfJetBrainsAreJudged(t *testing.T) {
	ways, err := ReadJetBrains([]byte(`<application>
  <component name="SshConfigs">
    <configs>
      <sshConfig authType="OPEN_SSH" host="web-1" id="1" port="22" nameFormat="DESCRIPTIVE" username="alice" useOpenSSHConfig="true" />
      <sshConfig host="db-1" id="2" keyPath="$USER_HOME$/.ssh/id_rsa" port="22" username="alice" authType="KEY_PAIR" />
      <sshConfig host="elsewhere" id="3" port="22" username="root" authType="PASSWORD" />
    </configs>
  </component>
</application>`))
	if err != nil || len(ways) != 3 {
		t.Fatalf("read %v, %v", ways, err)
	}
	f := JetBrainsFacts{File: "/h/.config/JetBrains/GoLand2026.3/options/sshConfigs.xml", Ways: ways, Names: []string{"web-1", "db-1"}}
	found := JudgeJetBrains(f)
	if len(found) != 1 || found[0].State != doctor.Failed || found[0].Check != "GoLand2026.3" || !strings.Contains(found[0].Text, "db-1") {
		t.Errorf("found %v", found)
	}
	f.Names = []string{"web-1"}
	if found := JudgeJetBrains(f); states(found) != "ok" {
		t.Errorf("found %v", found)
	}
	if _, f.Err = ReadJetBrains([]byte("<application>")); states(JudgeJetBrains(f)) != "warning" {
		t.Errorf("a damaged file: %v", f.Err)
	}
}

func TestAShellThatTalksBreaksTheWire(t *testing.T) {
	for _, tc := range []struct {
		f    ShellFacts
		want doctor.State
	}{
		{ShellFacts{}, doctor.Skipped},
		{ShellFacts{Path: "/bin/bash", Took: time.Millisecond}, doctor.OK},
		{ShellFacts{Path: "/bin/zsh", Said: "Welcome!\n"}, doctor.Failed},
		{ShellFacts{Path: "/bin/zsh", Took: slowShell + 1}, doctor.Warning},
		{ShellFacts{Path: "/usr/sbin/nologin", Err: os.ErrPermission}, doctor.Failed},
	} {
		if got := JudgeShell(tc.f); got.State != tc.want || got.Cure == "" && (tc.want == doctor.Failed || tc.want == doctor.Warning) {
			t.Errorf("%+v: %+v", tc.f, got)
		}
	}
}
