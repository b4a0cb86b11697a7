package sqlstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cardea-ssh/cardea/internal/disktest"
	"github.com/cardea-ssh/cardea/internal/pgtest"
	"github.com/cardea-ssh/cardea/store"
)

func mustOpen(t testing.TB, url, instance string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{URL: url, Instance: instance})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestSecondProcessOnOneSQLiteFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "cardea.db")
	s := mustOpen(t, path, "a")
	link := filepath.Join(dir, "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{path, "file:" + path, link} {
		if s, err := Open(t.Context(), Options{URL: url, Instance: "b"}); err == nil {
			s.Close()
			t.Errorf("%s was opened a second time", url)
		} else if !strings.Contains(err.Error(), "another process") {
			t.Errorf("%s: %v", url, err)
		}
	}
	s.Close()
	mustOpen(t, link, "b")
}

func TestSQLiteFileIsForItsOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cardea.db")
	mustOpen(t, path, "a")
	files, _ := filepath.Glob(path + "*")
	if len(files) < 3 {
		t.Fatalf("files: %v", files)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", f, info.Mode().Perm())
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, o := range map[string]Options{
		"no URL":                     {},
		"a database in memory":       {URL: ":memory:"},
		"parameters in a path":       {URL: "file:" + dir + "/a.db?mode=memory"},
		"a URL of another engine":    {URL: "mysql://localhost/x"},
		"a folder":                   {URL: dir},
		"a folder that is not there": {URL: dir + "/none/a.db"},
		"too long an instance name":  {URL: dir + "/a.db", Instance: strings.Repeat("x", maxInstance+1)},
		"no PostgreSQL":              {URL: "postgres:///x?host=" + dir},
	} {
		if s, err := Open(t.Context(), o); err == nil {
			s.Close()
			t.Errorf("%s: opened", name)
		}
	}
	mustOpen(t, filepath.Join(dir, "b.db"), strings.Repeat("x", maxInstance))
}

func TestSQLitePathWithOddCharacters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b#c%41;d.db")
	mustOpen(t, path, "a")
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestSQLiteCommitsReachTheDisk(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "cardea.db"), "a")
	check := func(who string, db querier) error {
		var synchronous, foreignKeys int
		var journal string
		for pragma, into := range map[string]any{"synchronous": &synchronous, "foreign_keys": &foreignKeys, "journal_mode": &journal} {
			if err := one(db, []any{into}, "PRAGMA "+pragma); err != nil {
				return err
			}
		}
		if synchronous != 2 || foreignKeys != 1 || journal != "wal" {
			t.Errorf("%s: synchronous %d, foreign_keys %d, journal_mode %s", who, synchronous, foreignKeys, journal)
		}
		return nil
	}
	err := check("reader", s.reader(t.Context()))
	if err == nil {
		err = s.do(t.Context(), store.Meta{}, func(t *tx) error { return check("writer", t) })
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestReadersCannotWrite(t *testing.T) {
	s := mustOpen(t, file(t, disktest.Forgetful(t)), "a")
	if _, err := s.eng.reads.Exec("DELETE FROM counters"); err == nil {
		t.Error("a reader has written")
	}
}

// Both engines refuse to change or remove audit rows, whoever asks.
func TestAuditRowsOfSQLiteCannotBeChanged(t *testing.T) {
	auditRowsCannotBeChanged(t, file(t, disktest.Forgetful(t)))
}

func auditRowsCannotBeChanged(t *testing.T, url string) {
	s := mustOpen(t, url, "a")
	if err := s.AppendAudit(t.Context(), store.Meta{Audit: [][]byte{[]byte("x")}}); err != nil {
		t.Fatal(err)
	}
	statements := []string{"UPDATE audit SET payload = 'y'", "DELETE FROM audit", "UPDATE audit SET id = 99"}
	if s.eng.postgres != nil {
		statements = append(statements, "TRUNCATE audit")
	}
	for _, q := range statements {
		err := s.do(t.Context(), store.Meta{}, func(t *tx) error {
			_, err := t.exec(q)
			return err
		})
		if err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v", q, err)
		}
	}
	rows, err := s.AuditRows(t.Context(), 0, 10)
	if err != nil || len(rows) != 1 || string(rows[0].Payload) != "x" {
		t.Errorf("rows: %v %v", rows, err)
	}
}

func TestTablesOfAnotherProgramAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ change, says string }{
		"newer than this one":            {"INSERT INTO schema_versions (version_id, is_applied) VALUES (99, 1)", "newer"},
		"without a step that came later": {"DELETE FROM schema_versions WHERE version_id = 12", "12"},
	} {
		t.Run(name, func(t *testing.T) {
			path := file(t, disktest.Forgetful(t))
			s := mustOpen(t, path, "a")
			err := s.do(t.Context(), store.Meta{}, func(t *tx) error {
				_, err := t.exec(c.change)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			s, err = Open(t.Context(), Options{URL: path})
			if err == nil {
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func startAtOnce(t *testing.T, url string) {
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() {
			s, err := Open(context.Background(), Options{URL: url, Instance: string(rune('a' + i))})
			if errs[i] = err; err == nil {
				s.Close()
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

func waitsForTheDisk(t *testing.T, server *pgtest.Server) {
	url := server.Database(t)
	server.SQL(t, "postgres", "ALTER SYSTEM SET synchronous_commit = off")
	server.SQL(t, "postgres", "SELECT pg_reload_conf()")
	s := mustOpen(t, url+"&default_query_exec_mode=simple_protocol", "a")
	var mode string
	err := s.do(t.Context(), store.Meta{}, func(t *tx) error { return one(t, []any{&mode}, "SHOW synchronous_commit") })
	if err != nil || mode != "on" {
		t.Errorf("synchronous_commit is %q %v", mode, err)
	}
	if s.eng.postgres.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement {
		t.Error("the URL chose the simple protocol")
	}
}
