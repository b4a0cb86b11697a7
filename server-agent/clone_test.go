package serveragent

import (
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/server-agent/metadata/metadatatest"
)

const someID, otherID = "0123456789abcdef0123456789abcdef\n", "fedcba9876543210fedcba9876543210\n"

// imaged is an agent with a folder, a machine's id and a cloud.
type imaged struct {
	*Agent
	id    string
	cloud *metadatatest.Instance
}

// needRoot skips where the agent's folder could not be root's.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root")
	}
}

func newImaged(t *testing.T) imaged {
	t.Helper()
	needRoot(t)
	i := imaged{id: filepath.Join(t.TempDir(), "machine-id"), cloud: &metadatatest.Instance{Cloud: "gcp", ID: "1"}}
	s := httptest.NewServer(i.cloud)
	t.Cleanup(s.Close)
	i.set(t, someID)
	a, err := New(Options{StateDir: filepath.Join(t.TempDir(), "state"), machineFile: i.id, metadataBase: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	a.cred.Name, a.cloud = "web-1", "gcp"
	i.Agent = a
	return i
}

func (i imaged) set(t *testing.T, id string) {
	t.Helper()
	if err := os.WriteFile(i.id, []byte(id), 0o444); err != nil {
		t.Fatal(err)
	}
}

func TestACopyOfTheMachineIsToldApart(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(t *testing.T, i imaged)
		cloned bool
	}{
		"the same machine":                     {func(*testing.T, imaged) {}, false},
		"another machine-id":                   {func(t *testing.T, i imaged) { i.set(t, otherID) }, true},
		"another instance":                     {func(t *testing.T, i imaged) { i.cloud.ID = "2" }, true},
		"a machine-id that is not yet made":    {func(t *testing.T, i imaged) { i.set(t, "uninitialized\n") }, false},
		"no machine-id":                        {func(t *testing.T, i imaged) { os.Remove(i.id) }, false},
		"a cloud that does not answer":         {func(t *testing.T, i imaged) { i.cloud.Fail = 100 }, false},
		"a record that is damaged":             {func(t *testing.T, i imaged) { os.WriteFile(i.path(hostFile), []byte("{"), 0o600) }, false},
		"an enrolment from before the record":  {func(t *testing.T, i imaged) { os.Remove(i.path(hostFile)); i.set(t, otherID) }, false},
		"another machine-id, and a mute cloud": {func(t *testing.T, i imaged) { i.set(t, otherID); i.cloud.Fail = 100 }, true},
	} {
		t.Run(name, func(t *testing.T) {
			i := newImaged(t)
			if err := i.keepHost(t.Context()); err != nil {
				t.Fatal(err)
			}
			tc.change(t, i)
			err := i.sameHost(t.Context())
			if errors.Is(err, ErrCloned) != tc.cloned || !tc.cloned && err != nil {
				t.Errorf("%v", err)
			}
			if tc.cloned && !strings.Contains(err.Error(), "web-1") {
				t.Errorf("it does not say of what: %v", err)
			}
		})
	}
}

func TestTheMachineIDIsNotGivenAway(t *testing.T) {
	i := newImaged(t)
	if err := i.keepHost(t.Context()); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(i.path(hostFile))
	if err != nil || strings.Contains(string(raw), strings.TrimSpace(someID)) {
		t.Errorf("%s %v", raw, err)
	}
	if id := machineID(i.id); len(id) != machineChars || id == machineID("/nonexistent") {
		t.Errorf("%q", id)
	}
}

func TestAWordIsUsedOnlyWhenItIsOnDisk(t *testing.T) {
	i := newImaged(t)
	r := &reconciler{Agent: i.Agent, beats: i.openBeats()}
	if b := r.beats.next(); b.Number != 1 || b.Last != "" || b.Run == "" || b.Machine != machineID(i.id) {
		t.Errorf("the first: %+v", b)
	}
	r.take(api.AgentReportAnswer{Word: "one"})
	if b := r.beats.next(); b.Number != 2 || b.Last != "one" {
		t.Errorf("the second: %+v", b)
	}
	// A folder where the file should be: it cannot be written.
	if err := errors.Join(os.Remove(i.path(beatFile)), os.Mkdir(i.path(beatFile), 0o700), os.Mkdir(i.path(beatFile)+"/x", 0o700)); err != nil {
		t.Fatal(err)
	}
	r.take(api.AgentReportAnswer{Word: "two"})
	if b := r.beats.next(); b.Last != "one" {
		t.Errorf("a word that is nowhere was used: %+v", b)
	}
	if err := os.RemoveAll(i.path(beatFile)); err != nil {
		t.Fatal(err)
	}
	r.take(api.AgentReportAnswer{Word: "three"})
	again := &reconciler{Agent: i.Agent, beats: i.openBeats()}
	if b := again.beats.next(); b.Last != "three" || b.Number != 1 || b.Run == r.beats.run {
		t.Errorf("after a restart: %+v", b)
	}
}
