package hello_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/hello"
)

// Layout of a message, as docs/protocol.md has it.
const (
	headSize = 12
	slotSize = 72
)

func TestEveryFlippedBitOfAMessageIsRefused(t *testing.T) {
	w := newWorld(t, 2)
	message, _ := w.seal()
	o := opener(w.gateways[0])
	step := 1
	if testing.Short() {
		step = 7
	}
	for i := 0; i < len(message)*8; i += step {
		flipped := bytes.Clone(message)
		flipped[i/8] ^= 1 << (i % 8)
		_, err := o.Open(flipped)
		if !errors.Is(err, hello.ErrInvalid) && !errors.Is(err, hello.ErrNotForUs) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
	}
}

func TestAMessageWhoseRecipientsWereChangedIsRefused(t *testing.T) {
	w := newWorld(t, 3)
	message, _ := w.seal()
	other, _ := w.seal()
	slot := func(m []byte, i int) []byte { return m[headSize+1+i*slotSize:][:slotSize] }
	rebuild := func(count int, slots ...[]byte) []byte {
		body := message[headSize+1+3*slotSize:]
		m := append(bytes.Clone(message[:headSize]), byte(count))
		m = append(append(m, bytes.Join(slots, nil)...), body...)
		binary.BigEndian.PutUint32(m[headSize-4:], uint32(len(m)-headSize))
		return m
	}
	a, b, c := slot(message, 0), slot(message, 1), slot(message, 2)
	if !bytes.Equal(rebuild(3, a, b, c), message) {
		t.Fatal("the test does not know the layout")
	}
	for name, m := range map[string][]byte{
		"two swapped":               rebuild(3, b, a, c),
		"one stripped":              rebuild(2, a, b),
		"all stripped but one":      rebuild(1, a),
		"one twice":                 rebuild(3, a, a, c),
		"one from another message":  rebuild(3, a, b, slot(other, 2)),
		"ours from another message": rebuild(3, slot(other, 0), b, c),
		"one added":                 rebuild(4, a, b, c, append([]byte("12345678"), c[8:]...)),
		"a count that is too large": rebuild(4, a, b, c),
		"a count that is too small": rebuild(2, a, b, c),
		"none":                      rebuild(0),
		"only a count":              message[:headSize+1],
	} {
		if _, err := opener(w.gateways[0]).Open(m); !errors.Is(err, hello.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAMemberCannotSealAHelloAnew: mallory runs a gateway that alice's hello
// was sealed for, and wants to pass it to another gateway as if alice had sent
// it there. He can read the claim, but not sign the new list of recipients.
func TestAMemberCannotSealAHelloAnew(t *testing.T) {
	w := newWorld(t, 1)
	message, _ := w.seal()
	opened, err := opener(w.gateways[0]).Open(message)
	if err != nil {
		t.Fatal(err)
	}
	victim, err := hello.NewSealingKey()
	if err != nil {
		t.Fatal(err)
	}
	resealed, err := hello.SealClaim(opened.Claim, []hello.Recipient{{Gateway: "gw_b", PublicKey: victim.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := opener(victim).Open(resealed); !errors.Is(err, hello.ErrInvalid) || !strings.Contains(err.Error(), "other recipients") {
		t.Errorf("got %v", err)
	}
}

func TestATicketIsWorthlessWithAnotherKey(t *testing.T) {
	w := newWorld(t, 1)
	w.fresh = seeded("mallory")
	message, _ := w.seal()
	opened, err := opener(w.gateways[0]).Open(message)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := opened.VerifyTicket(w.keys, noon); !errors.Is(err, hello.ErrInvalid) {
		t.Errorf("the gateway takes it: %v", err)
	}
	c, err := hello.VerifyClaim(opened.Claim, w.keys, noon)
	if !errors.Is(err, hello.ErrInvalid) || !errors.Is(err, hello.ErrOtherKey) {
		t.Errorf("the control plane takes it: %v", err)
	}
	if c.Ticket.ID == "" || c.PublicKey != nil || c.Nonce != [32]byte{} {
		t.Errorf("the record should have whose ticket it was, and nothing else: %+v", c)
	}
}

func TestAClaimIsJudgedByTheTicketsTimeAndNotTheClients(t *testing.T) {
	w := newWorld(t, 1)
	for name, off := range map[string]time.Duration{"an hour slow": -time.Hour, "an hour fast": time.Hour, "right": 0} {
		message, _, err := hello.Seal(w.fresh, w.raw, w.recipients, noon.Add(off))
		if err != nil {
			t.Fatal(err)
		}
		opened, err := opener(w.gateways[0]).Open(message)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := hello.VerifyClaim(opened.Claim, w.keys, noon); err != nil {
			t.Errorf("a clock that is %s: %v", name, err)
		}
		c, err := hello.VerifyClaim(opened.Claim, w.keys, noon.Add(hello.TicketLife))
		if !errors.Is(err, hello.ErrExpired) || c.Ticket.User != w.ticket.User {
			t.Errorf("a clock that is %s, ticket over: %v", name, err)
		}
	}
}

func TestEveryFlippedBitOfAClaimIsRefused(t *testing.T) {
	w := newWorld(t, 1)
	message, _ := w.seal()
	opened, err := opener(w.gateways[0]).Open(message)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(opened.Claim) * 8 {
		flipped := bytes.Clone(opened.Claim)
		flipped[i/8] ^= 1 << (i % 8)
		if _, err := hello.VerifyClaim(flipped, w.keys, noon); !errors.Is(err, hello.ErrInvalid) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
	}
	for name, raw := range map[string][]byte{
		"nothing": nil, "one byte more": append(bytes.Clone(opened.Claim), 0), "one byte less": opened.Claim[1:],
	} {
		if _, err := hello.VerifyClaim(raw, w.keys, noon); !errors.Is(err, hello.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEachAttemptHasItsOwnNonce(t *testing.T) {
	w := newWorld(t, 1)
	seen := map[[32]byte]bool{}
	for range 10 {
		message, _ := w.seal()
		opened, err := opener(w.gateways[0]).Open(message)
		if err != nil || seen[opened.Nonce] {
			t.Fatalf("nonce seen before, or %v", err)
		}
		seen[opened.Nonce] = true
	}
}

func TestAnOlderSealingKeyStillOpensUntilItIsDropped(t *testing.T) {
	w := newWorld(t, 2)
	w.recipients = w.recipients[:1] // the client knows the older key
	message, _ := w.seal()
	o := opener(w.gateways[1], w.gateways[0])
	if _, err := o.Open(message); err != nil {
		t.Fatal(err)
	}
	o.SetKeys(w.gateways[1])
	if _, err := o.Open(message); !errors.Is(err, hello.ErrNotForUs) {
		t.Errorf("a dropped key: %v", err)
	}
	if _, err := new(hello.Opener).Open(message); !errors.Is(err, hello.ErrNotForUs) {
		t.Errorf("no key at all: %v", err)
	}
}

// TestDecapsulationsAreBounded: a message can name several of our keys with
// garbage behind each, and each costs a decapsulation. The one after MaxTries
// is not tried, although it would open.
func TestDecapsulationsAreBounded(t *testing.T) {
	w := newWorld(t, hello.MaxTries+1)
	all := opener(w.gateways...)
	for spoilt := range hello.MaxTries + 1 {
		message, err := hello.SealSpoilt(w.fresh, w.raw, w.recipients, spoilt)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := all.Open(message); (err == nil) != (spoilt < hello.MaxTries) {
			t.Errorf("%d spoilt: %v", spoilt, err)
		}
	}
}

func TestSealRefuses(t *testing.T) {
	w := newWorld(t, 1)
	good := w.recipients[0]
	many := make([]hello.Recipient, 0, hello.MaxRecipients+1)
	for range cap(many) {
		k, err := hello.NewSealingKey()
		if err != nil {
			t.Fatal(err)
		}
		many = append(many, hello.Recipient{Gateway: "gw_x", PublicKey: k.Public()})
	}
	for _, tc := range []struct {
		name       string
		ok         bool
		ticket     []byte
		recipients []hello.Recipient
	}{
		{"one recipient", true, w.raw, many[:1]},
		{"as many recipients as may be", true, w.raw, many[:hello.MaxRecipients]},
		{"one recipient too many", false, w.raw, many},
		{"no recipient", false, w.raw, nil},
		{"one key twice", false, w.raw, []hello.Recipient{good, {Gateway: "gw_b", PublicKey: good.PublicKey}}},
		{"a short key", false, w.raw, []hello.Recipient{{Gateway: "gw_a", PublicKey: good.PublicKey[:31]}}},
		{"a key of small order", false, w.raw, []hello.Recipient{{Gateway: "gw_a", PublicKey: make([]byte, 32)}}},
		{"the longest ticket", true, make([]byte, hello.MaxTicket), many[:hello.MaxRecipients]},
		{"a ticket one byte too long", false, make([]byte, hello.MaxTicket+1), many[:1]},
	} {
		if m, _, err := hello.Seal(w.fresh, tc.ticket, tc.recipients, noon); (err == nil) != tc.ok || len(m) > hello.MaxMessage {
			t.Errorf("%s: %v, %d bytes", tc.name, err, len(m))
		}
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := hello.Seal(p256, w.raw, w.recipients, noon); err == nil {
		t.Error("a fresh key of another kind is taken")
	}
}

func TestReadMessageReadsExactlyOne(t *testing.T) {
	w := newWorld(t, 1)
	message, _ := w.seal()
	withLength := func(n int) []byte {
		m := append(bytes.Clone(message[:headSize-4]), 0, 0, 0, 0)
		binary.BigEndian.PutUint32(m[headSize-4:], uint32(n))
		return m
	}
	atLimit := append(withLength(hello.MaxMessage-headSize), make([]byte, hello.MaxMessage-headSize)...)
	for _, tc := range []struct {
		name  string
		input []byte
		read  int // bytes taken off the connection
		want  error
	}{
		{"a message", message, len(message), nil},
		{"a message at the limit", atLimit, hello.MaxMessage, nil},
		{"one byte over the limit is refused by its length alone", append(withLength(hello.MaxMessage-headSize+1), make([]byte, hello.MaxMessage)...), headSize, hello.ErrInvalid},
		{"4 GiB", append(withLength(0xffffffff), 1, 2, 3), headSize, hello.ErrInvalid},
		{"an SSH client", []byte("SSH-2.0-OpenSSH_9.2\r\n"), 8, hello.ErrInvalid},
		{"a TLS client", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03"), 8, hello.ErrInvalid},
		{"a message cut short", message[:len(message)-1], len(message) - 1, io.ErrUnexpectedEOF},
		{"nothing", nil, 0, io.EOF},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := bytes.NewReader(tc.input)
			got, err := hello.ReadMessage(r)
			if tc.want != nil && !errors.Is(err, tc.want) || tc.want == nil && (err != nil || !bytes.Equal(got, tc.input)) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			if read := len(tc.input) - r.Len(); read != tc.read {
				t.Errorf("%d bytes were read, want %d", read, tc.read)
			}
		})
	}
	if _, err := opener(w.gateways[0]).Open(append(atLimit, 0)); !errors.Is(err, hello.ErrInvalid) {
		t.Errorf("Open takes more than the limit: %v", err)
	}
}

// TestTheFreshKeyIsPlainEd25519: certificates nest, and a parser that follows
// them into the depth can be made to overflow.
func TestTheFreshKeyIsPlainEd25519(t *testing.T) {
	w := newWorld(t, 1)
	pub, err := ssh.NewPublicKey(w.fresh.Public())
	if err != nil {
		t.Fatal(err)
	}
	nested := &ssh.Certificate{Key: pub, SignatureKey: pub, CertType: ssh.UserCert}
	signer, err := ssh.NewSignerFromSigner(w.fresh)
	if err != nil {
		t.Fatal(err)
	}
	if err := nested.SignCert(rand.Reader, signer); err != nil {
		t.Fatal(err)
	}
	good := pub.Marshal()
	for name, blob := range map[string][]byte{
		"a certificate":        nested.Marshal(),
		"nothing":              nil,
		"a name alone":         good[:15],
		"a byte left over":     append(bytes.Clone(good), 0),
		"a key one byte short": append(append([]byte{}, good[:15]...), append([]byte{0, 0, 0, 31}, good[19:50]...)...),
		"a length of 4 GiB":    append(append([]byte{}, good[:15]...), 0xff, 0xff, 0xff, 0xff),
	} {
		claim, err := hello.SignClaim(w.fresh, w.raw, blob, noon)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := hello.VerifyClaim(claim, w.keys, noon); !errors.Is(err, hello.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	claim, err := hello.SignClaim(w.fresh, w.raw, good, noon)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hello.VerifyClaim(claim, w.keys, noon); err != nil {
		t.Errorf("the right key: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	w := newWorld(f, 2)
	message, _ := w.seal()
	f.Add(message)
	f.Add(message[:headSize+1])
	f.Add([]byte{})
	o := opener(w.gateways...)
	f.Fuzz(func(t *testing.T, m []byte) {
		got, err := hello.ReadMessage(bytes.NewReader(m))
		if err == nil && !bytes.HasPrefix(m, got) {
			t.Error("another message was read than was sent")
		}
		if _, err := o.Open(m); err != nil && !errors.Is(err, hello.ErrInvalid) && !errors.Is(err, hello.ErrNotForUs) {
			t.Errorf("error of another kind: %v", err)
		}
	})
}

// FuzzClaim signs what the fuzzer makes: what parses must print to itself.
func FuzzClaim(f *testing.F) {
	w := newWorld(f, 1)
	message, _ := w.seal()
	opened, err := opener(w.gateways[0]).Open(message)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(opened.Claim[:len(opened.Claim)-ed25519.SignatureSize])
	f.Fuzz(func(t *testing.T, body []byte) {
		raw := append(bytes.Clone(body), ed25519.Sign(w.fresh, append([]byte("cardea hello v1\x00"), body...))...)
		printed, err := hello.Reprint(raw)
		if err == nil && !bytes.Equal(printed, body) {
			t.Error("print(parse(x)) is not x")
		}
		if err != nil && !errors.Is(err, hello.ErrInvalid) {
			t.Errorf("error of another kind: %v", err)
		}
	})
}

func BenchmarkSealAndOpen(b *testing.B) {
	w := newWorld(b, 2)
	o := opener(w.gateways[1])
	for b.Loop() {
		message, _ := w.seal()
		opened, err := o.Open(message)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := opened.VerifyTicket(w.keys, noon); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	w := newWorld(b, 2)
	message, _ := w.seal()
	o := opener(w.gateways[1])
	for b.Loop() {
		if _, err := o.Open(message); err != nil {
			b.Fatal(err)
		}
	}
}
