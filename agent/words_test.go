package agent_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/agent/agenttest"
	"github.com/cardea-ssh/cardea/api"
)

// A Tab gets what begins with what was typed, and nothing that it would have to read for long.
func TestATabIsAnsweredWithWhatFits(t *testing.T) {
	web, two, other := agenttest.Entry("web-1", "web"), agenttest.Entry("web-2", "web"), agenttest.Entry("web-2", "data")
	web.Labels = map[string]string{"env": "prod", "bad": "\x1b[2J"}
	w := agenttest.New(t, web, two, other, agenttest.Entry("db-1", "data"), agenttest.Entry("-oProxyCommand=id", "web"))
	w.Start()
	if err := w.Ask.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	ask := func(typed string, dotted bool, most int) []string {
		t.Helper()
		got, err := w.Ask.Names(t.Context(), typed, dotted, most)
		if err != nil {
			t.Error(err)
		}
		return got.Words
	}
	check := func(when string) {
		t.Helper()
		for _, tc := range []struct {
			typed  string
			dotted bool
			most   int
			want   string
		}{
			{"", false, 100, "data/web-2 db-1 web-1 web/web-2"},
			{"web", false, 100, "web-1 web/web-2"},
			{"web", true, 100, "web-1 web-2.data web-2.web"},
			{"web", true, 2, "web-1 web-2.web"},
			{"-", false, 100, ""},
			{"web-1\n", false, 100, ""},
			{"\xff\x00", false, 100, ""},
			{`"},{"verb":"stop`, false, 100, ""},
			{"$(touch hacked)", false, 100, ""},
		} {
			if got := strings.Join(ask(tc.typed, tc.dotted, tc.most), " "); got != tc.want {
				t.Errorf("%s, %q: %q, want %q", when, tc.typed, got, tc.want)
			}
		}
		labels, err := w.Ask.Selectors(t.Context(), "", 100)
		if err != nil || !slices.Equal(labels.Words, []string{"env="}) {
			t.Errorf("%s: labels %q, %v", when, labels.Words, err)
		}
	}
	check("open")
	if _, err := w.Ask.Names(t.Context(), strings.Repeat("x", 1<<17), false, 1); api.KindOf(err) != api.Invalid {
		t.Errorf("somebody pasted a book: %v", err)
	}
	// A lock keeps keys, and no names: the list can be had as before.
	if err := w.Ask.Lock(t.Context(), "open sesame"); err != nil {
		t.Fatal(err)
	}
	check("locked")
	w.SetCatalog("2", agenttest.Entry("new-1", "web"))
	if err := w.Ask.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := ask("", false, 100); !slices.Equal(got, []string{"new-1"}) {
		t.Errorf("of a newer list it offers %q", got)
	}
}
