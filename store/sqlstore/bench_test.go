package sqlstore

import (
	"testing"

	"github.com/cardea-ssh/cardea/internal/pgtest"
	"github.com/cardea-ssh/cardea/store/storetest"
)

// With full durability: every call's record has reached the disk.

func BenchmarkSQLite(b *testing.B) {
	storetest.Bench(b, func(b testing.TB) storetest.Database { return storetest.Database{Open: opener(file(b, b.TempDir()))} })
}

func BenchmarkPostgreSQL(b *testing.B) {
	storetest.Bench(b, postgresDatabase(b, pgtest.Start(b, true)))
}
