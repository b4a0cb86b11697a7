package sshconfig

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/internal/sshtest"
	"golang.org/x/crypto/ssh"
)

const includePath = "~/.ssh/cardea/config"

func TestIncludeStandsFirstAndIsUndoneByteForByte(t *testing.T) {
	for name, before := range map[string]string{
		"no file yet":              "",
		"an ordinary file":         "Host a\n  User b\n",
		"no newline at the end":    "Host a\n  User b",
		"line ends of Windows":     "Host a\r\n  User b\r\n",
		"blank lines first":        "\n\n# mine\nHost *\n",
		"bytes that are no text":   "Host a\n# \xff\xfe\x00\n",
		"another Include":          "Include ~/.orbstack/ssh/config\n",
		"our path within a remark": "# Include ~/.ssh/cardea/config\nHost a\n",
		"our path, written longer": "Include ~/.ssh/cardea/config.d\n",
	} {
		in, changed, err := Include([]byte(before), includePath)
		if err != nil || !changed || !bytes.HasSuffix(in, []byte(before)) {
			t.Errorf("%s: %v, changed %v: %q", name, err, changed, in)
		}
		if again, changed, err := Include(in, includePath); err != nil || changed || !bytes.Equal(again, in) {
			t.Errorf("%s: a second time: %v, changed %v", name, err, changed)
		}
		out, changed, err := Exclude(in, includePath)
		if err != nil || !changed || string(out) != before {
			t.Errorf("%s: after the undo %q, was %q", name, out, before)
		}
		if _, changed, err := Exclude(out, includePath); err != nil || changed {
			t.Errorf("%s: a second undo found something", name)
		}
	}
}

func TestIncludeIsMovedToTheTop(t *testing.T) {
	for name, before := range map[string]string{
		"moved with its remark": "Host a\n  User b\n" + includeNote + "Include " + includePath + "\n\nHost c\n",
		"written by hand":       "Host a\n  User b\nInclude " + includePath + "\nHost c\n",
	} {
		out, changed, err := Include([]byte(before), includePath)
		want := includeNote + "Include " + includePath + "\n\nHost a\n  User b\nHost c\n"
		if err != nil || !changed || string(out) != want {
			t.Errorf("%s: got %q, want %q", name, out, want)
		}
	}
}

// ssh takes the mark for part of the first word, and refuses every connection.
func TestAFileWithAByteOrderMarkIsRefused(t *testing.T) {
	if out, changed, err := Include([]byte("\xef\xbb\xbfHost a\n"), includePath); err == nil || changed || out != nil {
		t.Errorf("it became %q, %v", out, err)
	}
}

func TestIncludePathsThatAreRefused(t *testing.T) {
	for _, path := range []string{"", "cardea/config", "~/a*b", "/home/a\nHost *", "/home/50%/config", "~/a\"b", "~/$(id)"} {
		if _, _, err := Include(nil, path); err == nil {
			t.Errorf("%q was written", path)
		}
	}
	if out, _, err := Include(nil, "/home/a b/config"); err != nil || !strings.Contains(string(out), "Include \"/home/a b/config\"\n") {
		t.Errorf("a path with a blank: %q, %v", out, err)
	}
}

func TestKnownHostsTrustsTheCAForOurNamesOnly(t *testing.T) {
	ca, other, key := sshtest.Key(t), sshtest.Key(t), sshtest.Key(t)
	h := host("web-1")
	cert := sshtest.Certify(t, ca, key.PublicKey(), []string{h.HostKeyAlias}, func(c *ssh.Certificate) {
		c.CertType, c.Extensions = ssh.HostCert, nil
	})
	dir := t.TempDir()
	hostKey := key.Write(t, dir+"/host")
	certificate := sshtest.WriteFile(t, dir, "host-cert.pub", sshtest.Line(cert)+"\n")
	user := sshtest.Key(t)
	identity := user.Write(t, dir+"/id")
	server := sshtest.Start(t, "HostKey "+hostKey, "HostCertificate "+certificate, sshtest.AuthorizedKeys(t, sshtest.Line(user.PublicKey())))

	ownKey := sshtest.Line(key.PublicKey())
	attempt := func(name string, trust Trust, host Host, want bool, more ...string) {
		t.Helper()
		trust.Pattern = "*.cardea"
		text, err := KnownHosts(trust)
		if err != nil {
			t.Fatal(err)
		}
		v := values(host)
		v.KnownHosts = sshtest.WriteFile(t, t.TempDir(), "known_hosts", string(text))
		args := append(more, "-F", config(t, v), "-o", "BatchMode=yes", "-o", "ProxyCommand=none", "-o", "HostName=127.0.0.1",
			"-p", fmt.Sprint(server.Addr.Port()), "-l", server.User, "-i", identity, "web-1", "true")
		r := sshtest.Run(t, sshtest.Command(t, "ssh", args...))
		if (r.Exit == 0) != want {
			t.Errorf("%s: exit %d\n%s", name, r.Exit, r.Stderr)
		}
	}
	try := func(name string, cas []string, host Host, want bool) {
		t.Helper()
		attempt(name, Trust{HostCAs: cas}, host, want)
	}
	try("the right server", []string{sshtest.Line(ca.PublicKey()) + " comment"}, h, true)
	try("during a rotation", []string{sshtest.Line(other.PublicKey()), sshtest.Line(ca.PublicKey())}, h, true)
	try("a CA that is not the team's", []string{sshtest.Line(other.PublicKey())}, h, false)
	try("the certificate of another server", []string{sshtest.Line(ca.PublicKey())}, host("web-1"), false)

	// The server's own key is for programs that ask for no certificate. It opens nothing to
	// ssh, neither beside a certificate of another CA nor in its place.
	plain := Trust{HostCAs: []string{sshtest.Line(other.PublicKey())}, Plain: []PlainKey{{h.Names, sshtest.Line(key.PublicKey())}, {[]string{"www.example.com"}, sshtest.Line(key.PublicKey())}}}
	attempt("a server whose plain key is known", plain, h, false)
	attempt("a server whose plain key is known, to a user who takes plain keys", plain, h, false, "-o", "HostKeyAlgorithms=ssh-ed25519")
	plain.HostCAs = []string{sshtest.Line(ca.PublicKey())}
	attempt("the right server, whose plain key is known too", plain, h, true)
	for _, bad := range []PlainKey{{nil, ownKey}, {[]string{"*"}, ownKey}, {[]string{"a,b"}, ownKey}, {[]string{"web-1"}, "ssh-rsa AAAA"}, {[]string{"web-1"}, "* " + ownKey}} {
		if _, err := KnownHosts(Trust{Pattern: "*.cardea", HostCAs: plain.HostCAs, Plain: []PlainKey{bad}}); err == nil {
			t.Errorf("%+v was written", bad)
		}
	}

	// The CA of gateways counts for the servers that are recorded, and for no other.
	hosts, gateways := []string{sshtest.Line(other.PublicKey())}, []string{sshtest.Line(key.PublicKey()), sshtest.Line(ca.PublicKey())}
	var many []string
	for i := range 3*NamesPerLine + 1 {
		many = append(many, fmt.Sprintf("srv_%d.cardea", i))
	}
	attempt("a gateway in the place of a recorded server", Trust{HostCAs: hosts, Recorded: append(many, h.HostKeyAlias), GatewayCAs: gateways}, h, true)
	attempt("a gateway in the place of a server that is not recorded", Trust{HostCAs: hosts, Recorded: many, GatewayCAs: gateways}, h, false)
	attempt("a gateway where none is recorded", Trust{HostCAs: hosts, GatewayCAs: gateways}, h, false)
	attempt("a recorded server without gateways", Trust{HostCAs: hosts, Recorded: []string{h.HostKeyAlias}}, h, false)
	for _, name := range []string{"*", "a,b", "a b", "a\n*", ""} {
		if _, err := KnownHosts(Trust{Pattern: "*.cardea", HostCAs: hosts, GatewayCAs: gateways, Recorded: []string{name}}); err == nil {
			t.Errorf("the name %q was written", name)
		}
	}
	if _, err := KnownHosts(Trust{Pattern: "*.cardea", HostCAs: hosts, GatewayCAs: []string{"* " + gateways[0]}, Recorded: many}); err == nil {
		t.Error("a gateway CA that is no key was written")
	}
}

func TestKnownHostsRefusesWhatIsNoKey(t *testing.T) {
	good := sshtest.Line(sshtest.Key(t).PublicKey())
	for name, cas := range map[string][]string{
		"none": nil, "empty": {""}, "two lines": {good + "\n* " + good}, "a host before it": {"* " + good}, "RSA": {"ssh-rsa AAAA"}, "no base64": {"ssh-ed25519 $(id)"},
	} {
		if text, err := KnownHosts(Trust{Pattern: "*.cardea", HostCAs: cas}); err == nil {
			t.Errorf("%s: written as %q", name, text)
		}
	}
	for _, pattern := range []string{"*", "", "*.cardea,*", "* x", "*.card\nea"} {
		if _, err := KnownHosts(Trust{Pattern: pattern, HostCAs: []string{good}}); err == nil {
			t.Errorf("pattern %q was written", pattern)
		}
	}
}
