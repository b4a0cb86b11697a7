package sso

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// Finding is what one check of a token came to.
type Finding struct {
	// Check is issuer, signature, audience, subject or time.
	Check string
	// Err is why it does not hold; nil if it does.
	Err error
	// Want is what would hold, and Have what the token says: strangers' text.
	Want, Have string
}

// Examine makes each check of Verify, also those after one that failed, for an administrator
// who looks for what is wrong. What the token says is told as it stands there, whoever
// signed it: whether it would be taken only Verify says. given are nil for an issuer that
// is asked for its keys.
func (i *Issuers) Examine(ctx context.Context, issuer string, given *GivenKeys, raw string, e Expect) (Claims, []Finding) {
	set, algorithms, err := i.keySet(ctx, issuer, given)
	var text []byte
	if err == nil {
		text, err = set.VerifySignature(ctx, raw)
	}
	if err != nil {
		text = part(raw, 1)
	}
	var head struct {
		Algorithm string `json:"alg"`
		Key       string `json:"kid"`
	}
	unread := json.Unmarshal(part(raw, 0), &head)
	if unread != nil && err == nil {
		err = unread
	}
	t := &Token{}
	if decode(text, &t.Claims) != nil {
		t.Claims = Claims{}
	}
	t.Subject, _ = t.Claims.Text("sub")
	t.IssuedAt, t.Expiry = t.Claims.moment("iat"), t.Claims.moment("exp")
	said, _ := t.Claims.Text("iss")
	var other error
	if said != issuer {
		other = errors.New("the token is of another issuer")
	}
	now := i.options.Now()
	return t.Claims, []Finding{
		{"issuer", other, issuer, clip(said)},
		{"signature", err, "one by " + strings.Join(algorithms, ", ") + " with a key of the issuer", clip(head.Algorithm + " with the key " + head.Key)},
		{"audience", t.forUs(e), e.Audience, clip(strings.Join(t.Claims.Texts("aud"), ", "))},
		{"subject", t.named(), "somebody", clip(t.Subject)},
		{"time", t.inTime(now), "now: " + written(now), clip(fmt.Sprintf("made %s, over %s", written(t.IssuedAt), written(t.Expiry)))},
	}
}

// keySet is what the tokens of an issuer are checked with, and the algorithms that count.
func (i *Issuers) keySet(ctx context.Context, issuer string, given *GivenKeys) (oidc.KeySet, []string, error) {
	if given != nil {
		return given, signatures, nil
	}
	s := i.issuer(issuer)
	m, err := s.discover(ctx, keptMetadata)
	if err != nil {
		return nil, signatures, failed(Down, err, "the issuer does not answer as it should")
	}
	return &keySet{keys: &s.keys, url: m.KeysURL, algorithms: m.algorithms()}, m.algorithms(), nil
}

// part is one of the three of a token, decoded; nil if it cannot be.
func part(raw string, n int) []byte {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return nil
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[n])
	if err != nil {
		return nil
	}
	return text
}

func written(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}
