package service

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func odd(t *testing.T) Agent {
	dir := t.TempDir()
	program := filepath.Join(dir, `a b%h$HOMEü`, "cardea")
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return Agent{Program: program, Environment: []string{`XDG_STATE_HOME=/home/a b/100%$x"`}, Config: filepath.Join(dir, "config"), Home: dir, Log: "/home/a&b/log", UID: 501}
}

// What a package brings is what is written where there is none.
func TestThePackagedUnitsAreThoseThatAreWritten(t *testing.T) {
	for kind, want := range map[string][]byte{".service": Agent{Program: Program}.systemdService(), ".socket": systemdSocket()} {
		got, err := os.ReadFile("../../packaging/systemd/user/cardea-agent" + kind)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s: %v; packaged is\n%s\nwritten is\n%s", kind, err, got, want)
		}
	}
}

func TestSystemdUnderstandsTheUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("SKIPPED: this machine has no systemd-analyze")
	}
	a := odd(t)
	steps, err := a.Install("linux")
	if err != nil {
		t.Fatal(err)
	}
	if err := Do(t.Context(), steps[:2]); err != nil { // the others are for a systemd that runs
		t.Fatal(err)
	}
	cmd := exec.Command(analyze, "--user", "verify", "--man=no", a.unit(".service"), a.unit(".socket"))
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+a.Home)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}

func TestThePropertyListIsOneAndNamesTheProgram(t *testing.T) {
	a := odd(t)
	var words []string
	d := xml.NewDecoder(strings.NewReader(string(a.launchd())))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if text, ok := token.(xml.CharData); ok && strings.TrimSpace(string(text)) != "" {
			words = append(words, string(text))
		}
	}
	want := []string{"Label", label, "ProgramArguments", a.Program, "agent", "run", "EnvironmentVariables", "XDG_STATE_HOME", `/home/a b/100%$x"`,
		"StandardErrorPath", a.Log, "Umask", "63", "RunAtLoad", "KeepAlive", "SuccessfulExit"}
	if !slices.Equal(words, want) {
		t.Errorf("got %q, want %q", words, want)
	}
}

func TestWhatIsDoneOnEachSystem(t *testing.T) {
	a := Agent{Program: "/opt/cardea", Config: "/c", Home: "/h", UID: 501}
	packaged := a
	packaged.Packaged = true
	other := packaged
	other.Environment = []string{"XDG_STATE_HOME=/s"}
	for name, c := range map[string]struct {
		steps func(string) ([]Step, error)
		goos  string
		want  string
	}{
		"linux":                         {a.Install, "linux", "write /c/systemd/user/cardea-agent.service, write /c/systemd/user/cardea-agent.socket, systemctl --user daemon-reload, systemctl --user enable --now cardea-agent.socket"},
		"linux, from a package":         {packaged.Install, "linux", "systemctl --user daemon-reload, systemctl --user enable --now cardea-agent.socket"},
		"linux, with folders elsewhere": {other.Install, "linux", "write /c/systemd/user/cardea-agent.service, write /c/systemd/user/cardea-agent.socket, systemctl --user daemon-reload, systemctl --user enable --now cardea-agent.socket"},
		"linux, undone":                 {a.Uninstall, "linux", "systemctl --user disable --now cardea-agent.socket cardea-agent.service, remove /c/systemd/user/cardea-agent.socket, remove /c/systemd/user/cardea-agent.service, systemctl --user daemon-reload"},
		"a Mac":                         {a.Install, "darwin", "write /h/Library/LaunchAgents/io.github.cardea-ssh.agent.plist, launchctl bootout gui/501/io.github.cardea-ssh.agent, launchctl bootstrap gui/501 /h/Library/LaunchAgents/io.github.cardea-ssh.agent.plist"},
		"a Mac, undone":                 {a.Uninstall, "darwin", "launchctl bootout gui/501/io.github.cardea-ssh.agent, remove /h/Library/LaunchAgents/io.github.cardea-ssh.agent.plist"},
		"another system":                {a.Install, "plan9", ErrNone.Error()},
		"another system, undone":        {a.Uninstall, "windows", ErrNone.Error()},
		"a path with a quote":           {Agent{Program: `/a"b`}.Install, "linux", `"/a\"b" has a character that no service manager takes; move it`},
		"a path with a newline":         {Agent{Program: "/a\nb"}.Install, "linux", `"/a\nb" has a character that no service manager takes; move it`},
	} {
		steps, err := c.steps(c.goos)
		var got []string
		for _, s := range steps {
			switch {
			case s.Write != "":
				got = append(got, "write "+s.Write)
			case s.Remove != "":
				got = append(got, "remove "+s.Remove)
			default:
				got = append(got, strings.Join(s.Run, " "))
			}
		}
		if err != nil {
			got = append(got, err.Error())
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s: %s; want %s", name, text, c.want)
		}
	}
}

// A proxy's address has its password in it, and homes are often open to all who sign in there.
func TestWhatIsWrittenNobodyElseReads(t *testing.T) {
	a := odd(t)
	a.Environment = append(a.Environment, "HTTPS_PROXY=http://alice:secret@proxy.example.com:3128")
	for _, goos := range []string{"linux", "darwin"} {
		steps, err := a.Install(goos)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range steps {
			if s.Write == "" {
				continue
			}
			// One that an older version wrote was open.
			if err := os.MkdirAll(filepath.Dir(s.Write), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.Write, []byte("# "+mark), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := Do(t.Context(), []Step{s}); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(s.Write); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", s.Write, info.Mode(), err)
			}
		}
	}
}

func TestAFileOfAnothersMakingIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cardea-agent.service")
	if err := os.WriteFile(path, []byte("[Service]\nExecStart=/bin/mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range []Step{{Write: path, Text: []byte("x")}, {Remove: path}} {
		if err := Do(t.Context(), []Step{s}); err == nil || !strings.Contains(err.Error(), "move it away") {
			t.Errorf("got %v", err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), "/bin/mine") {
		t.Errorf("it is %q, %v", text, err)
	}
}

func TestWhatTheServiceManagerSaysIsTold(t *testing.T) {
	failing := []string{"sh", "-c", "echo no such bus >&2; exit 1"}
	if err := Do(t.Context(), []Step{{Run: failing}}); err == nil || !strings.Contains(err.Error(), "no such bus") {
		t.Errorf("got %v", err)
	}
	if err := Do(t.Context(), []Step{{Run: failing, Lenient: true}, {Remove: filepath.Join(t.TempDir(), "gone")}}); err != nil {
		t.Error(err)
	}
}
