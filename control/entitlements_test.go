package control

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/entitlement"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// parsed are commands as an administrator types them.
func parsed(lines ...string) (out []entitlement.Command) {
	for _, l := range lines {
		out = append(out, entitlement.Parse(l))
	}
	return out
}

func (s *scene) entitlement(name string, lines ...string) api.Entitlement {
	s.t.Helper()
	return must[api.Entitlement](s.t, s.admin, "POST", "/v1/entitlements", api.NewEntitlement{Name: name, Commands: parsed(lines...)})
}

// entitle puts entitlements in place of those of the scene's grant.
func (s *scene) entitle(names ...string) api.Grant {
	s.t.Helper()
	names = append([]string{}, names...) // none is an empty list and not nothing
	return must[api.Grant](s.t, s.admin, "PATCH", "/v1/projects/web/grants/"+s.grant.ID, api.GrantPatch{Sudo: &names})
}

// sudoOf is what a login may run by a server's desired state, as lines, and what
// was left out.
func (s *scene) sudoOf(m *machine, login string) (lines []string, leftOut int) {
	s.t.Helper()
	for _, a := range s.state(m).Accounts {
		if a.Login == login {
			for _, c := range a.Sudo {
				lines = append(lines, c.String())
			}
			return lines, a.SudoLeftOut
		}
	}
	s.t.Fatalf("%s has no account", login)
	return nil, 0
}

func (s *scene) wantSudo(m *machine, login string, want ...string) {
	s.t.Helper()
	if got, _ := s.sudoOf(m, login); !slices.Equal(got, want) {
		s.t.Errorf("%s may run %q, want %q", login, got, want)
	}
}

func TestWhatGrantsGiveBySudoAddsUpOnEachServer(t *testing.T) {
	s := newScene(t)
	db := s.newServer("web", "db-1", map[string]string{"tier": "db"})
	s.entitlement("nginx", "/usr/bin/systemctl restart nginx.service", "/usr/bin/id")
	s.entitlement("dba", `/usr/bin/psql ""`, "/usr/bin/id")
	s.wantSudo(s.server, "alice")
	if g := s.entitle("nginx"); !slices.Equal(g.Sudo, []string{"nginx"}) {
		t.Errorf("grant %+v", g)
	}
	s.wantSudo(s.server, "alice", "/usr/bin/id", "/usr/bin/systemctl restart nginx.service")
	// A second grant, for databases alone and for an hour.
	second := must[api.Grant](t, s.admin, "POST", "/v1/projects/web/grants", api.NewGrant{
		Group: "ops", Role: "user", Selector: "tier=db", Until: s.now().Add(time.Hour), Sudo: []string{"dba"}})
	s.wantSudo(s.server, "alice", "/usr/bin/id", "/usr/bin/systemctl restart nginx.service")
	s.wantSudo(db, "alice", "/usr/bin/id", `/usr/bin/psql ""`, "/usr/bin/systemctl restart nginx.service")
	// A change of the commands reaches every server where a grant gives them.
	commands := parsed("/usr/bin/psql -l")
	must[api.Entitlement](t, s.admin, "PATCH", "/v1/entitlements/dba", api.EntitlementPatch{Commands: &commands})
	s.wantSudo(db, "alice", "/usr/bin/id", "/usr/bin/psql -l", "/usr/bin/systemctl restart nginx.service")
	list := must[api.List[api.Grant]](t, s.admin, "GET", "/v1/projects/web/grants", nil)
	for _, g := range list.Items {
		if want := map[string]string{s.grant.ID: "nginx", second.ID: "dba"}[g.ID]; !slices.Equal(g.Sudo, []string{want}) {
			t.Errorf("grant %+v", g)
		}
	}
	// The hour is over.
	s.wait(time.Hour)
	if err := s.store.Sweep(t.Context(), s.now()); err != nil {
		t.Fatal(err)
	}
	s.wantSudo(db, "alice", "/usr/bin/id", "/usr/bin/systemctl restart nginx.service")
	denied(t, s.admin, api.NotFound, "PATCH", "/v1/projects/web/grants/"+second.ID, api.GrantPatch{Sudo: &[]string{}})
	s.entitle()
	s.wantSudo(db, "alice")
}

// Thousands of accounts have the same list: it is written once.
func TestAListThatManyHaveIsWrittenOnce(t *testing.T) {
	s := newScene(t)
	for _, name := range []string{"bob", "admin"} {
		must[api.Member](t, s.admin, "PUT", "/v1/groups/ops/members/"+name, api.NewMember{})
	}
	must[api.Group](t, s.admin, "POST", "/v1/groups", api.NewGroup{Name: "dba"})
	must[api.Member](t, s.admin, "PUT", "/v1/groups/dba/members/bob", api.NewMember{})
	s.entitlement("nginx", "/usr/bin/id")
	s.entitlement("psql", "/usr/bin/psql")
	s.entitle("nginx")
	must[api.Grant](t, s.admin, "POST", "/v1/projects/web/grants", api.NewGrant{Group: "dba", Role: "user", Sudo: []string{"psql"}})
	s.wantSudo(s.server, "alice", "/usr/bin/id")
	s.wantSudo(s.server, "admin", "/usr/bin/id")
	s.wantSudo(s.server, "bob", "/usr/bin/id", "/usr/bin/psql")
	if d := s.state(s.server); len(d.SudoLists) != 2 {
		t.Errorf("%d lists, want 2: %v", len(d.SudoLists), d.SudoLists)
	}
}

func TestWhoMayRunEverythingOrNothingGetsNoCommands(t *testing.T) {
	s := newScene(t)
	s.entitlement("nginx", "/usr/bin/id")
	s.entitle("nginx")
	must[api.Grant](t, s.admin, "POST", "/v1/projects/web/grants", api.NewGrant{Group: "ops", Role: "admin", Until: s.now().Add(time.Hour)})
	if a := s.state(s.server).Accounts[0]; !a.Admin || a.Sudo != nil {
		t.Errorf("an administrator's account: %+v", a)
	}
	s.wait(time.Hour)
	if err := s.store.Sweep(t.Context(), s.now()); err != nil {
		t.Fatal(err)
	}
	s.wantSudo(s.server, "alice", "/usr/bin/id")
	must[api.CreatedUser](t, s.admin, "PATCH", "/v1/users/alice", json.RawMessage(`{"status":"disabled"}`))
	if a := s.state(s.server).Accounts[0]; a.State != "locked" || a.Sudo != nil {
		t.Errorf("a locked account: %+v", a)
	}
}

// An entitlement that changes is news for the projects where a grant names it,
// and for no other.
func TestOtherCommandsWakeTheServersConcerned(t *testing.T) {
	s := newScene(t)
	must[api.Project](t, s.admin, "POST", "/v1/projects", api.NewProject{Name: "db", ProjectSettings: api.ProjectSettings{CertificateSeconds: 180, Gateway: "none"}})
	other := s.newServer("db", "db-1", nil)
	s.entitlement("nginx", "/usr/bin/id")
	s.entitlement("unused", "/usr/bin/id")
	s.entitle("nginx")
	before, calm := s.state(s.server).Version, s.state(other).Version
	woken := s.store.Watch(t.Context(), store.ProjectTopic(s.project.ID))
	asleep := s.store.Watch(t.Context(), store.ProjectTopic(s.state(other).Project))
	change := func(name, line string) {
		t.Helper()
		commands := parsed(line)
		must[api.Entitlement](t, s.admin, "PATCH", "/v1/entitlements/"+name, api.EntitlementPatch{Commands: &commands})
	}
	change("unused", "/usr/bin/true")
	if got := s.state(s.server).Version; got != before {
		t.Errorf("an unused one raised the version from %v to %v", before, got)
	}
	change("nginx", "/usr/bin/true")
	if got := s.state(s.server).Version; !before.Less(got) {
		t.Errorf("the version went from %v to %v", before, got)
	}
	select {
	case <-woken:
	case <-time.After(time.Second):
		t.Error("the server's watch was not woken")
	}
	if got := s.state(other).Version; got != calm {
		t.Errorf("another project's version went from %v to %v", calm, got)
	}
	select {
	case <-asleep:
		t.Error("another project's servers were woken")
	default:
	}
}

// Mallory is an administrator's session that was stolen: what is special to
// sudoers comes into no database and onto no server.
func TestHostileCommandsAreRefusedWithASentence(t *testing.T) {
	s := newScene(t)
	s.entitlement("good", "/usr/bin/id")
	for name, c := range map[string]entitlement.Command{
		"a newline":             {Kind: "raw", Path: "/bin/ls -l\nmallory ALL=(ALL) NOPASSWD: ALL"},
		"a newline in a path":   {Kind: "executable", Path: "/bin/ls\nALL"},
		"a comma":               {Kind: "executable", Path: "/bin/ls, /bin/su"},
		"a comma argument":      {Kind: "executable", Path: "/bin/ls", Arguments: "exact", Exact: []string{"-l,", "/bin/su"}},
		"a tag":                 {Kind: "raw", Path: "/bin/ls NOPASSWD: ALL"},
		"a wildcard":            {Kind: "executable", Path: "/bin/*"},
		"a wildcard argument":   {Kind: "executable", Path: "/bin/ls", Arguments: "exact", Exact: []string{"*"}},
		"an assignment":         {Kind: "executable", Path: "/bin/ls", Arguments: "exact", Exact: []string{"a=b"}},
		"a backslash":           {Kind: "executable", Path: `/bin/l\s`},
		"an include":            {Kind: "executable", Path: "/bin/ls", Arguments: "exact", Exact: []string{"#include"}},
		"everybody":             {Kind: "executable", Path: "/bin/ls", RunAs: "ALL"},
		"ALL":                   {Kind: "executable", Path: "ALL"},
		"a regular expression":  {Kind: "raw", Path: "^/bin/.*$"},
		"100 KiB of a path":     {Kind: "executable", Path: "/" + strings.Repeat("a", 100<<10)},
		"100 KiB of one word":   {Kind: "executable", Path: "/bin/ls", Arguments: "exact", Exact: []string{strings.Repeat("a", 100<<10)}},
		"too many arguments":    {Kind: "executable", Path: "/bin/ls", Arguments: "exact", Exact: strings.Fields(strings.Repeat("a ", 33))},
		"no kind":               {Path: "/bin/ls"},
		"an unknown kind":       {Kind: "regex", Path: "/bin/ls"},
		"a climbing path":       {Kind: "executable", Path: "/usr/bin/../bin/su"},
		"an escape in the path": {Kind: "executable", Path: "/bin/\x1b[2Jls"},
	} {
		for what, err := range map[string]error{
			"create": failure(try[api.Entitlement](t, s.admin, "POST", "/v1/entitlements", api.NewEntitlement{Name: "evil", Commands: []entitlement.Command{entitlement.Parse("/bin/true"), c}})),
			"update": failure(try[api.Entitlement](t, s.admin, "PATCH", "/v1/entitlements/good", api.EntitlementPatch{Commands: &[]entitlement.Command{c}})),
		} {
			e, ok := err.(*api.Error)
			if !ok || e.Kind != api.Invalid || strings.ContainsAny(e.Error(), "\x1b\n") || len(e.Error()) > 400 || !strings.Contains(e.Detail, "command") {
				t.Errorf("%s %s: %v", what, name, err)
			}
		}
	}
	list := must[api.List[api.Entitlement]](t, s.admin, "GET", "/v1/entitlements", nil)
	if len(list.Items) != 1 || !reflect.DeepEqual(list.Items[0].Commands, parsed("/usr/bin/id")) {
		t.Errorf("left: %+v", list.Items)
	}
}

func failure[T any](_ T, err error) error { return err }

func TestLimitsOfEntitlements(t *testing.T) {
	s := newScene(t)
	lines := func(prefix string, n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("/opt/%s/%03d", prefix, i))
		}
		return out
	}
	for name, in := range map[string]api.NewEntitlement{
		"no name":                 {Commands: parsed("/bin/ls")},
		"a shell in the name":     {Name: "$(id)", Commands: parsed("/bin/ls")},
		"an id as a name":         {Name: ident.New(ident.Entitlement), Commands: parsed("/bin/ls")},
		"no command":              {Name: "a"},
		"one command too many":    {Name: "a", Commands: parsed(lines("a", entitlement.MaxCommands+1)...)},
		"a description too long":  {Name: "a", Description: strings.Repeat("x", 501), Commands: parsed("/bin/ls")},
		"a description that lies": {Name: "a", Description: "x\x1b[2J", Commands: parsed("/bin/ls")},
	} {
		if err := failure(try[api.Entitlement](t, s.admin, "POST", "/v1/entitlements", in)); api.KindOf(err) != api.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	names := make([]string, entitlement.MaxPerGrant+1)
	for i := range names {
		names[i] = fmt.Sprintf("e%d", i)
		s.entitlement(names[i], lines(names[i], entitlement.MaxCommands)...)
	}
	path := "/v1/projects/web/grants"
	for name, in := range map[string]api.NewGrant{
		"one entitlement too many": {Group: "ops", Role: "user", Sudo: names},
		"an administrator's":       {Group: "ops", Role: "admin", Sudo: names[:1]},
	} {
		if err := failure(try[api.Grant](t, s.admin, "POST", path, in)); api.KindOf(err) != api.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	denied(t, s.admin, api.NotFound, "POST", path, api.NewGrant{Group: "ops", Role: "user", Sudo: []string{"nope"}})
	s.entitle(names[:entitlement.MaxPerGrant]...)
	if got, left := s.sudoOf(s.server, "alice"); len(got) != entitlement.MaxRules || left != 0 {
		t.Errorf("at the limit: %d commands, %d left out", len(got), left)
	}
	// A second grant goes beyond it. The server gets no more, and is told how many.
	must[api.Grant](t, s.admin, "POST", path, api.NewGrant{Group: "ops", Role: "user", Sudo: names[entitlement.MaxPerGrant:]})
	got, left := s.sudoOf(s.server, "alice")
	if len(got) != entitlement.MaxRules || left != entitlement.MaxCommands {
		t.Errorf("beyond the limit: %d commands, %d left out", len(got), left)
	}
	if why := must[api.Why](t, s.alice, "GET", "/v1/why?server=web-1", nil); len(why.Sudo.Commands) != len(got) || why.Sudo.LeftOut != left {
		t.Errorf("why says %d and %d", len(why.Sudo.Commands), why.Sudo.LeftOut)
	}
}

func TestAnEntitlementInUseIsNotDeleted(t *testing.T) {
	s := newScene(t)
	nginx := s.entitlement("nginx", "/usr/bin/id")
	s.entitlement("other", "/usr/bin/id")
	s.entitle(nginx.ID, "other", "nginx") // by id or name, and twice is once
	e := denied(t, s.admin, api.Conflict, "DELETE", "/v1/entitlements/nginx", nil)
	if !strings.Contains(e.Detail, s.grant.ID+" of group ops in project web") || !strings.HasSuffix(e.Hint, "type: cardea admin grants update web "+s.grant.ID+" --sudo other") {
		t.Errorf("%q; %q", e.Detail, e.Hint)
	}
	s.entitle("nginx")
	if e := denied(t, s.admin, api.Conflict, "DELETE", "/v1/entitlements/nginx", nil); !strings.HasSuffix(e.Hint, s.grant.ID+" --no-sudo") {
		t.Errorf("%q", e.Hint)
	}
	s.entitle()
	must[api.Named](t, s.admin, "DELETE", "/v1/entitlements/nginx", nil)
	e = denied(t, s.admin, api.NotFound, "GET", "/v1/entitlements/nginx", nil)
	if !strings.Contains(e.Hint, "cardea admin entitlements list") {
		t.Errorf("hint %q", e.Hint)
	}
	s.entitlement("nginx", "/usr/bin/id")
	denied(t, s.admin, api.Conflict, "POST", "/v1/entitlements", api.NewEntitlement{Name: "nginx", Commands: parsed("/bin/ls")})
	// A grant is changed by its own project's path alone.
	must[api.Project](t, s.admin, "POST", "/v1/projects", api.NewProject{Name: "db", ProjectSettings: api.ProjectSettings{CertificateSeconds: 180, Gateway: "none"}})
	for _, path := range []string{"/v1/projects/db/grants/" + s.grant.ID, "/v1/projects/web/grants/" + ident.New(ident.Grant), "/v1/projects/web/grants/nope"} {
		denied(t, s.admin, api.NotFound, "PATCH", path, api.GrantPatch{Sudo: &[]string{"nginx"}})
	}
	denied(t, s.admin, api.Invalid, "PATCH", "/v1/projects/web/grants/"+s.grant.ID, json.RawMessage(`{}`))
}

func TestChangesOfEntitlementsAreAuditedWithTheirCommands(t *testing.T) {
	s := newScene(t)
	s.entitlement("nginx", "/usr/bin/systemctl restart nginx.service", `/usr/bin/id ""`)
	s.entitle("nginx")
	s.entitle()
	var many []entitlement.Command
	for i := range entitlement.MaxCommands {
		many = append(many, entitlement.Parse("/opt/"+strings.Repeat("x", 400)+fmt.Sprintf("/%03d", i)))
	}
	must[api.Entitlement](t, s.admin, "PATCH", "/v1/entitlements/nginx", api.EntitlementPatch{Commands: &many})
	must[api.Named](t, s.admin, "DELETE", "/v1/entitlements/nginx", nil)
	created := s.events(audit.EntitlementCreate)
	if len(created) != 1 || created[0].Detail["commands"] != "2" || created[0].Actor != s.admin.session.User ||
		created[0].Detail["commands_01"] != `/usr/bin/systemctl restart nginx.service; /usr/bin/id ""` {
		t.Errorf("%+v", created)
	}
	// What does not fit into the row is counted.
	updated := s.events(audit.EntitlementUpdate)
	if len(updated) != 1 || updated[0].Detail["commands"] != "128" || updated[0].Detail["not_recorded"] == "" || updated[0].Detail["name"] != "nginx" {
		t.Errorf("%+v", updated)
	}
	grants := s.events(audit.GrantUpdate)
	if len(grants) != 2 || grants[0].Detail["sudo"] != "nginx" || grants[0].Project != s.project.ID {
		t.Errorf("%+v", grants)
	}
	if sudo, told := grants[1].Detail["sudo"]; sudo != "" || !told {
		t.Errorf("%+v", grants[1])
	}
	if len(s.events(audit.EntitlementDelete)) != 1 {
		t.Error("the deletion is not in the log")
	}
}

func TestARepeatedCallMakesOneEntitlement(t *testing.T) {
	s := newScene(t)
	send := func(i int, method, path, body string) reply {
		req := s.admin.request(i, method, path, body)
		req.Header.Set(api.HeaderIdempotency, method)
		return s.send(i, req)
	}
	for _, c := range [][3]string{
		{"POST", "/v1/entitlements", `{"name":"nginx","commands":[{"kind":"raw","path":"/bin/ls -l"}]}`},
		{"PATCH", "/v1/projects/web/grants/" + s.grant.ID, `{"sudo":["nginx"]}`},
	} {
		a, b := send(0, c[0], c[1], c[2]), send(1, c[0], c[1], c[2])
		if a.StatusCode != http.StatusOK || b.StatusCode != http.StatusOK || a.body != b.body {
			t.Errorf("%s: %d %s, then %d %s", c[1], a.StatusCode, a.body, b.StatusCode, b.body)
		}
	}
}

// `cardea why` says what the server will be told, and to nobody else.
func TestWhySaysWhatMayBeRunBySudo(t *testing.T) {
	s := newScene(t)
	s.entitlement("nginx", "/usr/bin/id", "/bin/ls -l")
	s.entitle("nginx")
	why := must[api.Why](t, s.alice, "GET", "/v1/why?server=web-1", nil)
	if why.Sudo == nil || !reflect.DeepEqual(why.Sudo.Commands, s.state(s.server).Accounts[0].Sudo) || why.Sudo.Everything || why.Sudo.LeftOut != 0 {
		t.Errorf("why %+v", why.Sudo)
	}
	if other := must[api.Why](t, s.admin, "GET", "/v1/why?server=web-1&user=alice", nil); !reflect.DeepEqual(other.Sudo, why.Sudo) {
		t.Errorf("an administrator is told %+v", other.Sudo)
	}
	if bob := must[api.Why](t, s.bob, "GET", "/v1/why?server=web-1", nil); bob.Allow || bob.Sudo != nil {
		t.Errorf("bob is told %+v", bob)
	}
	must[api.Grant](t, s.admin, "POST", "/v1/projects/web/grants", api.NewGrant{Group: "ops", Role: "admin"})
	if why := must[api.Why](t, s.alice, "GET", "/v1/why?server=web-1", nil); !why.Sudo.Everything || why.Sudo.Commands != nil {
		t.Errorf("as administrator %+v", why.Sudo)
	}
}
