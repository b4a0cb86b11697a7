//go:build unix

package sshtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestAKeyLogsInAndExitCodesAndStreamsStayApart(t *testing.T) {
	key := Key(t)
	identity := key.Write(t, filepath.Join(t.TempDir(), "id"))
	s := Start(t, AuthorizedKeys(t, Line(key.PublicKey())))
	got := s.SSH(t, identity, "echo out; echo err >&2; exit 7")
	if got != (Result{"out\n", "err\n", 7}) {
		t.Errorf("got %+v\n%s", got, s.Log())
	}
	s.WaitLog(t, "Accepted publickey for "+s.User)
}

func TestACertificateLogsInAndAnotherPrincipalDoesNot(t *testing.T) {
	ca, key := Key(t), Key(t)
	dir := t.TempDir()
	s := Start(t, "TrustedUserCAKeys "+WriteFile(t, dir, "ca", Line(ca.PublicKey())+"\n"),
		"AuthorizedPrincipalsFile "+WriteFile(t, dir, "principals", "good\n"))
	for principal, exit := range map[string]int{"good": 0, "bad": 255} {
		identity := key.Write(t, filepath.Join(t.TempDir(), "id"))
		cert := Certify(t, ca, key.PublicKey(), []string{principal}, func(c *ssh.Certificate) { c.KeyId = "who=" + principal })
		WriteFile(t, filepath.Dir(identity), "id-cert.pub", Line(cert)+"\n")
		if got := s.SSH(t, identity, "true"); got.Exit != exit {
			t.Errorf("principal %s: %+v\n%s", principal, got, s.Log())
		}
	}
	s.WaitLog(t, `ID "who=good" (serial 1)`)
}

func TestAnUnknownHostKeyIsRefused(t *testing.T) {
	key := Key(t)
	identity := key.Write(t, filepath.Join(t.TempDir(), "id"))
	s := Start(t, AuthorizedKeys(t, Line(key.PublicKey())))
	s.HostKey = Key(t).PublicKey()
	if got := s.SSH(t, identity, "true"); got.Exit != 255 || !strings.Contains(got.Stderr, "Host key verification failed") {
		t.Errorf("got %+v", got)
	}
}

func TestDefaultsDoNotSlipIntoAMatchBlock(t *testing.T) {
	key := Key(t)
	identity := key.Write(t, filepath.Join(t.TempDir(), "id"))
	s := Start(t, AuthorizedKeys(t, Line(key.PublicKey())), "Match User nobody-here", "ForceCommand false")
	if got := s.SSH(t, identity, "true"); got.Exit != 0 {
		t.Errorf("got %+v\n%s", got, s.Log())
	}
}

func TestReloadReadsTheConfigurationAgain(t *testing.T) {
	key := Key(t)
	identity := key.Write(t, filepath.Join(t.TempDir(), "id"))
	s := Start(t, AuthorizedKeys(t, Line(key.PublicKey())))
	old, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	WriteFile(t, s.Dir, "sshd_config", "AuthorizedKeysFile none\n"+string(old))
	s.Reload(t)
	if got := s.SSH(t, identity, "true"); got.Exit != 255 {
		t.Errorf("the old configuration still holds: %+v", got)
	}
}

func TestStopEndsSessionsToo(t *testing.T) {
	key := Key(t)
	identity := key.Write(t, filepath.Join(t.TempDir(), "id"))
	s := Start(t, AuthorizedKeys(t, Line(key.PublicKey())))
	pidFile := filepath.Join(t.TempDir(), "pid")
	done := make(chan Result, 1)
	go func() {
		done <- s.SSH(t, identity, "echo $$ >"+pidFile+".new; mv "+pidFile+".new "+pidFile+"; exec sleep 600")
	}()
	var text []byte
	for end := time.Now().Add(startTimeout); time.Now().Before(end) && len(text) == 0; time.Sleep(5 * time.Millisecond) {
		text, _ = os.ReadFile(pidFile)
	}
	var pid int
	if _, err := fmt.Sscan(string(text), &pid); err != nil {
		t.Fatalf("no session: %v\n%s", err, s.Log())
	}
	s.Stop()
	if got := <-done; got.Exit != 255 {
		t.Errorf("the client ended with %+v", got)
	}
	for end := time.Now().Add(startTimeout); syscall.Kill(pid, 0) == nil && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if syscall.Kill(pid, 0) == nil {
		t.Errorf("process %d of the session lives on", pid)
	}
}
