package sqlstore

import (
	"testing"

	"github.com/cardea-ssh/cardea/internal/pgtest"
	"github.com/cardea-ssh/cardea/store"
	"github.com/cardea-ssh/cardea/store/storetest"
)

func postgresDatabase(server *pgtest.Server) func(*testing.T) storetest.Database {
	return func(t *testing.T) storetest.Database {
		url := server.Database(t)
		return storetest.Database{Several: true, Open: func(t *testing.T, instance string) store.Store {
			t.Helper()
			s, err := Open(t.Context(), Options{URL: url, Instance: instance})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}}
	}
}

func TestPostgreSQL(t *testing.T) {
	storetest.Run(t, postgresDatabase(pgtest.Start(t, false)))
}
