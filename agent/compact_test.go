package agent

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/google/go-cmp/cmp"
)

// Who asks is told the same in either form, whatever the list has and has not.
func TestACatalogIsTheSameInBothForms(t *testing.T) {
	for name, cat := range map[string]api.Catalog{
		"nothing at all": {Servers: []api.CatalogEntry{}, HostCAs: []string{}},
		"much": {
			Version: "v", Session: api.Session{ID: "ses_a", User: "usr_a", ExpiresAt: time.Now().Round(0)}, HostCAs: []string{"ssh-ed25519 AAAA"}, GatewayCAs: []string{"ssh-ed25519 BBBB"},
			GatewayHostKeys: map[string][]string{"prj_a": {"ssh-ed25519 CCCC"}},
			Servers: []api.CatalogEntry{
				{ID: "srv_a", Name: "web-1", AltNames: []string{"www"}, Labels: map[string]string{"role": "web"}, LastSeen: time.Now().Round(0).UTC(), Recorded: true, BreakGlass: &api.CatalogBreakGlass{}},
				{ID: "srv_b", Name: "web-2", Gateway: "none"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			encoded, err := encodeCatalog(cat)
			if err != nil {
				t.Fatal(err)
			}
			compact, err := decodeAnswer(compactAnswer(encoded, time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			line, err := answer{Catalog: &cat, Age: time.Minute}.encode()
			if err != nil {
				t.Fatal(err)
			}
			plain, err := decodeAnswer(line)
			if err != nil {
				t.Fatal(err)
			}
			texts := [2]string{}
			for i, a := range []answer{compact, plain} {
				if a.Age != time.Minute {
					t.Errorf("age %s", a.Age)
				}
				text, err := json.Marshal(a.Catalog)
				if err != nil {
					t.Fatal(err)
				}
				texts[i] = string(text)
			}
			if diff := cmp.Diff(texts[1], texts[0]); diff != "" {
				t.Errorf("JSON of the catalog (-as JSON +compact):\n%s", diff)
			}
		})
	}
}

func TestWhatIsNoAnswerIsAnError(t *testing.T) {
	for _, bad := range []string{"", "{", compactMark, compactMark + "x\n", compactMark + "1\n", compactMark + "1\ngarbage"} {
		if out, err := decodeAnswer([]byte(bad)); err == nil {
			t.Errorf("%q became %+v", bad, out)
		}
	}
}
