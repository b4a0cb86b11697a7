package control

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// askScene is a project for which bob, a developer, may ask carol, a lead: to be in group
// oncall, which is administrator of the servers with env=prod. mallory is no developer.
type askScene struct {
	*scene
	carol, mallory *device
	rule           api.RequestRule
	prod           *machine
}

func newAskScene(t testing.TB) *askScene {
	t.Helper()
	s := &askScene{scene: newScene(t)}
	s.carol, s.mallory = s.signIn("carol"), s.signIn("mallory")
	for group, member := range map[string]string{"devs": "bob", "leads": "carol", "oncall": ""} {
		must[api.Group](t, s.admin, "POST", "/v1/groups", api.NewGroup{Name: group})
		if member != "" {
			must[api.Member](t, s.admin, "PUT", "/v1/groups/"+group+"/members/"+member, api.NewMember{})
		}
	}
	must[api.Grant](t, s.admin, "POST", "/v1/projects/web/grants", api.NewGrant{Group: "oncall", Role: "admin", Selector: "env=prod"})
	s.rule = s.newRule("oncall", 4*time.Hour)
	s.prod = s.newServer("web", "prod-1", map[string]string{"env": "prod"})
	s.confirm(s.server)
	s.confirm(s.prod)
	return s
}

func (s *askScene) newRule(group string, longest time.Duration) api.RequestRule {
	s.t.Helper()
	return must[api.RequestRule](s.t, s.admin, "POST", "/v1/projects/web/request-rules",
		api.NewRequestRule{Group: group, Askers: "devs", Approvers: "leads", Seconds: int(longest / time.Second)})
}

func ask(target string) api.NewAccessRequest {
	return api.NewAccessRequest{Target: target, Seconds: 7200, Reason: "the disk is full"}
}

// asked is bob's request for prod-1.
func (s *askScene) asked() api.AccessRequest {
	s.t.Helper()
	return must[api.AccessRequest](s.t, s.bob, "POST", "/v1/requests", ask("prod-1"))
}

func (s *askScene) approve(who *device, id string) error {
	s.t.Helper()
	_, err := try[api.AccessRequest](s.t, who, "POST", "/v1/requests/"+id+"/approve", api.NewRequestAnswer{})
	return err
}

func TestWhoIsRefusedHearsWhatToAskForIfARuleLetsHim(t *testing.T) {
	s := newAskScene(t)
	f := newFresh(t)
	want := "type: cardea request prod-1 --for 1h --reason …"
	if e := denied(t, s.bob, api.Denied, "POST", "/v1/connect", f.connect("prod-1", "")); e.Hint != want || strings.Contains(e.Detail, "grant") {
		t.Errorf("bob hears %q; %q", e.Detail, e.Hint)
	}
	if w := must[api.Why](t, s.bob, "GET", "/v1/why"+query("server", "prod-1"), nil); w.Allow || w.Hint != want {
		t.Errorf("why: %+v", w)
	}
	if w := must[api.Why](t, s.admin, "GET", "/v1/why"+query("server", "prod-1", "user", "bob"), nil); w.Allow || w.Hint != "bob types: "+strings.TrimPrefix(want, "type: ") {
		t.Errorf("the administrator about bob: %+v", w)
	}
	// Of a server that no request opens he learns as little as of one that there is not,
	// and so does who may not ask.
	for _, c := range []struct {
		who *device
		ref string
	}{{s.bob, "web-1"}, {s.mallory, "prod-1"}, {s.mallory, "web/prod-1"}, {s.carol, "prod-1"}} {
		e := denied(t, c.who, api.NotFound, "POST", "/v1/connect", f.connect(c.ref, ""))
		none := denied(t, c.who, api.NotFound, "POST", "/v1/connect", f.connect("none-1", ""))
		if strings.ReplaceAll(e.Error(), c.ref, "none-1") != none.Error() {
			t.Errorf("%s: %q, of none: %q", c.ref, e, none)
		}
	}
	// Where nothing but the request is missing: not while the server is disabled.
	must[api.Server](t, s.admin, "PATCH", "/v1/servers/prod-1", map[string]string{"state": "disabled"})
	denied(t, s.bob, api.NotFound, "POST", "/v1/connect", f.connect("prod-1", ""))
	denied(t, s.bob, api.NotFound, "POST", "/v1/requests", ask("prod-1"))
	must[api.Server](t, s.admin, "PATCH", "/v1/servers/prod-1", map[string]string{"state": "active"})
	// A short rule proposes no longer time than it gives.
	must[api.Named](t, s.admin, "DELETE", "/v1/request-rules/"+s.rule.ID, nil)
	s.newRule("oncall", 10*time.Minute)
	if e := denied(t, s.bob, api.Denied, "POST", "/v1/connect", f.connect("prod-1", "")); !strings.Contains(e.Hint, "--for 10m ") {
		t.Errorf("hint %q", e.Hint)
	}
}

func TestAnApprovedRequestLetsInForItsTimeAndNoLonger(t *testing.T) {
	s := newAskScene(t)
	f := newFresh(t)
	r := s.asked()
	if r.State != "pending" || r.Server != s.prod.id || r.ServerName != "prod-1" || r.GroupName != "oncall" || r.UserName != "bob" || !r.ExpiresAt.Equal(s.now().Add(store.RequestLife)) {
		t.Fatalf("asked %+v", r)
	}
	waiting := make(chan api.AccessRequest, 1)
	go func() {
		got, err := try[api.AccessRequest](t, s.bob, "GET", "/v1/requests/"+r.ID+"?state=pending&wait=55", nil)
		if err != nil {
			t.Error(err)
		}
		waiting <- got
	}()
	denied(t, s.bob, api.Denied, "POST", "/v1/connect", f.connect("prod-1", ""))
	for _, who := range []*device{s.carol, s.admin} {
		if got := must[api.List[api.AccessRequest]](t, who, "GET", "/v1/requests/pending", nil); len(got.Items) != 1 || got.Items[0] != r {
			t.Errorf("waits: %+v", got.Items)
		}
	}
	got := must[api.AccessRequest](t, s.carol, "POST", "/v1/requests/"+r.ID+"/approve", api.NewRequestAnswer{Seconds: 3600, Reason: "until noon"})
	if got.State != "approved" || got.AnsweredByName != "carol" || got.Given != 3600 || !got.Until.Equal(s.now().Add(time.Hour)) || got.Answer != "until noon" {
		t.Errorf("approved %+v", got)
	}
	if heard := <-waiting; heard != got {
		t.Errorf("who waits hears %+v", heard)
	}
	if d := s.confirm(s.prod); states(d) != "alice active, bob active admin" {
		t.Errorf("state %s", states(d))
	}
	c := must[api.Connection](t, s.bob, "POST", "/v1/connect", f.connect("prod-1", ""))
	if c.Login != "bob" {
		t.Errorf("connection %+v", c)
	}
	denied(t, s.bob, api.NotFound, "POST", "/v1/connect", f.connect("web-1", ""))
	e := s.events(audit.RequestApprove)
	if len(e) != 1 || e[0].Actor != s.carol.session.User || e[0].User != s.bob.session.User || e[0].Detail["approver_name"] != "carol" || e[0].Detail["user_name"] != "bob" ||
		e[0].Reason != "until noon" || e[0].Detail["asked"] != "the disk is full" || e[0].Detail["until"] != got.Until.Format(time.RFC3339) || e[0].Server != s.prod.id {
		t.Errorf("audit %+v", e)
	}
	s.wait(time.Hour) // nothing runs, and it is over
	if e := denied(t, s.bob, api.Denied, "POST", "/v1/connect", f.connect("prod-1", "")); !strings.Contains(e.Hint, "cardea request prod-1") || !strings.Contains(e.Detail, "is over") {
		t.Errorf("afterwards: %q; %q", e.Detail, e.Hint)
	}
}

func TestWhatWasGivenIsGivenBackOrTakenBack(t *testing.T) {
	s := newAskScene(t)
	f := newFresh(t)
	for name, who := range map[string]*device{"bob": s.bob, "carol": s.carol} {
		r := s.asked()
		must[api.AccessRequest](t, s.carol, "POST", "/v1/requests/"+r.ID+"/approve", api.NewRequestAnswer{})
		s.confirm(s.prod)
		must[api.Connection](t, s.bob, "POST", "/v1/connect", f.connect("prod-1", ""))
		denied(t, s.alice, api.NotFound, "POST", "/v1/requests/"+r.ID+"/end", nil)
		s.wait(time.Minute)
		if got := must[api.AccessRequest](t, who, "POST", "/v1/requests/"+r.ID+"/end", nil); got.State != "ended" || !got.Until.Equal(s.now()) {
			t.Errorf("%s ends it: %+v", name, got)
		}
		denied(t, s.bob, api.Denied, "POST", "/v1/connect", f.connect("prod-1", ""))
		if e := denied(t, who, api.Conflict, "POST", "/v1/requests/"+r.ID+"/end", nil); !strings.Contains(e.Detail, "the request is ended") {
			t.Errorf("again: %v", e)
		}
		e := s.events(audit.RequestEnd)
		if e = e[len(e)-1:]; e[0].Actor != who.session.User || e[0].User != s.bob.session.User || e[0].Outcome != audit.Allowed {
			t.Errorf("audit %+v", e)
		}
	}
}

func TestWhoHasWhatHeAsksForIsToldSo(t *testing.T) {
	s := newAskScene(t)
	must[api.AccessRequest](t, s.carol, "POST", "/v1/requests/"+s.asked().ID+"/approve", api.NewRequestAnswer{})
	for _, target := range []string{"prod-1", "web/prod-1", s.prod.id, "web", s.project.ID} {
		e := denied(t, s.bob, api.Conflict, "POST", "/v1/requests", api.NewAccessRequest{Target: target, Seconds: 3600, Reason: "x"})
		if !strings.Contains(e.Detail, "already, until ") {
			t.Errorf("%s: %q; %q", target, e.Detail, e.Hint)
		}
	}
	// For longer he may ask, and it is prolonged; the other way round nothing is taken from him.
	long := must[api.AccessRequest](t, s.bob, "POST", "/v1/requests", api.NewAccessRequest{Target: "prod-1", Seconds: 4 * 3600, Reason: "x"})
	must[api.Member](t, s.admin, "PUT", "/v1/groups/oncall/members/bob", api.NewMember{})
	if got := must[api.AccessRequest](t, s.carol, "POST", "/v1/requests/"+long.ID+"/approve", api.NewRequestAnswer{}); !got.Until.IsZero() {
		t.Errorf("got %+v", got)
	}
	if e := denied(t, s.bob, api.Conflict, "POST", "/v1/requests", ask("prod-1")); e.Detail != "you may enter server prod-1 already" || e.Hint != "type: cardea ssh prod-1" {
		t.Errorf("%q; %q", e.Detail, e.Hint)
	}
}

func TestWhatIsNotAskedFor(t *testing.T) {
	s := newAskScene(t)
	for name, c := range map[string]struct {
		in   api.NewAccessRequest
		kind api.Kind
	}{
		"an unknown thing":       {ask("nope"), api.NotFound},
		"nothing":                {ask(""), api.NotFound},
		"an option":              {ask("-oProxyCommand=x"), api.NotFound},
		"a server without grant": {ask("web-1"), api.NotFound},
		"an unknown group":       {api.NewAccessRequest{Target: "web", Group: "ops", Seconds: 3600, Reason: "x"}, api.NotFound},
		"longer than the rule":   {api.NewAccessRequest{Target: "web", Seconds: 4*3600 + 1, Reason: "x"}, api.Invalid},
		"for a moment":           {api.NewAccessRequest{Target: "web", Seconds: 59, Reason: "x"}, api.Invalid},
		"for a time before":      {api.NewAccessRequest{Target: "web", Seconds: -3600, Reason: "x"}, api.Invalid},
		"no reason":              {api.NewAccessRequest{Target: "web", Seconds: 3600}, api.Invalid},
		"two lines of a reason":  {api.NewAccessRequest{Target: "web", Seconds: 3600, Reason: "a\nb"}, api.Invalid},
		"a cursor that moves":    {api.NewAccessRequest{Target: "web", Seconds: 3600, Reason: "\x1b[2J"}, api.Invalid},
		"a reason of 301 bytes":  {api.NewAccessRequest{Target: "web", Seconds: 3600, Reason: strings.Repeat("ä", 150) + "a"}, api.Invalid},
	} {
		if _, err := try[api.AccessRequest](t, s.bob, "POST", "/v1/requests", c.in); api.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := s.events(audit.RequestCreate); len(got) != 5 || got[0].Outcome != audit.Denied || got[0].User != s.bob.session.User || got[0].Reason == "" {
		t.Errorf("audit of what there was not: %+v", got)
	}
	at := must[api.AccessRequest](t, s.bob, "POST", "/v1/requests", api.NewAccessRequest{Target: "web", Seconds: 4 * 3600, Reason: strings.Repeat("ä", 150)})
	if at.Server != "" || at.Seconds != 4*3600 {
		t.Errorf("at the limits: %+v", at)
	}
	if e := denied(t, s.bob, api.Conflict, "POST", "/v1/requests", ask("prod-1")); !strings.Contains(e.Hint, "cardea requests list") {
		t.Errorf("a second one: %q; %q", e.Detail, e.Hint)
	}
	for seconds, kind := range map[int]api.Kind{59: api.Invalid, 4*3600 + 1: api.Invalid} {
		denied(t, s.carol, kind, "POST", "/v1/requests/"+at.ID+"/approve", api.NewRequestAnswer{Seconds: seconds})
	}
	if got := must[api.AccessRequest](t, s.carol, "POST", "/v1/requests/"+at.ID+"/approve", api.NewRequestAnswer{Seconds: 60}); got.Given != 60 {
		t.Errorf("a minute: %+v", got)
	}
}

func TestWaysAreNeverGuessed(t *testing.T) {
	s := newAskScene(t)
	must[api.Group](t, s.admin, "POST", "/v1/groups", api.NewGroup{Name: "readers"})
	must[api.Grant](t, s.admin, "POST", "/v1/projects/web/grants", api.NewGrant{Group: "readers", Role: "user"})
	s.newRule("readers", time.Hour)
	s.newRule("oncall", 8*time.Hour)
	if e := denied(t, s.bob, api.Denied, "POST", "/v1/connect", newFresh(t).connect("prod-1", "")); e.Hint != "type: cardea request prod-1 --for 1h --group readers --reason …" {
		t.Errorf("hint %q", e.Hint)
	}
	e := denied(t, s.bob, api.Ambiguous, "POST", "/v1/requests", ask("prod-1"))
	if !strings.Contains(e.Detail, "2 ways: web/prod-1 by group oncall, web/prod-1 by group readers") || !strings.Contains(e.Hint, "--group") {
		t.Errorf("%q; %q", e.Detail, e.Hint)
	}
	// Of two rules for one group the one serves that allows the time.
	r := must[api.AccessRequest](t, s.bob, "POST", "/v1/requests", api.NewAccessRequest{Target: "prod-1", Group: "oncall", Seconds: 8 * 3600, Reason: "x"})
	if r.Rule == s.rule.ID {
		t.Errorf("by the rule for 4h: %+v", r)
	}
	if r := must[api.AccessRequest](t, s.bob, "POST", "/v1/requests", api.NewAccessRequest{Target: "web-1", Seconds: 3600, Reason: "x"}); r.GroupName != "readers" {
		t.Errorf("got %+v", r)
	}
}

// Mallory asks, and tries to be the one who says yes.
func TestNobodyApprovesHisOwnRequest(t *testing.T) {
	s := newAskScene(t)
	refused := func(who *device, id, part string) {
		t.Helper()
		if err := s.approve(who, id); api.KindOf(err) != api.Denied || !strings.Contains(err.Error(), part) {
			t.Errorf("got %v, want %q", err, part)
		}
	}
	must[api.Member](t, s.admin, "PUT", "/v1/groups/devs/members/mallory", api.NewMember{})
	r := must[api.AccessRequest](t, s.mallory, "POST", "/v1/requests", ask("prod-1"))
	// She is no approver, and then she is one.
	refused(s.mallory, r.ID, "nobody answers his own request")
	must[api.Member](t, s.admin, "PUT", "/v1/groups/leads/members/mallory", api.NewMember{})
	refused(s.mallory, r.ID, "nobody answers his own request")
	if got := must[api.List[api.AccessRequest]](t, s.mallory, "GET", "/v1/requests/pending", nil); len(got.Items) != 0 {
		t.Errorf("her own waits for her: %+v", got.Items)
	}
	// Not as an administrator either, and not by a yes in advance.
	must[api.CreatedUser](t, s.admin, "PATCH", "/v1/users/mallory", map[string]bool{"admin": true})
	refused(s.mallory, r.ID, "nobody answers his own request")
	ahead := api.NewPreauthorization{Rule: s.rule.ID, User: "mallory", Seconds: 3600, Until: s.now().Add(time.Hour)}
	if e := denied(t, s.mallory, api.Denied, "POST", "/v1/preauthorizations", ahead); !strings.Contains(e.Detail, "nobody answers his own") {
		t.Errorf("in advance: %v", e)
	}
	must[api.CreatedUser](t, s.admin, "PATCH", "/v1/users/mallory", map[string]bool{"admin": false})
	// By her second account, on the same laptop.
	s.user("mallory2")
	must[api.Member](t, s.admin, "PUT", "/v1/groups/leads/members/mallory2", api.NewMember{})
	second := s.device("the same laptop")
	second.key = s.mallory.key
	second.query.Set("dpop_jkt", second.key.Thumbprint())
	in, err := second.api(0).Redeem(t.Context(), second.form(second.approve(s.browser(0), "mallory2").Get("code")))
	if err != nil {
		t.Fatal(err)
	}
	second.token, second.session = in.AccessToken, in.Session
	refused(second, r.ID, "a device or an e-mail address in common")
	// On another one, with the e-mail address of the first.
	third := s.signIn("mallory3")
	must[api.Member](t, s.admin, "PUT", "/v1/groups/leads/members/mallory3", api.NewMember{})
	must[api.CreatedUser](t, s.admin, "PATCH", "/v1/users/mallory", map[string]string{"email": "mallory@example.com"})
	must[api.CreatedUser](t, s.admin, "PATCH", "/v1/users/mallory3", map[string]string{"email": "Mallory@Example.com"})
	refused(third, r.ID, "a device or an e-mail address in common")
	// A friend who is no approver does not help, and learns nothing.
	if err := s.approve(s.alice, r.ID); api.KindOf(err) != api.NotFound {
		t.Errorf("alice: %v", err)
	}
	if members := must[api.List[api.Member]](t, s.admin, "GET", "/v1/groups/oncall/members", nil); len(members.Items) != 0 {
		t.Errorf("members %+v", members.Items)
	}
	tried := 0
	for _, e := range s.events(audit.RequestApprove) {
		if e.Outcome == audit.Denied && e.User == s.mallory.session.User && e.Reason != "" {
			tried++
		}
	}
	if tried != 6 { // with alice, her friend
		t.Errorf("%d refusals in the audit, want 6", tried)
	}
	// What she asked for is there still, for carol to decide.
	must[api.AccessRequest](t, s.carol, "POST", "/v1/requests/"+r.ID+"/deny", api.NewRequestAnswer{Reason: "no"})
	refusedAgain := denied(t, s.carol, api.Conflict, "POST", "/v1/requests/"+r.ID+"/approve", api.NewRequestAnswer{})
	if !strings.Contains(refusedAgain.Detail, "it is denied") {
		t.Errorf("%v", refusedAgain)
	}
}

func TestARequestIsNobodyElsesBusiness(t *testing.T) {
	s := newAskScene(t)
	r := s.asked()
	unknown := ident.New(ident.AccessRequest)
	for _, c := range []struct{ method, verb string }{{"GET", ""}, {"POST", "/approve"}, {"POST", "/deny"}, {"POST", "/cancel"}} {
		var in any
		if c.verb == "/approve" || c.verb == "/deny" {
			in = api.NewRequestAnswer{Reason: "x"}
		}
		got := denied(t, s.alice, api.NotFound, c.method, "/v1/requests/"+r.ID+c.verb, in)
		none := denied(t, s.alice, api.NotFound, c.method, "/v1/requests/"+unknown+c.verb, in)
		if strings.ReplaceAll(got.Error(), r.ID, unknown) != none.Error() {
			t.Errorf("%s: %q, of none: %q", c.verb, got, none)
		}
	}
	for _, path := range []string{"/v1/requests", "/v1/requests/pending", "/v1/preauthorizations", "/v1/request-rules"} {
		if got := must[api.List[struct{}]](t, s.alice, "GET", path, nil); len(got.Items) != 0 {
			t.Errorf("%s shows alice %d", path, len(got.Items))
		}
	}
	denied(t, s.alice, api.NotFound, "POST", "/v1/preauthorizations", api.NewPreauthorization{Rule: s.rule.ID, User: "bob", Seconds: 3600, Until: s.now().Add(time.Hour)})
	// Who may ask by a rule knows of it, and reads that he may not answer, and what he may type.
	_, err := try[api.Preauthorization](t, s.bob, "POST", "/v1/preauthorizations", api.NewPreauthorization{Rule: s.rule.ID, User: "bob", Seconds: 3600, Until: s.now().Add(time.Hour)})
	if api.KindOf(err) != api.Denied || !strings.Contains(err.Error(), "you may ask, and not answer") {
		t.Errorf("bob, who may ask: %v", err)
	}
	for action, want := range map[string]int{audit.RequestApprove: 1, audit.RequestDeny: 1, audit.RequestCancel: 1} {
		got := s.events(action)
		if len(got) != want || got[0].Outcome != audit.Denied || got[0].Actor != s.alice.session.User || got[0].User != s.bob.session.User {
			t.Errorf("audit of what alice tried: %+v", got)
		}
	}
	denied(t, s.carol, api.Denied, "POST", "/v1/requests/"+r.ID+"/cancel", nil)
	if e := denied(t, s.bob, api.Conflict, "POST", "/v1/requests/"+r.ID+"/end", nil); !strings.Contains(e.Hint, "cardea requests cancel "+r.ID) {
		t.Errorf("ending what waits is answered with %q; %q", e.Detail, e.Hint)
	}
	if got := must[api.AccessRequest](t, s.bob, "POST", "/v1/requests/"+r.ID+"/cancel", nil); got.State != "cancelled" {
		t.Errorf("cancelled: %+v", got)
	}
	denied(t, s.carol, api.Conflict, "POST", "/v1/requests/"+r.ID+"/approve", api.NewRequestAnswer{})
}

func TestRulesAreShownToWhomTheyConcern(t *testing.T) {
	s := newAskScene(t)
	for who, want := range map[*device]string{s.bob: "ask", s.carol: "answer", s.admin: "answer", s.alice: ""} {
		got := must[api.List[api.RequestRule]](t, who, "GET", "/v1/request-rules", nil).Items
		switch {
		case want == "" && len(got) == 0:
		case len(got) != 1 || got[0].MayAsk != (want == "ask") || got[0].MayAnswer != (want == "answer") || got[0].AskersName != "devs":
			t.Errorf("%s: %+v", want, got)
		}
	}
	for name, in := range map[string]api.NewRequestRule{
		"who is let in lets others in": {Group: "oncall", Approvers: "oncall", Seconds: 3600},
		"for 30 days and a second":     {Group: "oncall", Approvers: "leads", Seconds: 30*24*3600 + 1},
		"for 59 seconds":               {Group: "oncall", Approvers: "leads", Seconds: 59},
	} {
		if _, err := try[api.RequestRule](t, s.admin, "POST", "/v1/projects/web/request-rules", in); api.KindOf(err) != api.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	denied(t, s.admin, api.NotFound, "POST", "/v1/projects/web/request-rules", api.NewRequestRule{Group: "nope", Approvers: "leads", Seconds: 3600})
	if at := must[api.RequestRule](t, s.admin, "POST", "/v1/projects/web/request-rules", api.NewRequestRule{Group: "oncall", Approvers: "leads", Seconds: 30 * 24 * 3600}); at.Askers != "" {
		t.Errorf("got %+v", at)
	}
	if got := must[api.List[api.RequestRule]](t, s.alice, "GET", "/v1/request-rules", nil).Items; len(got) != 1 || !got[0].MayAsk {
		t.Errorf("what everybody may ask for: %+v", got)
	}
}

func TestAYesInAdvanceIsForOnePersonAndATime(t *testing.T) {
	s := newAskScene(t)
	ahead := api.NewPreauthorization{Rule: s.rule.ID, User: "bob", Seconds: 3600, Until: s.now().Add(48 * time.Hour)}
	p := must[api.Preauthorization](t, s.carol, "POST", "/v1/preauthorizations", ahead)
	if p.UserName != "bob" || p.ByName != "carol" || p.GroupName != "oncall" {
		t.Errorf("given %+v", p)
	}
	for who, path := range map[*device]string{s.bob: "/v1/preauthorizations?mine=true", s.carol: "/v1/preauthorizations", s.admin: "/v1/preauthorizations"} {
		if got := must[api.List[api.Preauthorization]](t, who, "GET", path, nil).Items; !slices.Contains(got, p) {
			t.Errorf("%s: %+v", path, got)
		}
	}
	r := must[api.AccessRequest](t, s.bob, "POST", "/v1/requests", api.NewAccessRequest{Target: "prod-1", Seconds: 3600, Reason: "x"})
	if r.State != "approved" || r.Preauthorization != p.ID || r.AnsweredByName != "carol" || !r.Until.Equal(s.now().Add(time.Hour)) {
		t.Errorf("asked %+v", r)
	}
	e := s.events(audit.RequestApprove)
	if len(e) != 1 || e[0].Detail["preauthorization"] != p.ID || e[0].Detail["approver_name"] != "carol" || e[0].Detail["user_name"] != "bob" || e[0].Reason != "it was authorized in advance" {
		t.Errorf("audit %+v", e)
	}
	if r := s.asked(); r.State != "pending" { // two hours are more than was said
		t.Errorf("asked %+v", r)
	}
	denied(t, s.carol, api.Conflict, "POST", "/v1/preauthorizations", ahead)
	denied(t, s.alice, api.NotFound, "DELETE", "/v1/preauthorizations/"+p.ID, nil)
	denied(t, s.bob, api.NotFound, "DELETE", "/v1/preauthorizations/"+p.ID, nil)
	must[api.Named](t, s.carol, "DELETE", "/v1/preauthorizations/"+p.ID, nil)
	for name, until := range map[string]time.Time{"now": s.now(), "in 90 days and a second": s.now().Add(90*24*time.Hour + time.Second)} {
		ahead.Until = until
		if _, err := try[api.Preauthorization](t, s.carol, "POST", "/v1/preauthorizations", ahead); api.KindOf(err) != api.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	ahead.Until = s.now().Add(90 * 24 * time.Hour)
	must[api.Preauthorization](t, s.carol, "POST", "/v1/preauthorizations", ahead)
}

// raceAnswers has two approvers answer one request on two instances at the same time.
func raceAnswers(t *testing.T, st *stack) {
	s := &scene{stack: st}
	s.admin = st.admin()
	s.alice, s.bob = st.signIn("alice"), st.signIn("bob")
	carol := st.signIn("carol")
	for group, member := range map[string]string{"leads": "alice", "oncall": ""} {
		must[api.Group](t, s.admin, "POST", "/v1/groups", api.NewGroup{Name: group})
		if member != "" {
			must[api.Member](t, s.admin, "PUT", "/v1/groups/"+group+"/members/"+member, api.NewMember{})
		}
	}
	must[api.Member](t, s.admin, "PUT", "/v1/groups/leads/members/carol", api.NewMember{})
	must[api.Project](t, s.admin, "POST", "/v1/projects", api.NewProject{Name: "web", ProjectSettings: api.ProjectSettings{CertificateSeconds: 60, Gateway: "none"}})
	must[api.RequestRule](t, s.admin, "POST", "/v1/projects/web/request-rules", api.NewRequestRule{Group: "oncall", Approvers: "leads", Seconds: 3600})
	for range 3 {
		r := must[api.AccessRequest](t, s.bob, "POST", "/v1/requests", api.NewAccessRequest{Target: "web", Seconds: 600, Reason: "x"})
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			wg.Go(func() {
				who, verb := s.alice, "approve"
				if i%4 >= 2 {
					who = carol
				}
				if i >= 4 {
					verb = "deny"
				}
				errs[i] = who.api(i%2).Send(t.Context(), "POST", "/v1/requests/"+r.ID+"/"+verb, api.NewRequestAnswer{Reason: "x"}, nil)
			})
		}
		wg.Wait()
		won, approved := 0, false
		for i, err := range errs {
			if err == nil {
				won, approved = won+1, i < 4
			} else if api.KindOf(err) != api.Conflict {
				t.Errorf("one of the others got %v", err)
			}
		}
		got := must[api.AccessRequest](t, s.bob, "GET", "/v1/requests/"+r.ID, nil)
		members := must[api.List[api.Member]](t, s.admin, "GET", "/v1/groups/oncall/members", nil).Items
		if won != 1 || (got.State == "approved") != approved || (len(members) == 1) != approved {
			t.Errorf("%d answers, the request is %s, %d members", won, got.State, len(members))
		}
		if approved {
			must[api.Named](t, s.admin, "DELETE", "/v1/groups/oncall/members/bob", nil)
		}
	}
	answers := 0
	for _, action := range []string{audit.RequestApprove, audit.RequestDeny} {
		answers += len(s.events(action))
	}
	if answers != 3 {
		t.Errorf("%d answers in the audit, want 3", answers)
	}
}

func TestARequestIsAnsweredOnceEverywhere(t *testing.T) { raceAnswers(t, newStack(t)) }

// flat are the facts of a chain, with what is under them.
func flat(facts []api.WhyFact) (out []string) {
	for _, f := range facts {
		line := f.Kind + " ok: " + f.Text
		if !f.Holds {
			line = f.Kind + " no: " + f.Text
		}
		out = append(append(out, line), flat(f.Under)...)
	}
	return out
}

func TestWhyTellsTheFactsAndWhatIfThoseOfATimeToCome(t *testing.T) {
	s := newAskScene(t)
	r := s.asked()
	must[api.AccessRequest](t, s.carol, "POST", "/v1/requests/"+r.ID+"/approve", api.NewRequestAnswer{})
	s.confirm(s.prod)
	has := func(w api.Why, lines ...string) {
		t.Helper()
		all := strings.Join(flat(w.Chain), "\n")
		for _, l := range lines {
			if !strings.Contains(all+"\n", l) {
				t.Errorf("%q is missing in:\n%s", l, all)
			}
		}
		allowed := len(w.Chain) > 0
		for _, f := range w.Chain {
			allowed = allowed && f.Holds
		}
		if allowed != w.Allow {
			t.Errorf("allow is %t, the chain says %t:\n%s", w.Allow, allowed, all)
		}
	}
	mine := must[api.Why](t, s.bob, "GET", "/v1/why"+query("server", "prod-1"), nil)
	has(mine, "user ok: the user is active\n", "device ok: the device is active\n", "grant ok: role admin\n",
		"membership ok: the user is in the group, by request "+r.ID+" that carol approved (the disk is full)\n",
		"selector ok: it is for servers with env=prod; this one has env=prod\n", "project ok: certificates live 3m, gateway allowed\n", "gateway ok: one gateway leads there now")
	if mine.Code != "allowed" || mine.Login != "bob" || mine.Role != "admin" || strings.Contains(strings.Join(flat(mine.Chain), ""), "role user") {
		t.Errorf("bob about himself: %+v", mine)
	}
	whatIf := func(pairs ...string) api.Why {
		t.Helper()
		return must[api.Why](t, s.admin, "GET", "/v1/what-if"+query(pairs...), nil)
	}
	now := whatIf("user", "bob", "server", "prod-1")
	has(now, "device ok: assumed: the device is active\n", "grant no: role user\n", "membership no: the user is not in the group\n")
	if !now.Allow || !now.At.Equal(s.now()) {
		t.Errorf("now: %+v", now)
	}
	later := whatIf("user", "bob", "server", "prod-1", "at", s.now().Add(2*time.Hour).Format(time.RFC3339))
	has(later, "access no: his access to server prod-1 is over\n", "membership no: the membership is over, by request "+r.ID)
	if later.Code != "grant-over" || !later.At.Equal(s.now().Add(2*time.Hour)) {
		t.Errorf("at the end: %+v", later)
	}
	before := whatIf("user", "bob", "server", "prod-1", "at", s.now().Add(2*time.Hour-time.Second).Format(time.RFC3339))
	has(before)
	if !before.Allow {
		t.Errorf("a second before the end: %+v", before)
	}
	other := whatIf("user", "alice", "server", "web-1", "login", "root")
	has(other, "login no: his login is alice, not \"root\"\n")
	for code, w := range map[string]api.Why{
		"other-login": other, "no-grant": whatIf("user", "mallory", "server", "web-1"), "no-server": whatIf("user", "bob", "server", "web-9"),
	} {
		if w.Allow || w.Code != code {
			t.Errorf("%s: %+v", code, w)
		}
	}
	for _, f := range must[api.Why](t, s.mallory, "GET", "/v1/why"+query("server", "prod-1"), nil).Chain {
		t.Errorf("mallory is told %+v", f)
	}
	denied(t, s.admin, api.Invalid, "GET", "/v1/what-if"+query("user", "bob", "server", "web-1", "at", s.now().Add(-time.Hour).Format(time.RFC3339)), nil)
	denied(t, s.admin, api.NotFound, "GET", "/v1/what-if"+query("user", "nobody", "server", "web-1"), nil)
	denied(t, s.bob, api.Denied, "GET", "/v1/what-if"+query("user", "bob", "server", "web-1"), nil)
	must[api.CreatedUser](t, s.admin, "PATCH", "/v1/users/bob", map[string]string{"status": "disabled"})
	gone := whatIf("user", "bob", "server", "prod-1")
	has(gone, "user no: user bob is disabled\n")
	if gone.Code != "user-inactive" {
		t.Errorf("disabled: %+v", gone)
	}
}

// Carol is an approver and has the key of a program: it asks, and she says yes to herself.
func TestAProgramAsksForNothing(t *testing.T) {
	t.Parallel()
	s := newAskScene(t)
	bot, _ := program(t, s.stack, s.admin, "deploy")
	must[api.Member](t, s.admin, "PUT", "/v1/groups/devs/members/deploy", api.NewMember{})
	if err := bot.enter(t, serviceForm()); err != nil {
		t.Fatal(err)
	}
	until := s.now().Add(time.Hour)
	try[api.Preauthorization](t, s.carol, "POST", "/v1/preauthorizations", api.NewPreauthorization{User: "deploy", Rule: s.rule.ID, Seconds: 7200, Until: until})
	denied(t, bot, api.NotFound, "POST", "/v1/requests", ask("prod-1"))
	if e := denied(t, bot, api.NotFound, "POST", "/v1/connect", newFresh(t).connect("prod-1", "")); strings.Contains(e.Hint, "cardea request") {
		t.Errorf("it is told to ask: %s", e.Hint)
	}
	if rules := must[api.List[api.AccessRequest]](t, s.carol, "GET", "/v1/requests/pending", nil); len(rules.Items) != 0 {
		t.Errorf("carol may answer %+v", rules.Items)
	}
}
