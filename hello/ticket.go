package hello

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

const ticketVersion = 1

// Mode is what the gateway does with the connection.
type Mode uint8

const (
	Relay  Mode = 0 // end to end: the gateway sees no plaintext
	Record Mode = 1 // the gateway ends SSH, records, and connects anew
)

// String returns the name used in the API and in settings.
func (m Mode) String() string {
	switch m {
	case Relay:
		return "relay"
	case Record:
		return "record"
	}
	return "mode-" + strconv.Itoa(int(m))
}

// Ticket says that one fresh key may reach one server through some gateways.
// The control plane signs it for one connection.
type Ticket struct {
	ID             string
	KeyFingerprint [32]byte // SHA-256 of the fresh key's SSH wire form
	User           string
	Session        string // the device session it was issued to
	Server         string
	Login          string
	Address        string   // registered address of the server, "host:port"
	Mode           Mode     // what the project's rules demand
	Gateways       []string // the gateways that may take it, 1 to MaxRecipients
	IssuedAt       time.Time
	Expires        time.Time // at most TicketLife after IssuedAt
}

// TicketKeys are the public keys with which the control plane signs tickets:
// the current one and, during a rotation, its neighbours.
type TicketKeys map[KeyID]ed25519.PublicKey

// NewTicketKeys returns a set of public keys; one of a wrong size is an error.
func NewTicketKeys(public ...ed25519.PublicKey) (TicketKeys, error) {
	keys := make(TicketKeys, len(public))
	for _, p := range public {
		if len(p) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("ticket key has %d bytes, want %d", len(p), ed25519.PublicKeySize)
		}
		keys[KeyIDOf(p)] = p
	}
	return keys, nil
}

// SignTicket encodes and signs a ticket. It refuses one that VerifyTicket
// would refuse. Times are cut to whole seconds.
func SignTicket(key crypto.Signer, t Ticket) ([]byte, error) {
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("tickets are signed with Ed25519")
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	body, err := t.encode(KeyIDOf(public))
	if err != nil {
		return nil, err
	}
	sig, err := key.Sign(rand.Reader, append([]byte(domainTicket), body...), crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("sign ticket: %w", err)
	}
	raw := append(body, sig...)
	if len(raw) > MaxTicket {
		return nil, invalid("ticket is longer than %d bytes", MaxTicket)
	}
	return raw, nil
}

// VerifyTicket checks the signature, the form and the time of a ticket. The
// error wraps ErrExpired if only the time is wrong; the ticket is returned then
// too, for the record.
func VerifyTicket(keys TicketKeys, raw []byte, now time.Time) (Ticket, error) {
	id, t, err := parseTicket(raw)
	if err != nil {
		return Ticket{}, err
	}
	key, ok := keys[id]
	if !ok {
		return Ticket{}, invalid("ticket is signed with an unknown key")
	}
	body, sig := raw[:len(raw)-ed25519.SignatureSize], raw[len(raw)-ed25519.SignatureSize:]
	if !ed25519.Verify(key, append([]byte(domainTicket), body...), sig) {
		return Ticket{}, invalid("ticket signature does not verify")
	}
	return t, t.current(now)
}

// current judges by the clock of whoever verifies, never the client's.
func (t Ticket) current(now time.Time) error {
	if !now.Before(t.Expires) || now.Add(ClockSkew).Before(t.IssuedAt) {
		return ErrExpired
	}
	return nil
}

func (t Ticket) encode(key KeyID) ([]byte, error) {
	b := cryptobyte.NewBuilder(nil)
	b.AddUint8(ticketVersion)
	b.AddBytes(key[:])
	addString(b, t.ID)
	b.AddBytes(t.KeyFingerprint[:])
	for _, s := range []string{t.User, t.Session, t.Server, t.Login, t.Address} {
		addString(b, s)
	}
	b.AddUint8(uint8(t.Mode))
	b.AddUint8(uint8(len(t.Gateways)))
	for _, g := range t.Gateways {
		addString(b, g)
	}
	b.AddUint64(uint64(t.IssuedAt.Unix()))
	b.AddUint64(uint64(t.Expires.Unix()))
	return b.Bytes()
}

// parseTicket reads the one encoding of a ticket; it checks no signature.
func parseTicket(raw []byte) (KeyID, Ticket, error) {
	var (
		key             KeyID
		t               Ticket
		version, mode   uint8
		count           uint8
		issued, expires uint64
	)
	if len(raw) > MaxTicket {
		return key, t, invalid("ticket is longer than %d bytes", MaxTicket)
	}
	s := cryptobyte.String(raw)
	if !s.ReadUint8(&version) || version != ticketVersion {
		return key, t, invalid("ticket is of another version")
	}
	ok := s.CopyBytes(key[:]) && readString(&s, &t.ID) && s.CopyBytes(t.KeyFingerprint[:])
	for _, out := range []*string{&t.User, &t.Session, &t.Server, &t.Login, &t.Address} {
		ok = ok && readString(&s, out)
	}
	ok = ok && s.ReadUint8(&mode) && s.ReadUint8(&count) && count <= MaxRecipients
	for i := 0; ok && i < int(count); i++ {
		var g string
		ok = readString(&s, &g)
		t.Gateways = append(t.Gateways, g)
	}
	if !ok || !s.ReadUint64(&issued) || !s.ReadUint64(&expires) || len(s) != ed25519.SignatureSize {
		return key, t, invalid("ticket is cut short or has bytes left over")
	}
	if issued > maxTime || expires > maxTime {
		return key, t, invalid("ticket has an impossible time")
	}
	t.Mode = Mode(mode)
	t.IssuedAt, t.Expires = time.Unix(int64(issued), 0), time.Unix(int64(expires), 0)
	return key, t, t.check()
}

// maxTime is the year 9999: what lies beyond overflows when one reckons with it.
const maxTime = 253402300799

// Longest values of the text fields.
const (
	maxID    = 64
	maxLogin = 32  // what shadow-utils takes
	maxHost  = 253 // of a DNS name
)

// check holds on both sides: an issuer cannot make what a gateway refuses.
func (t Ticket) check() error {
	for _, id := range append([]string{t.ID, t.User, t.Session, t.Server}, t.Gateways...) {
		if !validID(id) {
			return invalid("ticket has a malformed id")
		}
	}
	life := t.Expires.Unix() - t.IssuedAt.Unix()
	switch {
	case !validLogin(t.Login):
		return invalid("ticket has a malformed login")
	case !validAddress(t.Address):
		return invalid("ticket has a malformed address")
	case t.Mode != Relay && t.Mode != Record:
		return invalid("ticket has an unknown mode")
	case len(t.Gateways) == 0 || len(t.Gateways) > MaxRecipients || hasDuplicates(t.Gateways):
		return invalid("ticket names no gateway, too many, or one twice")
	case t.IssuedAt.Unix() < 0 || life <= 0 || life > int64(TicketLife/time.Second):
		return invalid("ticket lives longer than %s, or not at all", TicketLife)
	}
	return nil
}

func validAddress(a string) bool {
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		return false
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return false
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Zone() == ""
	}
	return len(host) <= maxHost && isName(host, "-_.") && isAlnum(host[0]) && isAlnum(host[len(host)-1])
}

func validID(s string) bool { return len(s) <= maxID && isName(s, "-_") }

// validLogin is ^[a-z_][a-z0-9_-]{0,31}$, as on the servers.
func validLogin(s string) bool {
	return len(s) <= maxLogin && isName(s, "-_") && s == strings.ToLower(s) && (s[0] == '_' || 'a' <= s[0] && s[0] <= 'z')
}

// isName is a loop and no regexp, because compiling one at start would slow
// every ProxyCommand.
func isName(s, also string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && strings.IndexByte(also, s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func hasDuplicates(list []string) bool {
	sorted := slices.Sorted(slices.Values(list))
	return len(slices.Compact(sorted)) != len(list)
}

func addString(b *cryptobyte.Builder, s string) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
}

func readString(s *cryptobyte.String, out *string) bool {
	var v cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&v) {
		return false
	}
	*out = string(v)
	return true
}
