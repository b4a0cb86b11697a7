package sshconfig

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/sshtest"
	"golang.org/x/crypto/ssh/agent"
)

func host(name string, more ...string) Host {
	return Host{Names: append([]string{name}, more...), HostKeyAlias: ident.New(ident.Server) + ".cardea", Login: "alice"}
}

func values(hosts ...Host) Values {
	return Values{Hosts: hosts, Binary: "/usr/bin/cardea", AgentSocket: "/run/user/1000/cardea/agent.sock", KnownHosts: "/home/alice/.ssh/cardea/known_hosts"}
}

func config(t testing.TB, v Values) string {
	t.Helper()
	text, err := Config(v)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// effective asks the real ssh what it makes of a configuration for one host.
func effective(t testing.TB, path, name string) map[string]string {
	t.Helper()
	r := sshtest.Run(t, sshtest.Command(t, "ssh", "-F", path, "-G", name))
	if r.Exit != 0 {
		t.Fatalf("ssh -G %s: %s", name, r.Stderr)
	}
	got := map[string]string{}
	for line := range strings.Lines(r.Stdout) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		got[key] = value
	}
	return got
}

func TestSSHReadsTheConfigurationAsItIsMeant(t *testing.T) {
	web, db := host("web-1", "web-1.web"), host("db-1")
	db.Login = "alice2"
	path := config(t, values(web, db))
	for name, want := range map[string]map[string]string{
		"web-1": {
			"hostname": "web-1", "hostkeyalias": web.HostKeyAlias, "user": "alice", "port": "22",
			"proxycommand": `"/usr/bin/cardea" proxycommand %h %p`, "stricthostkeychecking": "true",
			"userknownhostsfile": "/home/alice/.ssh/cardea/known_hosts", "globalknownhostsfile": "/dev/null",
			"hostkeyalgorithms": "ssh-ed25519-cert-v01@openssh.com", "checkhostip": "no", "updatehostkeys": "false",
			"identityagent": "/run/user/1000/cardea/agent.sock", "identityfile": "none", "identitiesonly": "no", "preferredauthentications": "publickey",
		},
		"web-1.web": {"hostname": "web-1", "hostkeyalias": web.HostKeyAlias},
		"db-1":      {"hostname": "db-1", "hostkeyalias": db.HostKeyAlias, "user": "alice2"},
		"other":     {"hostname": "other", "identityfile": "~/.ssh/id_ed25519"},
	} {
		got := effective(t, path, name)
		for k, v := range want {
			if got[k] != v && !(k == "identityfile" && v != "none" && got[k] != "none") {
				t.Errorf("%s: %s is %q, want %q", name, k, got[k], v)
			}
		}
		if ciphers := got["ciphers"]; name != "other" && !strings.HasPrefix(ciphers, "aes128-gcm@openssh.com,chacha20") {
			t.Errorf("%s: ciphers %s", name, ciphers)
		}
		if name == "other" && got["proxycommand"] != "" {
			t.Error("a server that is not ours is led to us")
		}
	}
}

func TestOptionsSayWhatTheFileSays(t *testing.T) {
	h := host("web-1")
	v := values(h)
	v.Fdpass, v.UserAgentSocket = true, "/tmp/own agent/s"
	options, err := Options(v, h)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-F", "/dev/null", "-G"}
	for _, o := range options {
		args = append(args, "-o", o)
	}
	byOption := sshtest.Run(t, sshtest.Command(t, "ssh", append(args, "web-1")...))
	byFile := sshtest.Run(t, sshtest.Command(t, "ssh", "-F", config(t, v), "-G", "web-1"))
	if byOption.Exit != 0 || byOption.Stdout != byFile.Stdout {
		t.Errorf("as options ssh reads\n%s%s\nas a file\n%s", byOption.Stdout, byOption.Stderr, byFile.Stdout)
	}
	h.Login = "-oProxyCommand=id"
	if _, err := Options(v, h); err == nil {
		t.Error("a login that is an option was taken")
	}
}

// A configuration of the user's own that would weaken a server of Cardea's comes after ours
// and so has no effect.
func TestHostStarOfTheUserChangesNothingForOurServers(t *testing.T) {
	web := host("web-1")
	ours := config(t, values(web))
	mine, _, err := Include([]byte("Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  ProxyJump bastion\n  User root\n"+
		"  HostName %h.example.com\n  IdentitiesOnly yes\n  ForwardAgent yes\n  IdentityAgent none\n  HostKeyAlias x\n"), ours)
	if err != nil {
		t.Fatal(err)
	}
	path := sshtest.WriteFile(t, t.TempDir(), "config", string(mine))
	before, after := effective(t, ours, "web-1"), effective(t, path, "web-1")
	for k, v := range before {
		if after[k] != v {
			t.Errorf("%s is %q, was %q", k, after[k], v)
		}
	}
	if other := effective(t, path, "other"); other["user"] != "root" {
		t.Errorf("the user's own settings are gone: user %q", other["user"])
	}
}

func TestEverySwitchWritesItsLine(t *testing.T) {
	v := values(host("web-1"))
	v.PassLogin, v.Fdpass, v.Binary = true, true, "/opt/my tools/100%/cardea"
	got := effective(t, config(t, v), "web-1")
	if want := `"/opt/my tools/100%%/cardea" proxycommand --fdpass %h %p %r`; got["proxycommand"] != want {
		t.Errorf("got %s, want %s", got["proxycommand"], want)
	}
	if got["proxyusefdpass"] != "yes" {
		t.Error("no ProxyUseFdpass")
	}
	v.AgentSocket, v.KnownHosts = "/run/my user/agent.sock", "/home/a'b 50%/known_hosts"
	got = effective(t, config(t, v), "web-1")
	if got["identityagent"] != v.AgentSocket || !strings.HasPrefix(got["userknownhostsfile"], "/home/a'b 50%") {
		t.Errorf("paths with blanks came out as %q and %q", got["identityagent"], got["userknownhostsfile"])
	}
}

func TestConfigRefusesWhatSSHOrAShellReadsAsMore(t *testing.T) {
	for name, change := range map[string]func(*Values){
		"an option as name":             func(v *Values) { v.Hosts[0].Names[0] = "-oProxyCommand=touch" },
		"two words as name":             func(v *Values) { v.Hosts[0].Names[0] = "a b" },
		"a pattern as name":             func(v *Values) { v.Hosts[0].Names[0] = "*" },
		"a command as name":             func(v *Values) { v.Hosts[0].Names[0] = "$(id)" },
		"a newline in a name":           func(v *Values) { v.Hosts[0].Names[0] = "a\nb" },
		"an escape in a second name":    func(v *Values) { v.Hosts[0].Names = append(v.Hosts[0].Names, "\x1b[2J") },
		"no name":                       func(v *Values) { v.Hosts[0].Names = nil },
		"a command as login":            func(v *Values) { v.Hosts[0].Login = "`id`" },
		"a newline in the alias":        func(v *Values) { v.Hosts[0].HostKeyAlias = "a\n  ProxyCommand id" },
		"an empty alias":                func(v *Values) { v.Hosts[0].HostKeyAlias = "" },
		"one name for two servers":      func(v *Values) { v.Hosts = append(v.Hosts, host("web-1")) },
		"a name that is also an alias":  func(v *Values) { v.Hosts = append(v.Hosts, host("web-2", "web-1")) },
		"a command in the program path": func(v *Values) { v.Binary = "/tmp/$(id)/cardea" },
		"a quote in the program path":   func(v *Values) { v.Binary = `/tmp/"/cardea` },
		"a relative program":            func(v *Values) { v.Binary = "cardea" },
		"a newline in the socket path":  func(v *Values) { v.AgentSocket = "/run/x\nProxyCommand id" },
		"a variable in the socket path": func(v *Values) { v.AgentSocket = "/run/${HOME}" },
		"no known_hosts":                func(v *Values) { v.KnownHosts = "" },
	} {
		v := values(host("web-1"))
		change(&v)
		if text, err := Config(v); err == nil {
			t.Errorf("%s was written:\n%s", name, text)
		}
	}
}

func TestTheSameServersGiveTheSameBytes(t *testing.T) {
	var hosts []Host
	for i := range 300 {
		hosts = append(hosts, host(fmt.Sprintf("web-%d", i)))
	}
	one, err := Config(values(hosts...))
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(hosts)
	two, err := Config(values(hosts...))
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("the order of the catalog shows in the file: %v", err)
	}
}

func TestANewcomerWithoutServersGetsAFileThatSSHReads(t *testing.T) {
	if got := effective(t, config(t, values()), "other"); got["hostname"] != "other" {
		t.Errorf("got %v", got)
	}
}

// serveAgent is an ssh-agent with one key, whose comment says whose agent it is.
func serveAgent(t *testing.T, comment string) (socket string) {
	t.Helper()
	ring := agent.NewKeyring()
	key := sshtest.Key(t)
	if err := ring.Add(agent.AddedKey{PrivateKey: key.Private, Comment: comment}); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "a") // a socket's path may have 107 bytes only
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); os.RemoveAll(dir) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); agent.ServeAgent(ring, c) }()
		}
	}()
	return socket
}

// The connection asks Cardea's agent for its identity. What travels to the server, if
// anything does, is the user's own agent.
func TestForwardingIsOfTheUsersAgentAndOnlyOnRequest(t *testing.T) {
	ours, own, key := serveAgent(t, "cardea"), serveAgent(t, "own"), sshtest.Key(t)
	server := sshtest.Start(t, sshtest.AuthorizedKeys(t, sshtest.Line(key.PublicKey())))
	identity := key.Write(t, filepath.Join(t.TempDir(), "id"))
	for name, c := range map[string]struct {
		always bool
		args   []string
		socket string
		want   string
	}{
		"by default nothing":               {false, nil, own, "none"},
		"on request the user's own":        {false, []string{"-A"}, own, "own"},
		"always, if he says so, his own":   {true, nil, own, "own"},
		"always, but without one, nothing": {true, nil, "", "none"},
		"always, but never Cardea's":       {true, nil, ours, "none"},
		"always, but not when told -a":     {true, []string{"-a"}, own, "none"},
		"on request a socket that is gone": {false, []string{"-A"}, "/nonexistent", "none"},
	} {
		t.Run(name, func(t *testing.T) {
			v := values(host("web-1"))
			v.AgentSocket, v.UserAgentSocket, v.ForwardAgent = ours, c.socket, c.always
			// The test has no helper and no certificates: these options, which win, replace them.
			args := []string{"-F", config(t, v), "-o", "BatchMode=yes", "-o", "ProxyCommand=none", "-o", "HostName=127.0.0.1", "-p", fmt.Sprint(server.Addr.Port()),
				"-l", server.User, "-i", identity, "-o", "StrictHostKeyChecking=no", "-o", "HostKeyAlgorithms=ssh-ed25519", "-o", "UserKnownHostsFile=/dev/null"}
			cmd := sshtest.Command(t, "ssh", append(append(args, c.args...), "web-1", `ssh-add -l 2>/dev/null | sed 's/.*\(own\|cardea\).*/\1/' | grep . || echo none`)...)
			r := sshtest.Run(t, cmd)
			if strings.TrimSpace(r.Stdout) != c.want {
				t.Errorf("the server sees %q, want %q\n%s", r.Stdout, c.want, r.Stderr)
			}
		})
	}
}

// With the login of a stranger's URL and an ssh that lets shell characters through, %r
// would be his command, in whatever shell the user has. So PassLogin follows what the
// installed ssh does.
func TestALoginNeverReachesTheShellAsACommand(t *testing.T) {
	dir := t.TempDir()
	helper := filepath.Join(dir, "cardea")
	if err := os.WriteFile(helper, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ssh := sshtest.Path(t, "ssh")
	safe := SafeLogin(t.Context(), ssh)
	t.Logf("this ssh refuses such logins itself: %v", safe)
	for _, pass := range []bool{false, safe} {
		v := values(host("web-1"))
		v.Binary, v.PassLogin = helper, pass
		path := config(t, v)
		touched := filepath.Join(dir, "touched")
		for _, login := range []string{"$(touch T)", "`touch T`", "a;touch T", "a'touch T'", "a\ntouch T", "a|touch T", "a&touch T", "-oProxyCommand=touch T", "a\"$(touch T)\"", "a(touch T)", "a; and touch T"} {
			login = strings.ReplaceAll(login, "T", touched)
			for _, shell := range []string{"/bin/bash", "/bin/dash", "/usr/bin/zsh", "/usr/bin/fish"} {
				cmd := sshtest.Command(t, "ssh", "-F", path, "-o", "BatchMode=yes", "-l", login, "web-1", "true")
				cmd.Env = append(cmd.Environ(), "SHELL="+shell)
				sshtest.Run(t, cmd)
				if _, err := os.Stat(touched); err == nil {
					t.Fatalf("login %q was run as a command by %s (PassLogin %v)", login, shell, pass)
				}
			}
		}
	}
}

func TestSafeLoginIsFalseWhereNobodyAnswers(t *testing.T) {
	dir := t.TempDir()
	silent := filepath.Join(dir, "ssh")
	if err := os.WriteFile(silent, []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{silent, filepath.Join(dir, "none")} {
		if SafeLogin(t.Context(), path) {
			t.Errorf("%s is called safe", path)
		}
	}
}

// The goal is 15 ms more for 5,000 servers on a quiet machine; the test allows for a busy
// one and catches what is out of proportion, such as one Host line with all names (80 ms).
func TestFiveThousandServersAreReadInNoTime(t *testing.T) {
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		t.Skip("SKIPPED: no ssh on this machine")
	}
	var hosts []Host
	for i := range 5000 {
		hosts = append(hosts, host(fmt.Sprintf("web-%d", i)))
	}
	many, one := config(t, values(hosts...)), config(t, values(hosts[0]))
	best := func(path string) time.Duration {
		d := time.Hour
		for range 15 {
			cmd := exec.Command(ssh, "-F", path, "-G", "web-0")
			if err := cmd.Run(); err != nil {
				t.Fatal(err)
			}
			d = min(d, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()) // others may have the machine
		}
		return d
	}
	more := best(many) - best(one)
	t.Logf("5,000 servers cost ssh -G %s more than one", more)
	if more > 60*time.Millisecond {
		t.Errorf("5,000 servers cost ssh -G %s more than one, want 15ms", more)
	}
}

func TestTheProxyCommandNamesTheServerThatLeadsThere(t *testing.T) {
	v := Values{Binary: "/usr/bin/cardea", Via: "srv_aaaaaaaaaaaaaaaaaaaa"}
	if got, err := ProxyCommand(v); err != nil || got != `"/usr/bin/cardea" proxycommand --via srv_aaaaaaaaaaaaaaaaaaaa %h %p` {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"door-1", "srv_a; id", "-o"} {
		v.Via = bad
		if got, err := ProxyCommand(v); err == nil {
			t.Errorf("%q became %q", bad, got)
		}
	}
}
