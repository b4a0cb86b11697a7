package sshcert

import (
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// Whatever the facts, a certificate that was built is within the profile: one principal,
// one project, bounded life, granted extensions only. Most inputs are refused; the seed is
// fixed, so a failure repeats.
func TestNoInputGivesACertificateOutsideTheProfile(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	ca, key := newSigner(t), newSigner(t).PublicKey()
	built := 0
	for range 20_000 {
		u := randomUser(rnd)
		cert, err := BuildUser(u, key)
		if err != nil {
			continue
		}
		built++
		if err := Lint(cert, u); err != nil {
			t.Fatalf("%+v: %v", u, err)
		}
		if built%50 != 0 { // signing is the slow part
			continue
		}
		e := ExpectUser{CAs: []ssh.PublicKey{ca.PublicKey()}, Login: u.Login, ServerID: u.ServerID, ProjectID: u.ProjectID, Now: u.Issued}
		if err := VerifyUser(sign(t, cert, ca), e); err != nil {
			t.Fatalf("%+v: %v", u, err)
		}
		granted := 1
		for _, p := range []bool{u.Permissions.PTY, u.Permissions.PortForwarding, u.Permissions.AgentForwarding, u.Permissions.X11, u.Permissions.UserRC} {
			if p {
				granted++
			}
		}
		life := time.Duration(cert.ValidBefore-cert.ValidAfter) * time.Second
		if len(cert.ValidPrincipals) != 1 || len(cert.Extensions) != granted || life > MaxUserLifetime+Backdate {
			t.Fatalf("outside the profile: %+v", Describe(cert))
		}
	}
	if built < 1000 {
		t.Fatalf("only %d of the inputs gave a certificate: the test shows little", built)
	}
}

// randomUser is right in each field about nine times of ten.
func randomUser(r *rand.Rand) User {
	id := func(prefix string) string { return prefix + "_" + randomText(r, 20, "abc234", "=:_\"\n#,A@") }
	return User{
		Login:    randomText(r, 1+r.IntN(32), "abz_", "@,\n\"*A.-0$"),
		ServerID: id("srv"), UserID: id("usr"), SessionID: id("ses"), DeviceID: id("dev"), ProjectID: id("prj"),
		Serial:   r.Uint64() >> r.IntN(3),
		Issued:   time.Unix(r.Int64N(4e9)-1e8, r.Int64N(1e9)),
		Lifetime: time.Duration(r.Int64N(int64(11*time.Minute))) - time.Second,
		Permissions: Permissions{
			PTY: r.IntN(2) == 0, PortForwarding: r.IntN(2) == 0, AgentForwarding: r.IntN(2) == 0, X11: r.IntN(2) == 0, UserRC: r.IntN(2) == 0,
		},
	}
}

func randomText(r *rand.Rand, n int, good, bad string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = good[r.IntN(len(good))]
	}
	if r.IntN(15) == 0 {
		b[r.IntN(len(b))] = bad[r.IntN(len(bad))]
	}
	return string(b)
}

// FuzzParse feeds strangers' bytes to both parsers: they refuse or agree with themselves,
// and never panic.
func FuzzParse(f *testing.F) {
	cert := sign(f, buildUser(f, aliceOnWeb1()), newSigner(f))
	f.Add(cert.Marshal())
	f.Add(cert.Key.Marshal())
	f.Add(skKey("ssh:"))
	f.Add(nested(3))
	f.Fuzz(func(t *testing.T, wire []byte) {
		if key, err := ParseSubjectKey(wire); err == nil && string(key.Marshal()) != string(wire) {
			t.Fatal("an accepted key is written as other bytes")
		}
		if cert, err := ParseCertificate(wire); err == nil {
			_ = Describe(cert).String()
			_ = VerifyUser(cert, ExpectUser{Login: "alice", ServerID: "srv_weboneaaaaaaaaaaaaaa", ProjectID: "prj_aaaaaaaaaaaaaaaaaaaa", Now: issued})
		}
	})
}
