package sqlstore

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
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

// Each snapshot holds a connection and prepares its statements on another one.
func TestManySnapshotsOfStatementsThatNobodyHasPreparedEnd(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "cardea.db"), "a")
	defer s.Close()
	var done sync.WaitGroup
	for i := range 4 * maxReaders {
		done.Go(func() {
			err := s.snapshot(t.Context(), func(r reader) error {
				runtime.Gosched() // let the others begin theirs
				_, err := texts(r, `SELECT name FROM counters WHERE value = ? OR name = '`+strconv.Itoa(i)+`'`, i)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
}
