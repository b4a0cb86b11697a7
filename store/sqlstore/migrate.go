package sqlstore

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// Files named ….sqlite.sql and ….postgres.sql are for one engine alone.
//
//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the tables to this program's version. Several instances may
// start at once: PostgreSQL's advisory lock lets one go first.
func migrate(ctx context.Context, e *engine, log *slog.Logger) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	dialect, other := goose.DialectSQLite3, ".postgres.sql"
	if e.postgres != nil {
		dialect, other = goose.DialectPostgres, ".sqlite.sql"
	}
	options := []goose.ProviderOption{
		goose.WithTableName("schema_versions"),
		goose.WithDisableGlobalRegistry(true),
		goose.WithExcludeNames(foreign(files, other)),
	}
	if e.postgres != nil {
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 120)) // each second, for two minutes
		if err != nil {
			return err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	p, err := goose.NewProvider(dialect, e.writes, files, options...)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if current, err := isCurrent(ctx, p); err != nil || current {
		return err
	}
	done, err := p.Up(ctx)
	if err != nil {
		return fmt.Errorf("update the tables: %w", err)
	}
	for _, r := range done {
		log.Info("tables updated", "version", r.Source.Version, "took", r.Duration)
	}
	return nil
}

// foreign lists the files that are for the other engine.
func foreign(files fs.FS, suffix string) []string {
	names, err := fs.Glob(files, "*"+suffix)
	if err != nil {
		panic(err) // only a bad pattern fails
	}
	for i := range names {
		names[i] = strings.TrimPrefix(names[i], "migrations/")
	}
	return names
}

// isCurrent reports whether there is nothing to do. It refuses tables of a later
// program: an older one would not keep rules that it does not know. It refuses those that
// lack a step below their version, too: that step was never tried on top of the later ones.
func isCurrent(ctx context.Context, p *goose.Provider) (bool, error) {
	have, err := p.GetDBVersion(ctx)
	if err != nil {
		return false, fmt.Errorf("read the tables' version: %w", err)
	}
	sources := p.ListSources()
	newest := sources[len(sources)-1].Version
	if have > newest {
		return false, fmt.Errorf("the tables have version %d, this program knows up to %d; run the newer program", have, newest)
	}
	pending, err := p.HasPending(ctx)
	if err != nil {
		return false, fmt.Errorf("the tables were made by another line of this program; bring them to a release's first: %w", err)
	}
	return !pending, nil
}
