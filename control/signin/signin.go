// Package signin turns a person at a browser into a session of a device, and
// keeps those sessions and devices.
//
// The way is OAuth's authorization code (RFC 6749 section 4.1) for one native
// client (RFC 8252) with PKCE (RFC 7636), a code bound to the device's key
// (RFC 9449 section 10) and the issuer in the answer (RFC 9207):
//
//	Begin     the browser comes from the device with a request
//	Password  a person shows who he is, and with ShowCode or ShowPasskey his second factor, or
//	Federate  is sent to an identity provider that says so, and
//	Federated comes back from it
//	Decide    he compares the code with his terminal, and says yes or no
//	AskCode   a device without a browser asks for a code instead, which a person
//	TypeCode  types in a browser elsewhere, to decide there as above
//	Redeem    the device trades the code for its session, with its key
//
// A request belongs to the browser that began it, so it cannot be finished in
// another. Nothing is given without a person's yes on a page that names the
// device: a link that somebody else made leads no further than that page.
package signin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/sso"
	"github.com/cardea-ssh/cardea/password"
	"github.com/cardea-ssh/cardea/store"
	"gocloud.dev/secrets"
)

// Times and limits of a sign-in.
const (
	// RequestLife is how long a person may take from the link to his yes.
	RequestLife = 10 * time.Minute
	// CodeLife is how long the device may take to redeem the code. It listens
	// while the browser is sent to it, so a minute is long.
	CodeLife = time.Minute
	// BrowserLife is how long a browser may confirm more devices without the
	// password: one sitting.
	BrowserLife = time.Hour
	// SessionLife is that of a device's session by default.
	SessionLife = 12 * time.Hour
	// Tries is how many passwords one source may try for one account within
	// TryWindow. Ten leave room for a person with several; at that rate a guess
	// at a password of twelve characters is hopeless.
	Tries, TryWindow = 10, 15 * time.Minute
	// maxName bounds the name and maxDevice the device's name, in bytes.
	maxName, maxDevice = 128, 128
)

// Rows that failed sign-ins may add to the audit, those of known people and those of
// strangers each: two a second is far more than people cause, and 70 MB a day at most.
const (
	auditBurst = 120
	auditEvery = 500 * time.Millisecond
)

// Options are what a Service is made of; all but Logger, Now and SessionLife
// are needed.
type Options struct {
	Store     store.Store
	Passwords *password.Queue
	// PublicURL is the issuer that answers name.
	PublicURL string
	// SessionLife is SessionLife if it is zero.
	SessionLife time.Duration
	// Issuers speaks to identity providers, and Keeper opens the secrets that
	// they gave us, and seals those of second factors.
	Issuers *sso.Issuers
	Keeper  *secrets.Keeper
	Logger  *slog.Logger
	Now     func() time.Time
}

// Service signs people in. Make it with New.
type Service struct {
	Options
	ration   *caller.Ration     // of people who are known
	junk     *caller.Ration     // of all else
	passkeys *webauthn.WebAuthn // nil where there can be none
}

// New makes a Service.
func New(o Options) *Service {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.SessionLife == 0 {
		o.SessionLife = SessionLife
	}
	if o.Issuers == nil {
		o.Issuers = sso.New(sso.Options{Now: o.Now})
	}
	return &Service{
		Options: o, ration: caller.NewRation(auditBurst, auditEvery), junk: caller.NewRation(auditBurst, auditEvery),
		passkeys: relyingParty(o.PublicURL),
	}
}

func (s *Service) now() time.Time { return s.Now().UTC() }

// Browser is what the pages know of who looks at them.
type Browser struct {
	// Token is the browser's own secret, from before anybody signed in: it ties
	// a request to this browser.
	Token string
	// Login is the secret of the person signed in here; empty if nobody is. It
	// is new at each sign-in, so that one planted before is worth nothing.
	Login string
	// Source is its address, and From what that is counted by.
	Source, From string
	// Known is the secret that it was given where somebody showed a second factor; empty if
	// nobody did.
	Known string
}

// NewSecret makes a value for a cookie, a code or a token: 256 bits.
func NewSecret() string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
}

// SecretLen is the length of what NewSecret makes.
const SecretLen = 52

func hashOf(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// record stores an event of a refusal, within the rations: what is tried of somebody known
// must not be hidden by what any stranger can make up. A log that cannot be
// written is told of and does not change the answer, which is no already.
func (s *Service) record(ctx context.Context, e audit.Event) {
	ration := s.ration
	if e.User == "" {
		ration = s.junk
	}
	held, ok := ration.Take(e.Time)
	if !ok {
		return
	}
	caller.NoteHeld(&e, held)
	// The refusal is recorded also if the peer does not wait for it.
	err := s.Store.AppendAudit(context.WithoutCancel(ctx), store.Meta{Now: e.Time, Audit: audit.EncodeAll(e)})
	if err != nil {
		s.Logger.Error("audit of a refused sign-in", "error", err)
	}
}

// gone is the answer for a request that is not there any more.
func gone(err error) error {
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrUsed) {
		return api.Errorf(api.Gone, "this sign-in was finished, or took longer than %d minutes", int(RequestLife.Minutes())).
			WithHint("to begin again type: cardea login").WithCause(err)
	}
	return err
}
