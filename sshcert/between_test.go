package sshcert

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/internal/sshtest"
	"golang.org/x/crypto/ssh"
)

const gw1, gw2 = "gw_oneaaaaaaaaaaaaaaaaa", "gw_twoaaaaaaaaaaaaaaaaa"

func gw1ForAlice() Target {
	return Target{User: aliceOnWeb1(), GatewayID: gw1, Sources: []string{"198.51.100.1", "2001:db8::/32"}}
}

func buildTarget(t testing.TB, f Target) *ssh.Certificate {
	t.Helper()
	cert, err := BuildTarget(f, newSigner(t).PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestATargetCertificateNamesTheSessionTheGatewayAndItsAddresses(t *testing.T) {
	ca := newSigner(t)
	cert := buildTarget(t, gw1ForAlice())
	if err := Lint(cert, gw1ForAlice()); err != nil {
		t.Fatal(err)
	}
	if want := "cardea:user=usr_aliceaaaaaaaaaaaaaaa:session=ses_oneaaaaaaaaaaaaaaaaa:device=dev_oneaaaaaaaaaaaaaaaaa:login=alice:gateway=" + gw1; cert.KeyId != want {
		t.Errorf("key id %q, want %q", cert.KeyId, want)
	}
	if !maps.Equal(cert.CriticalOptions, map[string]string{"source-address": "198.51.100.1/32,2001:db8::/32"}) {
		t.Errorf("critical options %v", cert.CriticalOptions)
	}
	if life := cert.ValidBefore - cert.ValidAfter; life != 180 {
		t.Errorf("valid for %d s, want 120 and 60 of backdating", life)
	}
	sign(t, cert, ca)
	e := expectAlice(ca)
	e.Gateway = gw1
	if err := VerifyUser(cert, e); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		cert   *ssh.Certificate
		expect func(*ExpectUser)
	}{
		"as a user's own":                            {cert, func(e *ExpectUser) { e.Gateway = "" }},
		"as another gateway's":                       {cert, func(e *ExpectUser) { e.Gateway = gw2 }},
		"a gateway that is none":                     {cert, func(e *ExpectUser) { e.Gateway = "x" }},
		"a limit above two minutes":                  {cert, func(e *ExpectUser) { e.MaxLifetime = TargetLifetime + 1 }},
		"a user's own as a gateway's":                {sign(t, buildUser(t, aliceOnWeb1()), ca), func(*ExpectUser) {}},
		"one that is good from everywhere":           {altered(t, ca, func(c *ssh.Certificate) { c.CriticalOptions = nil }), func(*ExpectUser) {}},
		"one that is good from 0.0.0.0/0":            {altered(t, ca, func(c *ssh.Certificate) { c.CriticalOptions["source-address"] = "0.0.0.0/0" }), func(*ExpectUser) {}},
		"addresses that are no addresses":            {altered(t, ca, func(c *ssh.Certificate) { c.CriticalOptions["source-address"] = "*" }), func(*ExpectUser) {}},
		"an option besides":                          {altered(t, ca, func(c *ssh.Certificate) { c.CriticalOptions["force-command"] = "id" }), func(*ExpectUser) {}},
		"an unknown option besides":                  {altered(t, ca, func(c *ssh.Certificate) { c.CriticalOptions["x@example.com"] = "" }), func(*ExpectUser) {}},
		"a key id with two gateways":                 {altered(t, ca, func(c *ssh.Certificate) { c.KeyId += ":gateway=" + gw1 }), func(*ExpectUser) {}},
		"a life of one second more than two minutes": {altered(t, ca, func(c *ssh.Certificate) { c.ValidBefore++ }), func(*ExpectUser) {}},
	} {
		t.Run(name, func(t *testing.T) {
			e := e
			c.expect(&e)
			if err := VerifyUser(c.cert, e); !errors.Is(err, ErrRefused) {
				t.Errorf("got %v, want a refusal", err)
			}
			if c.cert != cert && c.cert.KeyId != buildUser(t, aliceOnWeb1()).KeyId {
				if err := Lint(c.cert, gw1ForAlice()); err == nil {
					t.Error("lint would have let it be signed")
				}
			}
		})
	}
}

func altered(t testing.TB, ca ssh.Signer, change func(*ssh.Certificate)) *ssh.Certificate {
	t.Helper()
	cert := buildTarget(t, gw1ForAlice())
	change(cert)
	return sign(t, cert, ca)
}

func TestTargetFactsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*Target){
		"no gateway":               func(f *Target) { f.GatewayID = "" },
		"a server as gateway":      func(f *Target) { f.GatewayID = f.ServerID },
		"no source":                func(f *Target) { f.Sources = nil },
		"a source too many":        func(f *Target) { f.Sources = manySources(MaxSources + 1) },
		"everywhere":               func(f *Target) { f.Sources = []string{"0.0.0.0/0"} },
		"everywhere, by IPv6":      func(f *Target) { f.Sources = []string{"::/0"} },
		"a star":                   func(f *Target) { f.Sources = []string{"*"} },
		"two in one":               func(f *Target) { f.Sources = []string{"10.0.0.1,10.0.0.2"} },
		"a zone":                   func(f *Target) { f.Sources = []string{"fe80::1%eth0"} },
		"a mapped prefix":          func(f *Target) { f.Sources = []string{"::ffff:10.0.0.0/104"} },
		"an empty source":          func(f *Target) { f.Sources = []string{""} },
		"one second too long":      func(f *Target) { f.Lifetime = TargetLifetime + time.Second },
		"a user outside the rules": func(f *Target) { f.Login = "root" },
	} {
		f := gw1ForAlice()
		change(&f)
		if _, err := BuildTarget(f, newSigner(t).PublicKey()); err == nil {
			t.Errorf("%s: a certificate was built", name)
		}
		if err := Lint(buildTarget(t, gw1ForAlice()), f); err == nil {
			t.Errorf("%s: the lint lets a certificate be signed", name)
		}
	}
	atLimit := gw1ForAlice()
	atLimit.Sources, atLimit.Lifetime = manySources(MaxSources), TargetLifetime
	if err := Lint(buildTarget(t, atLimit), atLimit); err != nil {
		t.Errorf("at every limit: %v", err)
	}
	mixed := gw1ForAlice()
	mixed.Sources = []string{"::ffff:10.0.0.1", "10.0.0.1", "10.0.1.7/24"}
	cert := buildTarget(t, mixed)
	if got := cert.CriticalOptions["source-address"]; got != "10.0.0.1/32,10.0.1.0/24" || Lint(cert, mixed) != nil {
		t.Errorf("sources %q, lint %v", got, Lint(cert, mixed))
	}
}

func manySources(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("10.0.0.%d", i+1))
	}
	return out
}

func TestAGatewayStandsForAServerOnlyWhereItIsExpected(t *testing.T) {
	ca := newSigner(t)
	g := GatewayHost{GatewayID: gw1, ServerID: aliceOnWeb1().ServerID, Serial: 7, Issued: issued}
	cert, err := BuildGatewayHost(g, newSigner(t).PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	if err := Lint(cert, g); err != nil {
		t.Fatal(err)
	}
	if cert.KeyId != "cardea:gateway="+gw1+":host="+g.ServerID || !slices.Equal(cert.ValidPrincipals, []string{g.ServerID + ".cardea"}) {
		t.Errorf("got %+v", Describe(cert))
	}
	sign(t, cert, ca)
	own, err := BuildHost(Host{ServerID: g.ServerID, Serial: 8, Issued: issued}, newSigner(t).PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	sign(t, own, ca)
	e := ExpectHost{CAs: []ssh.PublicKey{ca.PublicKey()}, ServerID: g.ServerID, Now: issued, Gateways: []string{gw2, gw1}}
	if err := VerifyHost(cert, e); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		cert   *ssh.Certificate
		change func(*ExpectHost)
	}{
		"where the server itself is expected":  {cert, func(e *ExpectHost) { e.Gateways = nil }},
		"where other gateways are":             {cert, func(e *ExpectHost) { e.Gateways = []string{gw2} }},
		"for another server":                   {cert, func(e *ExpectHost) { e.ServerID = "srv_webtwoaaaaaaaaaaaaaa" }},
		"the second it ends":                   {cert, func(e *ExpectHost) { e.Now = issued.Add(GatewayHostLifetime) }},
		"with an expectation that is no id":    {cert, func(e *ExpectHost) { e.Gateways = []string{"*"} }},
		"the server's own, where gateways are": {own, func(*ExpectHost) {}},
	} {
		e := e
		c.change(&e)
		if err := VerifyHost(c.cert, e); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
	long := g
	long.Lifetime = GatewayHostLifetime + time.Second
	if _, err := BuildGatewayHost(long, newSigner(t).PublicKey()); err == nil {
		t.Error("a certificate of more than two minutes was built")
	}
	for name, change := range map[string]func(*ssh.Certificate){
		"an extension": func(c *ssh.Certificate) { c.Extensions = map[string]string{"permit-pty": ""} },
		"an option":    func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"source-address": "10.0.0.1/32"} },
		"a name more":  func(c *ssh.Certificate) { c.ValidPrincipals = append(c.ValidPrincipals, "web-1") },
		"another gate": func(c *ssh.Certificate) { c.KeyId = gatewayHostKeyID(gw2, g.ServerID) },
		"a user's":     func(c *ssh.Certificate) { c.CertType = ssh.UserCert },
	} {
		bad, err := BuildGatewayHost(g, newSigner(t).PublicKey())
		if err != nil {
			t.Fatal(err)
		}
		change(bad)
		if Lint(bad, g) == nil {
			t.Errorf("%s: the lint lets it be signed", name)
		}
	}
}

// Whatever the facts, a certificate for a server is bound to addresses and two minutes.
func TestNoInputGivesATargetOutsideTheProfile(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	ca, key := newSigner(t), newSigner(t).PublicKey()
	built := 0
	for range 20_000 {
		f := Target{User: randomUser(rnd), GatewayID: "gw_" + randomText(rnd, 20, "abc234", "=:_\"\n#,A@")}
		f.Lifetime = time.Duration(rnd.Int64N(int64(130 * time.Second)))
		for range 1 + rnd.IntN(4) {
			f.Sources = append(f.Sources, randomText(rnd, 1, "123456789", "*")+"."+randomText(rnd, 1, "123", "-")+".0."+randomText(rnd, 2, "123", "/,%:"))
		}
		cert, err := BuildTarget(f, key)
		if err != nil {
			continue
		}
		built++
		if err := Lint(cert, f); err != nil {
			t.Fatalf("%+v: %v", f, err)
		}
		for _, s := range strings.Split(cert.CriticalOptions["source-address"], ",") {
			if p, err := netip.ParsePrefix(s); err != nil || p.Bits() != 32 || !slices.Contains(f.Sources, p.Addr().String()) {
				t.Fatalf("%+v: source %q", f, s)
			}
		}
		if life := time.Duration(cert.ValidBefore-cert.ValidAfter) * time.Second; life > TargetLifetime+Backdate || len(cert.CriticalOptions) != 1 || len(cert.ValidPrincipals) != 1 {
			t.Fatalf("outside the profile: %+v", Describe(cert))
		}
		if built%50 == 0 {
			e := ExpectUser{CAs: []ssh.PublicKey{ca.PublicKey()}, Login: f.Login, ServerID: f.ServerID, ProjectID: f.ProjectID, Now: f.Issued, Gateway: f.GatewayID}
			if err := VerifyUser(sign(t, cert, ca), e); err != nil {
				t.Fatalf("%+v: %v", f, err)
			}
		}
	}
	if built < 500 {
		t.Fatalf("only %d of the inputs gave a certificate: the test shows little", built)
	}
}

// A stolen certificate for a server is of use from the gateway's addresses alone, and the
// user's certificate for the gateway is of no use at any server: sshd says so itself.
func TestSshdTakesATargetFromTheGatewaysAddressAlone(t *testing.T) {
	users, gateways := sshtest.Key(t), sshtest.Key(t)
	dir, err := os.MkdirTemp("", "cardea-target")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	// Not %u: a test machine's user may have a name that no certificate of ours is for.
	principals := sshtest.WriteFile(t, dir, "principals", UserPrincipal("alice", aliceOnWeb1().ServerID)+"\n")
	sshd := sshtest.Start(t, "TrustedUserCAKeys "+sshtest.WriteFile(t, dir, "ca", sshtest.Line(users.PublicKey())), "AuthorizedPrincipalsFile "+principals)
	try := func(name string, ca ssh.Signer, build func(key ssh.PublicKey) (*ssh.Certificate, error)) int {
		t.Helper()
		key := sshtest.Key(t)
		path := key.Write(t, filepath.Join(dir, name))
		cert, err := build(key.PublicKey())
		if err != nil {
			t.Fatal(err)
		}
		sshtest.WriteFile(t, dir, name+"-cert.pub", string(ssh.MarshalAuthorizedKey(sign(t, cert, ca))))
		return sshd.SSH(t, path, "true").Exit
	}
	facts := gw1ForAlice()
	facts.Issued, facts.Sources = time.Now(), []string{"127.0.0.1"}
	target := func(f Target) func(ssh.PublicKey) (*ssh.Certificate, error) {
		return func(key ssh.PublicKey) (*ssh.Certificate, error) { return BuildTarget(f, key) }
	}
	if exit := try("here", users, target(facts)); exit != 0 {
		t.Errorf("from the gateway's address: exit %d\n%s", exit, sshd.Log())
	}
	if line := sshd.WaitLog(t, "ID "+buildTarget(t, facts).KeyId+" (serial 42)"); !strings.Contains(line, "Accepted") {
		t.Errorf("sshd does not log the key id as it logs a user's: %s", line)
	}
	elsewhere := facts
	elsewhere.Sources = []string{"198.51.100.1"}
	if exit := try("elsewhere", users, target(elsewhere)); exit == 0 {
		t.Error("sshd takes the certificate from another address")
	}
	leg1 := facts.User
	if exit := try("direct", gateways, func(key ssh.PublicKey) (*ssh.Certificate, error) { return BuildUser(leg1, key) }); exit == 0 {
		t.Error("sshd takes a certificate of the gateway CA")
	}
}
