package fleet

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/entitlement"
	"github.com/cardea-ssh/cardea/store"
)

// A group of 5,000, each with as many commands as one may have.
func manyWithCommands() store.ProjectFacts {
	f := store.ProjectFacts{
		Project: store.Project{ID: "prj_1"}, Groups: []store.Group{{ID: "grp_1", Name: "ops", GID: 70000}},
		UserCAs: []store.Key{{Public: []byte("ca")}}, HostCAs: []store.Key{{Public: []byte("ca")}},
	}
	g := store.Grant{ID: "grt_1", Project: "prj_1", Group: "grp_1", Role: "user"}
	for i := range entitlement.MaxPerGrant {
		e := store.Entitlement{ID: fmt.Sprint("ent_", i), Name: fmt.Sprint("e", i)}
		for j := range entitlement.MaxCommands {
			e.Commands = append(e.Commands, entitlement.Parse(fmt.Sprintf("/usr/local/sbin/program-%d-%d restart some-service@%d.service", i, j, j)))
		}
		f.Entitlements = append(f.Entitlements, e)
		g.Entitlements = append(g.Entitlements, store.EntitlementRef{ID: e.ID, Name: e.Name})
	}
	f.Grants = []store.Grant{g}
	for i := range 5000 {
		u := store.User{ID: fmt.Sprintf("usr_%020d", i), Login: fmt.Sprint("user", i), FullName: "Ms User", UID: 70001 + i, Status: store.Active}
		f.Users = append(f.Users, u)
		f.Members = append(f.Members, store.Member{Group: "grp_1", User: u.ID})
	}
	return f
}

func TestTheStateOfManyWithManyCommandsFitsIntoAnAnswer(t *testing.T) {
	now := time.Now()
	v, err := newView(manyWithCommands(), now)
	if err != nil {
		t.Fatal(err)
	}
	d := v.state(store.Server{ID: "srv_1", Project: "prj_1"}, nil, now)
	raw, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	d.ResolveSudo()
	if len(d.Accounts) != 5000 || len(d.Accounts[4999].Sudo) != entitlement.MaxRules || d.Accounts[4999].SudoLeftOut != 0 {
		t.Errorf("%d accounts, the last of which has %d commands", len(d.Accounts), len(d.Accounts[4999].Sudo))
	}
	n := base64.StdEncoding.EncodedLen(len(raw))
	t.Logf("%d bytes on the wire", n)
	if n > api.MaxAnswer/8 {
		t.Errorf("the answer has %d bytes", n)
	}
}

func TestAStateThatNoAgentWouldTakeIsRefused(t *testing.T) {
	if err := fits(maxState); err != nil {
		t.Error(err)
	}
	err := fits(maxState + 1)
	if api.KindOf(err) != api.Conflict || !strings.Contains(err.Error(), "its last state holds") {
		t.Errorf("one byte more: %v", err)
	}
	// What is as large as it may be fits into an answer, with all that is around it.
	raw, err := json.Marshal(api.SignedState{State: make([]byte, maxState), Signature: make([]byte, 64)})
	if err != nil || len(raw) > api.MaxAnswer {
		t.Errorf("%d bytes, %v", len(raw), err)
	}
}

func BenchmarkStateWithCommands(b *testing.B) {
	now := time.Now()
	v, err := newView(manyWithCommands(), now)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		v.state(store.Server{ID: "srv_1", Project: "prj_1"}, nil, now)
	}
}
