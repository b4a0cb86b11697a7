package sqlstore

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cardea-ssh/cardea/internal/pgtest"
	"github.com/cardea-ssh/cardea/store/storetest"
)

// wipe empties every table past the triggers: making a new database for each
// case takes ten times as long.
const wipe = `SET session_replication_role = replica;
	DO $$ DECLARE t text; BEGIN
		FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'schema_versions' LOOP
			EXECUTE 'DELETE FROM ' || t;
		END LOOP;
	END $$;
	INSERT INTO counters (name, value) VALUES ('audit', 0)`

// postgresDatabase gives one database again and again, emptied.
func postgresDatabase(t testing.TB, server *pgtest.Server) func(testing.TB) storetest.Database {
	url := server.Database(t)
	open := opener(url)
	open(t, "first").Close() // makes the tables
	// One connection for all: another would have to learn of every table again, which takes
	// longer than to empty them.
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return func(t testing.TB) storetest.Database {
		if _, err := c.Exec(t.Context(), wipe); err != nil {
			t.Fatal(err)
		}
		return storetest.Database{Open: open, Several: true}
	}
}

func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, false)
	database := server.Copies(t, func(url string) error {
		s, err := Open(t.Context(), Options{URL: url, Instance: "first"})
		if err != nil {
			return err
		}
		return s.Close()
	})
	t.Run("keeps the contract", func(t *testing.T) { storetest.Run(t, postgresDatabase(t, server)) })
	t.Run("instances that start at once make the tables once", func(t *testing.T) { startAtOnce(t, server.Database(t)) })
	t.Run("audit rows cannot be changed", func(t *testing.T) { auditRowsCannotBeChanged(t, database(t)) })
	t.Run("a hanging instance is thrown out", func(t *testing.T) { hangingInstanceIsThrownOut(t, database(t)) })
	t.Run("a commit waits for the disk whatever the default is", func(t *testing.T) { waitsForTheDisk(t, server) })
	t.Run("a batch that is spoiled is done again with care", func(t *testing.T) { spoiledBatches(t, mustOpen(t, database(t), "a")) })
	t.Run("it comes back, and the instances go on", func(t *testing.T) { comesBack(t, server) })
}
