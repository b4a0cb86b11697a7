package signin

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// What every authenticator program takes (RFC 6238 with the defaults of RFC 4226).
const (
	totpStep   = 30 * time.Second
	totpDigits = 6
	totpSecret = 20 // bytes: RFC 4226 section 4 recommends those of the hash
	// totpSkew is how many steps the telephone's clock may be off (RFC 6238 section 5.2).
	totpSkew = 1
)

func newTOTPSecret() []byte {
	b := make([]byte, totpSecret)
	rand.Read(b) // never fails
	return b
}

// totpCode is that of one time step (RFC 4226 section 5.3).
func totpCode(secret []byte, step int64) string {
	mac := hmac.New(sha1.New, secret)
	var counter [8]byte
	binary.BigEndian.PutUint64(counter[:], uint64(step))
	mac.Write(counter[:])
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0xf
	n := binary.BigEndian.Uint32(sum[at:at+4]) & 0x7fffffff
	return fmt.Sprintf("%0*d", totpDigits, n%1_000_000)
}

// totpMatch finds the time step that a code is of; none up to the one that was used
// last, so that a code that somebody looked over a shoulder for is worth nothing.
func totpMatch(secret []byte, code string, now time.Time, used int64) (step int64, ok bool) {
	present := now.Unix() / int64(totpStep/time.Second)
	for at := present - totpSkew; at <= present+totpSkew; at++ {
		if subtle.ConstantTimeCompare([]byte(totpCode(secret, at)), []byte(code)) == 1 && at > used {
			step, ok = at, true
		}
	}
	return step, ok
}

// totpText is the secret as people type it, in groups of four.
func totpText(secret []byte) string {
	s := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret))
	var groups []string
	for len(s) > 4 {
		groups, s = append(groups, s[:4]), s[4:]
	}
	return strings.Join(append(groups, s), " ")
}

// totpURI is what an authenticator program reads out of a QR code or a link.
func totpURI(secret []byte, team, user string) string {
	u := url.URL{Scheme: "otpauth", Host: "totp", Path: "/" + team + ":" + user}
	u.RawQuery = url.Values{
		"secret": {base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)}, "issuer": {team},
	}.Encode()
	return strings.ReplaceAll(u.String(), "+", "%20") // some read the plus as one
}
