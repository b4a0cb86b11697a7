package accounts

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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

// Mallory is in LDAP and has never logged in here. A home of ours would be in
// the way of hers, with our uid.
func TestALoginOfADirectoryServiceGetsNoHome(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		err          error
		elsewhere    bool
	}{
		{"a directory service has it", "mallory:*:5001:5001:Mallory:/home/mallory:/bin/bash\n", nil, true},
		{"nobody has it", "", errors.New("exit status 2"), false},
		{"somebody else is named", "mallory2:*:5001:5001::/home/mallory2:/bin/sh\n", nil, false},
		{"somebody else is not known", "mallory:*:5001:5001::/home/mallory:/bin/sh\n", exec.Command("/bin/sh", "-c", "exit 2").Run(), true},
		{"getent says something and fails", "mallory:", errors.New("exit status 3"), false},
	} {
		home := Step{Op: OpHome, Subject: "mallory", Login: "mallory", UID: 70001, GID: 70001}
		var ran []string
		a := Applier{Run: func(_ context.Context, argv ...string) ([]byte, error) {
			ran = argv
			return []byte(c.answer), c.err
		}}
		if got := a.elsewhere(t.Context(), []string{"mallory", "no/such"})["mallory"]; got != c.elsewhere {
			t.Errorf("%s: %v", c.name, got)
		}
		if diff := cmp.Diff([]string{getent, "passwd", "mallory", "no/such"}, ran); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if !c.elsewhere {
			continue
		}
		// Such a home cannot be made, should it be tried.
		a.Run = func(context.Context, ...string) ([]byte, error) { return []byte("no/such:"), nil }
		home.Login = "no/such"
		if errs := a.steps(t.Context(), []Step{home}); len(errs) != 1 || errs[0] == nil || !strings.Contains(errs[0].Error(), "directory service") {
			t.Errorf("%s: %v", c.name, errs)
		}
		// An account of ours is known, of course.
		ran, home.Here = nil, true
		if errs := a.steps(t.Context(), []Step{home}); len(errs) != 1 || errs[0] == nil || strings.Contains(errs[0].Error(), "directory service") || ran != nil {
			t.Errorf("%s, an account of ours: %v %v", c.name, errs, ran)
		}
	}
}
