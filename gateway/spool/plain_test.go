package spool

import (
	"os"
	"path/filepath"
	"testing"

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

// TestWhatIsNoRecordingStaysWhereItIs: somebody may name a folder that is no spool.
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
