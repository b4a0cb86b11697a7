package control

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/sso"
	"github.com/cardea-ssh/cardea/internal/browse"
)

// client is a relying party of the certified provider that is not ours: it gives us the
// tokens that it got, as a platform gives them to jobs.
type client struct {
	t        *testing.T
	provider *certified
	redirect string
	codes    chan string
}

func newClient(t *testing.T) *client {
	c := &client{t: t, codes: make(chan string, 1)}
	back := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if code := r.URL.Query().Get("code"); code != "" {
			c.codes <- code
		}
	}))
	t.Cleanup(back.Close)
	c.redirect = strings.Replace(back.URL, "127.0.0.1", "localhost", 1) + "/callback"
	c.provider = startCertified(t, c.redirect)
	return c
}

// token is a fresh ID token about this account.
func (c *client) token(account string) string {
	c.t.Helper()
	verifier := strings.Repeat("v", 43)
	sum := sha256.Sum256([]byte(verifier))
	page, err := browse.Person{Name: account, Password: "anything"}.Visit(c.t.Context(), c.provider.issuer+"/auth?"+url.Values{
		"response_type": {"code"}, "client_id": {"cardea"}, "redirect_uri": {c.redirect}, "scope": {"openid"}, "state": {"x"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}.Encode())
	if err != nil {
		c.t.Fatalf("%v: %s", err, page.Text)
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {<-c.codes}, "redirect_uri": {c.redirect}, "code_verifier": {verifier}}
	req, err := http.NewRequestWithContext(c.t.Context(), "POST", c.provider.issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		c.t.Fatal(err)
	}
	req.SetBasicAuth("cardea", url.QueryEscape("the secret of the client"))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Token string `json:"id_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.Token == "" {
		c.t.Fatalf("no token: HTTP %d, %v", res.StatusCode, err)
	}
	return answer.Token
}

func TestTokensOfACertifiedProviderSignJobsIn(t *testing.T) {
	c := newClient(t)
	s := newStack(t)
	s.options.Issuers = sso.New(sso.Options{LoopbackHTTP: true})
	s.restart()
	admin := s.admin()
	must[api.ServiceUser](t, admin, "POST", "/v1/service-users", api.NewServiceUser{Name: "deploy"})
	must[api.WorkloadIssuer](t, admin, "POST", "/v1/workload-issuers", api.NewWorkloadIssuer{Name: "platform", Issuer: c.provider.issuer, Audience: "cardea"})
	must[api.WorkloadRule](t, admin, "POST", "/v1/workload-issuers/platform/rules", api.NewWorkloadRule{User: "deploy", Claims: map[string]string{"sub": "job-*"}})

	d, token := s.device(""), c.token("job-1")
	if err := d.enter(t, jobForm(token)); err != nil || d.session.UserName != "deploy" {
		t.Fatalf("%+v, %v", d.session, err)
	}
	refusedJob(t, s.redeemAt(1, s.device(""), jobForm(token)), "invalid_grant")
	refusedJob(t, s.redeem(s.device(""), jobForm(c.token("mallory"))), "no rule fits")
	if e := s.events(audit.WorkloadReplay); len(e) != 1 || e[0].Detail["subject"] != "job-1" {
		t.Errorf("audit: %+v", e)
	}
	before := c.token("job-2")
	c.provider.order(map[string]any{"rotate": true})
	if err := s.device("").enter(t, jobForm(c.token("job-3"))); err != nil {
		t.Errorf("signed with a new key: %v", err)
	}
	refusedJob(t, s.redeem(s.device(""), jobForm(before)), "invalid_grant") // by a key that was withdrawn
}
