package enclave

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

// mac is a Secure Enclave as macOS shows it. Its blobs are of use to it alone.
type mac struct {
	keys  map[string]*ecdsa.PrivateKey // by blob
	held  int                          // how many handles were not released
	stale int                          // so many signatures fail yet
	asked []attributes                 // of restore
	// What can be otherwise than we hope.
	refuses    error
	inSoftware bool
	blobless   bool
	forgetful  bool
	off        bool // the curve
}

type macKey struct {
	in   *mac
	key  *ecdsa.PrivateKey
	blob string
	gone bool
}

func (m *mac) generate(a attributes) (handle, error) {
	if m.refuses != nil {
		return nil, m.refuses
	}
	if !reflect.DeepEqual(a, newKey()) {
		return nil, fmt.Errorf("asked for %v", a)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if m.keys == nil {
		m.keys = map[string]*ecdsa.PrivateKey{}
	}
	blob := rand.Text()
	if !m.forgetful {
		m.keys[blob] = key
	}
	return m.hold(key, blob), nil
}

func (m *mac) restore(a attributes) (handle, error) {
	m.asked = append(m.asked, a)
	at := slices.IndexFunc(a, func(a attribute) bool { return a.name == tokenOID })
	if at < 0 { // so macOS does, and says nothing
		return m.generate(newKey())
	}
	blob := string(a[at].value.([]byte))
	if m.keys[blob] == nil {
		return nil, &failure{domain: cryptoTokenKit, code: -3}
	}
	return m.hold(m.keys[blob], blob), nil
}

func (m *mac) hold(key *ecdsa.PrivateKey, blob string) *macKey {
	m.held++
	return &macKey{in: m, key: key, blob: blob}
}

func (k *macKey) describe() (description, error) {
	point, err := k.key.PublicKey.Bytes()
	is := description{inEnclave: !k.in.inSoftware, point: point, blob: []byte(k.blob)}
	if k.in.blobless {
		is.blob = nil
	}
	if k.in.off {
		is.point[64] ^= 1
	}
	return is, err
}

func (k *macKey) sign(by symbol, digest []byte) ([]byte, error) {
	if by != "kSecKeyAlgorithmECDSASignatureDigestX962SHA256" {
		return nil, fmt.Errorf("asked for %s", by)
	}
	if k.gone {
		panic("a key is used that was released")
	}
	if k.in.stale > 0 {
		k.in.stale--
		return nil, &failure{domain: cryptoTokenKit, code: -2}
	}
	return ecdsa.SignASN1(rand.Reader, k.key, digest)
}

func (k *macKey) release() {
	if k.gone {
		panic("a key is released twice")
	}
	k.gone = true
	k.in.held--
}

func (m *mac) parse(t *testing.T, text []byte) *Key {
	t.Helper()
	k, err := parse(text, func() (chip, error) { return m, nil })
	must(t, err)
	return k
}

func made(t *testing.T, m *mac) (text []byte, k *Key) {
	t.Helper()
	text, err := create(m)
	must(t, err)
	return text, m.parse(t, text)
}

func TestAKeyOfTheEnclaveSigns(t *testing.T) {
	m := &mac{}
	text, k := made(t, m)
	if m.held != 0 {
		t.Errorf("to make a key left %d in use", m.held)
	}
	verifies(t, k, "one")
	verifies(t, k, "two")
	if m.held != 1 {
		t.Errorf("%d keys are in use after two signatures", m.held)
	}
	k.Close()
	k.Close()
	verifies(t, k, "after it was let go")
	k.Close()
	if m.held != 0 {
		t.Errorf("%d keys are in use after the last", m.held)
	}
	again := m.parse(t, text)
	verifies(t, again, "by another process")
	if !again.public.Equal(k.public) {
		t.Error("the same blob gave two keys")
	}
}

func TestManySignersShareOneKey(t *testing.T) {
	m := &mac{}
	_, k := made(t, m)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { verifies(t, k, "at once") })
	}
	all.Wait()
	if m.held != 1 {
		t.Errorf("%d keys are in use", m.held)
	}
}

func TestAKeyThatWentStaleIsRestoredOnce(t *testing.T) {
	m := &mac{}
	_, k := made(t, m)
	verifies(t, k, "before")
	m.stale = 1
	verifies(t, k, "after the daemon ended")
	m.stale = 2
	if _, err := k.Sign(nil, make([]byte, 32), crypto.SHA256); err == nil || m.stale != 0 || m.held != 0 {
		t.Errorf("%v, %d to fail yet, %d in use", err, m.stale, m.held)
	}
	m.stale = 1
	if _, err := k.Sign(nil, make([]byte, 32), crypto.SHA256); err == nil {
		t.Error("a key that was not held was tried twice")
	}
	verifies(t, k, "at last")
}

// Mallory copies every file of alice to a Mac of his own.
func TestABlobIsWorthlessOnAnotherMac(t *testing.T) {
	text, err := create(&mac{})
	must(t, err)
	k := (&mac{}).parse(t, text)
	if _, err := k.Sign(nil, make([]byte, 32), crypto.SHA256); err == nil || !strings.Contains(err.Error(), "of another Mac") {
		t.Errorf("another Mac says %v", err)
	}
}

// macOS that does not know the blob's attribute makes a new key, and says nothing.
func TestASignatureOfAnotherKeyIsNotReturned(t *testing.T) {
	m := &mac{}
	_, k := made(t, m)
	for blob := range m.keys {
		other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(t, err)
		m.keys[blob] = other
	}
	if signature, err := k.Sign(nil, make([]byte, 32), crypto.SHA256); err == nil {
		t.Errorf("it signed %x", signature)
	}
}

func TestAKeyIsOnlyMadeWhereItCanBeFoundAgain(t *testing.T) {
	for _, tc := range []struct {
		name string
		mac  mac
		want string
	}{
		{"that asks for an entitlement", mac{refuses: &failure{domain: osStatus, code: -34018}}, "without an entitlement"},
		{"that makes it in software", mac{inSoftware: true}, "not in the Secure Enclave"},
		{"that does not tell the blob", mac{blobless: true}, "does not hand out"},
		{"that does not take the blob back", mac{forgetful: true}, "try the new key"},
		{"that does not sign", mac{stale: 9}, "it does not answer"},
		{"whose point is off the curve", mac{off: true}, "has no P-256 key"},
	} {
		text, err := create(&tc.mac)
		if err == nil || text != nil || !strings.Contains(err.Error(), tc.want) || strings.ContainsAny(err.Error(), "\n%") {
			t.Errorf("a Mac %s gave %s, %v", tc.name, text, err)
		}
		if tc.mac.held != 0 {
			t.Errorf("a Mac %s: %d keys are in use", tc.name, tc.mac.held)
		}
	}
}

func TestOnlySHA256IsSigned(t *testing.T) {
	_, k := made(t, &mac{})
	for name, c := range map[string]struct {
		digest []byte
		hash   crypto.Hash
	}{
		"another hash":      {make([]byte, 32), crypto.SHA512_256},
		"a digest too long": {make([]byte, 33), crypto.SHA256},
		"no digest":         {nil, crypto.SHA256},
	} {
		if _, err := k.Sign(nil, c.digest, c.hash); err == nil {
			t.Errorf("%s was signed", name)
		}
	}
}

// What stands here is what a person would have to answer for: where the key lies, when it
// can be used, and that no finger is asked for.
func TestTheKeyIsAskedForAsItShouldBe(t *testing.T) {
	want := attributes{
		{symbol("kSecAttrKeyType"), symbol("kSecAttrKeyTypeECSECPrimeRandom")},
		{symbol("kSecAttrKeySizeInBits"), int32(256)},
		{symbol("kSecAttrTokenID"), symbol("kSecAttrTokenIDSecureEnclave")},
		{symbol("kSecPrivateKeyAttrs"), attributes{
			{symbol("kSecAttrIsPermanent"), symbol("kCFBooleanFalse")},
			{symbol("kSecAttrAccessControl"), access{"kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly", 0x40000000}},
		}},
	}
	if got := newKey(); !reflect.DeepEqual(got, want) {
		t.Errorf("a new key is asked for by %v", got)
	}
	m := &mac{}
	_, k := made(t, m)
	m.asked = nil
	verifies(t, k, "one")
	want = attributes{
		{symbol("kSecAttrKeyType"), symbol("kSecAttrKeyTypeECSECPrimeRandom")},
		{symbol("kSecAttrKeyClass"), symbol("kSecAttrKeyClassPrivate")},
		{symbol("kSecAttrTokenID"), symbol("kSecAttrTokenIDSecureEnclave")},
		{text("toid"), k.blob},
	}
	if !reflect.DeepEqual(m.asked, []attributes{want}) {
		t.Errorf("an old key is asked for by %v", m.asked)
	}
}

func TestFilesThatAreNotOurs(t *testing.T) {
	whole, _ := made(t, &mac{})
	good, err := decode(whole)
	must(t, err)
	change := func(do func(*keyFile)) []byte {
		f := good
		f.Point = bytes.Clone(f.Point)
		do(&f)
		out, err := encode(f)
		must(t, err)
		return out
	}
	block, _ := pem.Decode(whole)
	long := pem.EncodeToMemory(&pem.Block{Type: PEMType, Bytes: append(bytes.Clone(block.Bytes), 0)})
	for name, file := range map[string][]byte{
		"nothing":                      nil,
		"another type of PEM":          bytes.ReplaceAll(whole, []byte("CARDEA ENCLAVE"), []byte("TSS2 PRIVATE")),
		"something after it":           append(bytes.Clone(whole), 'x'),
		"something within, after it":   long,
		"not ASN.1":                    pem.EncodeToMemory(&pem.Block{Type: PEMType, Bytes: []byte("x")}),
		"of another version":           change(func(f *keyFile) { f.Version++ }),
		"without a blob":               change(func(f *keyFile) { f.Blob = nil }),
		"without a point":              change(func(f *keyFile) { f.Point = nil }),
		"whose point is cut":           change(func(f *keyFile) { f.Point = f.Point[:64] }),
		"whose point is compressed":    change(func(f *keyFile) { f.Point = append([]byte{2}, f.Point[1:33]...) }),
		"whose point is at infinity":   change(func(f *keyFile) { f.Point = []byte{0} }),
		"whose point is off the curve": change(func(f *keyFile) { f.Point[64] ^= 1 }),
	} {
		if k, err := parse(file, nil); err == nil {
			t.Errorf("a file, %s, was taken: %v", name, k.public)
		}
	}
}

func TestABlobMayBeAsLongAsTheLimit(t *testing.T) {
	text, err := encode(keyFile{Version: version, Blob: make([]byte, maxBlob)})
	must(t, err)
	_, err = decode(text)
	must(t, err)
	if _, err := encode(keyFile{Version: version, Blob: make([]byte, maxBlob+1)}); err == nil {
		t.Error("a longer one was written")
	}
}

func TestAFailureOfMacOSIsASentence(t *testing.T) {
	for _, tc := range []struct {
		domain, description string
		code                int
		want                string
		absent              bool
	}{
		{osStatus, "x", -34018, "macOS refuses it to a program without an entitlement, which only an Apple developer's signature gives (NSOSStatusErrorDomain -34018)", false},
		{osStatus, "x", -25308, "it is locked until somebody has logged in to this Mac after its start (NSOSStatusErrorDomain -25308)", false},
		{osStatus, "x", -4, "this Mac has none (NSOSStatusErrorDomain -4)", true},
		{cryptoTokenKit, "x", -7, "this Mac has none (CryptoTokenKit -7)", true},
		{cryptoTokenKit, "x", -3, "the key is damaged, or of another Mac, or this one was erased (CryptoTokenKit -3)", false},
		{cryptoTokenKit, "x", -4, "x (CryptoTokenKit -4)", false}, // the other domain's absence
		{osStatus, "Der Vorgang\n konnte nicht\tabgeschlossen werden.", -50, "Der Vorgang konnte nicht abgeschlossen werden. (NSOSStatusErrorDomain -50)", false},
		{"", "", 7, "macOS refuses ( 7)", false},
		{"x", strings.Repeat("ä", 150), 1, strings.Repeat("ä", 100) + " (x 1)", false},
		{"x", "-" + strings.Repeat("ä", 150), 1, "-" + strings.Repeat("ä", 99) + " (x 1)", false},
	} {
		f := &failure{domain: tc.domain, code: tc.code, description: tc.description}
		err := fmt.Errorf("make a key: %w", f)
		if f.Error() != tc.want || errors.Is(err, ErrAbsent) != tc.absent {
			t.Errorf("%+v says %q; absent: %v", *f, f, errors.Is(err, ErrAbsent))
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("-----BEGIN CARDEA ENCLAVE KEY-----\nMAA=\n-----END CARDEA ENCLAVE KEY-----\n"))
	whole, err := create(&mac{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := parse(text, nil)
		if (err == nil) != (k != nil) {
			t.Errorf("%v, %v", k, err)
		}
	})
}

func verifies(t *testing.T, k *Key, message string) {
	t.Helper()
	digest := sha256.Sum256([]byte(message))
	signature, err := k.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Errorf("%s: %v", message, err)
	} else if !ecdsa.VerifyASN1(k.public, digest[:], signature) {
		t.Errorf("%s: the signature is wrong", message)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
