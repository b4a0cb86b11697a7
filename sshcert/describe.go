package sshcert

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Description is a certificate in words: JSON for programs, String for people. It claims
// what the certificate claims; whether that is true only VerifyUser and VerifyHost say.
type Description struct {
	Type        string    `json:"type"` // user, host or unknown
	Serial      uint64    `json:"serial,string"`
	KeyID       string    `json:"key_id"`
	Principals  []string  `json:"principals"`
	ValidAfter  time.Time `json:"valid_after"`
	ValidBefore time.Time `json:"valid_before"` // the last representable time if unlimited
	Key         string    `json:"key"`          // SHA256:… of the subject key
	CA          string    `json:"ca,omitempty"` // SHA256:… of the CA, empty while unsigned
	Project     string    `json:"project,omitempty"`
	Extensions  []string  `json:"extensions"`
	Critical    []string  `json:"critical_options"`
}

// Describe reads the fields of cert.
func Describe(cert *ssh.Certificate) Description {
	d := Description{
		Type:        map[uint32]string{ssh.UserCert: "user", ssh.HostCert: "host"}[cert.CertType],
		Serial:      cert.Serial,
		KeyID:       cert.KeyId,
		Principals:  append([]string{}, cert.ValidPrincipals...),
		ValidAfter:  clampTime(cert.ValidAfter),
		ValidBefore: clampTime(cert.ValidBefore),
		Key:         ssh.FingerprintSHA256(cert.Key),
		Project:     cert.Extensions[extProject],
		Extensions:  append([]string{}, slices.Sorted(maps.Keys(cert.Extensions))...),
		Critical:    append([]string{}, slices.Sorted(maps.Keys(cert.CriticalOptions))...),
	}
	if d.Type == "" {
		d.Type = "unknown"
	}
	if cert.SignatureKey != nil {
		d.CA = ssh.FingerprintSHA256(cert.SignatureKey)
	}
	return d
}

// String is one line. Text from the certificate is quoted, so it cannot move a cursor.
func (d Description) String() string {
	quoted := make([]string, len(d.Principals))
	for i, p := range d.Principals {
		quoted[i] = fmt.Sprintf("%q", p)
	}
	return fmt.Sprintf("%s certificate %d for %s, key id %q, key %s, valid %s to %s",
		d.Type, d.Serial, strings.Join(quoted, ", "), d.KeyID, d.Key,
		d.ValidAfter.Format(time.RFC3339), d.ValidBefore.Format(time.RFC3339))
}

// clampTime keeps absurd times within what RFC 3339, and so JSON, can say.
func clampTime(sec uint64) time.Time {
	const year9999 = 253402300799
	return time.Unix(int64(min(sec, year9999)), 0).UTC()
}
