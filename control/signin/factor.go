package signin

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

const (
	// AccountFresh is how long after a sign-in at this browser a person may change his
	// second factors: who finds a browser open may not.
	AccountFresh = 10 * time.Minute
	// challengeLife is how long a person may take to answer with a factor.
	challengeLife = 10 * time.Minute
	// FactorTries is how many codes of an account one address may try within TryWindow:
	// who tries them has the password. FactorSourceTries is the same for a day, and
	// FactorDayTries what all addresses together may, so that a guess at six digits has a
	// chance of one in 6,000 each day. One address alone does not use up the account's day.
	FactorTries, FactorSourceTries, FactorDayTries = 10, 20, 50
	factorDay                                      = 24 * time.Hour
	// KnownLife is how long a browser is known in which somebody has shown a factor. Its
	// tries are counted by themselves, so that whoever has stolen a password does not keep
	// its owner out.
	KnownLife = 90 * 24 * time.Hour
	// maxFactorName bounds the name of a factor, in bytes.
	maxFactorName = 64
)

// Sitting is who sits at a browser, and what he still has to show.
type Sitting struct {
	User  store.User
	Since time.Time
	Needs string // store.NeedsNothing for who is signed in
	// challenge is what he was asked last.
	challenge string
}

// Sitting returns it; ok is false for nobody.
func (s *Service) Sitting(ctx context.Context, b Browser) (at Sitting, ok bool, err error) {
	if len(b.Login) != SecretLen {
		return at, false, nil
	}
	session, user, err := s.Store.BrowserSession(ctx, hashOf(b.Login), s.now())
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrUsed), errors.Is(err, store.ErrDenied):
		return at, false, nil
	case err != nil:
		return at, false, err
	}
	live := user.Status == store.Active && s.now().Before(session.ExpiresAt)
	return Sitting{user, session.AuthenticatedAt, session.Needs, session.Challenge}, live, nil
}

// Fresh tells whether the person signed in just now, as changes of his factors demand.
func (s *Service) Fresh(at Sitting) bool { return s.now().Before(at.Since.Add(AccountFresh)) }

// half is the sitting of somebody who has to show a factor.
func (s *Service) half(ctx context.Context, b Browser) (Sitting, error) {
	at, ok, err := s.Sitting(ctx, b)
	if err == nil && (!ok || at.Needs != store.NeedsFactor) {
		err = api.Errorf(api.SignIn, "you are not signed in here any more")
	}
	return at, err
}

// whole is the sitting of somebody who may change his factors.
func (s *Service) whole(ctx context.Context, b Browser) (Sitting, error) {
	at, ok, err := s.Sitting(ctx, b)
	if err == nil && (!ok || at.Needs == store.NeedsFactor || !s.Fresh(at)) {
		err = api.Errorf(api.SignIn, "this needs a sign-in of the last few minutes")
	}
	if err == nil {
		err = MayHaveFactors(at)
	}
	return at, err
}

var errFederated = api.Errorf(api.Denied, "you sign in at an identity provider").WithHint("it has your password and your second factors; see to them there")

// MayHaveFactors tells whether second factors of ours are for who sits there.
func MayHaveFactors(at Sitting) error {
	if at.User.Issuer != store.LocalIssuer {
		return errFederated
	}
	return nil
}

// Factors are those of who sits there, and how many recovery codes he has left.
func (s *Service) Factors(ctx context.Context, at Sitting) ([]store.Factor, int, error) {
	factors, err := s.Store.Factors(ctx, at.User.ID)
	if err != nil {
		return nil, 0, err
	}
	codes, err := s.Store.RecoveryCodes(ctx, at.User.ID)
	return factors, codes, err
}

// tryLimit is how often something may be tried, and under which key that is counted.
type tryLimit struct {
	key    string
	most   int
	window time.Duration
}

// ofBrowser are the limits of who tries at this browser: of the browser itself if it is known
// to be the person's, else of its address.
func (s *Service) ofBrowser(ctx context.Context, at Sitting, b Browser) (limits []tryLimit, known bool, err error) {
	if len(b.Known) == SecretLen {
		if known, err = s.Store.KnownBrowser(ctx, at.User.ID, hashOf(b.Known), s.now()); err != nil {
			return nil, false, err
		}
	}
	if known {
		key := "factor-known/" + at.User.ID + "/" + hex.EncodeToString(hashOf(b.Known)[:16])
		return []tryLimit{{key, FactorTries, TryWindow}, {key + "/day", FactorDayTries, factorDay}}, true, nil
	}
	key := "factor/" + at.User.ID + "/" + hex.EncodeToString(hashOf(b.From)[:16])
	return []tryLimit{{key, FactorTries, TryWindow}, {key + "/day", FactorSourceTries, factorDay}}, false, nil
}

// countFactor counts a try before the factor is looked at. That the password was right
// changes nothing of it. A guess counts for the whole account, too, unless the browser is known.
func (s *Service) countFactor(ctx context.Context, at Sitting, b Browser, guess bool) error {
	now := s.now()
	limits, known, err := s.ofBrowser(ctx, at, b)
	if err != nil {
		return err
	}
	if guess && !known {
		limits = append(limits, tryLimit{store.FactorAttempts(at.User.ID), FactorDayTries, factorDay})
	}
	for _, l := range limits {
		n, until, err := s.Store.Attempt(ctx, l.key, l.window, now)
		if err != nil {
			return err
		}
		if n <= l.most {
			continue
		}
		if n == l.most+1 {
			s.record(ctx, s.event(now, audit.SignInLimited, audit.Denied, "too many tries of a second factor", at.User, b, nil))
		}
		hint := "try again after %s, or ask your administrator"
		if !known {
			hint = "try again after %s, or in a browser in which you have signed in before, or ask your administrator"
		}
		return api.Errorf(api.Limited, "too many tries of a second factor").WithHint(hint, until.UTC().Format("15:04 UTC")).WithRetry(until.Sub(now))
	}
	return nil
}

// forgiveFactor forgets what was tried at this browser. What others tried stays counted.
func (s *Service) forgiveFactor(ctx context.Context, at Sitting, b Browser) error {
	limits, _, err := s.ofBrowser(ctx, at, b)
	for _, l := range limits {
		err = errors.Join(err, s.Store.ForgiveAttempts(ctx, l.key))
	}
	return err
}

// Know has a browser remembered whose person has just shown a second factor, and returns the
// secret by which it is known.
func (s *Service) Know(ctx context.Context, b Browser) (secret string, err error) {
	at, ok, err := s.Sitting(ctx, b)
	if err != nil || !ok || at.Needs != store.NeedsNothing || at.User.Issuer != store.LocalIssuer {
		return "", err
	}
	now := s.now()
	secret = b.Known
	// One that somebody else put into this browser must not become its.
	if known, err := s.Store.KnownBrowser(ctx, at.User.ID, hashOf(secret), now); err != nil {
		return "", err
	} else if !known {
		secret = NewSecret()
	}
	err = s.Store.KnowBrowser(ctx, at.User.ID, hashOf(secret), now.Add(KnownLife), store.Meta{Now: now})
	if errors.Is(err, store.ErrDenied) {
		return "", nil // disabled meanwhile
	}
	return secret, err
}

// ShowCode takes a code of an authenticator program, or a recovery code, and returns the
// browser's new login secret.
func (s *Service) ShowCode(ctx context.Context, code string, b Browser) (login string, err error) {
	at, err := s.half(ctx, b)
	if err != nil {
		return "", err
	}
	if err := s.countFactor(ctx, at, b, true); err != nil {
		return "", err
	}
	u := store.FactorUse{}
	how, detail := audit.FactorUse, map[string]string{}
	if digits := strings.ReplaceAll(strings.TrimSpace(code), " ", ""); len(digits) == totpDigits {
		f, step, err := s.totpOf(ctx, at.User.ID, digits)
		if err != nil {
			return "", err
		}
		u.Factor, u.Counter = f.ID, step
		detail["factor"], detail["kind"], detail["name"] = f.ID, f.Kind, f.Name
	} else {
		u.RecoveryHash = recoveryHash(code)
		how = audit.RecoveryUse
	}
	return s.show(ctx, at, u, s.event(s.now(), how, audit.Allowed, "", at.User, b, detail), b)
}

// totpOf finds whose code it is; an empty factor for nobody's.
func (s *Service) totpOf(ctx context.Context, user, code string) (found store.Factor, step int64, err error) {
	factors, err := s.Store.Factors(ctx, user)
	if err != nil {
		return found, 0, err
	}
	for _, f := range factors {
		if f.Kind != store.FactorTOTP {
			continue
		}
		secret, err := s.unseal(ctx, f.ID, f.Sealed)
		if err != nil {
			return found, 0, err
		}
		if at, ok := totpMatch(secret, code, s.now(), f.Counter); ok {
			found, step = f, at
		}
	}
	return found, step, nil
}

// show exchanges the half session for a whole one; e is the event of success. He showed who he
// is when he showed the older of the two: a factor makes no password of an hour ago a new one.
func (s *Service) show(ctx context.Context, at Sitting, u store.FactorUse, e audit.Event, b Browser) (string, error) {
	login, now := NewSecret(), s.now()
	u.Login = hashOf(b.Login)
	u.Session = store.BrowserSession{TokenHash: hashOf(login), AuthenticatedAt: at.Since, ExpiresAt: now.Add(BrowserLife)}
	_, err := s.Store.UseFactor(ctx, u, store.Meta{Now: now, Audit: audit.EncodeAll(e)})
	if errors.Is(err, store.ErrDenied) || errors.Is(err, store.ErrUsed) {
		s.record(ctx, s.event(now, audit.SignInFailed, audit.Denied, "wrong or used second factor", at.User, b, nil))
		return "", api.Errorf(api.SignIn, "the code is wrong, or was used before").WithHint("wait for the next one").WithCause(err)
	}
	if err != nil {
		return "", err
	}
	return login, s.forgiveFactor(ctx, at, b)
}

// totpSealed names what is sealed in a factor's row.
const totpSealed = "TOTP secret"

func (s *Service) seal(ctx context.Context, factor string, secret []byte) ([]byte, error) {
	return ca.SealText(ctx, s.Keeper, factor, totpSealed, secret)
}

func (s *Service) unseal(ctx context.Context, factor string, sealed []byte) ([]byte, error) {
	return ca.OpenText(ctx, s.Keeper, factor, totpSealed, sealed)
}

// question is what a browser session was asked, in its row until it is answered.
type question struct {
	Kind   string // questionTOTP, questionLogin, questionPasskey
	Until  time.Time
	Factor string          `json:",omitempty"`
	Sealed []byte          `json:",omitempty"`
	Data   json.RawMessage `json:",omitempty"`
}

const (
	questionTOTP    = "totp"    // a new secret, to be proved by a code
	questionLogin   = "login"   // a passkey is to sign
	questionPasskey = "passkey" // a new passkey is to be made
)

// ask keeps what is asked of a browser.
func (s *Service) ask(ctx context.Context, b Browser, q question) error {
	now := s.now()
	q.Until = now.Add(challengeLife)
	text, err := json.Marshal(q)
	if err != nil {
		return err
	}
	return s.Store.SetChallenge(ctx, hashOf(b.Login), string(text), store.Meta{Now: now})
}

// asked is what a browser was asked last, if it was of this kind and not too long ago.
func (s *Service) asked(at Sitting, kind string) (question, error) {
	var q question
	if err := json.Unmarshal([]byte(at.challenge), &q); err != nil || q.Kind != kind || !s.now().Before(q.Until) {
		return q, api.Errorf(api.Gone, "that took too long, or was answered already").WithHint("begin again")
	}
	return q, nil
}

// TOTP is a new secret as a person gets it.
type TOTP struct{ Text, URI string }

// BeginTOTP makes a secret for an authenticator program.
func (s *Service) BeginTOTP(ctx context.Context, b Browser) (TOTP, error) {
	at, err := s.whole(ctx, b)
	if err != nil {
		return TOTP{}, err
	}
	secret, id := newTOTPSecret(), ident.New(ident.Factor)
	sealed, err := s.seal(ctx, id, secret)
	if err != nil {
		return TOTP{}, err
	}
	if err := s.ask(ctx, b, question{Kind: questionTOTP, Factor: id, Sealed: sealed}); err != nil {
		return TOTP{}, err
	}
	return s.totp(ctx, at, secret)
}

// PendingTOTP is the secret that waits for its first code.
func (s *Service) PendingTOTP(ctx context.Context, b Browser) (TOTP, error) {
	at, err := s.whole(ctx, b)
	if err != nil {
		return TOTP{}, err
	}
	q, err := s.asked(at, questionTOTP)
	if err != nil {
		return TOTP{}, err
	}
	secret, err := s.unseal(ctx, q.Factor, q.Sealed)
	if err != nil {
		return TOTP{}, err
	}
	return s.totp(ctx, at, secret)
}

func (s *Service) totp(ctx context.Context, at Sitting, secret []byte) (TOTP, error) {
	team, err := s.Store.Team(ctx)
	return TOTP{totpText(secret), totpURI(secret, team.Name, at.User.Name)}, err
}

// AddTOTP keeps the new secret, once a code shows that the program has it. It returns
// the browser's new login secret.
func (s *Service) AddTOTP(ctx context.Context, name, code string, b Browser) (login string, err error) {
	at, err := s.whole(ctx, b)
	if err != nil {
		return "", err
	}
	q, err := s.asked(at, questionTOTP)
	if err != nil {
		return "", err
	}
	// He proves a secret that he was just given: that is no guess at a factor.
	if err := s.countFactor(ctx, at, b, false); err != nil {
		return "", err
	}
	secret, err := s.unseal(ctx, q.Factor, q.Sealed)
	if err != nil {
		return "", err
	}
	step, ok := totpMatch(secret, strings.ReplaceAll(strings.TrimSpace(code), " ", ""), s.now(), 0)
	if !ok {
		return "", api.Errorf(api.Invalid, "the code is wrong").WithHint("check the clock of the telephone, and give the code that it shows now")
	}
	return s.add(ctx, at, store.Factor{ID: q.Factor, Kind: store.FactorTOTP, Name: factorName(name, "authenticator"), Sealed: q.Sealed, Counter: step}, b)
}

// factorName is what a person calls a factor.
func factorName(name, otherwise string) string {
	if name = strings.TrimSpace(name); name == "" {
		name = otherwise
	}
	if len(name) > maxFactorName {
		name = strings.ToValidUTF8(name[:maxFactorName], "")
	}
	return ident.Text(name)
}

// add keeps a factor that was proved, and gives the browser a whole session.
func (s *Service) add(ctx context.Context, at Sitting, f store.Factor, b Browser) (string, error) {
	login, now := NewSecret(), s.now()
	e := s.event(now, audit.FactorAdd, audit.Allowed, "", at.User, b, map[string]string{"factor": f.ID, "kind": f.Kind, "name": f.Name})
	f.User, f.CreatedAt = at.User.ID, now
	_, err := s.Store.AddFactor(ctx, store.NewFactor{
		Factor: f, Login: hashOf(b.Login), Since: now.Add(-AccountFresh), Challenge: at.challenge,
		Session: store.BrowserSession{TokenHash: hashOf(login), AuthenticatedAt: at.Since, ExpiresAt: now.Add(BrowserLife)},
	}, store.Meta{Now: now, Audit: audit.EncodeAll(e)})
	switch {
	case errors.Is(err, store.ErrExists):
		return "", api.Errorf(api.Conflict, "this key is known already").WithHint("use another one").WithCause(err)
	case errors.Is(err, store.ErrInUse):
		return "", api.Errorf(api.Conflict, "you have %d second factors", store.MaxFactors).WithHint("remove one first").WithCause(err)
	case errors.Is(err, store.ErrDenied):
		return "", api.Errorf(api.SignIn, "this needs a sign-in of the last few minutes").WithCause(err)
	case err != nil:
		return "", err
	}
	return login, s.forgiveFactor(ctx, at, b)
}

// RemoveFactor takes one away from who has signed in just now, with a factor.
func (s *Service) RemoveFactor(ctx context.Context, id string, b Browser) error {
	at, err := s.whole(ctx, b)
	if err != nil {
		return err
	}
	if ident.Check(id, ident.Factor) != nil {
		return api.Errorf(api.NotFound, "there is no such second factor")
	}
	now := s.now()
	e := s.event(now, audit.FactorRemove, audit.Allowed, "", at.User, b, map[string]string{"factor": id})
	err = s.Store.RemoveFactor(ctx, hashOf(b.Login), now.Add(-AccountFresh), id, store.Meta{Now: now, Audit: audit.EncodeAll(e)})
	switch {
	case errors.Is(err, store.ErrInUse):
		return api.Errorf(api.Conflict, "your team demands a second factor, and this is your last one").WithHint("add another one first").WithCause(err)
	case errors.Is(err, store.ErrNotFound):
		return api.Errorf(api.NotFound, "there is no such second factor").WithCause(err)
	case errors.Is(err, store.ErrDenied):
		return api.Errorf(api.SignIn, "this needs a sign-in of the last few minutes").WithCause(err)
	}
	return err
}
