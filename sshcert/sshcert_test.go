package sshcert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"golang.org/x/crypto/ssh"
)

var issued = time.Date(2026, 3, 1, 12, 0, 0, 500e6, time.UTC)

func aliceOnWeb1() User {
	return User{
		Login: "alice", ServerID: "srv_weboneaaaaaaaaaaaaaa", UserID: "usr_aliceaaaaaaaaaaaaaaa", SessionID: "ses_oneaaaaaaaaaaaaaaaaa", DeviceID: "dev_oneaaaaaaaaaaaaaaaaa", ProjectID: "prj_aaaaaaaaaaaaaaaaaaaa",
		Serial: 42, Issued: issued, Permissions: Permissions{PTY: true, PortForwarding: true},
	}
}

func newSigner(t testing.TB) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sign(t testing.TB, cert *ssh.Certificate, ca ssh.Signer) *ssh.Certificate {
	t.Helper()
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	return cert
}

func buildUser(t testing.TB, u User) *ssh.Certificate {
	t.Helper()
	cert, err := BuildUser(u, newSigner(t).PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func expectAlice(ca ssh.Signer) ExpectUser {
	return ExpectUser{CAs: []ssh.PublicKey{ca.PublicKey()}, Login: "alice", ServerID: "srv_weboneaaaaaaaaaaaaaa", ProjectID: "prj_aaaaaaaaaaaaaaaaaaaa", Now: issued}
}

func TestAUserCertificateIsWhatItsFactsSay(t *testing.T) {
	ca := newSigner(t)
	cert := buildUser(t, aliceOnWeb1())
	if err := Lint(cert, aliceOnWeb1()); err != nil {
		t.Fatal(err)
	}
	sign(t, cert, ca)
	if err := VerifyUser(cert, expectAlice(ca)); err != nil {
		t.Fatal(err)
	}
	if got, want := cert.KeyId, "cardea:user=usr_aliceaaaaaaaaaaaaaaa:session=ses_oneaaaaaaaaaaaaaaaaa:device=dev_oneaaaaaaaaaaaaaaaaa:login=alice"; got != want {
		t.Errorf("key id %q, want %q", got, want)
	}
	if got := cert.ValidBefore - cert.ValidAfter; got != 240 {
		t.Errorf("valid for %d s, want 180 and 60 of backdating", got)
	}
	again, err := ParseCertificate(cert.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	if err := VerifyUser(again, expectAlice(ca)); err != nil {
		t.Errorf("after a trip over the wire: %v", err)
	}
}

// Sessions that began under a break-glass are known by their key id, and by nothing else.
func TestAKeyIDNamesTheBreakGlass(t *testing.T) {
	u := aliceOnWeb1()
	u.BreakGlass = "brg_aaaaaaaaaaaaaaaaaaaa"
	cert := buildUser(t, u)
	if err := Lint(cert, u); err != nil {
		t.Fatal(err)
	}
	if err := Lint(cert, aliceOnWeb1()); err == nil {
		t.Error("a certificate names a break-glass under which it was not issued")
	}
	if err := Lint(buildUser(t, aliceOnWeb1()), u); err == nil {
		t.Error("a certificate does not name the break-glass")
	}
	for id, want := range map[string]string{
		cert.KeyId:                        u.BreakGlass,
		buildUser(t, aliceOnWeb1()).KeyId: "",
		"cardea:user=usr_a:login=x:glass=brg_a:gateway=gw_a": "",
		"cardea:user=usr_a:login=x:glass=grt_a":              "",
		"cardea:user=usr_a:login=x:glass=":                   "",
	} {
		if got := BreakGlassOf(id); got != want {
			t.Errorf("of %s: %q", id, got)
		}
	}
	for _, id := range []string{"grt_aaaaaaaaaaaaaaaaaaaa", "brg_a:gateway=gw_a", "brg_A"} {
		u.BreakGlass = id
		if _, err := BuildUser(u, newSigner(t).PublicKey()); err == nil {
			t.Errorf("a certificate under %q", id)
		}
	}
}

func TestAHostCertificateIsWhatItsFactsSay(t *testing.T) {
	ca, h := newSigner(t), Host{ServerID: "srv_weboneaaaaaaaaaaaaaa", Serial: 7, Issued: issued}
	cert, err := BuildHost(h, newSigner(t).PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	if err := Lint(cert, h); err != nil {
		t.Fatal(err)
	}
	sign(t, cert, ca)
	e := ExpectHost{CAs: []ssh.PublicKey{ca.PublicKey()}, ServerID: "srv_weboneaaaaaaaaaaaaaa", Now: issued}
	if err := VerifyHost(cert, e); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*ExpectHost){
		"another server":       func(e *ExpectHost) { e.ServerID = "srv_webtwoaaaaaaaaaaaaaa" },
		"no CA at all":         func(e *ExpectHost) { e.CAs = nil },
		"another CA":           func(e *ExpectHost) { e.CAs = []ssh.PublicKey{newSigner(t).PublicKey()} },
		"the second it ends":   func(e *ExpectHost) { e.Now = issued.Add(HostLifetime) },
		"before it begins":     func(e *ExpectHost) { e.Now = issued.Add(-Backdate - time.Second) },
		"a forgotten time":     func(e *ExpectHost) { e.Now = time.Time{} },
		"a server id of hosts": func(e *ExpectHost) { e.ServerID = "*" },
	} {
		e := e
		change(&e)
		if err := VerifyHost(cert, e); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
}

func TestACanaryCertificateOpensNothingElse(t *testing.T) {
	ca, c := newSigner(t), Canary{ServerID: aliceOnWeb1().ServerID, ProjectID: aliceOnWeb1().ProjectID, Serial: 9, Issued: issued}
	cert, err := BuildCanary(c, newSigner(t).PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	if err := Lint(cert, c); err != nil {
		t.Fatal(err)
	}
	if err := VerifyUser(sign(t, cert, ca), expectAlice(ca)); !errors.Is(err, ErrRefused) {
		t.Errorf("as alice: got %v, want a refusal", err)
	}
	cert.Extensions[extPTY] = ""
	if err := Lint(cert, c); err == nil {
		t.Error("a canary with a terminal passed the lint")
	}
}

// Mallory has certificates that a real CA signed, wrong in one respect each. ssh.CertChecker
// alone takes several of them, which is why VerifyUser exists.
func TestVerifyUserRefusesEachDeviation(t *testing.T) {
	ca := newSigner(t)
	for name, change := range map[string]func(*ssh.Certificate){
		"no principals":                func(c *ssh.Certificate) { c.ValidPrincipals = nil },
		"the login without the server": func(c *ssh.Certificate) { c.ValidPrincipals = []string{"alice"} },
		"a star":                       func(c *ssh.Certificate) { c.ValidPrincipals = []string{"*"} },
		"two logins in one":            func(c *ssh.Certificate) { c.ValidPrincipals = []string{"alice,root"} },
		"a newline in the principal":   func(c *ssh.Certificate) { c.ValidPrincipals = []string{"alice@srv_weboneaaaaaaaaaaaaaa\nroot"} },
		"a quote in the principal":     func(c *ssh.Certificate) { c.ValidPrincipals = []string{`alice@srv_weboneaaaaaaaaaaaaaa"`} },
		"a second principal": func(c *ssh.Certificate) {
			c.ValidPrincipals = append(c.ValidPrincipals, "root@srv_weboneaaaaaaaaaaaaaa")
		},
		"the same principal twice":       func(c *ssh.Certificate) { c.ValidPrincipals = append(c.ValidPrincipals, c.ValidPrincipals[0]) },
		"ten thousand principals":        func(c *ssh.Certificate) { c.ValidPrincipals = make([]string, 10000) },
		"another server":                 func(c *ssh.Certificate) { c.ValidPrincipals = []string{"alice@srv_webtwoaaaaaaaaaaaaaa"} },
		"another login":                  func(c *ssh.Certificate) { c.ValidPrincipals = []string{"bob@srv_weboneaaaaaaaaaaaaaa"} },
		"a host certificate":             func(c *ssh.Certificate) { c.CertType = ssh.HostCert },
		"a type that does not exist":     func(c *ssh.Certificate) { c.CertType = 3 },
		"no end":                         func(c *ssh.Certificate) { c.ValidBefore = ssh.CertTimeInfinity },
		"an end past 63 bits":            func(c *ssh.Certificate) { c.ValidBefore = 1 << 63 },
		"a hundred years":                func(c *ssh.Certificate) { c.ValidBefore += 100 * 365 * 86400 },
		"one second more than allowed":   func(c *ssh.Certificate) { c.ValidBefore = c.ValidAfter + 661 },
		"an end before its beginning":    func(c *ssh.Certificate) { c.ValidBefore = c.ValidAfter - 1 },
		"expired by one second":          func(c *ssh.Certificate) { c.ValidBefore = uint64(issued.Unix()) - 1; c.ValidAfter = c.ValidBefore - 60 },
		"valid from one second hence":    func(c *ssh.Certificate) { c.ValidAfter = uint64(issued.Unix()) + 1 },
		"force-command":                  func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"force-command": "id"} },
		"source-address, never issued":   func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"source-address": "10.0.0.1"} },
		"an unknown critical option":     func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"x@example.com": ""} },
		"no project":                     func(c *ssh.Certificate) { delete(c.Extensions, extProject) },
		"another project":                func(c *ssh.Certificate) { c.Extensions[extProject] = "prj_bbbbbbbbbbbbbbbbbbbb" },
		"no-touch-required":              func(c *ssh.Certificate) { c.Extensions["no-touch-required"] = "" },
		"an extension with a value":      func(c *ssh.Certificate) { c.Extensions[extPTY] = "yes" },
		"serial zero":                    func(c *ssh.Certificate) { c.Serial = 0 },
		"a serial of 64 bits":            func(c *ssh.Certificate) { c.Serial = 1 << 63 },
		"a quote in the key id":          func(c *ssh.Certificate) { c.KeyId += `" (serial 1)` },
		"a comment sign in the key id":   func(c *ssh.Certificate) { c.KeyId += "#" },
		"no key id":                      func(c *ssh.Certificate) { c.KeyId = "" },
		"something in the reserved part": func(c *ssh.Certificate) { c.Reserved = []byte("x") },
		"a P-384 subject":                func(c *ssh.Certificate) { c.Key = ecdsaKey(t, elliptic.P384()) },
	} {
		t.Run(name, func(t *testing.T) {
			cert := buildUser(t, aliceOnWeb1())
			change(cert)
			if err := Lint(cert, aliceOnWeb1()); err == nil {
				t.Error("lint would have let it be signed")
			}
			if err := VerifyUser(sign(t, cert, ca), expectAlice(ca)); !errors.Is(err, ErrRefused) {
				t.Errorf("got %v, want a refusal", err)
			}
		})
	}
}

func TestVerifyUserRefusesWhatWasNotSignedByTheExpectedCA(t *testing.T) {
	ca, mallory := newSigner(t), newSigner(t)
	byMallory := sign(t, buildUser(t, aliceOnWeb1()), mallory)
	claimed := sign(t, buildUser(t, aliceOnWeb1()), mallory)
	claimed.SignatureKey = ca.PublicKey()
	altered := sign(t, buildUser(t, aliceOnWeb1()), ca)
	altered.Serial++
	byCert := sign(t, buildUser(t, aliceOnWeb1()), ca)
	byCert.SignatureKey = sign(t, buildUser(t, aliceOnWeb1()), mallory)
	for name, cert := range map[string]*ssh.Certificate{
		"none": nil, "unsigned": buildUser(t, aliceOnWeb1()), "another CA": byMallory,
		"the CA's name under mallory's signature": claimed, "changed after signing": altered, "signed by a certificate": byCert,
	} {
		if err := VerifyUser(cert, expectAlice(ca)); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
	good := sign(t, buildUser(t, aliceOnWeb1()), ca)
	for name, change := range map[string]func(*ExpectUser){
		"no CAs": func(e *ExpectUser) { e.CAs = nil }, "no login": func(e *ExpectUser) { e.Login = "" },
		"no server": func(e *ExpectUser) { e.ServerID = "" }, "no project": func(e *ExpectUser) { e.ProjectID = "" },
		"no time": func(e *ExpectUser) { e.Now = time.Time{} }, "a limit above the limit": func(e *ExpectUser) { e.MaxLifetime = MaxUserLifetime + 1 },
		"a shorter limit": func(e *ExpectUser) { e.MaxLifetime = time.Minute },
	} {
		e := expectAlice(ca)
		change(&e)
		if err := VerifyUser(good, e); !errors.Is(err, ErrRefused) {
			t.Errorf("expectation with %s: got %v, want a refusal", name, err)
		}
	}
}

func TestBuildRefusesFactsOutsideTheGrammar(t *testing.T) {
	key := newSigner(t).PublicKey()
	for name, change := range map[string]func(*User){
		"33 characters":       func(u *User) { u.Login = strings.Repeat("a", 33) },
		"an empty login":      func(u *User) { u.Login = "" },
		"a digit first":       func(u *User) { u.Login = "0" },
		"a dash first":        func(u *User) { u.Login = "-oProxyCommand" },
		"a capital":           func(u *User) { u.Login = "ALL" },
		"an at sign":          func(u *User) { u.Login = "root@srv_webtwoaaaaaaaaaaaaaa" },
		"a NUL":               func(u *User) { u.Login = "alice\x00" },
		"another alphabet":    func(u *User) { u.Login = "aé" },
		"a project as server": func(u *User) { u.ServerID = "prj_aaaaaaaaaaaaaaaaaaaa" },
		"an empty id":         func(u *User) { u.UserID = "usr_" },
		"a colon in an id":    func(u *User) { u.SessionID = "ses_oneaaaaaaaaaaaaaaaaa:login=roota" },
		"an id too long":      func(u *User) { u.DeviceID += "a" },
		"root":                func(u *User) { u.Login = "root" },
		"the canary":          func(u *User) { u.Login = ident.Canary },
		"no project":          func(u *User) { u.ProjectID = "" },
		"serial zero":         func(u *User) { u.Serial = 0 },
		"a serial of 64 bits": func(u *User) { u.Serial = 1 << 63 },
		"no time":             func(u *User) { u.Issued = time.Time{} },
		"a lifetime too long": func(u *User) { u.Lifetime = MaxUserLifetime + 1 },
		"a negative lifetime": func(u *User) { u.Lifetime = -time.Second },
	} {
		u := aliceOnWeb1()
		change(&u)
		if _, err := BuildUser(u, key); err == nil {
			t.Errorf("%s: a certificate was built", name)
		}
	}
	atLimit := aliceOnWeb1()
	atLimit.Login, atLimit.Lifetime = strings.Repeat("a", 32), MaxUserLifetime
	cert, err := BuildUser(atLimit, key)
	if err != nil {
		t.Fatalf("at every limit: %v", err)
	}
	if err := Lint(cert, atLimit); err != nil {
		t.Errorf("at every limit: %v", err)
	}
}

func ecdsaKey(t testing.TB, c elliptic.Curve) ssh.PublicKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return publicKey(t, k.Public())
}

func publicKey(t testing.TB, k crypto.PublicKey) ssh.PublicKey {
	t.Helper()
	p, err := ssh.NewPublicKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func rsaKey(t testing.TB, bits int) ssh.PublicKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return publicKey(t, k.Public())
}

// skKey is a security key's public half as OpenSSH writes it (PROTOCOL.u2f).
func skKey(application string) []byte {
	return ssh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{ssh.KeyAlgoSKED25519, make([]byte, 32), application})
}

func TestParseSubjectKeyAcceptsFourKindsAndNothingElse(t *testing.T) {
	p256 := ecdsaKey(t, elliptic.P256()).Marshal()
	relabelled := []byte(strings.Replace(string(p256), ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, 1))
	inner := []byte(strings.Replace(string(p256), "\x08nistp256", "\x08nistp384", 1))
	cert := sign(t, buildUser(t, aliceOnWeb1()), newSigner(t))
	for name, c := range map[string]struct {
		wire []byte
		ok   bool
	}{
		"ed25519":                      {newSigner(t).PublicKey().Marshal(), true},
		"P-256":                        {p256, true},
		"a security key":               {skKey("ssh:"), true},
		"RSA 3072":                     {rsaKey(t, 3072).Marshal(), true},
		"RSA 4096":                     {rsaKey(t, 4096).Marshal(), true},
		"RSA 2048":                     {rsaKey(t, 2048).Marshal(), false},
		"RSA 3071":                     {fakeRSA(3071), false},
		"RSA 4097":                     {fakeRSA(4097), false},
		"RSA 16384":                    {fakeRSA(16384), false},
		"a web site's credential":      {skKey("https://example.com"), false},
		"P-384":                        {ecdsaKey(t, elliptic.P384()).Marshal(), false},
		"P-521":                        {ecdsaKey(t, elliptic.P521()).Marshal(), false},
		"P-256 labelled P-384":         {relabelled, false},
		"P-256 labelled P-384 inside":  {inner, false},
		"DSA":                          {ssh.Marshal(struct{ T, P string }{"ssh-dss", "x"}), false},
		"ML-DSA":                       {ssh.Marshal(struct{ T, P string }{"ssh-mldsa-44", "x"}), false},
		"a certificate":                {cert.Marshal(), false},
		"a key with a byte after it":   {append(newSigner(t).PublicKey().Marshal(), 0), false},
		"a key with a byte missing":    {newSigner(t).PublicKey().Marshal()[:50], false},
		"a length of 4 GiB":            {[]byte{0xff, 0xff, 0xff, 0xff, 'x'}, false},
		"nothing":                      {nil, false},
		"zeros, one above the maximum": {make([]byte, MaxSubjectKey+1), false},
	} {
		key, err := ParseSubjectKey(c.wire)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrKeyRefused) {
			t.Errorf("%s: got %v", name, err)
		}
		if c.ok && string(key.Marshal()) != string(c.wire) {
			t.Errorf("%s: came back as other bytes", name)
		}
	}
}

// fakeRSA writes an RSA key of so many bits; nobody has its private half.
func fakeRSA(bits int) []byte {
	n := make([]byte, bits/8+1)
	n[len(n)-1-(bits-1)/8] = 1 << ((bits - 1) % 8)
	n[len(n)-1] |= 1
	for len(n) > 1 && n[0] == 0 && n[1] < 0x80 {
		n = n[1:]
	}
	return ssh.Marshal(struct {
		T    string
		E, N []byte
	}{ssh.KeyAlgoRSA, []byte{1, 0, 1}, n})
}

// A certificate whose signature key is a certificate whose signature key is … a million
// deep once overflowed the stack of x/crypto's parser, which ends the process.
func TestNestedCertificatesAreRefusedInNoTime(t *testing.T) {
	deep := nested(1_000_000)
	for name, parse := range map[string]func([]byte) error{
		"subject key": func(b []byte) error { _, err := ParseSubjectKey(b); return err },
		"certificate": func(b []byte) error { _, err := ParseCertificate(b); return err },
	} {
		for _, wire := range [][]byte{deep, nested(2), nested(40)} {
			fastest := time.Hour // of several: others use the processor, too
			for range 10 {
				start := time.Now()
				if err := parse(wire); err == nil {
					t.Errorf("%s of %d bytes was accepted", name, len(wire))
				}
				fastest = min(fastest, time.Since(start))
			}
			if fastest > 10*time.Millisecond {
				t.Errorf("%s of %d bytes took %s, want below 10ms", name, len(wire), fastest)
			}
		}
	}
}

func nested(levels int) []byte {
	const name = "ssh-ed25519-cert-v01@openssh.com"
	head := ssh.Marshal(struct{ T, Nonce, Key string }{name, "n", strings.Repeat("k", 32)})
	head = append(head, make([]byte, 8+4+4+4+8+8+4+4+4)...) // serial to reserved, all empty
	out := make([]byte, 0, levels*(len(head)+4))
	for i := range levels {
		left := uint32((levels - i) * (len(head) + 4))
		out = append(out, head...)
		out = append(out, byte(left>>24), byte(left>>16), byte(left>>8), byte(left))
	}
	return out
}

func TestParseCertificateRefusesWhatItWouldNotWrite(t *testing.T) {
	wire := sign(t, buildUser(t, aliceOnWeb1()), newSigner(t)).Marshal()
	for name, w := range map[string][]byte{
		"a byte after it":      append(append([]byte{}, wire...), 0),
		"a byte missing":       wire[:len(wire)-1],
		"duplicate extensions": []byte(strings.Replace(string(wire), "permit-port-forwarding", "permit-pty\x00\x00\x00\x00\x00\x00\x00\x00", 1)),
		"disordered options":   []byte(strings.Replace(string(wire), "permit-pty", "permit-aaa", 1)),
		"a plain key":          newSigner(t).PublicKey().Marshal(),
		"one byte above":       append(append([]byte{}, wire...), make([]byte, MaxCertificate+1-len(wire))...),
	} {
		if _, err := ParseCertificate(w); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestKeysAndCertificatesComeAsLines(t *testing.T) {
	cert := sign(t, buildUser(t, aliceOnWeb1()), newSigner(t))
	line := func(k ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k))) }
	good := line(cert.Key)
	if Line(cert.Key) != good || Line(cert) != line(cert) {
		t.Errorf("lines are %q and %q", Line(cert.Key), Line(cert))
	}
	for name, c := range map[string]struct {
		line string
		ok   bool
	}{
		"a key": {good, true}, "with a line end": {good + "\r\n", true}, "with a comment": {good + " alice at home", true},
		"options before it": {"no-pty " + good, false}, "two lines": {good + "\n" + good, false}, "nothing": {"", false}, "the type alone": {"ssh-ed25519", false},
		"another type before it": {strings.Replace(good, "ssh-ed25519", "ssh-rsa", 1), false}, "no base64": {"ssh-ed25519 !!!!", false},
		"a certificate": {line(cert), false}, "a megabyte": {"ssh-ed25519 " + strings.Repeat("A", 1<<20), false},
	} {
		if _, err := ParseLine(c.line); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrKeyRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseCertificateLine(line(cert)); err != nil {
		t.Error(err)
	}
	if _, err := ParseCertificateLine(good); err == nil {
		t.Error("a plain key was read as a certificate")
	}
	host, err := BuildHost(Host{ServerID: aliceOnWeb1().ServerID, Serial: 1, Issued: issued}, cert.Key)
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := ServerOf(host); !ok || id != aliceOnWeb1().ServerID {
		t.Errorf("server of a host certificate: %q, %v", id, ok)
	}
	if id, ok := ServerOf(cert); ok {
		t.Errorf("a user certificate is for server %q", id)
	}
}

func TestSerialsAre63BitsAndNeverZero(t *testing.T) {
	seen := map[uint64]bool{}
	for range 1000 {
		n := NewSerial()
		if n == 0 || n > maxSerial || seen[n] {
			t.Fatalf("serial %d", n)
		}
		seen[n] = true
	}
}

func TestDescribeTellsAProgramAndAPerson(t *testing.T) {
	u := aliceOnWeb1()
	u.Serial = 1<<63 - 1
	d := Describe(sign(t, buildUser(t, u), newSigner(t)))
	js, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"serial":"9223372036854775807"`, `"principals":["alice@srv_weboneaaaaaaaaaaaaaa"]`, `"project":"prj_aaaaaaaaaaaaaaaaaaaa"`, `"type":"user"`} {
		if !strings.Contains(string(js), want) {
			t.Errorf("%s is not in %s", want, js)
		}
	}
	hostile := buildUser(t, u)
	hostile.ValidPrincipals, hostile.ValidBefore = []string{"a\x1b[2J\n"}, ssh.CertTimeInfinity
	if s := Describe(hostile).String(); strings.ContainsAny(s, "\x1b\n") {
		t.Errorf("control characters reach the terminal: %q", s)
	}
	if _, err := json.Marshal(Describe(hostile)); err != nil {
		t.Error(err)
	}
}

func TestSSHKeygenReadsOurCertificates(t *testing.T) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Skip("SKIPPED: no ssh-keygen on this machine")
	}
	cert := sign(t, buildUser(t, aliceOnWeb1()), newSigner(t))
	path := filepath.Join(t.TempDir(), "id-cert.pub")
	if err := os.WriteFile(path, ssh.MarshalAuthorizedKey(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(keygen, "-L", "-f", path)
	cmd.Env = []string{"TZ=UTC"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"user certificate", `Key ID: "cardea:user=usr_aliceaaaaaaaaaaaaaaa:session=ses_oneaaaaaaaaaaaaaaaaa:device=dev_oneaaaaaaaaaaaaaaaaa:login=alice"`, "Serial: 42",
		"from 2026-03-01T11:59:00 to 2026-03-01T12:03:00", "alice@srv_weboneaaaaaaaaaaaaaa", "permit-pty", "permit-port-forwarding", extProject,
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("ssh-keygen -L does not say %q:\n%s", want, out)
		}
	}
}
