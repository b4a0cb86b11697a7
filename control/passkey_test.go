package control

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/audit"
)

// authenticator is a virtual one of the browser.
type authenticator struct {
	c  *chromium
	id string
}

func (c *chromium) authenticator(verifies bool) *authenticator {
	c.t.Helper()
	c.call("WebAuthn.enable", map[string]any{}, nil)
	var out struct{ AuthenticatorID string }
	c.call("WebAuthn.addVirtualAuthenticator", map[string]any{"options": map[string]any{
		"protocol": "ctap2", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true,
		"isUserVerified": verifies, "automaticPresenceSimulation": true,
	}}, &out)
	return &authenticator{c, out.AuthenticatorID}
}

type virtualCredential struct {
	CredentialID         string `json:"credentialId"`
	IsResidentCredential bool   `json:"isResidentCredential"`
	RPID                 string `json:"rpId,omitempty"`
	PrivateKey           string `json:"privateKey"`
	UserHandle           string `json:"userHandle,omitempty"`
	SignCount            int    `json:"signCount"`
}

func (a *authenticator) credentials() []virtualCredential {
	a.c.t.Helper()
	var raw struct{ Credentials []virtualCredential }
	a.c.call("WebAuthn.getCredentials", map[string]any{"authenticatorId": a.id}, &raw)
	return raw.Credentials
}

func (a *authenticator) verified(yes bool) {
	a.c.call("WebAuthn.setUserVerified", map[string]any{"authenticatorId": a.id, "isUserVerified": yes}, nil)
}

// A real browser and its authenticator make a passkey, sign in with it, and nothing that
// is not quite that is taken.
func TestARealBrowserUsesAPasskey(t *testing.T) {
	c := startChromium(t)
	key := c.authenticator(true)
	s := localStack(t)
	home := s.options.PublicURL
	c.visit(home + "/account")
	c.signIn("alice")
	c.at(`form[action="/account/passkey"]`)
	c.js(`document.querySelector('form[action="/account/passkey"] button').click()`)
	c.at(`form[data-passkey=create]`)
	if got := fmt.Sprint(c.js(`document.scripts.length + " " + document.querySelectorAll("script:not([src])").length`)); got != "1 0" {
		t.Errorf("scripts on the page: %s", got)
	}
	c.js(`document.querySelector("#name").value = "laptop"; document.querySelector("form button").click()`)
	c.at(".codes")
	made := key.credentials()
	if len(made) != 1 || made[0].RPID != "localhost" {
		t.Fatalf("credentials %+v", made)
	}
	factors, err := s.store.Factors(t.Context(), s.user("alice").ID)
	if err != nil || len(factors) != 1 || factors[0].Kind != "passkey" || factors[0].Name != "laptop" {
		t.Fatalf("factors %+v %v", factors, err)
	}

	// The same authenticator is not taken twice.
	c.visit(home + "/account")
	c.at(`form[action="/account/passkey"]`)
	c.js(`document.querySelector('form[action="/account/passkey"] button').click()`)
	c.at(`form[data-passkey=create]`)
	c.js(`document.querySelector("form button").click()`)
	c.until(`!document.querySelector("form .problem").hidden`)

	signIn := func() {
		t.Helper()
		c.js(`document.cookie`) // the page lives
		c.visit(home + "/account")
		c.at("form")
		if c.js(`!!document.querySelector('form[action="/signout"]')`) == true {
			c.js(`document.querySelector('form[action="/signout"] button').click()`)
		}
		c.signIn("alice")
		c.at(`form[data-passkey=get]`)
	}
	press := func() { c.js(`document.querySelector("form[data-passkey=get] button").click()`) }
	signIn()
	press()
	c.at(`form[action="/account/passkey"]`)
	if rows := s.events(audit.FactorUse); len(rows) != 1 || rows[0].Detail["kind"] != "passkey" || rows[0].Detail["name"] != "laptop" {
		t.Errorf("audited: %+v", rows)
	}

	t.Run("an answer is good once, for the question that it was made for", func(t *testing.T) {
		signIn()
		// The page's own answer is kept, and sent twice.
		c.js(`window.sent = []; HTMLFormElement.prototype.submit = function () { window.sent.push(new URLSearchParams(new FormData(this)).toString()); }`)
		press()
		c.until(`window.sent.length === 1`)
		form, err := url.ParseQuery(c.js(`window.sent[0]`).(string))
		if err != nil {
			t.Fatal(err)
		}
		signIn() // asks something new
		body, _ := json.Marshal(form.Encode())
		c.js(`window.status_ = 0; fetch`) // fetch is there, and the policy forbids it: so a form is sent
		c.js(`{ const f = document.querySelector("form[data-passkey=get]"); f.elements.passkey.value = new URLSearchParams(` + string(body) + `).get("passkey"); HTMLFormElement.prototype.submit.call(f); }`)
		c.at("main > .problem")
	})
	t.Run("a key that did not see who holds it is refused", func(t *testing.T) {
		key.verified(false)
		defer key.verified(true)
		signIn()
		press()
		c.until(`!document.querySelector("form .problem").hidden || !!document.querySelector("main > .problem")`)
	})
	t.Run("a copy of the key is noticed by its sign count", func(t *testing.T) {
		now := key.credentials()[0]
		if now.SignCount < 2 {
			t.Skipf("SKIPPED: the virtual authenticator does not count: %d", now.SignCount)
		}
		copied := now
		copied.SignCount = 0
		c.call("WebAuthn.removeCredential", map[string]any{"authenticatorId": key.id, "credentialId": now.CredentialID}, nil)
		c.call("WebAuthn.addCredential", map[string]any{"authenticatorId": key.id, "credential": copied}, nil)
		signIn()
		press()
		c.at("main > .problem")
		failed := s.events(audit.SignInFailed)
		if last := failed[len(failed)-1]; !strings.Contains(last.Reason, "passkey") {
			t.Errorf("audited: %+v", last)
		}
	})
}
