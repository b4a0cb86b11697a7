package sqlstore

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cardea-ssh/cardea/store/storetest"
)

// sqliteDatabases gives copies of one file that has its tables: making them
// takes longer than most cases.
func sqliteDatabases(t testing.TB) func(testing.TB) storetest.Database {
	first := filepath.Join(t.TempDir(), "first.db")
	opener(first)(t, "first").Close()
	made, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	return func(t testing.TB) storetest.Database {
		path := filepath.Join(t.TempDir(), "cardea.db")
		if err := os.WriteFile(path, made, 0o600); err != nil {
			t.Fatal(err)
		}
		return storetest.Database{Open: opener(path)}
	}
}

func TestSQLite(t *testing.T) { storetest.Run(t, sqliteDatabases(t)) }
