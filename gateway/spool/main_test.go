package spool

import (
	"os"
	"testing"

	"github.com/cardea-ssh/cardea/internal/faulttest"
)

func TestMain(m *testing.M) {
	faulttest.Main(nil)
	switch mode := os.Getenv(envMode); {
	case mode == "record":
		recordUntilKilled()
	case faultModes(mode):
		os.Exit(0)
	}
	os.Exit(m.Run())
}
