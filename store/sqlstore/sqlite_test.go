package sqlstore

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/internal/disktest"
	"github.com/cardea-ssh/cardea/store"
	"github.com/cardea-ssh/cardea/store/storetest"
)

// tables is a file that has its tables and nothing in them: to make them takes longer than
// most of what is tested with them.
var tables = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "cardea-tables")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "cardea.db")
	s, err := Open(context.Background(), Options{URL: path, Instance: "first"})
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// file is a new copy of it in a folder.
func file(t testing.TB, dir string) string {
	t.Helper()
	made, err := tables()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "cardea.db")
	if err := os.WriteFile(path, made, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t testing.TB) storetest.Database {
		return storetest.Database{Open: opener(file(t, disktest.Forgetful(t)))}
	})
}

// Each snapshot holds a connection and prepares its statements on another one.
func TestManySnapshotsOfStatementsThatNobodyHasPreparedEnd(t *testing.T) {
	s := mustOpen(t, file(t, disktest.Forgetful(t)), "a")
	defer s.Close()
	var done sync.WaitGroup
	for i := range 4 * maxReaders {
		done.Go(func() {
			err := s.snapshot(t.Context(), func(r reader) error {
				runtime.Gosched() // let the others begin theirs
				_, err := texts(r, `SELECT name FROM counters WHERE value = ? OR name = '`+strconv.Itoa(i)+`'`, i)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
}

// A retired key's private part is gone from the file, and not only from its row.
func TestARetiredKeyLeavesNothingInTheFile(t *testing.T) {
	path := file(t, t.TempDir())
	s := mustOpen(t, path, "a")
	sealed := []byte("sealed bytes that must not stay anywhere in the file")
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	admin := store.User{ID: "usr_a", Issuer: "local", Subject: "a", Name: "a", Login: "a", Status: store.Active, Admin: true}
	key := store.Key{ID: "key_a", Scope: teamScope, Purpose: gatewayCAPurpose, State: store.Active, Fingerprint: "SHA256:a", Sealed: sealed}
	next := store.Key{ID: "key_b", Scope: teamScope, Purpose: gatewayCAPurpose, Fingerprint: "SHA256:b", Sealed: []byte("another")}
	_, err := s.CreateTeam(t.Context(), store.Team{ID: "tm_a", Name: "demo"}, []store.Key{key}, admin, "", store.Meta{Now: now})
	holds := func() bool {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, path, "a")
		return bytes.Contains(raw, sealed)
	}
	if err != nil || !holds() {
		t.Fatalf("the file does not hold the key: %v", err)
	}
	err = errors.Join(
		s.PublishCA(t.Context(), next, store.Meta{Now: now}),
		s.SwitchCA(t.Context(), teamScope, gatewayCAPurpose, store.Without{}, store.Meta{Now: now}),
		s.RetireCA(t.Context(), teamScope, gatewayCAPurpose, store.Without{}, store.Meta{Now: now.Add(store.KeySettle)}))
	if err != nil || holds() {
		t.Errorf("the file holds a retired key: %v", err)
	}
	s.Close()
}
