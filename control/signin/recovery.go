package signin

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"strconv"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/store"
)

const (
	// recoveryCodes is how many there are: each is good once.
	recoveryCodes = 10
	// recoveryBytes of randomness: whoever has the hashes cannot try them all.
	recoveryBytes = 10
)

// newRecoveryCode is like abcd-efgh-ijkl-mnop.
func newRecoveryCode() string {
	var b [recoveryBytes]byte
	rand.Read(b[:]) // never fails
	s := strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
	return s[:4] + "-" + s[4:8] + "-" + s[8:12] + "-" + s[12:]
}

// recoveryHash is that of a code, however it is typed.
func recoveryHash(code string) []byte {
	return hashOf("recovery " + strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToLower(code)))
}

// NewRecoveryCodes makes codes in place of all that the person has, and returns them:
// nobody can read them again.
func (s *Service) NewRecoveryCodes(ctx context.Context, b Browser) ([]string, error) {
	at, err := s.whole(ctx, b)
	if err != nil {
		return nil, err
	}
	codes, hashes := make([]string, recoveryCodes), make([][]byte, recoveryCodes)
	for i := range codes {
		codes[i] = newRecoveryCode()
		hashes[i] = recoveryHash(codes[i])
	}
	now := s.now()
	e := s.event(now, audit.RecoveryCodes, audit.Allowed, "", at.User, b, map[string]string{"codes": strconv.Itoa(recoveryCodes)})
	err = s.Store.SetRecoveryCodes(ctx, hashOf(b.Login), now.Add(-AccountFresh), hashes, store.Meta{Now: now, Audit: audit.EncodeAll(e)})
	if errors.Is(err, store.ErrDenied) {
		return nil, api.Errorf(api.SignIn, "this needs a sign-in of the last few minutes, and a second factor").WithCause(err)
	}
	return codes, err
}
