package control

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/store"
)

func TestALostAnswerBurnsNoToken(t *testing.T) {
	s := newScene(t)
	for name, uses := range map[string]int{"a token of one use": 1, "a token of more uses": 3} {
		token := s.token(api.NewEnrolmentToken{Kind: store.KindServer, Project: "web", Uses: uses})
		m, in := s.device(""), api.ServerEnrolment{Secret: token.Secret, Hostname: "lost-" + strings.Fields(name)[3], Address: "10.0.0.9:22"}
		first := must[api.EnrolledServer](t, m, "POST", "/v1/servers/enrol", in)
		second := must[api.EnrolledServer](t, m, "POST", "/v1/servers/enrol", in)
		if first.Server != second.Server || first.Name != second.Name || first.AccessToken == second.AccessToken {
			t.Errorf("%s: %s %s and %s %s", name, first.Server, first.Name, second.Server, second.Name)
		}
		m.token = first.AccessToken
		denied(t, m, api.SignIn, "POST", "/v1/agent/report", api.AgentReport{})
		m.token = second.AccessToken
		must[api.AgentReportAnswer](t, m, "POST", "/v1/agent/report", api.AgentReport{})
		if uses == 1 {
			denied(t, s.device(""), api.Gone, "POST", "/v1/servers/enrol", in)
		}
		must[api.Named](t, s.admin, "DELETE", "/v1/servers/"+second.Server, nil)
		m.token = ""
		if uses == 1 {
			denied(t, m, api.Gone, "POST", "/v1/servers/enrol", in)
		}
	}
}

func TestACopiedCredentialHoldsTheServer(t *testing.T) {
	s := newScene(t)
	web := s.server
	report := func(run, last string, n int64) (api.AgentReportAnswer, error) {
		return try[api.AgentReportAnswer](t, web.device, "POST", "/v1/agent/report", api.AgentReport{Beat: &api.AgentBeat{Run: run, Number: n, Last: last, Machine: "m"}})
	}
	one, err := report("original", "", 1)
	if err != nil || one.Word == "" {
		t.Fatal(one, err)
	}
	two, err := report("copy", one.Word, 1)
	if err != nil || two.Word == "" || two.Word == one.Word {
		t.Fatal(two, err)
	}
	if odd, err := report("original", one.Word, 2); err != nil || !odd.Soon || odd.Word != "" {
		t.Fatal(odd, err)
	}
	poll := make(chan error, 1)
	have := s.state(web).Version
	go func() {
		_, err := web.api(0).Get(t.Context(), fmt.Sprintf("/v1/agent/state?epoch=%d&counter=%d&wait=50", have.Epoch, have.Counter), nil, nil)
		poll <- err
	}()
	_, err = report("original", one.Word, 3)
	if api.KindOf(err) != api.Denied || !strings.Contains(err.Error(), "two hosts") || !strings.Contains(err.Error(), "cardea admin servers release web-1") {
		t.Fatalf("the third: %v", err)
	}
	if err := <-poll; api.KindOf(err) != api.Denied {
		t.Errorf("the poll that was under way: %v", err)
	}
	for path, body := range map[string]any{"/v1/agent/report": api.AgentReport{}, "/v1/agent/events": api.AgentEvents{First: 1}, "/v1/agent/canary": api.CanaryRequest{}, "/v1/agent/host-certificate": api.HostCertificateRequest{}} {
		if e := denied(t, web.device, api.Denied, "POST", path, body); !strings.Contains(e.Detail, "held") {
			t.Errorf("%s: %v", path, e)
		}
	}
	denied(t, web.device, api.Denied, "GET", "/v1/agent/state", nil)
	if v := must[api.Server](t, s.admin, "GET", "/v1/servers/web-1", nil); v.State != store.Held || !strings.Contains(v.Held, "127.0.0.1") {
		t.Errorf("%+v", v)
	}
	events := s.events(audit.ServerClone)
	if len(events) != 1 || events[0].Server != web.id || events[0].Outcome != audit.Denied || events[0].Detail["address"] == "" || events[0].Detail["other"] == "" {
		t.Errorf("%+v", events)
	}
	active := store.Active
	if e := denied(t, s.admin, api.Denied, "PATCH", "/v1/servers/web-1", api.ServerPatch{State: &active}); !strings.Contains(e.Hint, "servers release") {
		t.Errorf("%v", e)
	}
	if v := must[api.Server](t, s.admin, "POST", "/v1/servers/web-1/release", nil); v.State != store.Active || v.Held != "" {
		t.Errorf("%+v", v)
	}
	denied(t, s.admin, api.Conflict, "POST", "/v1/servers/web-1/release", nil)
	if _, err := report("original", one.Word, 4); err != nil {
		t.Errorf("after the release: %v", err)
	}
	if len(s.events(audit.ServerRelease)) != 1 {
		t.Error("the release is not in the log")
	}
}

func TestABeatThatIsNoneIsRefused(t *testing.T) {
	s := newScene(t)
	for name, b := range map[string]api.AgentBeat{
		"no process":         {Number: 1},
		"no number":          {Run: "a"},
		"too long a word":    {Run: "a", Number: 1, Last: strings.Repeat("a", 65)},
		"letters of another": {Run: "a\nb", Number: 1},
	} {
		if _, err := try[api.AgentReportAnswer](t, s.server.device, "POST", "/v1/agent/report", api.AgentReport{Beat: &b}); api.KindOf(err) != api.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	longest := api.AgentBeat{Run: strings.Repeat("a", 64), Number: 1, Last: strings.Repeat("b", 64), Machine: strings.Repeat("c", 64)}
	must[api.AgentReportAnswer](t, s.server.device, "POST", "/v1/agent/report", api.AgentReport{Beat: &longest})
}
