package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// ConfigFacts are about Cardea's own configuration.
type ConfigFacts struct {
	File string // that was read; "" if there is none
	Err  error  // of reading it, or a variable
	URL  string // of the control plane, from it or from the session
	// Dir is the folder of session and key, and Unsafe what is wrong with what is in it.
	Dir    string
	Unsafe error
}

// Config judges them.
func Config(f ConfigFacts) []Finding {
	const check = "configuration"
	var out []Finding
	switch {
	case f.Err != nil:
		cure := "correct it and try again"
		if f.File != "" {
			cure = "correct it; to look at it type: cat " + f.File
		}
		out = append(out, failed(check, cure, "%v", f.Err))
	case f.File != "":
		out = append(out, ok(check, "%s is read, and every key in it is known", f.File))
	default:
		out = append(out, ok(check, "there is no file, and none is needed"))
	}
	if f.Unsafe != nil {
		text, cure, _ := strings.Cut(f.Unsafe.Error(), "; ")
		return append(out, failed("files", cmp.Or(cure, "to look at it type: ls -la "+f.Dir), "%s", text))
	}
	return append(out, ok("files", "%s is yours alone", f.Dir))
}

// SSHFacts are about ssh and what it reads.
type SSHFacts struct {
	Own       string // the user's file
	Included  string // Cardea's
	First     bool   // its Include line stands first
	Somewhere bool   // it stands elsewhere
	OwnErr    error
	// Text is Cardea's file; Err of reading it.
	Text []byte
	Err  error
	// Open says that others may write to either file.
	Open string
	// Binary is this program, and Missing reports whether a program is not there.
	Binary  string
	Missing func(path string) bool
	// Servers are the ids of the catalog's, and Skipped those whose names the user's own
	// configuration has.
	Servers []string
	Skipped []string
}

// SSH judges them.
func SSH(f SSHFacts) []Finding {
	const install = "type: cardea ssh-config --install"
	var out []Finding
	switch {
	case f.OwnErr != nil:
		out = append(out, failed("ssh-include", "to look at it type: ls -la "+f.Own, "%v", f.OwnErr))
	case f.First:
		out = append(out, ok("ssh-include", "the Include line stands first in %s", f.Own))
	case f.Somewhere:
		out = append(out, failed("ssh-include", install, "the Include line does not stand first in %s, so what is above it counts for your servers", f.Own))
	default:
		out = append(out, warning("ssh-include", install, "plain ssh does not know your servers: %s does not include Cardea's", f.Own))
	}
	if f.Open != "" {
		out = append(out, failed("ssh-files", "type: chmod go-w "+f.Open, "others may write to %s, and ssh refuses that", f.Open))
	}
	return append(out, f.generated())
}

// generated judges the file that the agent writes.
func (f SSHFacts) generated() Finding {
	const check = "ssh-generated"
	const fresh = "type: cardea agent stop && cardea ssh-config --install"
	if f.Err != nil {
		return warning(check, "type: cardea login && cardea ssh-config --install", "%s is not there: %v", f.Included, f.Err)
	}
	program := programOf(f.Text)
	missing := 0
	for _, id := range f.Servers {
		if !strings.Contains(string(f.Text), id) {
			missing++
		}
	}
	switch {
	case program != "" && f.Missing(program):
		return failed(check, fresh, "%s names %s as the program to run, which is not there", f.Included, program)
	case missing > len(f.Skipped):
		return warning(check, "type: cardea agent refresh", "%d of your %d servers are not in %s", missing, len(f.Servers), f.Included)
	case program != "" && program != f.Binary:
		return warning(check, fresh, "%s runs %s, and this is %s", f.Included, program, f.Binary)
	case len(f.Skipped) > 0:
		return warning(check, "type: ssh "+f.Skipped[0]+".PROJECT", "your own configuration has %s already, which stays yours", strings.Join(f.Skipped, ", "))
	}
	return ok(check, "%s is fresh", f.Included)
}

// programOf is the path in the first ProxyCommand line of a file that sshconfig wrote.
func programOf(text []byte) string {
	_, rest, _ := strings.Cut(string(text), "ProxyCommand \"")
	path, _, found := strings.Cut(rest, "\" proxycommand")
	if !found {
		return ""
	}
	return strings.ReplaceAll(path, "%%", "%")
}

// ViewFacts are what ssh says of itself and of one server (ssh -V, ssh -G).
type ViewFacts struct {
	Path    string // of the program; "" if there is none
	Version string // as ssh -V prints it
	Server  string // that it was asked of; "" if there was none to ask of
	Options map[string]string
	Err     error
	Took    time.Duration
	// What it should say.
	Alias, Socket, KnownHosts string
	Included                  bool
}

// slowView is what reading a configuration takes when something in it runs programs.
const slowView = time.Second

// View judges them.
func View(f ViewFacts) []Finding {
	const check = "ssh-view"
	if f.Path == "" {
		return []Finding{failed("ssh", "install OpenSSH's client, and try again", "there is no ssh on this machine")}
	}
	out := []Finding{SSHVersion("ssh", f.Path, f.Version)}
	switch {
	case !f.Included:
		return append(out, Skip(check, "plain ssh does not include Cardea's file"))
	case f.Server == "":
		return append(out, Skip(check, "no server is known to ask ssh about"))
	case f.Err != nil:
		return append(out, failed(check, "type: ssh -G "+f.Server, "ssh cannot read its configuration: %v", f.Err))
	}
	for _, want := range []struct{ option, value string }{{"hostkeyalias", f.Alias}, {"identityagent", f.Socket}, {"userknownhostsfile", f.KnownHosts}} {
		if got := f.Options[want.option]; got != filepath.ToSlash(want.value) { // as the configuration has it on Windows
			return append(out, failed(check, "type: cardea ssh-config --install; if it stays so type: ssh -v -G "+f.Server,
				"ssh takes %s for %s of %s, and not %s", cmp.Or(got, "nothing"), want.option, f.Server, want.value))
		}
	}
	if f.Took > slowView {
		return append(out, warning(check, "look for Match exec in ~/.ssh/config: each of its programs runs for every host", "ssh needs %s to read its configuration", millis(f.Took)))
	}
	return append(out, ok(check, "ssh reads it as it is meant, within %s", millis(f.Took)))
}

// SSHVersion judges whether a program is an OpenSSH that is new enough.
func SSHVersion(check, path, version string) Finding {
	major, minor, found := openSSH(version)
	switch {
	case !found:
		return failed(check, "install OpenSSH 8.0 or newer; to see what it is type: "+path+" -V", "%s is no OpenSSH: it says %.80q", path, version)
	case major < 8:
		return failed(check, "install OpenSSH 8.0 or newer", "%s is OpenSSH %d.%d, which is too old", path, major, minor)
	case major == 8 && minor < 9:
		return ok(check, "%s is OpenSSH %d.%d; from 8.9 on it says for which server it signs", path, major, minor)
	}
	return ok(check, "%s is OpenSSH %d.%d", path, major, minor)
}

func openSSH(version string) (major, minor int, found bool) {
	for _, prefix := range []string{"OpenSSH_for_Windows_", "OpenSSH_"} {
		if _, rest, has := strings.Cut(version, prefix); has {
			n, _ := fmt.Sscanf(rest, "%d.%d", &major, &minor)
			return major, minor, n == 2
		}
	}
	return 0, 0, false
}

// AgentStatus is what an agent says of itself.
type AgentStatus struct {
	PID       int
	Version   string
	SSHConfig string // that it keeps fresh
	Problem   string
	SeenAt    time.Time // when its list was last current
	Servers   int
	Locked    bool
}

// AgentFacts are about the local agent.
type AgentFacts struct {
	Running bool
	Status  AgentStatus
	Err     error  // of asking one whose socket is there
	Version string // of this program
	// SSHConfig is where the agent should write.
	SSHConfig string
	// Socket is its path, Mode and Foreign what is known of it if it is there.
	Socket  string
	Loose   bool // others may use it, or write to its folder
	Foreign bool // it is somebody else's
	Now     time.Time
}

// staleCatalog is the age from which a list is worth a word: a long poll takes a minute.
const staleCatalog = 5 * time.Minute

// Agent judges them.
func Agent(f AgentFacts) []Finding {
	const restart = "type: cardea agent stop && cardea agent start"
	var out []Finding
	switch dir := filepath.Dir(f.Socket); {
	case f.Foreign:
		return []Finding{failed("agent-socket", "type: ls -ld "+dir+" "+f.Socket, "%s belongs to somebody else", f.Socket)}
	case f.Loose:
		out = append(out, failed("agent-socket", "type: chmod 700 "+dir+" && cardea agent stop", "others may reach %s", f.Socket))
	case f.Running:
		out = append(out, ok("agent-socket", "%s is yours alone", f.Socket))
	}
	s := f.Status
	switch {
	case f.Err != nil:
		return append(out, failed("agent", restart, "it is there, and does not answer: %v", f.Err))
	case !f.Running:
		return append(out, ok("agent", "not running; it starts when it is needed"))
	case s.SSHConfig != "" && s.SSHConfig != f.SSHConfig:
		return append(out, failed("agent", "type: cardea agent stop && cardea ssh-config --install",
			"the one that runs (process %d) was started with another HOME and writes %s", s.PID, s.SSHConfig))
	case s.Version != f.Version:
		return append(out, warning("agent", restart, "process %d is version %s, and this program is %s", s.PID, s.Version, f.Version))
	}
	if s.Locked {
		out = append(out, failed("agent", "type: cardea agent unlock", "process %d is locked, and opens no connection", s.PID))
	} else {
		out = append(out, ok("agent", "process %d, version %s", s.PID, s.Version))
	}
	switch age := f.Now.Sub(s.SeenAt); {
	case s.Problem != "":
		what, hint, told := strings.Cut(s.Problem, "; ")
		if !told {
			hint = "type: cardea agent refresh"
		}
		out = append(out, warning("catalog", hint, "%s", what))
	case s.SeenAt.IsZero():
		out = append(out, warning("catalog", "type: cardea agent refresh", "the agent has no list of servers yet"))
	case age > staleCatalog:
		out = append(out, warning("catalog", "type: cardea agent refresh", "the list of %d servers is %s old", s.Servers, age.Round(time.Minute)))
	default:
		out = append(out, ok("catalog", "%d servers, current %s ago", s.Servers, max(0, age.Round(time.Second))))
	}
	return out
}

// SessionFacts are about the session and the device.
type SessionFacts struct {
	URL     string
	Saved   api.Session
	SavedAs error // why there is none at rest
	// Asked is false where the control plane was not asked; Live and Err are its answer.
	Asked bool
	Live  api.Session
	Err   error
	Now   time.Time
}

// soonOver is when a session is worth a word: less than a meeting.
const soonOver = 30 * time.Minute

// Session judges them.
func Session(f SessionFacts) []Finding {
	const check = "session"
	if f.SavedAs != nil {
		text, cure := Told(f.SavedAs)
		if f.URL == "" && api.KindOf(f.SavedAs) == api.SignIn {
			cure = "type: cardea login https://YOUR-CONTROL-PLANE"
		}
		return []Finding{failed(check, cmp.Or(cure, "type: cardea login"), "%s", text)}
	}
	s := f.Saved
	if f.Asked && f.Err == nil {
		s = f.Live
	}
	until := s.ExpiresAt.Local().Format("2006-01-02 15:04")
	used := ""
	if !s.SeenAt.IsZero() {
		used = fmt.Sprintf(", last used by a person %s ago", max(0, f.Now.Sub(s.SeenAt)).Round(time.Minute))
	}
	var out []Finding
	switch {
	case !s.ExpiresAt.IsZero() && !f.Now.Before(s.ExpiresAt):
		return []Finding{failed(check, "type: cardea login", "it is over since %s", until)}
	case f.Asked && f.Err != nil && api.KindOf(f.Err) != api.Unavailable && api.KindOf(f.Err) != api.Foreign:
		text, cure := Told(f.Err)
		return []Finding{failed(check, cmp.Or(cure, "type: cardea login"), "%s", text)}
	case s.ExpiresAt.Sub(f.Now) < soonOver:
		out = append(out, warning(check, "to begin a new one type: cardea login", "%s as %s, and over at %s%s", s.ID, s.UserName, until, used))
	case f.Asked && f.Err != nil:
		out = append(out, ok(check, "%s as %s until %s, if nobody ended it: the control plane could not be asked", s.ID, s.UserName, until))
	default:
		out = append(out, ok(check, "%s as %s until %s%s", s.ID, s.UserName, until, used))
	}
	switch {
	case f.Err != nil:
		return append(out, Skip("device", "the control plane could not be asked"))
	case s.DeviceState == "pending":
		return append(out, failed("device", "ask an administrator to type: cardea admin devices approve "+s.Device, "%s waits for approval", s.DeviceTag))
	case s.DeviceState == "revoked":
		return append(out, failed("device", "to come back as a new device type: cardea device replace", "%s is revoked", s.DeviceTag))
	}
	return append(out, ok("device", "%s, %s", cmp.Or(s.DeviceTag, s.Device), cmp.Or(s.DeviceState, "known")))
}

// KeyFacts are about the device key.
type KeyFacts struct {
	There bool
	Kind  string // where it is kept: tpm, enclave, keyring, file
	Path  string
	Err   error // of reading it, or of signing with it
}

// Key judges them.
func Key(f KeyFacts) Finding {
	const check = "device-key"
	switch {
	case f.Err != nil:
		text, cure := Told(f.Err)
		return failed(check, cmp.Or(cure, "type: cardea device show"), "%s", text)
	case !f.There:
		return Skip(check, "there is none yet; a sign-in makes it")
	case f.Kind == "file":
		return ok(check, "in the file %s, and it signs; whoever copies that can sign as this device", f.Path)
	}
	return ok(check, "in the %s, and it signs", f.Kind)
}

// Told splits an error into what is wrong and what to do.
func Told(err error) (text, cure string) {
	text = err.Error()
	var e *api.Error
	if errors.As(err, &e) && e.Hint != "" {
		return strings.TrimSuffix(text, "; "+e.Hint), e.Hint
	}
	if before, after, has := strings.Cut(text, "; "); has {
		return before, after
	}
	return text, ""
}
