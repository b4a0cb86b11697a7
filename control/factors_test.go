package control

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/signin"
	"github.com/cardea-ssh/cardea/store"
)

// totp is an authenticator program: RFC 6238 as everybody has it.
type totp struct{ secret []byte }

func (p totp) code(at time.Time) string {
	mac := hmac.New(sha1.New, p.secret)
	binary.Write(mac, binary.BigEndian, at.Unix()/30)
	sum := mac.Sum(nil)
	n := binary.BigEndian.Uint32(sum[sum[19]&15:]) & 0x7fffffff
	return fmt.Sprintf("%06d", n%1_000_000)
}

var shownSecret = regexp.MustCompile(`class="secret"><code>([a-z2-7 ]+)</code>`)

// scan takes the secret off the page.
func scan(t testing.TB, page reply) totp {
	t.Helper()
	m := shownSecret.FindStringSubmatch(page.body)
	if m == nil {
		t.Fatalf("no secret on the page: %d %s", page.StatusCode, page.body)
	}
	secret, err := base32.StdEncoding.DecodeString(strings.ToUpper(strings.ReplaceAll(m[1], " ", "")))
	if err != nil || !strings.Contains(page.body, "<svg") {
		t.Fatalf("secret %q: %v", m[1], err)
	}
	return totp{secret}
}

var shownCode = regexp.MustCompile(`<li><code>([a-z2-7-]{19})</code>`)

func recoveryCodes(page reply) (codes []string) {
	for _, m := range shownCode.FindAllStringSubmatch(page.body, -1) {
		codes = append(codes, m[1])
	}
	return codes
}

func of(id string) url.Values { return url.Values{"request": {id}} }

func with(id string, pairs ...string) url.Values {
	v := of(id)
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

// password signs name in at b for a request.
func (b *browser) password(id, name string) reply {
	b.s.t.Helper()
	return b.post("/signin", with(id, "name", name, "password", secret))
}

// enrolled gives name an authenticator program, at a browser that is signed in then.
func (s *stack) enrolled(name string) (*browser, totp, []string) {
	s.t.Helper()
	s.user(name)
	b := s.browser(0)
	if page := b.open("/account"); !strings.Contains(page.body, `type="password"`) {
		s.t.Fatalf("not asked for a password: %s", page.body)
	}
	if page := b.password(ownAccount, name); !strings.Contains(page.body, "second factors") {
		s.t.Fatalf("no account: %d %s", page.StatusCode, page.body)
	}
	p := scan(s.t, b.post("/account/totp", of(ownAccount)))
	before := b.cookies()
	page := b.post("/account/totp/confirm", with(ownAccount, "name", "telephone", "code", p.code(s.now())))
	codes := recoveryCodes(page)
	if len(codes) != 10 || b.cookies()["__Host-cardea-login"] == before["__Host-cardea-login"] {
		s.t.Fatalf("%d recovery codes: %d %s", len(codes), page.StatusCode, page.body)
	}
	return b, p, codes
}

// halfway is a device's request at a browser in which name has given his password.
func (s *stack) halfway(name string) (*device, *browser, string) {
	s.t.Helper()
	d, b := s.device("laptop"), s.browser(0)
	id := request(s.t, b.open(d.link()))
	if page := b.password(id, name); !strings.Contains(page.body, `action="/factor"`) {
		s.t.Fatalf("not asked for a second factor: %d %s", page.StatusCode, page.body)
	}
	return d, b, id
}

func TestASecondFactorIsAskedForAfterThePassword(t *testing.T) {
	s := newStack(t)
	_, p, codes := s.enrolled("alice")
	d, b, id := s.halfway("alice")
	half := b.cookies()["__Host-cardea-login"]

	// The password alone is good for nothing but the page that asks.
	for _, path := range []string{"/confirm", "/account"} {
		if page := b.open(path + "?request=" + id); strings.Contains(page.body, "approve") || strings.Contains(page.body, "telephone") {
			t.Errorf("%s without the factor: %s", path, page.body)
		}
	}
	for path, form := range map[string]url.Values{
		"/confirm": with(id, "decision", "approve"), "/account/totp": of(id), "/account/passkey": of(id), "/account/recovery": of(id),
	} {
		got := b.post(path, form)
		if strings.Contains(got.Header.Get("Location"), "code=") || shownSecret.MatchString(got.body) || len(recoveryCodes(got)) > 0 || strings.Contains(got.body, "data-options") && path != "/confirm" && !strings.Contains(got.body, `action="/factor"`) {
			t.Errorf("POST %s without the factor: %d %s", path, got.StatusCode, got.body)
		}
		if b.cookies()["__Host-cardea-login"] != half { // some of these pages sign out
			t.Fatalf("POST %s changed the login", path)
		}
	}
	// The code with which it was enrolled is used.
	if page := b.post("/factor", with(id, "code", p.code(s.now()))); page.StatusCode != 401 || !strings.Contains(page.body, "wrong, or was used") {
		t.Errorf("a used code: %d", page.StatusCode)
	}
	s.wait(30 * time.Second)
	code := p.code(s.now())
	page := b.post("/factor", with(id, "code", code[:3]+" "+code[3:]))
	if !strings.Contains(page.body, "approve") {
		t.Fatalf("the code: %d %s", page.StatusCode, page.body)
	}
	if b.cookies()["__Host-cardea-login"] == half {
		t.Error("the login secret of before the factor is that of after it")
	}
	back := sentBack(t, b.post("/confirm", with(id, "decision", "approve")))
	if _, err := d.api(1).Redeem(t.Context(), d.form(back.Get("code"))); err != nil {
		t.Error(err)
	}
	// Each recovery code is good once.
	for i, want := range []bool{true, false} {
		_, b, id := s.halfway("alice")
		if page := b.post("/factor", with(id, "code", strings.ToUpper(codes[3]))); strings.Contains(page.body, "approve") != want {
			t.Errorf("recovery code, use %d: %d", i+1, page.StatusCode)
		}
	}
	for action, want := range map[string]int{audit.FactorAdd: 1, audit.FactorUse: 1, audit.RecoveryUse: 1, audit.RecoveryCodes: 1} {
		if got := s.events(action); len(got) != want || got[0].User != s.user("alice").ID {
			t.Errorf("%s: %d rows, want %d", action, len(got), want)
		}
	}
	// Nothing of a secret is in the tables as it is.
	factors, err := s.store.Factors(t.Context(), s.user("alice").ID)
	if err != nil || len(factors) != 1 || strings.Contains(string(factors[0].Sealed), string(p.secret)) || factors[0].Name != "telephone" {
		t.Errorf("%+v %v", factors, err)
	}
}

func TestGuessingCodesEnds(t *testing.T) { guessCodes(t, newStack(t)) }

func guessCodes(t *testing.T, s *stack) {
	_, p, codes := s.enrolled("alice")
	s.user("bob")
	s.wait(30 * time.Second)
	var b *browser
	var id string
	limited := 0
	for i := range signin.FactorTries {
		if b == nil {
			_, b, id = s.halfway("alice")
		}
		b.http.Transport = s.client(i % len(s.instances))
		if got := b.post("/factor", with(id, "code", "000000")); got.StatusCode == 429 {
			limited++
		}
	}
	if limited != 0 {
		t.Errorf("%d of the first %d tries were limited", limited, signin.FactorTries)
	}
	for what, code := range map[string]string{"the right code": p.code(s.now()), "a recovery code": codes[0]} {
		if got := b.post("/factor", with(id, "code", code)); got.StatusCode != 429 {
			t.Errorf("%s after too many: %d", what, got.StatusCode)
		}
	}
	if n := len(s.events(audit.SignInLimited)); n != 1 {
		t.Errorf("%d rows of it", n)
	}
	s.wait(signin.TryWindow)
	_, b, id = s.halfway("alice")
	if got := b.post("/factor", with(id, "code", p.code(s.now()))); !strings.Contains(got.body, "approve") {
		t.Errorf("after the window: %d %s", got.StatusCode, got.body)
	}
}

// Somebody put a cookie of his own into a browser before its person signed in there. It is
// not made the one by which that browser is known.
func TestACookieThatWasPlantedIsNeverKnown(t *testing.T) {
	s := newStack(t)
	_, p, _ := s.enrolled("alice")
	s.wait(30 * time.Second)
	_, b, id := s.halfway("alice")
	const name = "__Host-cardea-known"
	planted := strings.Repeat("A", signin.SecretLen)
	b.http.Jar.SetCookies(b.at, []*http.Cookie{{Name: name, Value: planted, Path: "/", Secure: true}})
	if got := b.post("/factor", with(id, "code", p.code(s.now()))); !strings.Contains(got.body, "approve") {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	var kept []string
	for _, c := range b.http.Jar.Cookies(b.at) {
		if c.Name == name {
			kept = append(kept, c.Value)
		}
	}
	if len(kept) != 1 || kept[0] == planted {
		t.Errorf("the browser is known by %q", kept)
	}
}

// Somebody has stolen a password. He may try no more codes than he could, however often he
// gives the password, and whoever owns the account enters where he did before.
func TestWhoHasThePasswordDoesNotUseUpTheOwnersTries(t *testing.T) {
	s := newStack(t)
	home, p, codes := s.enrolled("alice")
	user := s.user("alice").ID
	s.wait(30 * time.Second)
	tries := func(b *browser, id string, n int) (limited int) {
		t.Helper()
		for range n {
			if b == nil {
				_, b, id = s.halfway("alice")
			}
			switch got := b.post("/factor", with(id, "code", "000000")); got.StatusCode {
			case http.StatusTooManyRequests:
				limited++
			case http.StatusUnauthorized:
			default:
				t.Fatalf("%d %s", got.StatusCode, got.body)
			}
		}
		return limited
	}
	half := func(b *browser) string {
		t.Helper()
		id := request(t, b.open(s.device("laptop").link()))
		if page := b.password(id, "alice"); !strings.Contains(page.body, `action="/factor"`) {
			t.Fatalf("not asked for a second factor: %d %s", page.StatusCode, page.body)
		}
		return id
	}
	for range signin.FactorTries { // a new browser, and the password, for each
		if tries(nil, "", 1) != 0 {
			t.Fatal("limited too early")
		}
	}
	if tries(nil, "", 1) != 1 {
		t.Error("the password gives him more tries")
	}
	s.wait(signin.TryWindow)
	_, thief, id := s.halfway("alice")
	if limited := tries(thief, id, signin.FactorSourceTries-signin.FactorTries); limited != 0 {
		t.Errorf("%d were limited too early", limited)
	}
	s.wait(signin.TryWindow)
	if tries(nil, "", 1) != 1 {
		t.Error("an address tries more than its part of a day")
	}
	// From elsewhere he uses up what is left of the account's day, to the last one.
	for range signin.FactorDayTries - signin.FactorSourceTries - 1 {
		if _, _, err := s.store.Attempt(t.Context(), store.FactorAttempts(user), time.Hour, s.now()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.store.ForgiveAttempts(t.Context(), thiefKey(user)); err != nil {
		t.Fatal(err)
	}
	if err := s.store.ForgiveAttempts(t.Context(), thiefKey(user)+"/day"); err != nil {
		t.Fatal(err)
	}
	_, other, id := s.halfway("alice")
	if tries(other, id, 1) != 0 {
		t.Error("the last one of the day is refused")
	}
	if got := other.post("/factor", with(id, "code", codes[0])); got.StatusCode != http.StatusTooManyRequests || !strings.Contains(got.body, "in which you have signed in before") {
		t.Errorf("one more: %d %s", got.StatusCode, got.body)
	}
	// She enters where she did before, and there she has tries of her own, and no more than that.
	home.open("/account")
	id = half(home)
	if limited := tries(home, id, signin.FactorTries-1); limited != 0 {
		t.Errorf("she was limited %d times", limited)
	}
	if got := home.post("/factor", with(id, "code", p.code(s.now()))); !strings.Contains(got.body, "approve") {
		t.Fatalf("she does not enter: %d %s", got.StatusCode, got.body)
	}
	id = half(home)
	if limited := tries(home, id, signin.FactorTries); limited != 0 {
		t.Errorf("what she tried before is held against her: %d", limited)
	}
	if tries(home, id, 1) != 1 {
		t.Error("a known browser may try for ever")
	}
	// That she entered gives nothing to others. A new password does: nobody else has it.
	_, other, id = s.halfway("alice")
	if tries(other, id, 1) != 1 {
		t.Error("the account's day begins anew with her sign-in")
	}
}

// thiefKey is where tries of the tests' address are counted.
func thiefKey(user string) string {
	return "factor/" + user + "/" + hex.EncodeToString(hash("127.0.0.1")[:16])
}

func TestACodeIsGoodOnce(t *testing.T) { onceShown(t, newStack(t)) }

// One code in several browsers at once, on all instances.
func onceShown(t *testing.T, s *stack) {
	_, p, _ := s.enrolled("alice")
	s.wait(30 * time.Second)
	var wg sync.WaitGroup
	var taken atomic.Int64
	for i := range 6 {
		_, b, id := s.halfway("alice")
		b.http.Transport = s.client(i % len(s.instances))
		wg.Go(func() {
			if got := b.post("/factor", with(id, "code", p.code(s.now()))); strings.Contains(got.body, "approve") {
				taken.Add(1)
			} else if got.StatusCode != 401 {
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
		})
	}
	wg.Wait()
	if taken.Load() != 1 {
		t.Errorf("the code was taken %d times", taken.Load())
	}
}

func TestTheTeamDemandsASecondFactor(t *testing.T) {
	s := newStack(t)
	admin := s.admin()
	must[api.TeamSettings](t, admin, "PATCH", "/v1/team/settings", map[string]string{"second_factor": "all"})
	denied(t, admin, api.Invalid, "PATCH", "/v1/team/settings", map[string]string{"second_factor": "some"})
	s.user("alice")
	d, b := s.device("laptop"), s.browser(0)
	id := request(t, b.open(d.link()))
	page := b.password(id, "alice")
	if !strings.Contains(page.body, "demands a second factor") {
		t.Fatalf("not asked to add one: %d %s", page.StatusCode, page.body)
	}
	if got := b.post("/confirm", with(id, "decision", "approve")); strings.Contains(got.Header.Get("Location"), "code=") {
		t.Fatal("she went on without one")
	}
	b.password(id, "alice")
	p := scan(t, b.post("/account/totp", of(id)))
	if page := b.post("/account/totp/confirm", with(id, "code", "000000")); page.StatusCode != 422 || string(scan(t, page).secret) != string(p.secret) {
		t.Errorf("a wrong code: %d", page.StatusCode)
	}
	page = b.post("/account/totp/confirm", with(id, "code", p.code(s.now())))
	if len(recoveryCodes(page)) != 10 || !strings.Contains(page.body, "/confirm?request="+id) {
		t.Fatalf("after it: %d %s", page.StatusCode, page.body)
	}
	if page := b.open("/confirm?request=" + id); !strings.Contains(page.body, "approve") {
		t.Errorf("she cannot go on: %s", page.body)
	}
	factors, _ := s.store.Factors(t.Context(), s.user("alice").ID)
	if page := b.post("/account/remove", with(ownAccount, "factor", factors[0].ID)); page.StatusCode != 409 {
		t.Errorf("the last one was removed: %d %s", page.StatusCode, page.body)
	}
	if got := must[api.TeamSettings](t, admin, "PATCH", "/v1/team/settings", map[string]string{"second_factor": "nobody"}); got.SecondFactor != "nobody" {
		t.Errorf("%+v", got)
	}
	if page := b.post("/account/remove", with(ownAccount, "factor", factors[0].ID)); strings.Contains(page.body, "telephone") || page.StatusCode != 200 {
		t.Errorf("remove: %d %s", page.StatusCode, page.body)
	}
	if page := s.browser(0).password(ownAccount, "alice"); !strings.Contains(page.body, "second factors") {
		t.Errorf("the password alone, now: %s", page.body)
	}
}

func TestFactorsAreChangedOnlyRightAfterASignIn(t *testing.T) {
	s := newStack(t)
	b, _, _ := s.enrolled("alice")
	factors, _ := s.store.Factors(t.Context(), s.user("alice").ID)
	s.wait(signin.AccountFresh)
	for path, form := range map[string]url.Values{
		"/account/totp": of(ownAccount), "/account/passkey": of(ownAccount), "/account/recovery": of(ownAccount),
		"/account/remove": with(ownAccount, "factor", factors[0].ID),
	} {
		if page := b.post(path, form); !strings.Contains(page.body, `type="password"`) {
			t.Errorf("%s from a browser that somebody left open: %d %s", path, page.StatusCode, page.body)
		}
	}
	if page := b.open("/account"); !strings.Contains(page.body, `type="password"`) {
		t.Errorf("the account: %s", page.body)
	}
	// A form of another site changes nothing either.
	got := b.post("/account/remove", with(ownAccount, "factor", factors[0].ID), func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
	if got.StatusCode != 403 {
		t.Errorf("a form of another site: %d", got.StatusCode)
	}
	if left, _ := s.store.Factors(t.Context(), s.user("alice").ID); len(left) != 1 {
		t.Error("the factor is gone")
	}
}

func TestAnAdministratorResetsFactors(t *testing.T) {
	s := newStack(t)
	admin, _, _ := s.admin(), s.browser(0), 0
	b, _, _ := s.enrolled("alice")
	denied(t, admin, api.NotFound, "POST", "/v1/users/nobody/reset-factors", nil)
	must[api.Named](t, admin, "POST", "/v1/users/alice/reset-factors", nil)
	if page := b.open("/account"); !strings.Contains(page.body, `type="password"`) {
		t.Error("her browser is still signed in")
	}
	d := s.device("laptop")
	d.approve(s.browser(0), "alice")
	rows := s.events(audit.FactorReset)
	if len(rows) != 1 || rows[0].Actor != admin.session.User || rows[0].User != s.user("alice").ID || rows[0].Detail["name"] != "alice" || rows[0].Detail["by"] != "admin" || rows[0].Detail["factors"] != "1" {
		t.Errorf("audited: %+v", rows)
	}
	// A stolen session of an administrator is no way around his own factor.
	denied(t, admin, api.Denied, "POST", "/v1/users/admin/reset-factors", nil)
	denied(t, s.signIn("bob"), api.Denied, "POST", "/v1/users/alice/reset-factors", nil)
}
