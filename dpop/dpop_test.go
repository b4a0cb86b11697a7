package dpop_test

import (
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/dpop"
)

// The examples of RFC 9449, sections 4.1 and 6.1.
const (
	rfcProof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19" +
		".eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ" +
		".2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
	rfcThumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
	rfcToken      = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
	rfcTokenHash  = "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"
)

func TestTheProofOfTheRFCPasses(t *testing.T) {
	p, err := dpop.Check([]string{rfcProof}, dpop.Expect{
		Method: "POST", URL: "https://server.example.com/token", Thumbprint: rfcThumbprint, Now: time.Unix(1562262616, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	if p.Thumbprint != rfcThumbprint || p.JTI != "-BwC3ESc6acc2lTc" || p.IssuedAt.Unix() != 1562262616 {
		t.Errorf("got %+v", p)
	}
	if got := dpop.TokenHash(rfcToken); got != rfcTokenHash {
		t.Errorf("token hash is %s, the RFC says %s", got, rfcTokenHash)
	}
}

func TestAProofOfOursPasses(t *testing.T) {
	key, err := dpop.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	nonces, err := dpop.NewNonces(dpop.NonceTTL, make([]byte, dpop.MinNonceSecret))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	proof, err := key.Proof("POST", "https://Access.Example.com:443/v1/connect?x=1#y", nonces.Issue(now), "token")
	if err != nil {
		t.Fatal(err)
	}
	p, err := dpop.Check([]string{proof}, dpop.Expect{
		Method: "POST", URL: "https://access.example.com/v1/connect", Token: "token",
		Thumbprint: key.Thumbprint(), Nonce: nonces.Check, Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	if !p.Public.Equal(key.Public()) || string(p.JWK) != string(key.PublicJWK()) {
		t.Error("another key came out")
	}
}
