package hello_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/hello"
)

func manyGateways(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("gw_%061d", i))
	}
	return ids
}

func TestTicketsThatAnIssuerCannotMake(t *testing.T) {
	for _, tc := range []struct {
		name  string
		ok    bool
		spoil func(*hello.Ticket)
	}{
		{"a right one", true, func(*hello.Ticket) {}},
		{"record mode", true, func(k *hello.Ticket) { k.Mode = hello.Record }},
		{"an IPv6 address", true, func(k *hello.Ticket) { k.Address = "[2001:db8::1]:22" }},
		{"a DNS name", true, func(k *hello.Ticket) { k.Address = "web-1.example.com:2222" }},
		{"the longest DNS name", true, func(k *hello.Ticket) { k.Address = strings.Repeat("a", 253) + ":65535" }},
		{"a DNS name one character too long", false, func(k *hello.Ticket) { k.Address = strings.Repeat("a", 254) + ":22" }},
		{"no port", false, func(k *hello.Ticket) { k.Address = "192.0.2.7" }},
		{"port 0", false, func(k *hello.Ticket) { k.Address = "192.0.2.7:0" }},
		{"port 65536", false, func(k *hello.Ticket) { k.Address = "192.0.2.7:65536" }},
		{"a port written in two ways", false, func(k *hello.Ticket) { k.Address = "192.0.2.7:022" }},
		{"a named port", false, func(k *hello.Ticket) { k.Address = "192.0.2.7:ssh" }},
		{"an address with a zone", false, func(k *hello.Ticket) { k.Address = "[fe80::1%eth0]:22" }},
		{"no host", false, func(k *hello.Ticket) { k.Address = ":22" }},
		{"a host with a slash", false, func(k *hello.Ticket) { k.Address = "a/b:22" }},
		{"a host that begins with a dash", false, func(k *hello.Ticket) { k.Address = "-oProxyCommand:22" }},
		{"the longest login", true, func(k *hello.Ticket) { k.Login = strings.Repeat("a", 32) }},
		{"a login one character too long", false, func(k *hello.Ticket) { k.Login = strings.Repeat("a", 33) }},
		{"no login", false, func(k *hello.Ticket) { k.Login = "" }},
		{"a login in capitals", false, func(k *hello.Ticket) { k.Login = "Alice" }},
		{"a login with a line end", false, func(k *hello.Ticket) { k.Login = "alice\n" }},
		{"a login that begins with a digit", false, func(k *hello.Ticket) { k.Login = "1alice" }},
		{"no id", false, func(k *hello.Ticket) { k.ID = "" }},
		{"the longest id", true, func(k *hello.Ticket) { k.ID = strings.Repeat("a", 64) }},
		{"an id one character too long", false, func(k *hello.Ticket) { k.ID = strings.Repeat("a", 65) }},
		{"a user id with a NUL", false, func(k *hello.Ticket) { k.User = "usr_\x00" }},
		{"no gateway", false, func(k *hello.Ticket) { k.Gateways = nil }},
		{"as many gateways as may be, with the longest ids", true, func(k *hello.Ticket) { k.Gateways = manyGateways(hello.MaxRecipients) }},
		{"one gateway too many", false, func(k *hello.Ticket) { k.Gateways = manyGateways(hello.MaxRecipients + 1) }},
		{"a gateway twice", false, func(k *hello.Ticket) { k.Gateways = []string{"gw_a", "gw_b", "gw_a"} }},
		{"an unknown mode", false, func(k *hello.Ticket) { k.Mode = 2 }},
		{"a life one second too long", false, func(k *hello.Ticket) { k.Expires = k.Expires.Add(time.Second) }},
		{"no life", false, func(k *hello.Ticket) { k.Expires = k.IssuedAt }},
		{"an end before its start", false, func(k *hello.Ticket) { k.Expires = k.IssuedAt.Add(-time.Second) }},
		{"zero times", false, func(k *hello.Ticket) { k.IssuedAt, k.Expires = time.Time{}, time.Time{} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, 0)
			tc.spoil(&w.ticket)
			raw, err := hello.SignTicket(w.control, w.ticket)
			if (err == nil) != tc.ok {
				t.Fatalf("got %v", err)
			}
			if !tc.ok {
				return
			}
			got, err := hello.VerifyTicket(w.keys, raw, noon)
			got.IssuedAt, got.Expires = got.IssuedAt.UTC(), got.Expires.UTC()
			if err != nil || !reflect.DeepEqual(got, w.ticket) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestATicketsTimeIsJudgedByTheVerifiersClock(t *testing.T) {
	w := newWorld(t, 0)
	for _, tc := range []struct {
		name  string
		after time.Duration
		ok    bool
	}{
		{"at once", 0, true},
		{"just before its end", hello.TicketLife - 1, true},
		{"at its end", hello.TicketLife, false},
		{"a verifier a little behind", -hello.ClockSkew, true},
		{"a verifier more behind", -hello.ClockSkew - 1, false},
	} {
		got, err := hello.VerifyTicket(w.keys, w.raw, noon.Add(tc.after))
		if (err == nil) != tc.ok || (err != nil && !errors.Is(err, hello.ErrExpired)) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if got.ID != w.ticket.ID {
			t.Errorf("%s: an expired ticket is told for the record", tc.name)
		}
	}
}

func TestATicketIsRefusedIf(t *testing.T) {
	w := newWorld(t, 0)
	other := seeded("another control plane")
	forged, err := hello.SignTicket(other, w.ticket)
	if err != nil {
		t.Fatal(err)
	}
	renamed := bytes.Clone(forged) // signed by a stranger, under our key's id
	id := hello.KeyIDOf(w.control.Public().(ed25519.PublicKey))
	copy(renamed[1:], id[:])
	plain := bytes.Clone(w.raw) // the right key, without the domain prefix
	copy(plain[len(plain)-64:], ed25519.Sign(w.control, plain[:len(plain)-64]))
	for name, raw := range map[string][]byte{
		"another key signed it":                     forged,
		"another key signed it under our id":        renamed,
		"it is signed for no purpose":               plain,
		"it is empty":                               nil,
		"it is cut short":                           w.raw[:len(w.raw)-1],
		"it has a byte left over":                   append(bytes.Clone(w.raw), 0),
		"it is a signature alone":                   w.raw[len(w.raw)-64:],
		"it is longer than a ticket may be":         make([]byte, hello.MaxTicket+1),
		"its version is another":                    append([]byte{2}, w.raw[1:]...),
		"it claims 255 gateways, which are missing": bytes.Replace(w.raw, []byte{0, 2, 0, 4, 'g'}, []byte{0, 255, 0, 4, 'g'}, 1),
	} {
		if got, err := hello.VerifyTicket(w.keys, raw, noon); !errors.Is(err, hello.ErrInvalid) || got.ID != "" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for i := range len(w.raw) * 8 {
		flipped := bytes.Clone(w.raw)
		flipped[i/8] ^= 1 << (i % 8)
		if _, err := hello.VerifyTicket(w.keys, flipped, noon); !errors.Is(err, hello.ErrInvalid) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
	}
}

// TestATimeBeyondReckoningIsRefused: the signer is us, but a bug there must not
// overflow here.
func TestATimeBeyondReckoningIsRefused(t *testing.T) {
	w := newWorld(t, 0)
	raw := bytes.Clone(w.raw)
	at := len(raw) - ed25519.SignatureSize - 16
	binary.BigEndian.PutUint64(raw[at:], 1<<63)
	binary.BigEndian.PutUint64(raw[at+8:], 1<<63+60)
	body := raw[:len(raw)-ed25519.SignatureSize]
	raw = append(body, ed25519.Sign(w.control, append([]byte("cardea ticket v1\x00"), body...))...)
	if _, err := hello.VerifyTicket(w.keys, raw, noon); !errors.Is(err, hello.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

// FuzzTicket signs whatever the fuzzer makes: what parses must encode to the
// same bytes, so that a ticket has one form only.
func FuzzTicket(f *testing.F) {
	w := newWorld(f, 0)
	f.Add(w.raw[:len(w.raw)-ed25519.SignatureSize])
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, body []byte) {
		id := hello.KeyIDOf(w.control.Public().(ed25519.PublicKey))
		if len(body) > 9 {
			copy(body[1:], id[:])
		}
		raw := append(bytes.Clone(body), ed25519.Sign(w.control, append([]byte("cardea ticket v1\x00"), body...))...)
		got, err := hello.VerifyTicket(w.keys, raw, noon)
		if err != nil && !errors.Is(err, hello.ErrExpired) {
			return
		}
		again, err := hello.SignTicket(w.control, got)
		if err != nil || !bytes.Equal(raw, again) {
			t.Errorf("print(parse(x)) is not x: %v", err)
		}
	})
}
