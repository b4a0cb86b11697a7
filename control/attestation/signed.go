package attestation

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/smallstep/pkcs7"
)

// signedDocument is PKCS#7 SignedData with one signer, not yet verified.
type signedDocument struct{ p7 *pkcs7.PKCS7 }

// parseSigned reads SignedData in base64, with or without lines. Size and depth
// are bounded before any parser of the format sees it, and what the clouds never
// use is refused: more than one signer, hashes other than SHA-256, keys other than
// RSA.
func parseSigned(text string) (d signedDocument, err error) {
	if len(text) > maxDocument {
		return d, refusef("the signed document is longer than %d characters", maxDocument)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return d, refusef("the signed document is not in base64")
	}
	if err := checkNesting(raw); err != nil {
		return d, err
	}
	p7, err := pkcs7.Parse(raw)
	if err != nil || len(p7.Signers) != 1 || len(p7.Content) == 0 || len(p7.Content) > maxContent {
		return d, refusef("the signed document is not a PKCS #7 message of one signer")
	}
	s := &p7.Signers[0]
	// Azure writes the algorithm of the signature where that of the digest belongs.
	if s.DigestAlgorithm.Algorithm.Equal(pkcs7.OIDEncryptionAlgorithmRSASHA256) {
		s.DigestAlgorithm.Algorithm = pkcs7.OIDDigestAlgorithmSHA256
	}
	rsaSigned := s.DigestEncryptionAlgorithm.Algorithm.Equal(pkcs7.OIDEncryptionAlgorithmRSA) ||
		s.DigestEncryptionAlgorithm.Algorithm.Equal(pkcs7.OIDEncryptionAlgorithmRSASHA256)
	if !s.DigestAlgorithm.Algorithm.Equal(pkcs7.OIDDigestAlgorithmSHA256) || !rsaSigned {
		return d, refusef("the signed document is not signed by RSA with SHA-256")
	}
	// Where attributes are signed in place of the content, they say what it is
	// (RFC 2315 section 9.2): else one thing could be passed off as the other.
	if len(s.AuthenticatedAttributes) > 0 {
		var kind asn1.ObjectIdentifier
		if err := p7.UnmarshalSignedAttribute(pkcs7.OIDAttributeContentType, &kind); err != nil || !kind.Equal(pkcs7.OIDData) {
			return d, refusef("the signed document does not say that it is data")
		}
	}
	return signedDocument{p7}, nil
}

// verify checks the signature, by a certificate that the caller trusts already.
func (d signedDocument) verify(by *x509.Certificate) error {
	key, ok := by.PublicKey.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < minRSA {
		return refusef("the signer's key is not RSA of %d bits or more", minRSA)
	}
	d.p7.Certificates = []*x509.Certificate{by}
	if err := d.p7.Verify(); err != nil {
		return refusef("the document's signature does not hold")
	}
	return nil
}

var errForm = errors.New("malformed")

// checkNesting walks over the tags and lengths of BER (X.690) and nothing else.
func checkNesting(raw []byte) error {
	rest, err := skipValue(raw, 0)
	if err != nil || len(rest) > 0 {
		return refusef("the signed document is malformed, or nested deeper than %d", maxNesting)
	}
	return nil
}

// skipValue returns what follows the first value.
func skipValue(b []byte, depth int) ([]byte, error) {
	if depth > maxNesting || len(b) < 2 || b[0]&0x1f == 0x1f {
		return nil, errForm // tags of more than one byte are used nowhere here
	}
	compound := b[0]&0x20 != 0
	length, b := int(b[1]), b[2:]
	if length == 0x80 { // to an end mark
		if !compound {
			return nil, errForm
		}
		var err error
		for len(b) < 2 || b[0] != 0 || b[1] != 0 {
			if b, err = skipValue(b, depth+1); err != nil {
				return nil, err
			}
		}
		return b[2:], nil
	}
	if length > 0x80 {
		n := length - 0x80
		if n > 3 || len(b) < n {
			return nil, errForm
		}
		length = 0
		for _, c := range b[:n] {
			length = length<<8 | int(c)
		}
		b = b[n:]
	}
	if length > len(b) {
		return nil, errForm
	}
	inside, rest := b[:length], b[length:]
	for compound && len(inside) > 0 {
		var err error
		if inside, err = skipValue(inside, depth+1); err != nil {
			return nil, err
		}
	}
	return rest, nil
}
