package control

import (
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/sso/ssotest"
)

// look has the administrator look what a token would come to.
func (j *jobs) look(token string) api.WorkloadTest {
	j.t.Helper()
	return must[api.WorkloadTest](j.t, j.admin, "POST", "/v1/workload-tests", api.NewWorkloadTest{Token: token})
}

// unmet are the checks that do not hold.
func unmet(t api.WorkloadTest) string {
	var names []string
	for _, c := range t.Checks {
		if !c.Holds {
			names = append(names, c.Check)
		}
	}
	return strings.Join(names, " ")
}

func TestALookAtATokenUsesNothingUp(t *testing.T) {
	j := newJobs(t)
	token := j.token(nil)
	for range 2 {
		got := j.look(token)
		if !got.Allow || got.UserName != "deploy" || got.Rule != j.rule.ID || got.Seconds != 900 || unmet(got) != "" || len(got.Rules) != 1 || !got.Rules[0].Fits {
			t.Fatalf("%+v", got)
		}
	}
	if e := j.events(audit.SignInWorkload); len(e) != 0 {
		t.Errorf("a look has signed in: %+v", e)
	}
	e := j.events(audit.WorkloadTest)
	if len(e) != 2 || e[0].Actor != j.admin.session.User || e[0].Detail["subject"] != jobSubject || j.databaseHolds(token) {
		t.Errorf("audit: %+v", e)
	}
	// The job itself still comes in, and mallory, who saw the token being tested, does not after it.
	if err := j.device("").enter(t, jobForm(token)); err != nil {
		t.Fatal(err)
	}
	refusedJob(t, j.redeem(j.device(""), jobForm(token)), "used with another key")
	if got := j.look(token); unmet(got) != "unused" || !got.Allow {
		t.Errorf("a used token: %+v", got)
	}
}

func TestALookTellsEachCheckAndEachClaim(t *testing.T) {
	j := newJobs(t)
	other := ssotest.New(t)
	forged := func() string {
		j.platform.Sign(func(c map[string]any, k jose.JSONWebKey) string { // the same name of the key, and another key
			other.Rotate(k.KeyID)
			other.Claims(func(mine map[string]any) {
				for name, v := range c {
					mine[name] = v
				}
			})
			return other.Token("")
		})
		defer j.platform.Sign(nil)
		return j.token(nil)
	}
	for _, c := range []struct {
		name, token, failing, reason string
		claims                       map[string]string // why those do not fit
	}{
		{"another branch", j.token(func(c map[string]any) { c["ref"] = "refs/heads/mine" }), "", "no rule fits", map[string]string{"ref": "the value is another one"}},
		{"a claim that is missing", j.token(func(c map[string]any) { delete(c, "ref") }), "", "no rule fits", map[string]string{"ref": "no such claim"}},
		{"another audience, and over", j.token(func(c map[string]any) { c["aud"], c["exp"] = "https://elsewhere.example.com", 1 }), "audience time", "another audience", nil},
		{"a key of another with the same name", forged(), "signature", "does not verify", nil},
		{"no issuer that is known", j.token(func(c map[string]any) { c["iss"] = "https://unknown.example.com" }), "issuer", "no issuer that is known", nil},
		{"no token", "hunter2", "issuer", "no issuer that is known", nil},
	} {
		got := j.look(c.token)
		if got.Allow || got.User != "" || got.Told == "" || unmet(got) != c.failing || !strings.Contains(got.Reason, c.reason) {
			t.Errorf("%s: %+v", c.name, got)
		}
		for _, r := range got.Rules {
			for _, claim := range r.Claims {
				if why := c.claims[claim.Claim]; claim.Fits != (why == "") || !strings.Contains(claim.Text, why) {
					t.Errorf("%s: %+v", c.name, claim)
				}
			}
		}
	}
	hostile := j.look(j.token(func(c map[string]any) { c["ref"] = "\x1b[2J\u202e<script>" }))
	if text := hostile.Claims["ref"][0]; strings.ContainsAny(text, "\x1b\u202e") {
		t.Errorf("a claim is shown as %q", text)
	}
	if got := must[api.WorkloadTest](t, j.admin, "POST", "/v1/workload-tests", api.NewWorkloadTest{Token: j.token(nil), User: "keeper"}); got.Allow {
		t.Errorf("as another user: %+v", got)
	}
	must[any](t, j.admin, "PATCH", "/v1/users/deploy", map[string]string{"status": "disabled"})
	if got := j.look(j.token(nil)); got.Allow || !strings.Contains(got.Told, "deploy is disabled") {
		t.Errorf("as a user that is disabled: %+v", got)
	}
}

// A program asks what its neighbours' tokens would come to, and so does a person.
func TestOnlyAdministratorsLook(t *testing.T) {
	j := newJobs(t)
	d := j.device("")
	if err := d.enter(t, jobForm(j.token(nil))); err != nil {
		t.Fatal(err)
	}
	for _, who := range []*device{d, j.signIn("alice")} {
		got := j.send(0, who.request(0, "POST", "/v1/workload-tests", `{"token":"`+j.token(nil)+`"}`))
		if got.StatusCode != http.StatusForbidden || strings.Contains(got.body, "rule") {
			t.Errorf("%d %s", got.StatusCode, got.body)
		}
	}
}
