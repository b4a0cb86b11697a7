package sshd

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/sshcert"
	"golang.org/x/crypto/ssh"
)

func needsKeygen(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(keygen); err != nil {
		t.Skipf("SKIPPED: this machine has no %s", keygen)
	}
}

// asks ssh-keygen whether a list revokes a key or certificate.
func asks(t *testing.T, list []byte, key ssh.PublicKey) string {
	t.Helper()
	dir := t.TempDir()
	file, pub := filepath.Join(dir, "revoked"), filepath.Join(dir, "key.pub")
	if err := os.WriteFile(file, list, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(pub, ssh.MarshalAuthorizedKey(key), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := exec.Command(keygen, "-Q", "-f", file, pub).Output()
	revoked, known := verdict(strings.TrimSpace(string(out)))
	switch {
	case !known:
		return "unreadable"
	case revoked:
		return "revoked"
	}
	return "ok"
}

func testSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func certified(t *testing.T, ca ssh.Signer, key ssh.PublicKey, serial uint64) *ssh.Certificate {
	t.Helper()
	cert := &ssh.Certificate{Key: key, Serial: serial, CertType: ssh.UserCert, KeyId: "cardea:user=usr_a", ValidPrincipals: []string{"alice"}, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	return cert
}

// OpenSSH is the judge of what a list says: of no key, of one, and of many.
func TestOpenSSHReadsTheListAsItWasMeant(t *testing.T) {
	needsKeygen(t)
	t.Parallel()
	ca, other, lost, good := testSigner(t), testSigner(t), testSigner(t), testSigner(t)
	sum := func(k ssh.PublicKey) [32]byte { return sha256.Sum256(k.Marshal()) }
	var manyKeys [][32]byte
	var manySerials []uint64
	for i := range 300 {
		manyKeys = append(manyKeys, sha256.Sum256([]byte(strconv.Itoa(i))))
		manySerials = append(manySerials, uint64(i)*1_000_003+1000)
	}
	for _, tc := range []struct {
		name    string
		keys    [][32]byte
		serials []uint64
		key     ssh.PublicKey
		want    string
	}{
		{"an empty list revokes nothing", nil, nil, good.PublicKey(), "ok"},
		{"and no certificate", nil, nil, certified(t, ca, good.PublicKey(), 42), "ok"},
		{"a serial is revoked", nil, []uint64{42}, certified(t, ca, good.PublicKey(), 42), "revoked"},
		{"of any CA", nil, []uint64{42}, certified(t, other, good.PublicKey(), 42), "revoked"},
		{"the serial before it is not", nil, []uint64{42}, certified(t, ca, good.PublicKey(), 41), "ok"},
		{"nor the one after it", nil, []uint64{42}, certified(t, ca, good.PublicKey(), 43), "ok"},
		{"the greatest serial", nil, []uint64{1<<63 - 1}, certified(t, ca, good.PublicKey(), 1<<63-1), "revoked"},
		{"a key is revoked", [][32]byte{sum(lost.PublicKey())}, nil, lost.PublicKey(), "revoked"},
		{"a certificate of it as well", [][32]byte{sum(lost.PublicKey())}, nil, certified(t, ca, lost.PublicKey(), 7), "revoked"},
		{"another key is not", [][32]byte{sum(lost.PublicKey())}, nil, good.PublicKey(), "ok"},
		{"what a revoked CA has signed", [][32]byte{sum(ca.PublicKey())}, nil, certified(t, ca, good.PublicKey(), 7), "revoked"},
		{"what another CA has signed", [][32]byte{sum(ca.PublicKey())}, nil, certified(t, other, good.PublicKey(), 7), "ok"},
		{"one of many serials", manyKeys, manySerials, certified(t, ca, good.PublicKey(), manySerials[150]), "revoked"},
		{"none of many", manyKeys, manySerials, certified(t, ca, good.PublicKey(), manySerials[150]+1), "ok"},
		{"the last of many keys", append(manyKeys, sum(lost.PublicKey())), manySerials, lost.PublicKey(), "revoked"},
	} {
		if got := asks(t, krl(tc.keys, tc.serials), tc.key); got != tc.want {
			t.Errorf("%s: ssh-keygen says %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestTheListDependsOnNothingButWhatIsRevoked(t *testing.T) {
	a, b := sha256.Sum256([]byte("a")), sha256.Sum256([]byte("b"))
	first := krl([][32]byte{a, b}, []uint64{3, 1, 2})
	if string(first) != string(krl([][32]byte{b, a, b}, []uint64{2, 3, 1, 1})) {
		t.Error("another order makes another file")
	}
}

func testChecked(t *testing.T) checked {
	t.Helper()
	c, err := Want{
		Server: ident.New(ident.Server), UserCAs: []string{sshcert.Line(testSigner(t).PublicKey())}, HostCAs: []string{sshcert.Line(testSigner(t).PublicKey())},
	}.check()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// However a list was cut or spoilt, it does not pass; also where OpenSSH itself
// would read it, as a list of nothing (of its header alone, or of no byte at all).
func TestNoDamagedListPassesTheCheck(t *testing.T) {
	needsKeygen(t)
	t.Parallel()
	c, serials := testChecked(t), []uint64{42}
	m := &Manager{State: t.TempDir()}
	whole := krl([][32]byte{sha256.Sum256([]byte("a"))}, serials)
	file := filepath.Join(t.TempDir(), "revoked")
	check := func(list []byte) error {
		if err := os.WriteFile(file, list, 0o600); err != nil {
			t.Fatal(err)
		}
		return m.checkKRL(t.Context(), file, c, serials)
	}
	if err := check(whole); err != nil {
		t.Fatalf("the whole list: %v", err)
	}
	for n := range whole {
		if check(whole[:n]) == nil {
			t.Errorf("cut to %d of %d bytes it passes", n, len(whole))
		}
	}
	for name, list := range map[string][]byte{
		"junk behind it": append(append([]byte{}, whole...), "junk"...), "zeros": make([]byte, len(whole)), "a text": []byte("# nothing\n"),
		"the list of nobody": krl(nil, nil), "one that revokes the CA in use": krl([][32]byte{sha256.Sum256(c.userCAs[0].Marshal())}, serials),
	} {
		if check(list) == nil {
			t.Errorf("%s passes", name)
		}
	}
	if entries, _ := os.ReadDir(m.State); len(entries) > 0 {
		t.Errorf("the check leaves %s", entries[0].Name())
	}
}

func TestRevocationsAreParsedAndBounded(t *testing.T) {
	print := ssh.FingerprintSHA256(testSigner(t).PublicKey())
	many := func(n int, s string) (out []string) {
		for range n {
			out = append(out, s)
		}
		return out
	}
	for _, tc := range []struct {
		name          string
		keys, serials []string
		good          bool
	}{
		{"none", nil, nil, true},
		{"one of each", []string{print}, []string{"9223372036854775807"}, true},
		{"as many as there may be", many(maxRevoked, print), many(maxRevoked, "7"), true},
		{"one key more", many(maxRevoked+1, print), nil, false},
		{"one serial more", nil, many(maxRevoked+1, "7"), false},
		{"serial 0, which OpenSSH takes for none", nil, []string{"0"}, false},
		{"a serial of 64 bits, like the marker's", nil, []string{"9223372036854775808"}, false},
		{"a serial in words", nil, []string{"7\n"}, false},
		{"a key that is no fingerprint", []string{"ssh-ed25519 AAAA"}, nil, false},
		{"a comment", []string{"#" + print}, nil, false},
	} {
		if _, _, err := (Want{RevokedKeys: tc.keys, RevokedSerials: tc.serials}).revocations(); (err == nil) != tc.good {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}
