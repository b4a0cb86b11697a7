package control

import (
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/sso"
	"github.com/cardea-ssh/cardea/control/sso/ssotest"
)

// jobs is a stack and a platform whose jobs of acme/web's main branch are the user deploy.
type jobs struct {
	*stack
	admin    *device
	platform *ssotest.Provider
	rule     api.WorkloadRule
}

const jobSubject = "repo:acme/web:ref:refs/heads/main"

func newJobs(t testing.TB) *jobs {
	t.Helper()
	j := &jobs{stack: newStack(t), platform: ssotest.New(t)}
	j.options.Issuers = sso.New(sso.Options{Roots: j.platform.Roots()})
	j.restart()
	j.admin = j.stack.admin()
	must[api.ServiceUser](t, j.admin, "POST", "/v1/service-users", api.NewServiceUser{Name: "deploy"})
	must[api.WorkloadIssuer](t, j.admin, "POST", "/v1/workload-issuers", api.NewWorkloadIssuer{Name: "github", Issuer: j.platform.URL()})
	j.rule = j.addRule("deploy", map[string]string{"sub": "repo:acme/web:**", "ref": "refs/heads/main"})
	return j
}

func (j *jobs) addRule(user string, claims map[string]string) api.WorkloadRule {
	j.t.Helper()
	return must[api.WorkloadRule](j.t, j.admin, "POST", "/v1/workload-issuers/github/rules", api.NewWorkloadRule{User: user, Claims: claims, Seconds: 900})
}

// token is a new one of the platform; change may be nil.
func (j *jobs) token(change func(map[string]any)) string {
	j.platform.Claims(func(c map[string]any) {
		maps.Copy(c, map[string]any{"sub": jobSubject, "aud": publicURL, "ref": "refs/heads/main", "jti": rand.Text()})
		delete(c, "nonce")
		if change != nil {
			change(c)
		}
	})
	return j.platform.Token("")
}

func jobForm(token string) url.Values {
	return url.Values{"grant_type": {api.GrantWorkload}, "client_id": {api.ClientID}, "assertion": {token}}
}

// refusedJob fails unless an answer is a refusal with this part in it.
func refusedJob(t *testing.T, got reply, part string) {
	t.Helper()
	if got.StatusCode < 400 || strings.Contains(got.body, "access_token") || !strings.Contains(got.body, part) {
		t.Errorf("%d %s; want %q", got.StatusCode, got.body, part)
	}
}

func TestAJobSignsInWithATokenOfItsPlatform(t *testing.T) {
	j := newJobs(t)
	d, token := j.device(""), j.token(nil)
	if err := d.enter(t, jobForm(token)); err != nil {
		t.Fatal(err)
	}
	if s := d.session; s.UserName != "deploy" || s.Admin || s.DeviceTag != "github "+jobSubject || s.ExpiresAt.Sub(s.CreatedAt) != 15*time.Minute {
		t.Errorf("signed in: %+v", s)
	}
	if got := j.send(1, d.request(1, "GET", "/v1/session", "")); got.StatusCode != http.StatusOK {
		t.Errorf("the other instance: %d %s", got.StatusCode, got.body)
	}
	e := j.events(audit.SignInWorkload)
	if len(e) != 1 || e[0].User != d.session.User || e[0].Session != d.session.ID || e[0].Detail["subject"] != jobSubject || e[0].Detail["rule"] != j.rule.ID || e[0].Detail["jti"] == "" {
		t.Errorf("audit: %+v", e)
	}
	if j.databaseHolds(token) || j.databaseHolds(strings.Split(token, ".")[2]) {
		t.Error("the database holds the token")
	}
	// The answer was lost: the same key may come again.
	if got := j.redeemAt(1, d, jobForm(token)); got.StatusCode != http.StatusOK {
		t.Errorf("the same key again: %d %s", got.StatusCode, got.body)
	}
}

// mallory reads the token in a log, while it is good.
func TestATokenIsOfTheKeyThatItCameWith(t *testing.T) {
	j := newJobs(t)
	d, token := j.device(""), j.token(nil)
	if err := d.enter(t, jobForm(token)); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(token, ".")
	for name, stolen := range map[string]string{
		"as it is":                        token,
		"with a new line in it":           parts[0] + "." + parts[1][:8] + "\n" + parts[1][8:] + "." + parts[2],
		"with a new line in its head":     parts[0][:8] + "\n" + parts[0][8:] + "." + parts[1] + "." + parts[2],
		"with other bits that say naught": parts[0] + "." + otherBits(parts[1]) + "." + parts[2],
		"with its signature's other half": parts[0] + "." + parts[1] + "." + otherHalf(t, parts[2]),
	} {
		t.Run(name, func(t *testing.T) {
			refusedJob(t, j.redeemAt(1, j.device(""), jobForm(stolen)), "invalid_grant")
		})
	}
	if e := j.events(audit.WorkloadReplay); len(e) == 0 || e[0].Detail["subject"] != jobSubject || e[0].Outcome != audit.Denied {
		t.Errorf("no alarm: %+v", e)
	}
	if e := j.events(audit.SignInWorkload); len(e) != 1 {
		t.Errorf("%d sign-ins", len(e))
	}
}

// otherBits changes the bits of the last letter that no byte has.
func otherBits(part string) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if len(part)%4 == 0 {
		return part // there are none
	}
	last := strings.IndexByte(letters, part[len(part)-1])
	return part[:len(part)-1] + string(letters[last^1])
}

// otherHalf is the other signature that verifies wherever an ECDSA signature does.
func otherHalf(t *testing.T, part string) string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil || len(raw) != 64 {
		t.Fatalf("%d bytes, %v", len(raw), err)
	}
	s := new(big.Int).SetBytes(raw[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(raw[32:])
	return base64.RawURLEncoding.EncodeToString(raw)
}

func TestTokensThatAreNotTaken(t *testing.T) {
	j := newJobs(t)
	now := time.Now()
	signed := func(sign func(map[string]any, jose.JSONWebKey) string) func() string {
		return func() string { j.platform.Sign(sign); defer j.platform.Sign(nil); return j.token(nil) }
	}
	claims := func(change func(map[string]any)) func() string {
		return func() string { return j.token(change) }
	}
	set := func(name string, value any) func() string {
		return claims(func(c map[string]any) { c[name] = value })
	}
	for _, c := range []struct {
		name  string
		token func() string
		part  string
	}{
		{"for another audience", set("aud", "https://elsewhere.example.com"), "invalid_grant"},
		{"for us and for others", set("aud", []string{publicURL, "https://elsewhere.example.com"}), "invalid_grant"},
		{"for nobody", claims(func(c map[string]any) { delete(c, "aud") }), "invalid_grant"},
		{"of another repository", set("sub", "repo:evil/web:ref:refs/heads/main"), "repo:evil/web:ref:refs/heads/main"},
		{"of another branch", set("ref", "refs/heads/mine"), "no rule fits"},
		{"without a claim that the rule looks at", claims(func(c map[string]any) { delete(c, "ref") }), "no rule fits"},
		{"of nobody", set("sub", ""), "invalid_grant"},
		{"over", set("exp", now.Add(-2*time.Minute).Unix()), "invalid_grant"},
		{"without an end", claims(func(c map[string]any) { delete(c, "exp") }), "invalid_grant"},
		{"yet to come", set("iat", now.Add(2*time.Minute).Unix()), "invalid_grant"},
		{"good for longer than a day", claims(func(c map[string]any) { c["iat"], c["exp"] = now.Unix(), now.Add(24*time.Hour+time.Second).Unix() }), "invalid_grant"},
		{"of an issuer that is not known", set("iss", "https://unknown.example.com"), "invalid_grant"},
		{"of no issuer", claims(func(c map[string]any) { delete(c, "iss") }), "invalid_grant"},
		{"not signed", signed(func(c map[string]any, _ jose.JSONWebKey) string { return ssotest.Unsigned(c) }), "invalid_grant"},
		{"signed with the public key as a secret", signed(func(c map[string]any, k jose.JSONWebKey) string {
			return ssotest.Sign(t, c, jose.HS256, ssotest.PublicDER(t, k), k.KeyID)
		}), "invalid_grant"},
		{"larger than any", func() string { return strings.Repeat("a", 16<<10) + ".b.c" }, "invalid_grant"},
		{"no token", func() string { return "hunter2" }, "invalid_grant"},
		{"nothing", func() string { return "" }, "invalid_request"},
		{"three parts of nothing", func() string { return ".." }, "invalid_grant"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j.wait(time.Second)
			refusedJob(t, j.redeem(j.device(""), jobForm(c.token())), c.part)
		})
	}
	day := j.token(func(c map[string]any) { c["iat"], c["exp"] = now.Unix(), now.Add(24*time.Hour).Unix() })
	if got := j.redeem(j.device(""), jobForm(day)); got.StatusCode != http.StatusOK {
		t.Errorf("a token for a day: %d %s", got.StatusCode, got.body)
	}
	if e := j.events(audit.SignInWorkload); len(e) != 1 {
		t.Errorf("%d jobs are in the audit", len(e))
	}
}

func TestAJobThatMayBeSeveralUsersSaysWhich(t *testing.T) {
	j := newJobs(t)
	must[api.ServiceUser](t, j.admin, "POST", "/v1/service-users", api.NewServiceUser{Name: "keeper"})
	j.addRule("keeper", map[string]string{"sub": "repo:acme/*:ref:refs/heads/main"})
	refusedJob(t, j.redeem(j.device(""), jobForm(j.token(nil))), "--as NAME")
	for user, want := range map[string]int{"keeper": 200, "deploy": 200, "admin": 400} {
		form := jobForm(j.token(nil))
		form.Set("service_user", user)
		got := j.redeem(j.device(""), form)
		if got.StatusCode != want || want == 200 && !strings.Contains(got.body, `"user_name":"`+user+`"`) {
			t.Errorf("%s: %d %s", user, got.StatusCode, got.body)
		}
	}
	form := jobForm(j.token(nil))
	form["service_user"] = []string{"keeper", "deploy"}
	refusedJob(t, j.redeem(j.device(""), form), "invalid_request")
}

func TestTheEndOfARuleIsTheEndOfItsJobs(t *testing.T) {
	j := newJobs(t)
	d := j.device("")
	if err := d.enter(t, jobForm(j.token(nil))); err != nil {
		t.Fatal(err)
	}
	must[api.WorkloadIssuer](t, j.admin, "PATCH", "/v1/workload-issuers/github", api.WorkloadIssuerPatch{State: "disabled"})
	if got := j.send(1, d.request(1, "GET", "/v1/session", "")); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("its platform is disabled: %d", got.StatusCode)
	}
	refusedJob(t, j.redeem(j.device(""), jobForm(j.token(nil))), "invalid_grant")
	must[api.WorkloadIssuer](t, j.admin, "PATCH", "/v1/workload-issuers/github", api.WorkloadIssuerPatch{State: "active"})
	if err := d.enter(t, jobForm(j.token(nil))); err != nil {
		t.Fatal(err)
	}
	if _, err := try[any](t, j.admin, "DELETE", "/v1/workload-issuers/github", nil); api.KindOf(err) != api.Conflict {
		t.Errorf("an issuer with rules was deleted: %v", err)
	}
	must[any](t, j.admin, "DELETE", "/v1/workload-issuers/github/rules/"+j.rule.ID, nil)
	if got := j.send(1, d.request(1, "GET", "/v1/session", "")); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("its rule is gone: %d", got.StatusCode)
	}
	refusedJob(t, j.redeem(j.device(""), jobForm(j.token(nil))), "no rule fits")
	must[any](t, j.admin, "DELETE", "/v1/workload-issuers/github", nil)
}

func TestAPlatformThatIsDown(t *testing.T) {
	j := newJobs(t)
	token := j.token(nil)
	j.platform.Close()
	refusedJob(t, j.redeem(j.device(""), jobForm(token)), "temporarily_unavailable")
}

func TestRulesThatAreRefused(t *testing.T) {
	j := newJobs(t)
	j.signIn("alice")
	must[api.WorkloadIssuer](t, j.admin, "POST", "/v1/workload-issuers", api.NewWorkloadIssuer{Name: "actions", Issuer: "https://token.actions.githubusercontent.com"})
	for name, c := range map[string]struct {
		in   api.NewWorkloadRule
		kind api.Kind
	}{
		"for everybody in the world":  {api.NewWorkloadRule{User: "deploy", Claims: map[string]string{"sub": "repo:**"}}, api.Invalid},
		"without a subject":           {api.NewWorkloadRule{User: "deploy", Claims: map[string]string{"ref": "x"}}, api.Invalid},
		"of a person":                 {api.NewWorkloadRule{User: "alice", Claims: map[string]string{"sub": "x"}}, api.Invalid},
		"of nobody":                   {api.NewWorkloadRule{User: "nobody", Claims: map[string]string{"sub": "x"}}, api.NotFound},
		"of no user":                  {api.NewWorkloadRule{Claims: map[string]string{"sub": "x"}}, api.NotFound},
		"for less than a minute":      {api.NewWorkloadRule{User: "deploy", Claims: map[string]string{"sub": "x"}, Seconds: 59}, api.Invalid},
		"for a minute":                {api.NewWorkloadRule{User: "deploy", Claims: map[string]string{"sub": "x"}, Seconds: 60}, ""},
		"for an hour":                 {api.NewWorkloadRule{User: "deploy", Claims: map[string]string{"sub": "x"}, Seconds: 3600}, ""},
		"for longer than an hour":     {api.NewWorkloadRule{User: "deploy", Claims: map[string]string{"sub": "x"}, Seconds: 3601}, api.Invalid},
		"for less than no time":       {api.NewWorkloadRule{User: "deploy", Claims: map[string]string{"sub": "x"}, Seconds: -1}, api.Invalid},
		"for an hour if nothing said": {api.NewWorkloadRule{User: "deploy", Claims: map[string]string{"sub": "x"}}, ""},
	} {
		r, err := try[api.WorkloadRule](t, j.admin, "POST", "/v1/workload-issuers/actions/rules", c.in)
		if api.KindOf(err) != c.kind || err == nil && c.in.Seconds == 0 && r.Seconds != 3600 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if c.kind == api.NotFound && !strings.HasSuffix(err.Error(), "type: cardea admin service-users list") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, in := range map[string]api.NewWorkloadIssuer{
		"without TLS":            {Name: "x", Issuer: "http://jobs.example.com"},
		"with a query":           {Name: "x", Issuer: "https://jobs.example.com?x"},
		"without a name":         {Issuer: "https://jobs.example.com"},
		"with an odd audience":   {Name: "x", Issuer: "https://jobs.example.com", Audience: "a b"},
		"with a longer audience": {Name: "x", Issuer: "https://jobs.example.com", Audience: strings.Repeat("a", 257)},
	} {
		if _, err := try[any](t, j.admin, "POST", "/v1/workload-issuers", in); api.KindOf(err) != api.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := try[any](t, j.admin, "DELETE", "/v1/workload-issuers/actions/rules/"+j.rule.ID, nil); api.KindOf(err) != api.NotFound {
		t.Errorf("the rule of another issuer: %v", err)
	}
}
