package spool

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	switch os.Getenv(envMode) {
	case "record":
		recordUntilKilled()
	}
	os.Exit(m.Run())
}
