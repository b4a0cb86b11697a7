package spool

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cardea-ssh/cardea/internal/ident"
)

// TestADiskFromElsewhereLeadsNowhere: a spool that somebody has prepared is imported by root.
func TestADiskFromElsewhereLeadsNowhere(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(t *testing.T, spool, session, elsewhere string){
		"the quarantine is a link": func(t *testing.T, spool, _, elsewhere string) {
			need(t, os.Symlink(elsewhere, filepath.Join(spool, quarantineDir)))
			need(t, os.Mkdir(filepath.Join(spool, ident.New(ident.GatewaySession)), 0o755))
		},
		"the quarantine of a session is a link": func(t *testing.T, spool, session, elsewhere string) {
			need(t, os.Mkdir(filepath.Join(spool, quarantineDir), 0o755))
			need(t, os.Symlink(elsewhere, filepath.Join(spool, quarantineDir, session)))
			need(t, os.WriteFile(filepath.Join(spool, session, "000001.seg"), []byte("no head"), 0o600))
		},
		"the reasons are a link": func(t *testing.T, spool, session, elsewhere string) {
			need(t, os.MkdirAll(filepath.Join(spool, quarantineDir, session), 0o755))
			need(t, os.Symlink(filepath.Join(elsewhere, "authorized_keys"), filepath.Join(spool, quarantineDir, session, reasonFile)))
			need(t, os.WriteFile(filepath.Join(spool, session, "000001.seg"), []byte("no head"), 0o600))
		},
		"the manifest waits for a writer": func(t *testing.T, spool, session, _ string) {
			need(t, unix.Mkfifo(filepath.Join(spool, session, ManifestName), 0o600))
		},
		"the manifest has no end": func(t *testing.T, spool, session, _ string) {
			need(t, os.Symlink("/dev/zero", filepath.Join(spool, session, ManifestName)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			elsewhere := t.TempDir()
			o := origin()
			dir := filepath.Join(r.dir, o.Session)
			need(t, os.MkdirAll(dir, 0o700))
			m := Meta{Version: metaVersion, Origin: o, Owner: ".owner-dead", State: Recording}
			need(t, m.first(dir))
			prepare(t, r.dir, o.Session, elsewhere)
			s := r.open(nil)
			if _, err := s.Recover(r.key); err != nil {
				t.Log(err)
			}
			s.Jobs(r.key)
			if found, _ := os.ReadDir(elsewhere); len(found) > 0 {
				t.Errorf("this is where nothing may come: %q", found)
			}
		})
	}
}

// TestWhatIsNoRecordingStaysWhereItIs: somebody may have put something of his own into a spool.
func TestWhatIsNoRecordingStaysWhereItIs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var others []string
	for _, name := range []string{"lib", "gse_short", "gse_aaaaaaaaaaaaaaaaaaaa.old", "Quarantine"} {
		file := filepath.Join(r.dir, name, "of-others")
		need(t, os.MkdirAll(filepath.Dir(file), 0o755))
		need(t, os.WriteFile(file, nil, 0o600))
		others = append(others, file)
	}
	layOut(t, r.dir, lockFile)
	s := r.open(nil)
	defer s.Close()
	if n, err := s.Recover(r.key); n != 0 || err != nil {
		t.Fatalf("%d wait, %v", n, err)
	}
	for _, file := range others {
		if !exists(file) {
			t.Errorf("%s is gone", file)
		}
	}
	if f := s.Figures(); f.Quarantined != 0 {
		t.Errorf("%d were set aside", f.Quarantined)
	}
}

func need(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Somebody else's folder is not taken for a spool, whatever is in it; a new disk is.
func TestAFolderOfSomebodyElseIsNoSpool(t *testing.T) {
	for name, there := range map[string][]string{
		"a program's folder":         {"postgresql/"},
		"a file":                     {"notes.txt"},
		"names like ours":            {".new-release/", ".gone-fishing/"},
		"beside what a new disk has": {"lost+found/", "x/"},
		"a lock that is a folder":    {".lock/"},
	} {
		dir := t.TempDir()
		there = append(there, ".gone-gse_aaaaaaaaaaaaaaaaaaaa/")
		layOut(t, dir, there...)
		s, err := Open(Options{Dir: dir, free: plenty})
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "no spool") {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := os.ReadDir(dir); len(left) != len(there) {
			t.Errorf("%s: %v is left", name, left)
		}
	}
	for name, there := range map[string][]string{
		"an empty one": nil, "the root of a new disk": {"lost+found/"}, "a spool of before": {".lock", "quarantine/"}, "a recording": {"gse_aaaaaaaaaaaaaaaaaaaa/"},
	} {
		dir := t.TempDir()
		layOut(t, dir, there...)
		for range 2 { // the first may have died before it did anything
			s, err := Open(Options{Dir: dir, free: plenty})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			defer s.Close()
		}
	}
}

// In a spool, too, nothing is removed but what this program made.
func TestWhatOnlyLooksLikeOursIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	layOut(t, dir, ".lock", ".new-release/", ".gone-fishing/", ".gone-gse_aaaaaaaaaaaaaaaaaaaa", ".new-gse_aaaaaaaaaaaaaaaaaaaa/", ".gone-gse_bbbbbbbbbbbbbbbbbbbb/")
	old := time.Now().Add(-2 * sweepAge)
	for _, n := range []string{".new-release", ".new-gse_aaaaaaaaaaaaaaaaaaaa"} {
		need(t, os.Chtimes(filepath.Join(dir, n), old, old))
	}
	s, err := Open(Options{Dir: dir, free: plenty})
	need(t, err)
	defer s.Close()
	_, err = s.Recover(nil)
	need(t, err)
	for n, want := range map[string]bool{
		".new-release": true, ".gone-fishing": true, ".gone-gse_aaaaaaaaaaaaaaaaaaaa": true, ".new-gse_aaaaaaaaaaaaaaaaaaaa": false, ".gone-gse_bbbbbbbbbbbbbbbbbbbb": false,
	} {
		if exists(filepath.Join(dir, n)) != want {
			t.Errorf("%s is there: %v", n, !want)
		}
	}
}

// layOut makes files, and folders where a name ends in a slash.
func layOut(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, n := range names {
		if strings.HasSuffix(n, "/") {
			need(t, os.Mkdir(filepath.Join(dir, n), 0o700))
		} else {
			need(t, os.WriteFile(filepath.Join(dir, n), nil, 0o600))
		}
	}
}
