package sshcert

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

const (
	// MaxSubjectKey bounds a public key in wire format, bytes. RSA 4096 with a large exponent
	// takes 540; nothing that we accept is longer.
	MaxSubjectKey = 1024
	// MaxCertificate bounds a certificate in wire format, bytes: a subject key, a CA key, a
	// signature and a few hundred bytes of names.
	MaxCertificate = 8192

	minRSABits = 3072
	maxRSABits = 4096 // x/crypto takes up to 16384, which costs a verifier 64 times as much
)

// ErrKeyRefused marks a public key that no certificate is made for. The text of the whole
// error may be shown to the person who sent the key.
var ErrKeyRefused = errors.New("public key refused")

// ParseSubjectKey reads the public key that a certificate is to be made for, in SSH wire
// format (RFC 4253 section 6.6). It accepts Ed25519, ECDSA P-256, the two security-key
// types and RSA of 3072 to 4096 bits. Errors wrap ErrKeyRefused.
//
// The type is read before anything is parsed: certificates nested a million deep have
// overflowed the stack of parsers, which Go cannot recover from.
func ParseSubjectKey(wire []byte) (ssh.PublicKey, error) {
	if len(wire) > MaxSubjectKey {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrKeyRefused, MaxSubjectKey)
	}
	switch typ := wireType(wire); typ {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256, ssh.KeyAlgoRSA:
	case "":
		return nil, fmt.Errorf("%w: not an SSH public key", ErrKeyRefused)
	default:
		if strings.Contains(typ, "-cert-v0") {
			return nil, fmt.Errorf("%w: it is a certificate, send the plain key", ErrKeyRefused)
		}
		return nil, fmt.Errorf("%w: type %q, use ssh-ed25519", ErrKeyRefused, typ)
	}
	key, err := ssh.ParsePublicKey(wire)
	if err != nil {
		return nil, fmt.Errorf("%w: it cannot be parsed", ErrKeyRefused)
	}
	if err := CheckSubjectKey(key); err != nil {
		return nil, err
	}
	return key, nil
}

// CheckSubjectKey applies the rules of ParseSubjectKey to a key that is parsed already.
func CheckSubjectKey(key ssh.PublicKey) error {
	if key == nil {
		return fmt.Errorf("%w: there is none", ErrKeyRefused)
	}
	wire := key.Marshal()
	// What x/crypto parsed and what it writes must be the same bytes: otherwise two spellings
	// of one key would pass every comparison that we make by bytes.
	if typ := key.Type(); typ != wireType(wire) {
		return fmt.Errorf("%w: type %q does not match its content", ErrKeyRefused, typ)
	}
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256:
		return nil
	case ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		return checkSecurityKey(wire)
	case ssh.KeyAlgoRSA:
		return checkRSA(key)
	}
	return fmt.Errorf("%w: type %q, use ssh-ed25519", ErrKeyRefused, key.Type())
}

func checkRSA(key ssh.PublicKey) error {
	ck, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return fmt.Errorf("%w: RSA key without numbers", ErrKeyRefused)
	}
	pub, ok := ck.CryptoPublicKey().(*rsa.PublicKey)
	if !ok {
		return fmt.Errorf("%w: RSA key without numbers", ErrKeyRefused)
	}
	if bits := pub.N.BitLen(); bits < minRSABits || bits > maxRSABits {
		return fmt.Errorf("%w: RSA key of %d bits, want %d to %d", ErrKeyRefused, bits, minRSABits, maxRSABits)
	}
	return nil
}

// checkSecurityKey refuses a credential that was made for a web site: OpenSSH's begin with
// "ssh:" (PROTOCOL.u2f). Whether the key was touched is in each signature, and sshd insists
// on it because no certificate of ours carries no-touch-required.
func checkSecurityKey(wire []byte) error {
	var k struct {
		Type string
		Rest []byte `ssh:"rest"`
	}
	if ssh.Unmarshal(wire, &k) != nil || !strings.HasPrefix(lastString(k.Rest), "ssh:") {
		return fmt.Errorf("%w: security key for an application that does not begin with \"ssh:\"", ErrKeyRefused)
	}
	return nil
}

// ParseCertificate reads a certificate in wire format, as shown by a peer. It accepts only
// what it would write itself, byte for byte, and never more than MaxCertificate. Nothing in
// the result may be believed before VerifyUser or VerifyHost has accepted it.
func ParseCertificate(wire []byte) (*ssh.Certificate, error) {
	if len(wire) > MaxCertificate {
		return nil, fmt.Errorf("certificate is longer than %d bytes", MaxCertificate)
	}
	if !strings.Contains(wireType(wire), "-cert-v01@openssh.com") {
		return nil, errors.New("not an SSH certificate")
	}
	key, err := ssh.ParsePublicKey(wire)
	if err != nil {
		return nil, fmt.Errorf("parse certificate: %w", err)
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok || !bytes.Equal(cert.Marshal(), wire) {
		return nil, errors.New("certificate is not in canonical form")
	}
	return cert, nil
}

// wireType reads the first string of a key in wire format; "" if there is none.
func wireType(wire []byte) string {
	s, _, _ := cutString(wire)
	return s
}

// lastString returns the last of the strings that b consists of; "" if b is anything else.
func lastString(b []byte) (last string) {
	for len(b) > 0 {
		s, rest, ok := cutString(b)
		if !ok {
			return ""
		}
		last, b = s, rest
	}
	return last
}

func cutString(b []byte) (s string, rest []byte, ok bool) {
	if len(b) < 4 {
		return "", nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return "", nil, false
	}
	return string(b[4 : 4+n]), b[4+n:], true
}

// Line is a public key or a certificate as ParseLine and ParseCertificateLine read it: in
// authorized_keys form, without a comment and without an end of line.
func Line(key ssh.PublicKey) string {
	return strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(key)), "\n")
}

// ParseLine reads one public key in authorized_keys form, as the wire has them: a subject
// key or a CA, under the rules of ParseSubjectKey. There is nothing before the type; a
// comment after the key is ignored.
func ParseLine(line string) (ssh.PublicKey, error) {
	wire, err := decodeLine(line)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyRefused, err)
	}
	key, err := ParseSubjectKey(wire)
	if err != nil {
		return nil, err
	}
	if typ, _, _ := strings.Cut(line, " "); typ != key.Type() {
		return nil, fmt.Errorf("%w: the line does not begin with the type of its key", ErrKeyRefused)
	}
	return key, nil
}

// ParseCertificateLine is ParseCertificate for a certificate in authorized_keys form.
func ParseCertificateLine(line string) (*ssh.Certificate, error) {
	wire, err := decodeLine(line)
	if err != nil {
		return nil, err
	}
	return ParseCertificate(wire)
}

// decodeLine takes the second word of a line. It bounds the line before it decodes.
func decodeLine(line string) ([]byte, error) {
	const maxLine = 2 * MaxCertificate
	line = strings.TrimRight(line, "\r\n")
	if len(line) > maxLine || strings.ContainsAny(line, "\r\n") {
		return nil, fmt.Errorf("not one line of at most %d bytes", maxLine)
	}
	fields := strings.SplitN(line, " ", 3)
	if len(fields) < 2 {
		return nil, errors.New("not a type and a key in base64")
	}
	wire, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return nil, errors.New("not a type and a key in base64")
	}
	return wire, nil
}
