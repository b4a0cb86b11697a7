package sqlstore

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/cardea-ssh/cardea/internal/pgtest"
	"github.com/cardea-ssh/cardea/store"
	"github.com/cardea-ssh/cardea/store/storetest"
)

// crashURL tells the test binary that it is a child that writes until it is killed.
const crashURL = "SQLSTORE_CRASH_URL"

func TestMain(m *testing.M) {
	if url := os.Getenv(crashURL); url != "" {
		s, err := Open(context.Background(), Options{URL: url, Instance: "child"})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		storetest.CrashWriter(s, os.Stdout)
	}
	os.Exit(m.Run())
}

func crashChild(t *testing.T, url string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), crashURL+"="+url)
	cmd.Stderr = os.Stderr
	return cmd
}

func opener(url string) func(t testing.TB, instance string) store.Store {
	return func(t testing.TB, instance string) store.Store {
		t.Helper()
		s, err := Open(t.Context(), Options{URL: url, Instance: instance})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func TestKilledWriterLosesNothingThatItAcknowledged(t *testing.T) {
	for range 3 {
		url := file(t, t.TempDir())
		storetest.Crash(t, storetest.Database{Open: opener(url)}, crashChild(t, url), nil)
	}
}

func TestPostgreSQLWithCrashes(t *testing.T) {
	server := pgtest.Start(t, true)
	t.Run("a killed writer loses nothing that it acknowledged", func(t *testing.T) {
		url := server.Database(t)
		storetest.Crash(t, storetest.Database{Open: opener(url), Several: true}, crashChild(t, url), nil)
	})
	t.Run("a killed PostgreSQL loses nothing that was acknowledged", func(t *testing.T) {
		url := server.Database(t)
		// The writer lives on and goes on writing after the restart.
		storetest.Crash(t, storetest.Database{Open: opener(url), Several: true}, crashChild(t, url), func() {
			server.Kill()
			server.Up(t)
		})
	})
}
