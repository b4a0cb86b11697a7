package sso

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/cardea-ssh/cardea/control/sso/ssotest"
)

const redirect = "https://access.example.com/oauth/callback/test"

// scene is a relying party and a provider, with a clock that a test may move.
type scene struct {
	t        testing.TB
	provider *ssotest.Provider
	issuers  *Issuers
	client   Client

	mu    sync.Mutex
	ahead time.Duration
}

func newScene(t testing.TB) *scene {
	t.Helper()
	s := &scene{t: t, provider: ssotest.New(t)}
	s.issuers = New(Options{Roots: s.provider.Roots(), Now: s.now})
	s.client = Client{Issuer: s.provider.URL(), ID: ssotest.ClientID, Secret: ssotest.ClientSecret, Redirect: redirect, Scopes: []string{"profile"},
		Want: Rules{LoginClaim: "preferred_username", GroupsClaim: "groups"}.Want()}
	return s
}

func (s *scene) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.ahead)
}

func (s *scene) wait(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += d
}

var flow = Flow{State: "the state", Nonce: "the nonce", Verifier: strings.Repeat("v", 43)}

// signIn is a whole run; spoil may change the answer that the browser brings.
func (s *scene) signIn(spoil ...func(url.Values)) (*Person, error) {
	s.t.Helper()
	f := flow
	f.Began = s.now()
	to, err := s.issuers.Begin(s.t.Context(), s.client, f)
	if err != nil {
		return nil, err
	}
	answer := s.provider.Visit(to)
	for _, change := range spoil {
		change(answer)
	}
	return s.issuers.Finish(s.t.Context(), s.client, f, answer)
}

// refused fails unless a run ends for this kind of reason.
func (s *scene) refused(kind Kind, part string, spoil ...func(url.Values)) {
	s.t.Helper()
	p, err := s.signIn(spoil...)
	var why *Error
	if p != nil || !errors.As(err, &why) || why.Kind != kind || !strings.Contains(why.Error(), part) {
		s.t.Errorf("got %v, %v; want kind %d and %q", p, err, kind, part)
	}
}

func TestAPersonComesBack(t *testing.T) {
	s := newScene(t)
	p, err := s.signIn()
	if err != nil {
		t.Fatal(err)
	}
	if p.Issuer != s.provider.URL() || p.Subject != "alice-at-the-provider" || p.AuthTime.IsZero() || !cmp.Equal(p.AMR, []string{"pwd", "otp"}) {
		t.Errorf("got %+v", p.Token)
	}
	if login, err := (Rules{LoginClaim: "preferred_username", LoginRule: "whole"}).Login(p.Claims); login != "alice" || err != nil {
		t.Errorf("login %q, %v", login, err)
	}
}

func TestTheProviderIsToldWhatProtectsTheRun(t *testing.T) {
	s := newScene(t)
	ask := func(f Flow) url.Values {
		to, err := s.issuers.Begin(t.Context(), s.client, f)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		return u.Query()
	}
	q := ask(flow)
	if strings.Contains(q.Encode(), flow.Verifier) || q.Get("scope") != "openid profile" || q.Has("prompt") || q.Has("max_age") || q.Has("client_secret") {
		t.Errorf("asked with %v", q)
	}
	again := flow
	again.Reauth = true
	if q := ask(again); q.Get("prompt") != "login" || q.Get("max_age") != "0" {
		t.Errorf("anew: asked with %v", q)
	}
}

// An answer that is not of the provider that was asked is thrown away before anything is
// asked of anybody (RFC 9207).
func TestAnAnswerOfAnotherProviderReachesNoTokenEndpoint(t *testing.T) {
	s := newScene(t)
	other := ssotest.New(t)
	for name, spoil := range map[string]func(url.Values){
		"its issuer":                      func(q url.Values) { q.Set("iss", other.URL()) },
		"no issuer, though they have one": func(q url.Values) { q.Del("iss") },
		"two issuers":                     func(q url.Values) { q.Add("iss", other.URL()) },
		"ours with a slash":               func(q url.Values) { q.Set("iss", s.provider.URL()+"/") },
		"its issuer and an error":         func(q url.Values) { q.Set("iss", other.URL()); q.Set("error", "access_denied") },
		"an empty issuer":                 func(q url.Values) { q.Set("iss", "") },
		"no code":                         func(q url.Values) { q.Del("code") },
		"two codes":                       func(q url.Values) { q.Add("code", "x") },
		"a code of 8 KiB and a byte more": func(q url.Values) { q.Set("code", strings.Repeat("c", maxCode+1)) },
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			s.refused(Forged, "the answer", spoil)
		})
	}
	if s.provider.Hits("/token")+other.Hits("/token") != 0 {
		t.Error("a token endpoint was asked")
	}
	// One that does not say that it names itself need not; if it does it must be right.
	s = newScene(t)
	s.provider.Metadata(func(m map[string]any) { delete(m, "authorization_response_iss_parameter_supported") })
	if _, err := s.signIn(func(q url.Values) { q.Del("iss") }); err != nil {
		t.Error(err)
	}
	s.refused(Forged, "the answer", func(q url.Values) { q.Set("iss", other.URL()) })
}

func TestTokensThatAreNotTrusted(t *testing.T) {
	s := newScene(t)
	now := time.Now()
	claims := func(change func(map[string]any)) func() { return func() { s.provider.Claims(change) } }
	sign := func(f func(c map[string]any, key jose.JSONWebKey) string) func() {
		return func() { s.provider.Sign(f) }
	}
	for _, c := range []struct {
		name, part string
		spoil      func()
	}{
		{"no signature", "", sign(func(c map[string]any, _ jose.JSONWebKey) string { return ssotest.Unsigned(c) })},
		{"HS256 with the public key for a secret", "", sign(func(c map[string]any, key jose.JSONWebKey) string {
			return ssotest.Sign(t, c, jose.HS256, ssotest.PublicDER(t, key), key.KeyID)
		})},
		{"HS256 with the client's secret", "", sign(func(c map[string]any, key jose.JSONWebKey) string {
			return ssotest.Sign(t, c, jose.HS256, []byte(strings.Repeat(ssotest.ClientSecret, 3)), key.KeyID)
		})},
		{"a key of somebody else under the same id", "does not verify", sign(func(c map[string]any, key jose.JSONWebKey) string {
			return ssotest.Sign(t, c, jose.ES256, newKey(t), key.KeyID)
		})},
		{"a key that nobody publishes", "does not publish", sign(func(c map[string]any, _ jose.JSONWebKey) string {
			return ssotest.Sign(t, c, jose.ES256, newKey(t), "unknown")
		})},
		{"another issuer", "different provider", claims(func(c map[string]any) { c["iss"] = "https://evil.example.com" })},
		{"another audience", "audience", claims(func(c map[string]any) { c["aud"] = "another" })},
		{"no audience", "audience", claims(func(c map[string]any) { delete(c, "aud") })},
		{"several audiences and no azp", "azp", claims(func(c map[string]any) { c["aud"] = []string{"another", ssotest.ClientID} })},
		{"another azp", "azp", claims(func(c map[string]any) { c["azp"] = "another" })},
		{"an azp that is no text", "azp", claims(func(c map[string]any) { c["azp"] = []string{ssotest.ClientID} })},
		{"another nonce", "nonce", claims(func(c map[string]any) { c["nonce"] = "of another sign-in" })},
		{"no nonce", "nonce", claims(func(c map[string]any) { delete(c, "nonce") })},
		{"an empty subject", "subject", claims(func(c map[string]any) { c["sub"] = "" })},
		{"no subject", "subject", claims(func(c map[string]any) { delete(c, "sub") })},
		{"a subject with a line end", "subject", claims(func(c map[string]any) { c["sub"] = "a\nb" })},
		{"a subject of 256 bytes", "subject", claims(func(c map[string]any) { c["sub"] = strings.Repeat("s", maxSubject+1) })},
		{"a subject that is a number", "", claims(func(c map[string]any) { c["sub"] = 7 })},
		{"over for a minute", "over since", claims(func(c map[string]any) { c["exp"] = now.Add(-Skew - time.Second).Unix() })},
		{"no end", "when it ends", claims(func(c map[string]any) { delete(c, "exp") })},
		{"no beginning", "when it was made", claims(func(c map[string]any) { delete(c, "iat") })},
		{"made in two minutes", "clock", claims(func(c map[string]any) { c["iat"] = now.Add(2 * time.Minute).Unix() })},
		{"good in two minutes", "not good before", claims(func(c map[string]any) { c["nbf"] = now.Add(2 * time.Minute).Unix() })},
		{"an access token of somebody else", "access token", claims(func(c map[string]any) { c["at_hash"] = "AAAAAAAAAAAAAAAAAAAAAA" })},
		{"larger than 64 KiB", "larger", claims(func(c map[string]any) { c["x"] = strings.Repeat("x", maxToken) })},
		{"no token", "", sign(func(map[string]any, jose.JSONWebKey) string { return "x" })},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.t = t
			s.issuers = New(Options{Roots: s.provider.Roots(), Now: s.now}) // with a ration of its own
			s.provider.Behave()
			c.spoil()
			s.refused(Forged, c.part)
		})
	}
	s.t = t
	for name, change := range map[string]func(map[string]any){
		"over for 50 seconds":            func(c map[string]any) { c["exp"] = time.Now().Add(-50 * time.Second).Unix() },
		"made in 50 seconds":             func(c map[string]any) { c["iat"] = time.Now().Add(50 * time.Second).Unix() },
		"several audiences with our azp": func(c map[string]any) { c["aud"], c["azp"] = []string{"another", ssotest.ClientID}, ssotest.ClientID },
		"a subject of 255 bytes":         func(c map[string]any) { c["sub"] = strings.Repeat("s", maxSubject) },
		"neither auth_time nor amr":      func(c map[string]any) { delete(c, "auth_time"); delete(c, "amr") },
	} {
		s.provider.Behave()
		s.provider.Claims(change)
		p, err := s.signIn()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if name == "neither auth_time nor amr" && (!p.AuthTime.IsZero() || p.AMR != nil) {
			t.Errorf("%s: %+v", name, p.Token)
		}
	}
}

func TestAnAnswerIsGoodOnceAndForItsVerifier(t *testing.T) {
	s := newScene(t)
	to, err := s.issuers.Begin(t.Context(), s.client, flow)
	if err != nil {
		t.Fatal(err)
	}
	answer := s.provider.Visit(to)
	stolen := flow
	stolen.Verifier = strings.Repeat("w", 43)
	if _, err := s.issuers.Finish(t.Context(), s.client, stolen, answer); err == nil || !strings.Contains(err.Error(), "invalid_grant") {
		t.Errorf("another verifier: %v", err)
	}
	if _, err := s.issuers.Finish(t.Context(), s.client, flow, answer); err == nil {
		t.Error("a code was good twice")
	}
	s.client.Secret = "wrong"
	s.refused(Refused, "invalid_client")
}

func TestARotationInMidFlow(t *testing.T) {
	s := newScene(t)
	if _, err := s.signIn(); err != nil {
		t.Fatal(err)
	}
	to, err := s.issuers.Begin(t.Context(), s.client, flow)
	if err != nil {
		t.Fatal(err)
	}
	answer := s.provider.Visit(to)
	s.provider.Rotate("second")
	if _, err := s.issuers.Finish(t.Context(), s.client, flow, answer); err != nil {
		t.Fatal(err)
	}
	if got := s.provider.Hits("/jwks"); got != 2 {
		t.Errorf("the keys were fetched %d times, want 2", got)
	}
	// What was signed with a key that is withdrawn is good no longer than the key is kept.
	s.provider.Claims(func(c map[string]any) { c["exp"] = time.Now().Add(2 * keyLife).Unix() })
	old := s.provider.Token("the nonce")
	s.provider.Rotate("third")
	for after, ok := range []bool{true, false} {
		if _, err := s.issuers.Verify(t.Context(), s.provider.URL(), old, Expect{Audience: ssotest.ClientID}); (err == nil) != ok {
			t.Errorf("%d hours after it was withdrawn: %v", after, err)
		}
		s.wait(keyLife)
	}
}

// Whoever can have tokens checked must not be able to have the provider flooded.
func TestUnknownKeysHaveTheKeysFetchedWithinARation(t *testing.T) {
	s := newScene(t)
	verify := func(id string) error {
		claims := map[string]any{"iss": s.provider.URL(), "sub": "x", "aud": ssotest.ClientID}
		_, err := s.issuers.Verify(t.Context(), s.provider.URL(), ssotest.Sign(t, claims, jose.ES256, newKey(t), id), Expect{Audience: ssotest.ClientID})
		return err
	}
	for i := range 50 {
		if verify(fmt.Sprint("unknown", i)) == nil {
			t.Fatal("it was taken")
		}
	}
	if got := s.provider.Hits("/jwks"); got != 1+unknownBurst {
		t.Errorf("the keys were fetched %d times, want %d", got, 1+unknownBurst)
	}
	s.wait(unknownEvery)
	s.provider.Rotate("next")
	if _, err := s.issuers.Verify(t.Context(), s.provider.URL(), s.provider.Token(""), Expect{Audience: ssotest.ClientID}); err != nil {
		t.Errorf("an honest rotation after it: %v", err)
	}
}

func TestDocumentsAndKeysAreFetchedOnceForAll(t *testing.T) {
	s := newScene(t)
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			if _, err := s.issuers.Verify(t.Context(), s.provider.URL(), s.provider.Token(""), Expect{Audience: ssotest.ClientID}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if d, k := s.provider.Hits("/.well-known/openid-configuration"), s.provider.Hits("/jwks"); d != 1 || k != 1 {
		t.Errorf("%d fetches of the document and %d of the keys", d, k)
	}
	s.wait(freshMetadata)
	if _, err := s.signIn(); err != nil {
		t.Fatal(err)
	}
	if d := s.provider.Hits("/.well-known/openid-configuration"); d != 2 {
		t.Errorf("after a while: %d fetches of the document", d)
	}
}

func TestAProviderThatIsDownIsToldOfSoon(t *testing.T) {
	s := newScene(t)
	if _, err := s.signIn(); err != nil {
		t.Fatal(err)
	}
	to, err := s.issuers.Begin(t.Context(), s.client, flow)
	if err != nil {
		t.Fatal(err)
	}
	answer := s.provider.Visit(to)
	s.provider.Close()
	if _, err := s.issuers.Finish(t.Context(), s.client, flow, answer); kindOf(err) != Down {
		t.Errorf("the answer of one that is gone: %v", err)
	}
	if _, err := New(Options{}).Verify(t.Context(), s.provider.URL(), "x", Expect{Audience: "x"}); kindOf(err) != Down {
		t.Errorf("a token of one that is gone: %v", err)
	}
	s.wait(freshMetadata)
	if _, err := s.issuers.Begin(t.Context(), s.client, flow); kindOf(err) != Down {
		t.Errorf("sent to one that is gone: %v", err)
	}
}

func kindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return 0
}

func TestWhatAProviderAnswersIsBounded(t *testing.T) {
	slow := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	for _, path := range []string{"/.well-known/openid-configuration", "/jwks", "/token", "/userinfo"} {
		for name, h := range map[string]http.HandlerFunc{
			"100 MiB":                   ssotest.Endless(100 << 20),
			"an answer that never ends": slow,
			"a page":                    func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>" + strings.Repeat("x", 10_000))) },
			"an error":                  func(w http.ResponseWriter, _ *http.Request) { http.Error(w, strings.Repeat("x", 10_000), 500) },
			"a long header":             func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", maxHeader)) },
		} {
			t.Run(path+" "+name, func(t *testing.T) {
				t.Parallel()
				s := newScene(t)
				s.provider.UserInfo(map[string]any{"sub": "alice-at-the-provider"})
				s.client.Want = append(s.client.Want, "only-there")
				s.provider.Serve(path, h)
				began := time.Now()
				_, err := s.signIn()
				if kindOf(err) != Down || len(err.Error()) > 1000 {
					t.Errorf("%.300v", err)
				}
				if d := time.Since(began); d > finishTime+10*time.Second {
					t.Errorf("it took %s", d)
				}
			})
		}
	}
}

func TestAnAnswerAtTheBoundIsReadAndALongerOneIsAnError(t *testing.T) {
	s := newScene(t)
	for size, ok := range map[int]bool{maxAnswer: true, maxAnswer + 1: false} {
		for _, told := range []bool{true, false} { // by its Content-Length
			s.provider.Serve("/x", func(w http.ResponseWriter, _ *http.Request) {
				if !told {
					w.(http.Flusher).Flush()
				}
				w.Write(make([]byte, size))
			})
			raw, _, err := s.issuers.get(t.Context(), s.provider.URL()+"/x", "")
			if (err == nil) != ok || err == nil && len(raw) != size || err != nil && !errors.Is(err, errLarge) {
				t.Errorf("%d bytes, told %v: %d, %v", size, told, len(raw), err)
			}
		}
	}
}

func TestRedirectsOfAProvider(t *testing.T) {
	s := newScene(t)
	moved := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusTemporaryRedirect) }
	}
	s.provider.Serve("/keys", moved(s.provider.URL()+"/jwks"))
	s.provider.Metadata(func(m map[string]any) { m["jwks_uri"] = s.provider.URL() + "/keys" })
	if _, err := s.signIn(); err != nil {
		t.Errorf("keys that moved: %v", err)
	}
	for name, spoil := range map[string]func(*ssotest.Provider){
		"a circle":            func(p *ssotest.Provider) { p.Serve("/jwks", moved(p.URL()+"/jwks")) },
		"away from https":     func(p *ssotest.Provider) { p.Serve("/jwks", moved("http://127.0.0.1:1/jwks")) },
		"the code is sent on": func(p *ssotest.Provider) { p.Serve("/token", moved(p.URL()+"/elsewhere")) },
		"the code is sent on with the secret in it": func(p *ssotest.Provider) {
			p.Metadata(func(m map[string]any) { m["token_endpoint_auth_methods_supported"] = []string{"client_secret_post"} })
			p.Serve("/token", moved(p.URL()+"/elsewhere"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			spoil(s.provider)
			s.refused(Down, "")
			if s.provider.Hits("/elsewhere") != 0 {
				t.Error("a code was sent on")
			}
		})
	}
}

func TestADocumentThatCannotBeTrusted(t *testing.T) {
	s := newScene(t)
	for name, change := range map[string]func(map[string]any){
		"another issuer":               func(m map[string]any) { m["issuer"] = "https://evil.example.com" },
		"no keys":                      func(m map[string]any) { delete(m, "jwks_uri") },
		"no token endpoint":            func(m map[string]any) { delete(m, "token_endpoint") },
		"a token endpoint without TLS": func(m map[string]any) { m["token_endpoint"] = "http://evil.example.com/token" },
		"keys in a file":               func(m map[string]any) { m["jwks_uri"] = "file:///etc/passwd" },
		"a sign-in that is a script":   func(m map[string]any) { m["authorization_endpoint"] = "javascript:alert(1)" },
		"a name and password in it":    func(m map[string]any) { m["jwks_uri"] = "https://a:b@example.com/" },
	} {
		t.Run(name, func(t *testing.T) {
			s.t, s.issuers = t, New(Options{Roots: s.provider.Roots(), Now: s.now})
			s.provider.Metadata(change)
			s.refused(Down, "")
		})
	}
}

// GitHub and Kubernetes publish neither a sign-in page nor a place for codes.
func TestAPlatformOfJobsPublishesKeysAlone(t *testing.T) {
	s := newScene(t)
	s.provider.Metadata(func(m map[string]any) { delete(m, "authorization_endpoint"); delete(m, "token_endpoint") })
	if _, err := s.issuers.Verify(t.Context(), s.provider.URL(), s.provider.Token(""), Expect{Audience: ssotest.ClientID}); err != nil {
		t.Errorf("a token of a job: %v", err)
	}
	s.refused(Down, "")
}

func TestUserInfoAddsWhatTheTokenDoesNotSay(t *testing.T) {
	s := newScene(t)
	s.provider.Claims(func(c map[string]any) { delete(c, "groups") })
	s.provider.UserInfo(map[string]any{"sub": "alice-at-the-provider", "groups": []string{"a"}, "preferred_username": "mallory"})
	p, err := s.signIn()
	if err != nil {
		t.Fatal(err)
	}
	if groups, _ := p.Claims.List("groups"); !cmp.Equal(groups, []string{"a"}) || p.Claims["preferred_username"] != "alice" {
		t.Errorf("claims %v", p.Claims)
	}
	s.provider.UserInfo(map[string]any{"sub": "mallory", "groups": []string{"root"}})
	s.refused(Forged, "two people")
	s.provider.UserInfo(map[string]any{"groups": []string{"root"}})
	s.refused(Forged, "two people")
}

func TestWhoIsToBeAskedAnewIs(t *testing.T) {
	s := newScene(t)
	run := func(since time.Duration) error {
		f := flow
		f.Reauth, f.Began = true, s.now()
		s.provider.Claims(func(c map[string]any) {
			if c["auth_time"] = time.Now().Add(-since).Unix(); since < 0 {
				delete(c, "auth_time")
			}
		})
		to, err := s.issuers.Begin(t.Context(), s.client, f)
		if err != nil {
			return err
		}
		_, err = s.issuers.Finish(t.Context(), s.client, f, s.provider.Visit(to))
		return err
	}
	if err := run(2 * time.Minute); kindOf(err) != Refused {
		t.Errorf("signed in before: %v", err)
	}
	for _, since := range []time.Duration{0, 50 * time.Second, -1} {
		if err := run(since); err != nil {
			t.Errorf("%s before: %v", since, err)
		}
	}
}

func TestOneWhoLeavesEndsNobodyElsesFetch(t *testing.T) {
	s := newScene(t)
	asked, go_ := make(chan struct{}), make(chan struct{})
	s.provider.Serve("/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-go_
		s.provider.Behave()
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	})
	leaving, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := s.issuers.Begin(leaving, s.client, flow)
		left <- err
	}()
	<-asked
	stayed := make(chan error)
	go func() {
		_, err := s.issuers.Begin(t.Context(), s.client, flow)
		stayed <- err
	}()
	leave()
	if err := <-left; err == nil {
		t.Error("who left got an answer")
	}
	close(go_)
	if err := <-stayed; err != nil {
		t.Errorf("who stayed: %v", err)
	}
}
