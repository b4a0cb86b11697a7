package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqlitePragmas: WAL so that reads never wait for the writer; FULL so that each
// commit has reached the disk (NORMAL would lose the last ones in a power cut);
// a checkpoint of the log every 4,000 pages (16 MB) and a cache of 16 MB.
const sqlitePragmas = "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)" +
	"&_pragma=foreign_keys(1)&_pragma=wal_autocheckpoint(4000)&_pragma=cache_size(-16000)&_pragma=temp_store(MEMORY)"

func openSQLite(ctx context.Context, o Options) (*engine, error) {
	path, err := sqlitePath(o.URL)
	if err != nil {
		return nil, err
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	e := &engine{
		dialect:   &dialect{marks: toSQLite},
		prepare:   true,
		snapshots: make(chan struct{}, maxReaders-1),
		classify:  classifySQLite,
		lock:      lock,
	}
	dsn := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}).String()
	if e.writes, err = sql.Open("sqlite", dsn+"?_txlock=immediate&"+sqlitePragmas); err != nil {
		lock.Close()
		return nil, err
	}
	e.writes.SetMaxOpenConns(1)
	if e.reads, err = sql.Open("sqlite", dsn+"?_pragma=query_only(1)&"+sqlitePragmas); err != nil {
		e.writes.Close()
		lock.Close()
		return nil, err
	}
	e.reads.SetMaxOpenConns(maxReaders)
	e.reads.SetMaxIdleConns(maxReaders)
	if err := e.writes.PingContext(ctx); err != nil {
		e.close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return e, nil
}

// sqlitePath checks the path and makes sure that the file is there, for its
// owner's eyes only: SQLite gives its side files the same mode.
func sqlitePath(raw string) (string, error) {
	path := strings.TrimPrefix(raw, "file:")
	switch {
	case path == "" || strings.Contains(path, ":memory:"):
		return "", fmt.Errorf("%q is not the path of a file; give one, for example /var/lib/cardea-control/cardea.db", raw)
	case strings.Contains(path, "?") || strings.Contains(path, "://"):
		return "", fmt.Errorf("%q: give a plain path, or a postgres:// URL", raw)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	// By its real name, so that two links to one file meet at one lock.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	return path, f.Close()
}

func classifySQLite(err error) failure {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return failed
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return exists
	}
	return failed
}
