package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/agent/agenttest"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/sshtest"
	"github.com/cardea-ssh/cardea/sshcert"
	"golang.org/x/crypto/ssh"
)

// lender is a laptop with an agent whose clock is the test's.
func lender(t *testing.T, servers ...api.CatalogEntry) (w *agenttest.World, later *atomic.Int64, a *agenttest.Account) {
	w, later = agenttest.New(t, servers...), &atomic.Int64{}
	a = w.Start(func(o *agent.Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	if err := w.Ask.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w, later, a
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", e.Name(), info.Mode(), err)
		}
		names = append(names, e.Name())
	}
	return names
}

func certificate(t *testing.T, dir string) *ssh.Certificate {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "id-cert.pub"))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := sshcert.ParseCertificateLine(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestFilesAreWrittenForOneServerAndRemovedWhenTheyAreOver(t *testing.T) {
	web, db := agenttest.Entry("web-1", "web"), agenttest.Entry("db-1", "web")
	web.HostKey = sshtest.Line(sshtest.Key(t).PublicKey())
	w, later, _ := lender(t, web, db)
	dir := filepath.Join(t.TempDir(), "it's 50% mine")
	lent, err := w.Ask.Lend(t.Context(), "web-1", "", dir, time.Now().Add(time.Hour))
	if err != nil || lent.ServerName != "web-1" || lent.Login != "alice" || time.Until(lent.Expires) > 3*time.Minute {
		t.Fatalf("%+v, %v", lent, err)
	}
	if got := strings.Join(files(t, dir), " "); got != "config id id-cert.pub known_hosts" {
		t.Errorf("there are %s", got)
	}
	private, err := os.ReadFile(filepath.Join(dir, "id"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePrivateKey(private)
	first := certificate(t, dir)
	if err != nil || string(first.Key.Marshal()) != string(key.PublicKey().Marshal()) {
		t.Fatalf("the certificate is for another key, %v", err)
	}
	known, _ := os.ReadFile(filepath.Join(dir, "known_hosts"))
	if !strings.Contains(string(known), "\nweb-1,web-1.web "+web.HostKey+"\n") || strings.Contains(string(known), "db-1") {
		t.Errorf("known_hosts has\n%s", known)
	}

	// Each connection of the program brings the next certificate, for the same key; and none
	// leads to another server.
	if c, err := w.Ask.ConnectLent(t.Context(), "web-1.web", "", dir); err != nil || c.ServerID != web.ID {
		t.Errorf("%+v, %v", c, err)
	}
	if next := certificate(t, dir); next.Serial == first.Serial || string(next.Key.Marshal()) != string(first.Key.Marshal()) {
		t.Error("the certificate is the one of before, or for another key")
	}
	if _, err := w.Ask.ConnectLent(t.Context(), "db-1", "", dir); err == nil || !strings.Contains(err.Error(), "for another server") {
		t.Errorf("to another server: %v", err)
	}
	if _, err := w.Ask.Lend(t.Context(), "db-1", "", dir, time.Now().Add(time.Hour)); err == nil {
		t.Error("the folder was given to another server")
	}
	if s, err := w.Ask.Status(t.Context()); err != nil || s.Identities != 0 {
		t.Errorf("the agent offers the keys of files too: %+v, %v", s, err)
	}

	later.Store(int64(2 * time.Hour))
	for end := time.Now().Add(15 * time.Second); len(files(t, dir)) > 0 && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	if left := files(t, dir); left != nil {
		t.Errorf("after their time there are %q", left)
	}
	if _, err := w.Ask.ConnectLent(t.Context(), "web-1", "", dir); err == nil || !strings.Contains(err.Error(), "are over") {
		t.Errorf("after their time: %v", err)
	}
}

func TestFilesEndWithTheSignIn(t *testing.T) {
	w, _, account := lender(t, agenttest.Entry("web-1", "web"))
	dir := filepath.Join(t.TempDir(), "files")
	if _, err := w.Ask.Lend(t.Context(), "web-1", "", dir, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	account.Set(nil)
	w.Ask.SignInChanged(t.Context(), false)
	if left := files(t, dir); left != nil {
		t.Errorf("after the sign-out there are %q", left)
	}
}

func TestFilesGoNowhereWhereOthersLook(t *testing.T) {
	w, _, _ := lender(t, agenttest.Entry("web-1", "web"))
	folder := t.TempDir()
	open, full, link := filepath.Join(folder, "open"), filepath.Join(folder, "full"), filepath.Join(folder, "link")
	for _, err := range []error{os.Mkdir(open, 0o755), os.Mkdir(full, 0o700), os.Symlink(full, link), os.WriteFile(filepath.Join(full, "id"), []byte("mine"), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct{ dir, want string }{
		"a folder that others read":     {open, "chmod 700"},
		"a link":                        {link, "not a folder"},
		"a folder with a key of his":    {full, "is there already"},
		"a relative folder":             {"files", "full path"},
		"a folder below a file":         {filepath.Join(full, "id", "b"), "cannot be made: not a directory; name a folder below your home"},
		"a folder that a shell expands": {filepath.Join(folder, "$(id)"), "more than a path"},
	} {
		if _, err := w.Ask.Lend(t.Context(), "web-1", "", c.dir, time.Now().Add(time.Hour)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if text, _ := os.ReadFile(filepath.Join(full, "id")); string(text) != "mine" {
		t.Errorf("his key is now %q", text)
	}
	if got := files(t, filepath.Join(folder, "$(id)")); got != nil {
		t.Errorf("left: %q", got)
	}
	deep := filepath.Join(folder, "not", "there")
	if _, err := w.Ask.Lend(t.Context(), "web-1", "", deep, time.Now().Add(time.Hour)); err != nil || len(files(t, deep)) == 0 {
		t.Errorf("a folder below one that is not there: %v, %q", err, files(t, deep))
	}
	if info, err := os.Stat(filepath.Dir(deep)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder above: %v, %v", info, err)
	}
	for _, until := range []time.Time{{}, time.Now(), time.Now().Add(agent.MaxLoan + time.Hour)} {
		if _, err := w.Ask.Lend(t.Context(), "web-1", "", filepath.Join(folder, "x"), until); err == nil {
			t.Errorf("until %s was taken", until)
		}
	}
}

// The agent was killed while there were files: the next one removes them.
func TestFilesOfAKilledAgentAreRemoved(t *testing.T) {
	w := agenttest.New(t, agenttest.Entry("web-1", "web"))
	dir := filepath.Join(t.TempDir(), "files")
	for _, err := range []error{
		os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "id"), []byte("x"), 0o600), os.WriteFile(filepath.Join(dir, "notes"), []byte("x"), 0o600),
		os.MkdirAll(w.Paths.State, 0o700), os.WriteFile(filepath.Join(w.Paths.State, "files.json"), []byte(`["`+dir+`"]`), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w.Start()
	if got := strings.Join(files(t, dir), " "); got != "notes" {
		t.Errorf("left: %s", got)
	}
}
