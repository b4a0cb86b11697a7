package hello

import (
	"crypto/x509"
	"testing"
	"time"
)

func TestACertificateIsMadeOnceADayAndNamesNobody(t *testing.T) {
	var m certMaker
	first, err := m.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := m.get(nil); again != first {
		t.Error("the second client meets another certificate")
	}
	cert, err := x509.ParseCertificate(first.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if cert.Subject.String() != "" || len(cert.DNSNames)+len(cert.IPAddresses) > 0 || cert.NotAfter.After(time.Now().Add(tlsCertLife)) {
		t.Errorf("certificate for %q, %v, until %s", cert.Subject, cert.DNSNames, cert.NotAfter)
	}
	for age, renewed := range map[time.Duration]bool{tlsCertRenew - time.Minute: false, tlsCertRenew: true, -time.Hour: true} {
		m.made = time.Now().Add(-age)
		m.cert = first
		if next, _ := m.get(nil); (next != first) != renewed {
			t.Errorf("after %s: renewed %t", age, next != first)
		}
	}
}
