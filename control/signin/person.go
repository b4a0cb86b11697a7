package signin

import (
	"context"
	"encoding/hex"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/password"
	"github.com/cardea-ssh/cardea/store"
)

// Password checks a person's name and password and signs him in at this
// browser. It returns the browser's new login secret, and what is needed besides before
// that is good for anything: store.NeedsNothing, or a factor. An unknown name, a wrong
// password and an account without one get one answer, after the same work. from is what
// the browser's address is counted by.
func (s *Service) Password(ctx context.Context, name, secret string, b Browser, from string) (login, needs string, err error) {
	now := s.now()
	name = strings.TrimSpace(name)
	if len(name) > maxName {
		name = name[:maxName] // no account has it; the work is done all the same
	}
	tries := tryKey(name, from)
	if err := s.countTry(ctx, tries, name, b, now); err != nil {
		return "", "", err
	}
	user, hash, err := s.Store.Credential(ctx, name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", "", err
	}
	ok, err := s.Passwords.Verify(ctx, hash, secret)
	switch {
	case errors.Is(err, password.ErrBusy):
		return "", "", errBusy()
	case err != nil:
		return "", "", err
	case !ok:
		s.record(ctx, s.event(now, audit.SignInFailed, audit.Denied, "wrong name or password", user, b, map[string]string{"name": ident.Text(name)}))
		return "", "", api.Errorf(api.SignIn, "the name or the password is wrong")
	case user.Status != store.Active:
		s.record(ctx, s.event(now, audit.SignInFailed, audit.Denied, "account is "+user.Status, user, b, nil))
		return "", "", api.Errorf(api.Denied, "this account is %s", user.Status).WithHint("ask your administrator")
	}
	login = NewSecret()
	session := store.BrowserSession{
		ID: ident.New(ident.BrowserSession), User: user.ID, TokenHash: hashOf(login),
		AuthenticatedAt: now, ExpiresAt: now.Add(BrowserLife),
	}
	e := s.event(now, audit.SignInPassword, audit.Allowed, "", user, b, nil)
	session, err = s.Store.CreateBrowserSession(ctx, session, hash, store.Meta{Now: now, Audit: audit.EncodeAll(e)})
	if errors.Is(err, store.ErrDenied) {
		return "", "", api.Errorf(api.SignIn, "this account was changed just now").WithHint("sign in again").WithCause(err)
	}
	if err != nil {
		return "", "", err
	}
	return login, session.Needs, s.Store.ForgiveAttempts(ctx, tries)
}

// countTry counts before the password is looked at, so that any number of
// instances together allow no more than Tries.
func (s *Service) countTry(ctx context.Context, key, name string, b Browser, now time.Time) error {
	n, until, err := s.Store.Attempt(ctx, key, TryWindow, now)
	if err != nil || n <= Tries {
		return err
	}
	if n == Tries+1 { // once for each window
		s.record(ctx, s.event(now, audit.SignInLimited, audit.Denied, "too many tries", store.User{}, b, map[string]string{"name": ident.Text(name)}))
	}
	return api.Errorf(api.Limited, "too many tries for this account from here").
		WithHint("try again after %s", until.UTC().Format("15:04 UTC")).WithRetry(until.Sub(now))
}

// tryKey is for one account and one source: a person who has forgotten his
// password locks out neither himself elsewhere nor others here.
func tryKey(name, from string) string {
	return "signin/" + hex.EncodeToString(hashOf(strings.ToLower(name) + "\x00" + from)[:16])
}

// Person returns who is signed in at this browser; ok is false for nobody, and for who
// has yet to show a second factor.
func (s *Service) Person(ctx context.Context, b Browser) (user store.User, since time.Time, ok bool, err error) {
	at, ok, err := s.Sitting(ctx, b)
	return at.User, at.Since, ok && at.Needs == store.NeedsNothing, err
}

// Forget signs the person out of this browser.
func (s *Service) Forget(ctx context.Context, b Browser) error {
	if len(b.Login) != SecretLen {
		return nil
	}
	err := s.Store.DeleteBrowserSession(ctx, hashOf(b.Login), store.Meta{Now: s.now()})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// Where Decide sends the browser of a request whose device is elsewhere.
const (
	DoneYes = "/device/done?said=yes"
	DoneNo  = "/device/done?said=no"
)

// Decide ends a request with the person's yes or no and returns where to send
// the browser. ErrUsed and its like come as an *api.Error.
func (s *Service) Decide(ctx context.Context, id string, b Browser, yes bool) (redirect string, err error) {
	r, err := s.request(ctx, id, b)
	if err == nil && r.Dashboard() {
		err = gone(store.ErrUsed) // OpenDashboard is its end
	}
	if err != nil {
		return "", err
	}
	user, since, ok, err := s.Person(ctx, b)
	switch {
	case err != nil:
		return "", err
	case !ok || !asked(r).Rests(since):
		return "", api.Errorf(api.SignIn, "you are not signed in here any more")
	case !yes:
		return s.refuse(ctx, r, user, b)
	}
	return s.approve(ctx, r, user, since, b)
}

func (s *Service) approve(ctx context.Context, r store.AuthRequest, user store.User, since time.Time, b Browser) (string, error) {
	now := s.now()
	code := newCode(r.ID, since)
	e := s.event(now, audit.SignInApprove, audit.Allowed, "", user, b, map[string]string{"request": r.ID, "device": r.DeviceName})
	if id := otherOf(r); id != "" {
		e.Detail["for"] = id
	}
	_, missing, err := s.inPlaceOf(ctx, r, user)
	switch {
	case err != nil:
		return "", err
	case missing != nil: // the page has said so, and offered no yes
		return "", api.Errorf(api.Invalid, "%s", missing.Description)
	}
	if r.Grant != "" {
		e.Detail["way"], e.Detail["from"] = "typed code", r.Origin
		if user.Admin {
			return "", s.turnAway(ctx, r, hashOf(b.Token), user, b.Source)
		}
	}
	r, err = s.Store.ApproveAuthRequest(ctx, store.Approval{
		Request: r.ID, BrowserHash: hashOf(b.Token), User: user.ID, LoginHash: hashOf(b.Login),
		CodeHash: hashOf(code), CodeExpires: now.Add(CodeLife),
	}, store.Meta{Now: now, Audit: audit.EncodeAll(e)})
	if errors.Is(err, store.ErrDenied) {
		return "", api.Errorf(api.Denied, "this account may not sign in").WithHint("ask your administrator, or sign in again").WithCause(err)
	}
	if err != nil {
		return "", gone(err)
	}
	if r.Grant != "" {
		return DoneYes, nil
	}
	return s.back(r, url.Values{"code": {code}}), nil
}

func (s *Service) refuse(ctx context.Context, r store.AuthRequest, user store.User, b Browser) (string, error) {
	now := s.now()
	e := s.event(now, audit.SignInRefuse, audit.Denied, "the person said no", user, b, map[string]string{"request": r.ID, "device": r.DeviceName})
	answer := url.Values{"error": {"access_denied"}, "error_description": {"the sign-in was cancelled"}}
	_, missing, err := s.inPlaceOf(ctx, r, user)
	if err != nil {
		return "", err
	}
	if missing != nil {
		e.Reason = "he has no such device to replace"
		answer = url.Values{"error": {api.NoSuchDevice}, "error_description": {missing.Description}}
	}
	r, err = s.Store.RefuseAuthRequest(ctx, r.ID, hashOf(b.Token), store.Meta{Now: now, Audit: audit.EncodeAll(e)})
	if err != nil {
		return "", gone(err)
	}
	if r.Grant != "" {
		return DoneNo, nil
	}
	return s.back(r, answer), nil
}

// event is one of this browser about this user, who may be nobody.
func (s *Service) event(now time.Time, action, outcome, reason string, user store.User, b Browser, detail map[string]string) audit.Event {
	return audit.Event{
		Time: now, Action: action, Outcome: outcome, Reason: reason,
		Actor: user.ID, User: user.ID, Source: b.Source, Detail: detail,
	}
}

// A code is the id of its request, the time at which the person showed who he
// is (0 where nobody knows), and a secret. The store keeps the hash of all of it, so none of
// it can be changed, and the token endpoint needs no other state.
func newCode(request string, since time.Time) string {
	var shown int64
	if !since.IsZero() {
		shown = since.Unix()
	}
	return request + "." + strconv.FormatInt(shown, 10) + "." + NewSecret()
}

// parseCode takes a code apart. What it returns is true only once the store
// has accepted the hash.
func parseCode(code string) (request string, since time.Time, ok bool) {
	parts := strings.Split(code, ".")
	if len(parts) != 3 || ident.Check(parts[0], ident.AuthRequest) != nil || len(parts[2]) != SecretLen {
		return "", time.Time{}, false
	}
	unix, err := strconv.ParseInt(parts[1], 10, 64)
	if unix != 0 {
		since = time.Unix(unix, 0).UTC()
	}
	return parts[0], since, err == nil
}
