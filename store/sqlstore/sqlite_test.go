package sqlstore

import (
	"path/filepath"
	"testing"

	"github.com/cardea-ssh/cardea/store/storetest"
)

func sqliteDatabase(t testing.TB) storetest.Database {
	return storetest.Database{Open: opener(filepath.Join(t.TempDir(), "cardea.db"))}
}

func TestSQLite(t *testing.T) { storetest.Run(t, sqliteDatabase) }
