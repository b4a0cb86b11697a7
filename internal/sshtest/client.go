package sshtest

import (
	"fmt"
	"path/filepath"
	"testing"
)

// ClientOptions are the -o options (for ssh, scp and sftp alike) that connect
// to s with the key at identity, know its host key, ask nothing and read no
// configuration of the user's. Options before them on the command line win.
func (s *Server) ClientOptions(t testing.TB, identity string) []string {
	t.Helper()
	name := fmt.Sprintf("[%s]:%d", s.Addr.Addr(), s.Addr.Port())
	if s.Addr.Port() == 22 {
		name = s.Addr.Addr().String()
	}
	known := WriteFile(t, t.TempDir(), "known_hosts", name+" "+Line(s.HostKey)+"\n")
	return append(Alone(), "-o", "UserKnownHostsFile="+known, "-o", "Port="+fmt.Sprint(s.Addr.Port()),
		"-o", "User="+s.User, "-o", "IdentityFile="+identity)
}

// Alone are the options for an ssh that trusts nothing and offers nothing but
// what the test adds, and never waits for a person.
func Alone() []string {
	return []string{"-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
		"-o", "GlobalKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "ConnectTimeout=10"}
}

// SSH runs a command on s with the key at identity.
func (s *Server) SSH(t testing.TB, identity string, command ...string) Result {
	t.Helper()
	args := append(s.ClientOptions(t, identity), s.Addr.Addr().String())
	return Run(t, Command(t, "ssh", append(args, command...)...))
}

// AuthorizedKeys is the configuration line that lets these lines of an
// authorized_keys file log in.
func AuthorizedKeys(t testing.TB, lines string) string {
	t.Helper()
	return "AuthorizedKeysFile " + filepath.Clean(WriteFile(t, t.TempDir(), "authorized_keys", lines+"\n"))
}
