//go:build unix

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/tui/picker"
)

func TestWhatThePickerRuns(t *testing.T) {
	web, db := picker.Host{Name: "web-1", Call: "shop/web-1"}, picker.Host{Name: "db-1", Call: "db-1"}
	for _, tc := range []struct {
		choice picker.Choice
		want   string
	}{
		{picker.Choice{Verb: picker.Connect, Hosts: []picker.Host{web}}, "ssh shop/web-1"},
		{picker.Choice{Verb: picker.Forward, Hosts: []picker.Host{db}, Text: "8080"}, "ssh -N -L 8080:localhost:8080 db-1"},
		{picker.Choice{Verb: picker.Forward, Hosts: []picker.Host{db}, Text: "8080:80"}, "ssh -N -L 8080:localhost:80 db-1"},
		{picker.Choice{Verb: picker.Forward, Hosts: []picker.Host{db}, Text: "8080:db.internal:5432"}, "ssh -N -L 8080:db.internal:5432 db-1"},
		{picker.Choice{Verb: picker.Run, Hosts: []picker.Host{web, db}, Text: "-rf x; y"}, "exec shop/web-1 db-1 -- -rf x; y"},
		{picker.Choice{Verb: picker.Request, To: "--for=9h", Text: "--x"}, "request --reason=--x -- --for=9h"},
		{picker.Choice{Verb: picker.Recordings}, "sessions"},
		{picker.Choice{Verb: picker.Recordings, Hosts: []picker.Host{web}}, "sessions --server=shop/web-1"},
		{picker.Choice{Verb: picker.Recordings, Hosts: []picker.Host{{Call: "-x"}}}, "error"},
		{picker.Choice{Verb: picker.Forward, Hosts: []picker.Host{db}, Text: "0"}, "error"},
		{picker.Choice{Verb: picker.Forward, Hosts: []picker.Host{db}, Text: "65536"}, "error"},
		{picker.Choice{Verb: picker.Forward, Hosts: []picker.Host{db}, Text: "-R"}, "error"},
		{picker.Choice{Verb: picker.Forward, Hosts: []picker.Host{db}, Text: "80:-x:80"}, "error"},
		{picker.Choice{Verb: picker.Forward, Hosts: []picker.Host{db}, Text: "80:a b:80"}, "error"},
		{picker.Choice{Verb: picker.Forward, Hosts: []picker.Host{db}, Text: "1:2:3:4"}, "error"},
		{picker.Choice{Verb: picker.Connect, Hosts: []picker.Host{{Call: "-oProxyCommand=x"}}}, "error"},
		{picker.Choice{Verb: "dance"}, "error"},
	} {
		args, err := verbOf(tc.choice)
		if got := strings.Join(args, " "); err != nil && tc.want != "error" || err == nil && got != tc.want {
			t.Errorf("%+v: %q, %v", tc.choice, got, err)
		}
	}
}

// pickerTeam are two servers of one name, one of another, and one that no server may be called.
func pickerTeam() []api.CatalogEntry {
	entry := func(n, name, project string) api.CatalogEntry {
		return api.CatalogEntry{ID: "srv_" + strings.Repeat(n, 20), Name: name, Project: "prj_" + strings.Repeat(n, 20), ProjectName: project, Login: "alice", Role: "user", Gateway: "allowed", LastSeen: time.Now()}
	}
	return []api.CatalogEntry{entry("a", "web-1", "shop"), entry("b", "web-1", "test"), entry("c", "db-1", "shop"), entry("d", "-oProxyCommand=x", "shop")}
}

func TestServersAreCalledByWhatMeansThemAlone(t *testing.T) {
	servers := pickerTeam()
	servers[2].AltNames = []string{"orders"}
	var calls []string
	for _, h := range pickerHosts(servers) {
		calls = append(calls, h.Call)
	}
	if got := strings.Join(calls, " "); got != "shop/web-1 test/web-1 db-1" {
		t.Errorf("called %s", got)
	}
	servers[0].AltNames = []string{"db-1"}
	if got := pickerHosts(servers)[2].Call; got != "shop/db-1" {
		t.Errorf("a name that is another's other name: %s", got)
	}
}

// source is a picker's source with a session and a control plane that has these servers.
func source(t *testing.T) (*pickerSource, func(servers []api.CatalogEntry, err error)) {
	a, s := signedIn(t)
	return &pickerSource{app: a}, func(servers []api.CatalogEntry, err error) {
		s.On("GET", "/v1/catalog", catalogCall(servers, err))
	}
}

func TestThePickerShowsTheFirstPageOfLastTimeToTheSamePersonAlone(t *testing.T) {
	s, serve := source(t)
	if got := s.first(); len(got.Hosts) != 0 {
		t.Errorf("at first: %+v", got)
	}
	serve(pickerTeam(), nil)
	if _, err := s.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.favour("srv_cccccccccccccccccccc", true); err != nil {
		t.Fatal(err)
	}
	s.app.noteUse("srv_bbbbbbbbbbbbbbbbbbbb")
	got := picker.Sort(s.first().Hosts)
	if len(got) != 3 || got[0].Name != "db-1" || !got[0].Favourite || got[1].Call != "test/web-1" || got[1].Uses != 1 {
		t.Errorf("first is %+v", got)
	}
	file := filepath.Join(s.app.paths.State, firstFile)
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"somebody else's": strings.Replace(string(page), `"User":"`, `"User":"x`, 1), "garbage": "{", "what is no server": strings.ReplaceAll(string(page), `"Call":"`, `"Call":"-o`),
	} {
		os.WriteFile(file, []byte(text), 0o600)
		if got := s.first(); len(got.Hosts) != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	os.WriteFile(file, page, 0o600)
	if err := s.app.home.Forget(); err != nil {
		t.Fatal(err)
	}
	var out *picker.SignedOut
	if got := s.first(); len(got.Hosts) != 0 {
		t.Errorf("signed out: %+v", got)
	}
	if _, err := s.known(t.Context()); !errors.As(err, &out) || !strings.Contains(out.Hint, "cardea login") {
		t.Errorf("signed out: %v", err)
	}
}

func TestThePickerKnowsWhatAnAgentStoredUnlessItIsSomebodyElses(t *testing.T) {
	s, _ := source(t)
	saved, err := s.app.home.Peek()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.app.paths.State, "catalog.json")
	store := func(user string) {
		c := api.Catalog{Servers: pickerTeam()}
		c.Session.User = user
		text, err := json.Marshal(c)
		if err == nil {
			os.MkdirAll(s.app.paths.State, 0o700)
			err = os.WriteFile(file, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	store(saved.Session.User)
	old := time.Now().Add(-time.Hour)
	os.Chtimes(file, old, old)
	list, err := s.known(t.Context())
	if err != nil || len(list.Hosts) != 3 || list.Age < 59*time.Minute {
		t.Errorf("known %+v, %v", list, err)
	}
	store(ident.New(ident.User))
	if list, err := s.known(t.Context()); err == nil {
		t.Errorf("somebody else's: %+v", list)
	}
	store(saved.Session.User)
	trouble{t, s.app, nil}.agentThat(map[string]any{"catalog": map[string]any{"error": api.Errorf(api.SignIn, "this session is over")}})
	var out *picker.SignedOut // which it may be no more: the control plane is asked
	if list, err := s.known(t.Context()); err == nil || errors.As(err, &out) {
		t.Errorf("of a session that is over: %+v, %v", list, err)
	}
}

func TestWhoMayNotGoOnIsTold(t *testing.T) {
	s, serve := source(t)
	for _, kind := range []api.Kind{api.SignIn, api.Denied} {
		serve(nil, api.Errorf(kind, "no"))
		var out *picker.SignedOut
		if _, err := s.load(t.Context()); !errors.As(err, &out) || out.Hint == "" {
			t.Errorf("%s: %v", kind, err)
		}
	}
	serve(nil, api.Errorf(api.Unavailable, "later"))
	var out *picker.SignedOut
	if _, err := s.load(t.Context()); err == nil || errors.As(err, &out) {
		t.Errorf("unavailable: %v", err)
	}
}

// Where there is no terminal nothing opens, and a name that means two is an error.
func TestWithoutATerminalThePickerIsAnError(t *testing.T) {
	a, stdout, stderr := testApp(t)
	if code := a.run(context.Background(), []string{"tui"}); code != ExitUsage || !strings.Contains(stderr.String(), "cardea ls") {
		t.Errorf("code %d: %s", code, stderr)
	}
	if code := a.run(context.Background(), nil); code != ExitOK || !strings.Contains(stdout.String(), "Reach servers:") {
		t.Errorf("code %d: %s", code, stdout)
	}
	two := api.Errorf(api.Ambiguous, "two")
	if _, err := a.choose(t.Context(), pickerTeam(), "web-1", two); !errors.Is(err, two) {
		t.Errorf("chose: %v", err)
	}
}
