package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/sshcert"
	"gocloud.dev/gcerrors"
	"gocloud.dev/secrets"
	"gocloud.dev/secrets/driver"
	"gocloud.dev/secrets/localsecrets"
	"golang.org/x/crypto/ssh"
)

func newKeeper(t testing.TB) *secrets.Keeper {
	t.Helper()
	key, err := localsecrets.NewRandomKey()
	if err != nil {
		t.Fatal(err)
	}
	k := localsecrets.NewKeeper(key)
	t.Cleanup(func() { k.Close() })
	return k
}

func create(t testing.TB, keeper *secrets.Keeper, scope string, p Purpose) Record {
	t.Helper()
	r, err := Create(context.Background(), keeper, Ref{ID: ident.New(ident.Key), Scope: scope, Purpose: p})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestASealedKeyOpensInItsOwnPlaceOnly(t *testing.T) {
	ctx, keeper := context.Background(), newKeeper(t)
	r := create(t, keeper, ident.New(ident.Project), UserCA)
	if _, err := Open(ctx, keeper, r.Ref, r.Sealed); err != nil {
		t.Fatal(err)
	}
	for name, ref := range map[string]Ref{
		"another row":     {"x" + r.ID, r.Scope, r.Purpose},
		"another project": {r.ID, ident.New(ident.Project), r.Purpose},
		"the team":        {r.ID, Team, r.Purpose},
		"another purpose": {r.ID, r.Scope, HostCA},
		// The same letters, cut elsewhere: lengths keep the three apart.
		"a letter moved": {r.ID + r.Scope[:1], r.Scope[1:], r.Purpose},
	} {
		if _, err := Open(ctx, keeper, ref, r.Sealed); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: got %v, want ErrSealed", name, err)
		}
	}
	if _, err := Open(ctx, newKeeper(t), r.Ref, r.Sealed); !errors.Is(err, ErrSealed) {
		t.Errorf("another keeper: got %v, want ErrSealed", err)
	}
}

func TestADamagedSealNeverOpens(t *testing.T) {
	ctx, keeper := context.Background(), newKeeper(t)
	r := create(t, keeper, Team, Policy)
	for i := range r.Sealed {
		damaged := bytes.Clone(r.Sealed)
		damaged[i] ^= 1
		if _, err := Open(ctx, keeper, r.Ref, damaged); !errors.Is(err, ErrSealed) {
			t.Fatalf("byte %d flipped: got %v", i, err)
		}
		if _, err := Open(ctx, keeper, r.Ref, r.Sealed[:i]); !errors.Is(err, ErrSealed) {
			t.Fatalf("cut to %d bytes: got %v", i, err)
		}
	}
}

// oversize is a keeper whose answers have a given length.
type oversize struct {
	driver.Keeper
	n int
}

func (o oversize) Encrypt(context.Context, []byte) ([]byte, error) { return make([]byte, o.n), nil }
func (o oversize) ErrorAs(error, any) bool                         { return false }
func (o oversize) Close() error                                    { return nil }

func TestAWrappedDataKeyIsBounded(t *testing.T) {
	ref := Ref{"ca_1", Team, Policy}
	for n, ok := range map[int]bool{maxWrapped: true, maxWrapped + 1: false} {
		if _, err := Create(context.Background(), secrets.NewKeeper(oversize{n: n}), ref); (err == nil) != ok {
			t.Errorf("%d bytes: got %v", n, err)
		}
	}
}

func TestEveryPurposeOpensAsWhatItIsAndNothingElse(t *testing.T) {
	ctx, keeper := context.Background(), newKeeper(t)
	ring := NewKeyring(keeper)
	for p, kind := range map[Purpose]string{
		UserCA: "authority", HostCA: "authority", GatewayCA: "authority", Policy: "signer", Ticket: "signer", Nonce: "symmetric", Cookie: "symmetric",
	} {
		r := create(t, keeper, Team, p)
		_, aErr := ring.Authority(ctx, r)
		_, sErr := ring.Signer(ctx, r)
		_, yErr := ring.Symmetric(ctx, r)
		for k, err := range map[string]error{"authority": aErr, "signer": sErr, "symmetric": yErr} {
			if (err == nil) != (k == kind) {
				t.Errorf("%s as %s: %v", p, k, err)
			}
		}
		if !strings.HasPrefix(r.Fingerprint, "SHA256:") || (len(r.Public) == 0) != (kind == "symmetric") {
			t.Errorf("%s: fingerprint %q, public %q", p, r.Fingerprint, r.Public)
		}
	}
	if _, err := Create(ctx, keeper, Ref{"ca_1", Team, "backup"}); err == nil {
		t.Error("a key for an unknown purpose was made")
	}
}

func TestAPublicHalfThatWasSwappedInTheDatabaseIsNoticed(t *testing.T) {
	ctx, keeper := context.Background(), newKeeper(t)
	ring := NewKeyring(keeper)
	r, other := create(t, keeper, Team, HostCA), create(t, keeper, Team, HostCA)
	if _, err := ring.Authority(ctx, r); err != nil {
		t.Fatal(err)
	}
	r.Public, r.Fingerprint = other.Public, other.Fingerprint
	if _, err := ring.Authority(ctx, r); err == nil {
		t.Error("opened under another key's public half, out of the cache")
	}
}

// counting is a keeper that counts how often it is asked.
type counting struct {
	*secrets.Keeper
	mu sync.Mutex
	n  int
}

func (c *counting) Decrypt(ctx context.Context, b []byte) ([]byte, error) {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	return c.Keeper.Decrypt(ctx, b)
}
func (c *counting) ErrorCode(error) (code gcerrors.ErrorCode) { return }
func (c *counting) Close() error                              { return nil }

func TestTheKeeperIsAskedOnceForAKey(t *testing.T) {
	ctx, inner := context.Background(), newKeeper(t)
	r := create(t, inner, Team, Nonce)
	c := &counting{Keeper: inner}
	ring := NewKeyring(secrets.NewKeeper(c))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := ring.Symmetric(ctx, r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if c.n != 1 {
		t.Errorf("asked %d times", c.n)
	}
}

func userFacts(project string) sshcert.User {
	return sshcert.User{
		Login: "alice", ServerID: ident.New(ident.Server), UserID: ident.New(ident.User), SessionID: ident.New(ident.Session),
		DeviceID: ident.New(ident.Device), ProjectID: project, Serial: sshcert.NewSerial(), Issued: time.Now(), Permissions: sshcert.Permissions{PTY: true},
	}
}

func subject(t testing.TB) ssh.PublicKey {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func authority(t testing.TB, scope string, p Purpose) *Authority {
	t.Helper()
	keeper := newKeeper(t)
	a, err := NewKeyring(keeper).Authority(context.Background(), create(t, keeper, scope, p))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestPrepareThenIssueGivesAVerifiedCertificateOnce(t *testing.T) {
	u := userFacts(ident.New(ident.Project))
	a := authority(t, u.ProjectID, UserCA)
	cert, err := sshcert.BuildUser(u, subject(t))
	if err != nil {
		t.Fatal(err)
	}
	permission, err := a.Prepare(cert, u)
	if err != nil {
		t.Fatal(err)
	}
	if d := permission.Describe(); d.Serial != u.Serial || d.Key == "" {
		t.Errorf("the record would say %+v", d)
	}
	// What happens to the caller's copy after the lint must not reach the signature.
	cert.ValidPrincipals[0] = "root@" + u.ServerID
	cert.Extensions["permit-X11-forwarding"] = ""
	signed, err := permission.Issue()
	if err != nil {
		t.Fatal(err)
	}
	e := sshcert.ExpectUser{CAs: []ssh.PublicKey{a.PublicKey()}, Login: "alice", ServerID: u.ServerID, ProjectID: u.ProjectID, Now: time.Now()}
	if err := sshcert.VerifyUser(signed, e); err != nil {
		t.Error(err)
	}
	if _, err := permission.Issue(); !errors.Is(err, ErrUsed) {
		t.Errorf("second use: got %v, want ErrUsed", err)
	}
}

func TestAPermissionIsUsedOnceAmongMany(t *testing.T) {
	u := userFacts(ident.New(ident.Project))
	cert, err := sshcert.BuildUser(u, subject(t))
	if err != nil {
		t.Fatal(err)
	}
	permission, err := authority(t, u.ProjectID, UserCA).Prepare(cert, u)
	if err != nil {
		t.Fatal(err)
	}
	results := make(chan error)
	for range 20 {
		go func() { _, err := permission.Issue(); results <- err }()
	}
	issued := 0
	for range 20 {
		if err := <-results; err == nil {
			issued++
		}
	}
	if issued != 1 {
		t.Errorf("%d signatures came out of one permission", issued)
	}
}

func TestPrepareRefusesWhatTheAuthorityIsNotFor(t *testing.T) {
	project := ident.New(ident.Project)
	u := userFacts(project)
	h := sshcert.Host{ServerID: u.ServerID, Serial: 1, Issued: time.Now()}
	c := sshcert.Canary{ServerID: u.ServerID, ProjectID: project, Serial: 1, Issued: time.Now()}
	leg1 := sshcert.ToGateway{User: u}
	gateway := ident.New(ident.Gateway)
	leg2 := sshcert.Target{User: u, GatewayID: gateway, Sources: []string{"198.51.100.1"}}
	leg2.Lifetime = 0
	g := sshcert.GatewayHost{GatewayID: gateway, ServerID: u.ServerID, Serial: 1, Issued: time.Now()}
	build := func(f sshcert.Profile) *ssh.Certificate {
		var cert *ssh.Certificate
		var err error
		switch f := f.(type) {
		case sshcert.User:
			cert, err = sshcert.BuildUser(f, subject(t))
		case sshcert.ToGateway:
			cert, err = sshcert.BuildUser(f.User, subject(t))
		case sshcert.Target:
			cert, err = sshcert.BuildTarget(f, subject(t))
		case sshcert.GatewayHost:
			cert, err = sshcert.BuildGatewayHost(f, subject(t))
		case sshcert.Host:
			cert, err = sshcert.BuildHost(f, subject(t))
		case sshcert.Canary:
			cert, err = sshcert.BuildCanary(f, subject(t))
		}
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	for name, tc := range map[string]struct {
		scope   string
		purpose Purpose
		facts   sshcert.Profile
		ok      bool
	}{
		"a user of the project":              {project, UserCA, u, true},
		"the project's canary":               {project, UserCA, c, true},
		"a host of the team":                 {Team, HostCA, h, true},
		"a user of another project":          {ident.New(ident.Project), UserCA, u, false},
		"a canary of another project":        {ident.New(ident.Project), UserCA, c, false},
		"a user by the host CA":              {Team, HostCA, u, false},
		"a user by the gateway CA":           {Team, GatewayCA, u, false},
		"a host by the project's user CA":    {project, UserCA, h, false},
		"a host by the gateway CA":           {Team, GatewayCA, h, false},
		"a host by a host CA of one project": {project, HostCA, h, false},
		"a user's way to gateways":           {Team, GatewayCA, leg1, true},
		"a gateway's way to a server":        {project, UserCA, leg2, true},
		"a gateway as host":                  {Team, GatewayCA, g, true},
		"a way to gateways by a user CA":     {project, UserCA, leg1, false},
		"a way to gateways by the host CA":   {Team, HostCA, leg1, false},
		"a way to a server by the gateways'": {Team, GatewayCA, leg2, false},
		"a way to another project's server":  {ident.New(ident.Project), UserCA, leg2, false},
		"a gateway as host by the host CA":   {Team, HostCA, g, false},
		"a gateway as host by a user CA":     {project, UserCA, g, false},
		"no facts":                           {project, UserCA, nil, false},
	} {
		facts := tc.facts
		if facts == nil {
			facts = u
		}
		if _, err := authority(t, tc.scope, tc.purpose).Prepare(build(facts), tc.facts); (err == nil) != tc.ok {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if p, err := authority(t, project, UserCA).Prepare(build(leg2), leg2); err != nil {
		t.Error(err)
	} else if cert, err := p.Issue(); err != nil || len(cert.CriticalOptions) != 1 {
		t.Errorf("issued %v, %v", cert, err)
	}
	a := authority(t, project, UserCA)
	other := build(u)
	other.ValidPrincipals = nil
	for name, cert := range map[string]*ssh.Certificate{"none": nil, "one that the lint refuses": other} {
		if _, err := a.Prepare(cert, u); err == nil {
			t.Errorf("%s: prepared", name)
		}
	}
}

// flaky signs something else than it was asked to, as a broken device would.
type flaky struct{ ssh.Signer }

func (f flaky) Sign(r io.Reader, data []byte) (*ssh.Signature, error) {
	return f.Signer.Sign(r, append([]byte("x"), data...))
}

func TestASignatureThatDoesNotVerifyNeverLeaves(t *testing.T) {
	u := userFacts(ident.New(ident.Project))
	a := authority(t, u.ProjectID, UserCA)
	good := a.signer()
	a.signer = func() ssh.Signer { return flaky{good} }
	cert, err := sshcert.BuildUser(u, subject(t))
	if err != nil {
		t.Fatal(err)
	}
	permission, err := a.Prepare(cert, u)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err := permission.Issue(); err == nil || cert != nil {
		t.Errorf("got %v, %v", cert, err)
	}
	if _, err := permission.Issue(); !errors.Is(err, ErrUsed) {
		t.Errorf("a failed permission was good again: %v", err)
	}
}

func TestASignerSignsMessages(t *testing.T) {
	keeper := newKeeper(t)
	r := create(t, keeper, Team, Ticket)
	s, err := NewKeyring(keeper).Signer(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := s.Sign(nil, []byte("message"), crypto.Hash(0))
	if err != nil || !ed25519.Verify(r.Public, []byte("message"), sig) {
		t.Errorf("signature of the published key: %v", err)
	}
	if _, err := s.Sign(nil, make([]byte, 64), crypto.SHA512); err == nil {
		t.Error("signed a hash, which is another kind of Ed25519")
	}
}

// Nothing that holds a private key prints it, in any of the ways in which values end up in
// logs and error texts.
func TestPrintingAKeyPrintsNothingOfIt(t *testing.T) {
	ctx, keeper := context.Background(), newKeeper(t)
	ring := NewKeyring(keeper)
	project := ident.New(ident.Project)
	user, policy, nonce := create(t, keeper, project, UserCA), create(t, keeper, Team, Policy), create(t, keeper, Team, Nonce)
	a, err := ring.Authority(ctx, user)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ring.Signer(ctx, policy)
	if err != nil {
		t.Fatal(err)
	}
	y, err := ring.Symmetric(ctx, nonce)
	if err != nil {
		t.Fatal(err)
	}
	u := userFacts(project)
	cert, err := sshcert.BuildUser(u, subject(t))
	if err != nil {
		t.Fatal(err)
	}
	permission, err := a.Prepare(cert, u)
	if err != nil {
		t.Fatal(err)
	}
	var needles []string
	for _, r := range []Record{user, policy, nonce} {
		secret, err := Open(ctx, keeper, r.Ref, r.Sealed)
		if err != nil {
			t.Fatal(err)
		}
		b := secret.Reveal()
		needles = append(needles, string(b), hex.EncodeToString(b)[:16], base64.StdEncoding.EncodeToString(b)[:16],
			strings.Trim(fmt.Sprint(b[:8]), "[]"), fmt.Sprintf("%x", b[:8]), strings.Trim(fmt.Sprintf("%#v", b[:6]), "[]byte{}"))
	}
	values := map[string]any{
		"secret": y, "secret pointer": &y, "around a secret": struct{ inner Secret }{y}, "slice": []Secret{y}, "keyring": ring, "keyring value": *ring.entry(cacheKey{}),
		"authority": a, "authority value": *a, "signer": s, "signer value": *s, "permission": permission,
	}
	for e := range ring.open {
		values["cache entry"] = struct{ e *entry }{ring.open[e]}
		values["cache secret"] = struct{ s Secret }{ring.open[e].secret}
	}
	for name, v := range values {
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		js, _ := json.Marshal(v)
		text := log.String() + string(js)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			text += fmt.Sprintf(verb, v)
		}
		for _, n := range needles {
			if strings.Contains(text, n) {
				t.Errorf("%s prints a private key: %q in %q", name, n, text)
			}
		}
	}
}

func TestKeyFiles(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	path := filepath.Join(dir, "kek")
	if err := CreateKeyFile(path); err != nil {
		t.Fatal(err)
	}
	if err := CreateKeyFile(path); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second key file over the first: got %v", err)
	}
	one, err := OpenKeeper(ctx, "file://"+path)
	if err != nil {
		t.Fatal(err)
	}
	r := create(t, one, Team, Policy)
	again, err := OpenKeeper(ctx, "file://"+path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, again, r.Ref, r.Sealed); err != nil {
		t.Errorf("after opening the file again: %v", err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	link, open, short := filepath.Join(dir, "link"), filepath.Join(dir, "open"), filepath.Join(dir, "short")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(open, text, 0o644), os.Chmod(open, 0o644), os.WriteFile(short, text[:20], 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, url := range map[string]string{
		"a symbolic link": "file://" + link, "a file that others can read": "file://" + open, "half a key": "file://" + short, "a folder": "file://" + dir,
		"no file": "file://" + filepath.Join(dir, "none"), "a relative path": "file://kek", "a cloud": "awskms://alias/x", "nonsense": "::", "nothing": "",
		"a short key": "base64key://c2hvcnQ=",
	} {
		if _, err := OpenKeeper(ctx, url); err == nil {
			t.Errorf("%s: opened", name)
		} else if strings.Contains(err.Error(), "c2hvcnQ") {
			t.Errorf("%s: the key is in the error: %v", name, err)
		}
	}
}

func BenchmarkPrepareAndIssue(b *testing.B) {
	u := userFacts(ident.New(ident.Project))
	a, key := authority(b, u.ProjectID, UserCA), subject(b)
	for b.Loop() {
		cert, err := sshcert.BuildUser(u, key)
		if err != nil {
			b.Fatal(err)
		}
		permission, err := a.Prepare(cert, u)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := permission.Issue(); err != nil {
			b.Fatal(err)
		}
	}
}
