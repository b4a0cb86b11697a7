package enclave

// attributes is what a CFDictionary is made of, in its order. It is plain data, so that
// what we ask of macOS can be read and tested on any machine.
type attributes []attribute

// attribute has a symbol or a text as its name, and as its value one of these, an int32
// (CFNumber), a []byte (CFData), an access or attributes.
type attribute struct{ name, value any }

// symbol names a constant that the frameworks export; only they know its value.
type symbol string

// text is a CFString.
type text string

// access is a SecAccessControl.
type access struct {
	when  symbol // kSecAttrAccessible…
	flags uint   // CFOptionFlags
}

// Names that are used twice.
const (
	keyType         symbol = "kSecAttrKeyType"
	onP256          symbol = "kSecAttrKeyTypeECSECPrimeRandom"
	tokenID         symbol = "kSecAttrTokenID"
	inSecureEnclave symbol = "kSecAttrTokenIDSecureEnclave"
)

// es256 is the algorithm: a digest in, an ASN.1 signature out, which dpop makes an ES256
// of (RFC 7518, section 3.4).
const es256 symbol = "kSecKeyAlgorithmECDSASignatureDigestX962SHA256"

// tokenOID is kSecAttrTokenOID of SecItemPriv.h: the blob. Without it SecKeyCreateWithData
// makes a new key.
const tokenOID text = "toid"

// privateKeyUsage is kSecAccessControlPrivateKeyUsage of SecAccessControl.h, which every
// key in the Secure Enclave needs. None of its neighbours is there that would ask for a
// finger, a password or a watch.
const privateKeyUsage = 1 << 30

// newKey asks for a key that no keychain keeps.
func newKey() attributes {
	return attributes{
		{keyType, onP256},
		{symbol("kSecAttrKeySizeInBits"), int32(256)},
		{tokenID, inSecureEnclave},
		{symbol("kSecPrivateKeyAttrs"), attributes{
			{symbol("kSecAttrIsPermanent"), symbol("kCFBooleanFalse")},
			// Not "WhenUnlocked": connections are made behind a locked screen, too.
			{symbol("kSecAttrAccessControl"), access{"kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly", privateKeyUsage}},
		}},
	}
}

// oldKey asks for the key that a blob is of.
func oldKey(blob []byte) attributes {
	return attributes{
		{keyType, onP256},
		{symbol("kSecAttrKeyClass"), symbol("kSecAttrKeyClassPrivate")},
		{tokenID, inSecureEnclave},
		{tokenOID, blob},
	}
}
