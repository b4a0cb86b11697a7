package issue

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/sshcert"
	"github.com/cardea-ssh/cardea/store"
	"golang.org/x/crypto/ssh"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// ledger is a store with one user, one server and one grant, that writes down
// what it is asked to record and can be made to fail.
type ledger struct {
	store.Store
	facts store.Facts
	keys  []store.Key

	mu       sync.Mutex
	inside   int // calls that are being answered; guarded by mu
	records  []store.Issued
	events   []audit.Event
	failures []error // of RecordIssuance, in order
	changed  chan struct{}
}

func (l *ledger) enter() func() {
	l.mu.Lock()
	l.inside++
	return func() { l.inside--; l.mu.Unlock() }
}

func (l *ledger) Facts(context.Context, string, string) (store.Facts, error) {
	defer l.enter()()
	return l.facts, nil
}

func (l *ledger) Keys(_ context.Context, scope, purpose string) ([]store.Key, error) {
	defer l.enter()()
	var out []store.Key
	for _, k := range l.keys {
		if k.Scope == scope && k.Purpose == purpose {
			out = append(out, k)
		}
	}
	return out, nil
}

func (l *ledger) RecordIssuance(_ context.Context, v store.Issued, m store.Meta) error {
	defer l.enter()()
	if len(l.failures) > 0 {
		err := l.failures[0]
		l.failures = l.failures[1:]
		if err != nil {
			return err
		}
	}
	l.records = append(l.records, v)
	return l.note(m)
}

func (l *ledger) AppendAudit(_ context.Context, m store.Meta) error {
	defer l.enter()()
	return l.note(m)
}

func (l *ledger) note(m store.Meta) error {
	for _, row := range m.Audit {
		e, err := audit.Decode(row)
		if err != nil {
			return err
		}
		l.events = append(l.events, e)
	}
	return nil
}

func (l *ledger) Watch(context.Context, ...string) <-chan struct{} { return l.changed }

// direct is the way without gateways.
type direct struct{}

func (direct) Routes(_ context.Context, f store.Facts) ([]api.Route, bool, error) {
	return []api.Route{{Address: f.Server.Address}}, false, nil
}

func newLedger(t *testing.T) (*ledger, *Service, caller.Caller) {
	t.Helper()
	keeper, err := ca.OpenKeeper(t.Context(), "base64key://"+base64.URLEncoding.EncodeToString(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	user, device, session := ident.New(ident.User), ident.New(ident.Device), ident.New(ident.Session)
	project, group := ident.New(ident.Project), ident.New(ident.UserGroup)
	l := &ledger{changed: make(chan struct{})}
	r, err := ca.Create(t.Context(), keeper, ca.Ref{ID: ident.New(ident.Key), Scope: project, Purpose: ca.UserCA})
	if err != nil {
		t.Fatal(err)
	}
	l.keys = []store.Key{{ID: r.ID, Scope: r.Scope, Purpose: string(r.Purpose), State: store.Active, Public: r.Public, Fingerprint: r.Fingerprint, Sealed: r.Sealed}}
	l.facts = store.Facts{
		Team:        store.Team{Epoch: 1, Revision: 9},
		User:        store.User{ID: user, Login: "alice", Status: store.Active, Revision: 3},
		Device:      store.Device{ID: device, User: user, State: store.Active},
		Session:     store.Session{ID: session, User: user, Device: device, ExpiresAt: now.Add(time.Hour)},
		Project:     store.Project{ID: project, Name: "web", CertificateSeconds: 180, Gateway: "none", Revision: 7},
		Server:      store.Server{ID: ident.New(ident.Server), Project: project, Name: "web-1", Address: "10.0.0.7:22", State: store.Active, ConfirmedEpoch: 1, ConfirmedCounter: 7, LastSeen: now},
		Memberships: []store.Member{{Group: group, User: user, Revision: 4}},
		Grants:      []store.Grant{{ID: ident.New(ident.Grant), Project: project, Group: group, Role: "user", Revision: 5}},
	}
	by := caller.Caller{Subject: store.Subject{Kind: store.KindUser, User: l.facts.User, Device: l.facts.Device, Session: l.facts.Session}}
	return l, &Service{Store: l, Keys: ca.NewKeyring(keeper), Router: direct{}, Now: func() time.Time { return now }}, by
}

func request(t *testing.T, l *ledger) api.Connect {
	t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return api.Connect{Server: l.facts.Server.ID, PublicKey: string(ssh.MarshalAuthorizedKey(key))}
}

// The record says what will be signed, and is there before it is.
func TestTheRecordIsWhatIsSigned(t *testing.T) {
	l, s, by := newLedger(t)
	c, err := s.Connect(t.Context(), by, request(t, l))
	if err != nil {
		t.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(c.Certificate))
	if err != nil {
		t.Fatal(err)
	}
	cert, r := key.(*ssh.Certificate), l.records[0]
	if r.Serial != cert.Serial || r.KeyID != cert.KeyId || !slices.Equal([]string{r.Principal}, cert.ValidPrincipals) ||
		r.PublicKey != ssh.FingerprintSHA256(cert.Key) || uint64(r.NotBefore.Unix()) != cert.ValidAfter || uint64(r.NotAfter.Unix()) != cert.ValidBefore ||
		r.Kind != store.IssueUser || r.CA != l.keys[0].ID || r.Grant != l.facts.Grants[0].ID {
		t.Errorf("record %+v of %+v", r, cert)
	}
	if e := l.events[0]; len(l.events) != 1 || e.Action != audit.Connect || e.Detail["serial"] != strconv.FormatUint(cert.Serial, 10) {
		t.Errorf("audit %+v", l.events)
	}
}

func TestWithoutARecordThereIsNoCertificate(t *testing.T) {
	taken := store.ErrExists
	for name, c := range map[string]struct {
		failures []error
		kind     api.Kind // "" for success
	}{
		"access ended between the decision and the record": {[]error{store.ErrDenied}, api.Denied},
		"the proof was used before":                        {[]error{store.ErrReplayed}, api.UseNonce},
		"the disk is full":                                 {[]error{errors.New("disk full")}, api.Internal},
		"the serial is taken":                              {[]error{taken, nil}, ""},
		"three serials are taken":                          {[]error{taken, taken, taken}, api.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			l, s, by := newLedger(t)
			l.failures = c.failures
			got, err := s.Connect(t.Context(), by, request(t, l))
			if api.KindOf(err) != c.kind || (got == nil) != (err != nil) || len(l.records) > 1 || err != nil && len(l.records) > 0 {
				t.Errorf("got %+v, %v with %d records", got, err, len(l.records))
			}
			if c.kind == api.Denied && (len(l.events) != 1 || l.events[0].Outcome != audit.Denied || !strings.Contains(err.Error(), "cardea why web-1")) {
				t.Errorf("%v, audit %+v", err, l.events)
			}
		})
	}
}

func TestAKeyThatIsRetiredSignsNothing(t *testing.T) {
	l, s, by := newLedger(t)
	l.keys[0].State = "next"
	if c, err := s.Connect(t.Context(), by, request(t, l)); err == nil {
		t.Errorf("signed %+v", c)
	}
}

// What has to be confirmed is the newest of what the decision rests on; nothing
// else that happens in the team makes anybody wait.
func TestWhatAServerMustHaveConfirmed(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*store.Facts)
		want   bool
	}{
		"all of it":               {func(*store.Facts) {}, true},
		"exactly the grant":       {func(f *store.Facts) { f.Server.ConfirmedCounter = 5 }, true},
		"one before the grant":    {func(f *store.Facts) { f.Server.ConfirmedCounter = 4 }, false},
		"the membership is newer": {func(f *store.Facts) { f.Server.ConfirmedCounter, f.Memberships[0].Revision = 5, 6 }, false},
		"the user is newer":       {func(f *store.Facts) { f.Server.ConfirmedCounter, f.User.Revision = 5, 6 }, false},
		"another group's membership is newer": {func(f *store.Facts) {
			f.Memberships = append(f.Memberships, store.Member{Group: "grp_x", Revision: 99})
		}, true},
		"another grant is newer":          {func(f *store.Facts) { f.Grants = append(f.Grants, store.Grant{ID: "grt_x", Revision: 99}) }, true},
		"nothing ever":                    {func(f *store.Facts) { f.Server.ConfirmedEpoch, f.Server.ConfirmedCounter = 0, 0 }, false},
		"an epoch before a restore":       {func(f *store.Facts) { f.Team.Epoch = 2 }, false},
		"a user of whom no project heard": {func(f *store.Facts) { f.User.Revision = 99 }, true},
	} {
		t.Run(name, func(t *testing.T) {
			l, s, _ := newLedger(t)
			c.change(&l.facts)
			decided := s.forCaller("")(l.facts)
			if !decided.decision.Allow {
				t.Fatal(decided.decision)
			}
			if got := confirmed(decided.facts, decided.decision); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestWhoWaitsHoldsNothing(t *testing.T) {
	l, s, by := newLedger(t)
	l.facts.Server.ConfirmedCounter = 0
	s.ConfirmWait = time.Minute
	done := make(chan *api.Connection)
	go func() {
		c, err := s.Connect(t.Context(), by, request(t, l))
		if err != nil {
			t.Error(err)
		}
		done <- c
	}()
	time.Sleep(100 * time.Millisecond)
	l.mu.Lock() // nobody is inside, or this would not come back
	if l.inside != 0 || len(l.records) != 0 {
		t.Errorf("%d calls under way, %d records while it waits", l.inside, len(l.records))
	}
	l.facts.Server.ConfirmedCounter = 7
	l.mu.Unlock()
	close(l.changed)
	select {
	case c := <-done:
		if c.Notice != "" {
			t.Errorf("notice %q", c.Notice)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it did not wake")
	}
}

func TestWhoIsDisabledWhileHeWaitsGetsNothing(t *testing.T) {
	l, s, by := newLedger(t)
	l.facts.Server.ConfirmedCounter = 0
	s.ConfirmWait = time.Minute
	done := make(chan error)
	go func() {
		_, err := s.Connect(t.Context(), by, request(t, l))
		done <- err
	}()
	time.Sleep(50 * time.Millisecond)
	l.mu.Lock()
	l.facts.User.Status = store.Disabled
	l.mu.Unlock()
	close(l.changed)
	if err := <-done; api.KindOf(err) != api.Denied || len(l.records) != 0 {
		t.Errorf("%v, %d records", err, len(l.records))
	}
}

func TestNoticesSayWhyALoginMightFail(t *testing.T) {
	for name, c := range map[string]struct {
		seen time.Time
		want string
	}{
		"the agent polls":            {now, "has not confirmed your account yet"},
		"the agent is silent":        {now.Add(-longUnheard - time.Second), "has not been heard of"},
		"the agent never came":       {time.Time{}, "has not been heard of"},
		"at the limit it is trusted": {now.Add(-longUnheard), "has not confirmed your account yet"},
	} {
		w := way{target: target{facts: store.Facts{Server: store.Server{Name: "web-1", LastSeen: c.seen}}}}
		if got := notice(w, now); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
		w.settled = true
		if got := notice(w, now); got != "" {
			t.Errorf("%s, and confirmed: %q", name, got)
		}
	}
}

func TestKeysAtTheLimitOfTheirLength(t *testing.T) {
	l, _, _ := newLedger(t)
	good := strings.TrimSpace(request(t, l).PublicKey)
	if _, err := parseKey(good + " " + strings.Repeat("c", 2*sshcert.MaxSubjectKey-len(good)-1)); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if _, err := parseKey(good + " " + strings.Repeat("c", 2*sshcert.MaxSubjectKey-len(good))); err == nil {
		t.Error("one above the limit was taken")
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0eyC3yvvpvyyZGyFxH0aWrTPvrbIDOvtmpGUJyDNCy comment")
	f.Add("ssh-ed25519-cert-v01@openssh.com AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := parseKey(text)
		if err != nil {
			return
		}
		again, err := parseKey(string(ssh.MarshalAuthorizedKey(key)))
		if err != nil || string(again.Marshal()) != string(key.Marshal()) {
			t.Fatalf("%q reads back as another key: %v", text, err)
		}
	})
}
