package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"

	"github.com/jackc/pgx/v5/pgconn"
	"gocloud.dev/secrets"

	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/store"
	"github.com/cardea-ssh/cardea/store/sqlstore"
)

// typeInit is what makes what is missing, with the options that were given.
func (o *options) typeInit() string { return "type: cardea-control init" + o.given }

// openKeeper opens the key file.
func openKeeper(ctx context.Context, o *options) (*secrets.Keeper, error) {
	path := o.KeyFile
	keeper, err := ca.OpenKeeper(ctx, "file://"+(&url.URL{Path: path}).EscapedPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no key file %s; restore it from your backup, or for a new team %s", path, o.typeInit())
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("the key file %s cannot be read: permission denied; run it as the user of the service", path)
	}
	return keeper, err
}

// openStore opens the database that init made.
func openStore(ctx context.Context, o *options, log *slog.Logger) (*sqlstore.Store, error) {
	if o.sqlite() {
		f, err := os.OpenFile(o.Database, os.O_RDWR, 0)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("there is no database %s; %s", o.Database, o.typeInit())
		case errors.Is(err, fs.ErrPermission):
			return nil, fmt.Errorf("the database %s cannot be written: permission denied; run it as the user of the service", o.Database)
		case err != nil:
			return nil, err
		}
		f.Close()
	}
	db, err := sqlstore.Open(ctx, sqlstore.Options{URL: o.Database, Instance: o.Instance, Logger: log})
	if err != nil && !o.sqlite() {
		return nil, fmt.Errorf("the database %s does not open: %s; see that it runs and that --database is right", redacted(o.Database), reason(err))
	}
	return db, err
}

// reason is what stood in the way of a connection, once: pgx tries each address
// with TLS and without, and tells of every try.
func reason(err error) string {
	var refused *pgconn.PgError
	var name *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &refused):
		return refused.Message
	case errors.As(err, &name):
		return "the name " + name.Name + " is not known"
	case errors.As(err, &op):
		return lastPart(op)
	case errors.Is(err, context.DeadlineExceeded):
		return "it does not answer"
	}
	return err.Error()
}

// redacted is a URL without its password.
func redacted(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "postgres://…"
	}
	return u.Redacted()
}

// keysOf reads the team's keys for a purpose, and opens the first: a wrong key
// file is found at the start and not at the first connection.
func keysOf(ctx context.Context, db store.Store, purpose ca.Purpose) ([]ca.Record, error) {
	rows, err := db.Keys(ctx, ca.Team, string(purpose))
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("the database has no key for %s; restore it from your backup", purpose)
	}
	out := make([]ca.Record, 0, len(rows))
	for _, k := range rows {
		out = append(out, ca.Record{
			Ref:    ca.Ref{ID: k.ID, Scope: k.Scope, Purpose: ca.Purpose(k.Purpose)},
			Public: k.Public, Fingerprint: k.Fingerprint, Sealed: k.Sealed,
		})
	}
	return out, nil
}
