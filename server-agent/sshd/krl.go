package sshd

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// Numbers of the format (PROTOCOL.krl of OpenSSH).
const (
	krlMagic        = "SSHKRL\n\x00"
	krlFormat       = 1
	krlCertificates = 1
	krlFingerprints = 5    // SHA-256, since OpenSSH 7.9
	krlSerials      = 0x20 // a list, in a section of certificates
)

// The markers are in every list: what says that they are not revoked was not read
// as it was written. Nobody has the private part of the key, whose bytes are a
// hash, and no certificate of ours has such a serial, because ours have 63 bits.
const (
	markerSerial = 1 << 63
	markerDomain = "cardea marker of revocation lists v1"
)

// markerKey is the wire form of the key that is always revoked.
func markerKey() []byte {
	sum := sha256.Sum256([]byte(markerDomain))
	return slices.Concat(krlString([]byte("ssh-ed25519")), krlString(sum[:]))
}

// krl is the list of revoked keys, by the SHA-256 of their wire form (a CA's
// revokes what it has signed), and of serials, of any CA. It depends on nothing
// else, so that it changes only when they do: its version and date are 0, which
// OpenSSH shows and does not use.
func krl(keys [][sha256.Size]byte, serials []uint64) []byte {
	keys, serials = slices.Clone(keys), slices.Clone(serials)
	keys = append(keys, sha256.Sum256(markerKey()))
	slices.SortFunc(keys, func(a, b [sha256.Size]byte) int { return bytes.Compare(a[:], b[:]) })
	serials = append(serials, markerSerial)
	slices.Sort(serials)

	out := []byte(krlMagic)
	out = binary.BigEndian.AppendUint32(out, krlFormat)
	out = append(out, make([]byte, 3*8)...) // version, date, flags
	out = append(out, krlString(nil)...)    // reserved
	out = append(out, krlString(nil)...)    // comment

	var list []byte
	for _, s := range slices.Compact(serials) {
		list = binary.BigEndian.AppendUint64(list, s)
	}
	ofAnyCA := slices.Concat(krlString(nil), krlString(nil), []byte{krlSerials}, krlString(list))
	out = slices.Concat(out, []byte{krlCertificates}, krlString(ofAnyCA))

	var sums []byte
	for _, k := range slices.Compact(keys) {
		sums = append(sums, krlString(k[:])...)
	}
	return slices.Concat(out, []byte{krlFingerprints}, krlString(sums))
}

func krlString(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(b)), uint32(len(b))), b...)
}
