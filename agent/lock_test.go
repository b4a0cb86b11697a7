package agent_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/agent/agenttest"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/sshtest"
)

// sshAdd runs OpenSSH's, which is told passphrase whenever it asks.
func sshAdd(w *agenttest.World, passphrase string, args ...string) (string, error) {
	w.Helper()
	ask := filepath.Join(w.TempDir(), "askpass")
	if err := os.WriteFile(ask, []byte("#!/bin/sh\necho '"+passphrase+"'\n"), 0o700); err != nil {
		w.Fatal(err)
	}
	cmd := exec.Command("ssh-add", args...)
	cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+w.Paths.SSHSocket(), "SSH_ASKPASS="+ask, "SSH_ASKPASS_REQUIRE=force", "DISPLAY=:9")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestALockedAgentSignsNothingLendsNothingAndOpensNoConnection(t *testing.T) {
	if sshtest.Version(t) < 804 {
		t.Skip("SKIPPED: this ssh-add asks at a terminal only")
	}
	w := agenttest.New(t, agenttest.Entry("web-1", "web"))
	w.Start()
	w.UntilListed()
	w.Connect("web-1", 0)
	files := filepath.Join(w.TempDir(), "files")
	if _, err := w.Ask.Lend(t.Context(), "web-1", "", files, time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if out, err := sshAdd(w, "", "-l"); err != nil || !strings.Contains(out, "alice@web-1") {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := sshAdd(w, "open sesame", "-x"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	locked := func(when string) {
		t.Helper()
		if out, err := sshAdd(w, "", "-l"); err == nil {
			t.Errorf("%s it offers %s", when, out)
		}
		calls := len(w.Control.Calls("POST", "/v1/connect"))
		for name, do := range map[string]func() error{
			"connect": func() error { _, err := w.Ask.Connect(t.Context(), "web-1", "", 0); return err },
			"prepare": func() error { _, err := w.Ask.Prepare(t.Context(), "web-1", ""); return err },
			"lend": func() error {
				_, err := w.Ask.Lend(t.Context(), "web-1", "", files, time.Now().Add(time.Minute))
				return err
			},
		} {
			if err := do(); api.KindOf(err) != api.Denied || !strings.Contains(err.Error(), "cardea agent unlock") {
				t.Errorf("%s: %s: got %v", when, name, err)
			}
		}
		if n := len(w.Control.Calls("POST", "/v1/connect")); n != calls {
			t.Errorf("%s it asked for %d certificates", when, n-calls)
		}
		if entries, err := os.ReadDir(files); err == nil && len(entries) > 0 {
			t.Errorf("%s there are %d files with a key", when, len(entries))
		}
		if s, err := w.Ask.Status(t.Context()); err != nil || !s.Locked {
			t.Errorf("%s it says that it is not locked, %v", when, err)
		}
	}
	locked("locked")
	if _, err := sshAdd(w, "another", "-x"); err == nil {
		t.Error("a second passphrase took the place of the first")
	}
	if err := w.Ask.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.Until("the agent has gone", func() bool { _, ok := w.Ask.Running(t.Context()); return !ok })
	account := w.Start()
	locked("started anew")
	if _, err := sshAdd(w, "open barley", "-X"); err == nil {
		t.Error("a wrong passphrase opened it")
	}
	locked("after a wrong passphrase")
	if err := w.Ask.Unlock(t.Context(), "open sesame"); api.KindOf(err) != api.Limited {
		t.Errorf("right after a wrong one: got %v", err)
	}
	w.Until("it takes the right one", func() bool { return w.Ask.Unlock(t.Context(), "open sesame") == nil })
	if out, err := sshAdd(w, "", "-l"); err == nil {
		t.Errorf("keys of before were kept: %s", out)
	}
	w.Connect("web-1", 0)

	// Who has forgotten it signs out, which leaves nothing to be used.
	if err := w.Ask.Lock(t.Context(), "forgotten"); err != nil {
		t.Fatal(err)
	}
	client, _ := account.Client(t.Context())
	account.Set(nil)
	if err := w.Paths.Unlock(); err != nil {
		t.Fatal(err)
	}
	w.Ask.SignInChanged(t.Context(), false)
	account.Set(client)
	w.Connect("web-1", 0)
}

// A connection that waits for new trust, up to half a minute, is none that was open before.
func TestAConnectionThatIsBeingMadeEndsWithTheLock(t *testing.T) {
	w := agenttest.New(t, agenttest.Entry("web-1", "web"))
	w.Start()
	if err := w.Ask.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.RotateHostCA(t)
	w.Control.On("GET", "/v1/catalog", func(agenttest.Call) (any, error) {
		// The agent's own poll may come at the same time: whoever is second waits for the first.
		err := w.Ask.Lock(w.Context(), "open sesame")
		for ; api.KindOf(err) == api.Limited; err = w.Ask.Lock(w.Context(), "open sesame") {
			time.Sleep(time.Millisecond)
		}
		if api.KindOf(err) == api.Conflict { // it is locked
			err = nil
		}
		return nil, err
	})
	if got, err := w.Ask.Connect(t.Context(), "web-1", "", 0); api.KindOf(err) != api.Denied || !strings.Contains(err.Error(), "cardea agent unlock") {
		t.Errorf("got %+v, %v", got, err)
	}
	if s, err := w.Ask.Status(t.Context()); err != nil || !s.Locked || s.Identities != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestALockThatCannotBeReadStaysShut(t *testing.T) {
	w := agenttest.New(t, agenttest.Entry("web-1", "web"))
	if err := os.MkdirAll(filepath.Join(w.Paths.State, "locked"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.Start()
	if _, err := w.Ask.Connect(t.Context(), "web-1", "", 0); api.KindOf(err) != api.Denied {
		t.Errorf("got %v", err)
	}
	if err := w.Ask.Unlock(t.Context(), ""); api.KindOf(err) != api.Conflict || !strings.Contains(err.Error(), "cardea logout") {
		t.Errorf("got %v", err)
	}
}

func TestAnAgentIsNotLockedByNothing(t *testing.T) {
	w := agenttest.New(t, agenttest.Entry("web-1", "web"))
	w.Start()
	for name, c := range map[string]struct {
		do   func() error
		want api.Kind
	}{
		"without a passphrase":     {func() error { return w.Ask.Lock(t.Context(), "") }, api.Invalid},
		"with one of 2 KiB":        {func() error { return w.Ask.Lock(t.Context(), strings.Repeat("x", 2048)) }, api.Invalid},
		"unlocked when it is open": {func() error { return w.Ask.Unlock(t.Context(), "x") }, api.Conflict},
	} {
		if err := c.do(); api.KindOf(err) != c.want {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := os.Chmod(w.Paths.State, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(w.Paths.State, 0o700)
	if os.Getuid() != 0 {
		if err := w.Ask.Lock(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "is not locked") {
			t.Errorf("a lock that cannot be written down: got %v", err)
		}
	}
	if s, err := w.Ask.Status(t.Context()); err != nil || s.Locked {
		t.Errorf("it is locked, %v", err)
	}
}

// "cardea login" before the end of a session: what begins at this moment goes on.
func TestTheSameUserWhoSignsInAgainKeepsKeysAndFiles(t *testing.T) {
	w := agenttest.New(t, agenttest.Entry("web-1", "web"))
	w.Start()
	w.UntilListed()
	w.Connect("web-1", 0)
	files := filepath.Join(w.TempDir(), "files")
	if _, err := w.Ask.Lend(t.Context(), "web-1", "", files, time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, same := range []bool{true, false} {
		w.Ask.SignInChanged(t.Context(), same)
		s, err := w.Ask.Status(t.Context())
		_, missing := os.Stat(filepath.Join(files, "id"))
		if err != nil || (s.Identities == 1) != same || (missing == nil) != same {
			t.Errorf("the same user is %t, and there are %d keys and %v, %v", same, s.Identities, missing, err)
		}
	}
}
