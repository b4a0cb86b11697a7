package accounts

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// useradd refuses a login that a directory service has, of which /etc/passwd
// and so the planner know nothing.
func TestALoginOfADirectoryServiceGetsNoSudoRule(t *testing.T) {
	var ran []string
	a := Applier{Register: filepath.Join(t.TempDir(), "register"), Run: func(_ context.Context, argv ...string) ([]byte, error) {
		ran = append(ran, argv[0])
		if argv[0] == useradd && slices.Contains(argv, "alice") {
			return nil, errors.New("useradd: user 'alice' already exists")
		}
		return nil, errors.New("not here")
	}}
	res := Result{Failed: map[string]bool{}, Plan: Plan{Usable: []string{"alice"}, Steps: []Step{
		{Op: OpRun, Subject: "alice", Login: "alice", UID: 70001, Argv: []string{useradd, "alice"}},
		{Op: OpSudo, Subject: "sudo alice", Login: "alice", UID: 70001},
	}}}
	if err := a.take(t.Context(), &res); err != nil {
		t.Fatal(err)
	}
	res.dropFailed()
	if diff := cmp.Diff([]string{useradd}, ran); diff != "" {
		t.Errorf("programs (-want +got):\n%s", diff)
	}
	if len(res.Usable) != 0 || !res.Failed["sudo alice"] {
		t.Errorf("usable: %v, failed: %v", res.Usable, res.Failed)
	}
}
