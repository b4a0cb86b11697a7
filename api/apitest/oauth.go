package apitest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"

	"github.com/cardea-ssh/cardea/api"
)

// authorize is the browser's part, with a person who always says yes.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for _, name := range []string{"redirect_uri", "state", "code_challenge", "dpop_jkt"} {
		if q.Get(name) == "" {
			s.t.Errorf("apitest: the authorization request has no %s", name)
		}
	}
	if q.Get("response_type") != "code" || q.Get("client_id") != api.ClientID || q.Get("code_challenge_method") != "S256" {
		s.t.Errorf("apitest: authorization request %v", q)
	}
	code := rand.Text()
	s.mu.Lock()
	s.codes[code] = q
	s.mu.Unlock()
	back := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {s.URL}}
	if s.Tamper != nil {
		s.Tamper(back)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

// deviceCode is what every device without a browser polls with; somebody types its code
// before it polls for the first time.
const deviceCode = "device-code"

// OAuth is a refusal of the token endpoint by OAuth's own word for it.
func OAuth(code string) error {
	e := api.Errorf(api.Denied, "the test refuses with %s", code)
	e.OAuth = code
	return e
}

// redeem is POST /oauth/token.
func (s *Server) redeem(c Call) (any, error) {
	form, err := url.ParseQuery(string(c.Body))
	program := form.Get("grant_type") == api.GrantServiceKey || form.Get("grant_type") == api.GrantWorkload && form.Get("assertion") != ""
	typed := form.Get("grant_type") == api.DeviceGrantType && form.Get("device_code") == deviceCode
	if err == nil && (typed || program && form.Get("client_id") == api.ClientID) {
		token, session := s.SignIn(c.Thumbprint)
		return api.SignedIn{Token: api.Token{AccessToken: token, TokenType: "DPoP", ExpiresIn: int(Life.Seconds())}, Session: session}, nil
	}
	if err != nil || form.Get("grant_type") != "authorization_code" || form.Get("client_id") != api.ClientID {
		return nil, api.Errorf(api.Invalid, "not a token request")
	}
	s.mu.Lock()
	asked, ok := s.codes[form.Get("code")]
	delete(s.codes, form.Get("code"))
	s.mu.Unlock()
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	switch {
	case !ok:
		return nil, api.Errorf(api.Gone, "the code is unknown, used or over")
	case base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge"),
		form.Get("redirect_uri") != asked.Get("redirect_uri"),
		c.Thumbprint != asked.Get("dpop_jkt"):
		return nil, api.Errorf(api.Denied, "the code belongs to another request")
	}
	token, session := s.SignIn(c.Thumbprint)
	session.DeviceTag = asked.Get("device_name")
	s.mu.Lock()
	s.sessions[token] = bound{c.Thumbprint, session}
	s.mu.Unlock()
	return api.SignedIn{
		Token:   api.Token{AccessToken: token, TokenType: "DPoP", ExpiresIn: int(Life.Seconds())},
		Session: session,
	}, nil
}

// Browse does what a person's browser would: it opens the URL, says yes, and
// follows the redirects to the end, whose page it returns.
func (s *Server) Browse(u string) (page string, err error) {
	res, err := s.HTTP().Get(u)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return string(text), err
}
