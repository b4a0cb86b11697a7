package sqlstore

import (
	"path/filepath"
	"testing"

	"github.com/cardea-ssh/cardea/store"
	"github.com/cardea-ssh/cardea/store/storetest"
)

func sqliteDatabase(t testing.TB) storetest.Database {
	path := filepath.Join(t.TempDir(), "cardea.db")
	return storetest.Database{Open: func(t testing.TB, instance string) store.Store {
		t.Helper()
		s, err := Open(t.Context(), Options{URL: path, Instance: instance})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}}
}

func TestSQLite(t *testing.T) { storetest.Run(t, sqliteDatabase) }
