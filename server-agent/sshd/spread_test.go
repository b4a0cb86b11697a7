package sshd

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/sshcert"
	"golang.org/x/crypto/ssh"
)

// A thousand servers that were set up at once do not write at once.
func TestTheServersOfAFleetRenewTheirPrincipalsAtDifferentTimes(t *testing.T) {
	start := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	const servers, quarters = 1000, 24 * 4
	changes := make([]int, quarters)
	for range servers {
		id := ident.New(ident.Server)
		last := expiry(id, start, DefaultPrincipals, time.UTC)
		for q := range quarters {
			e := expiry(id, start.Add(time.Duration(q+1)*15*time.Minute), DefaultPrincipals, time.UTC)
			if !e.Equal(last) {
				changes[q]++
			}
			last = e
		}
	}
	total, most := 0, 0
	for _, n := range changes {
		total, most = total+n, max(most, n)
	}
	// A quarter of an hour has 10 of them on average.
	if total != servers || most > 40 {
		t.Errorf("%d renewals a day, %d in one quarter of an hour", total, most)
	}
}

// hostCertificate is one of the server's, of a life of 30 days from a moment on.
func hostCertificate(t *testing.T, ca ssh.Signer, id string, issued time.Time) (hostKey, line string) {
	t.Helper()
	key := testSigner(t).PublicKey()
	cert, err := sshcert.BuildHost(sshcert.Host{ServerID: id, Serial: sshcert.NewSerial(), Issued: issued}, key)
	if err == nil {
		err = cert.SignCert(rand.Reader, ca)
	}
	if err != nil {
		t.Fatal(err)
	}
	return sshcert.Line(key), sshcert.Line(cert)
}

func TestAHostCertificateIsRenewedBeforeAThirdOfItsLifeIsLeft(t *testing.T) {
	issued := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	ca, next := testSigner(t), testSigner(t)
	both := []string{sshcert.Line(ca.PublicKey()), sshcert.Line(next.PublicKey())}
	file := filepath.Join(t.TempDir(), "cert.pub")
	var first time.Duration
	different := false
	for range 20 {
		id := ident.New(ident.Server)
		hostKey, line := hostCertificate(t, ca, id, issued)
		if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		dueAt := func(age time.Duration, cas []string) bool {
			m := &Manager{Now: func() time.Time { return issued.Add(age) }}
			_, _, due := m.current(file, hostKey, id, cas)
			return due
		}
		const day = 24 * time.Hour
		due := 18 * day
		for !dueAt(due, both) {
			due += 30 * time.Minute
		}
		if due < 19*day-time.Hour || due > 20*day {
			t.Errorf("it is due after %s, not in the day before a third of its life is left", due)
		}
		if first == 0 {
			first = due
		}
		different = different || due != first
		if !dueAt(time.Hour, []string{both[1], both[0]}) {
			t.Error("one of the CA that is being left is not due at once")
		}
		if !dueAt(time.Hour, both[1:]) {
			t.Error("one of a CA that is not trusted any more is not due at once")
		}
	}
	if !different {
		t.Error("twenty servers renew theirs at the same moment")
	}
}
