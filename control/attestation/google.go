package attestation

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	googleKeys = "https://www.googleapis.com/oauth2/v3/certs"
	// keysLife is how long fetched keys are used without asking again; Google
	// announces new ones days before it signs with them.
	keysLife = time.Hour
	// keysPause lies between two fetches: a stranger's unknown key must not make us
	// ask at his pace.
	keysPause = time.Minute
)

var (
	gcpProject  = regexp.MustCompile(`^[a-z0-9.:-]{1,128}$`)
	gcpZone     = regexp.MustCompile(`^([a-z]+-[a-z]+[0-9]{1,2})-[a-z]$`)
	gcpInstance = regexp.MustCompile(`^[0-9]{1,20}$`)
	gcpName     = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// google keeps the keys by which Google signs.
type google struct {
	mu    sync.Mutex
	keys  map[string]jose.JSONWebKey // by id; guarded by mu, as all below
	asked time.Time
	fresh time.Time
}

// gcpClaims are those of a token in its full format.
type gcpClaims struct {
	Issuer        string `json:"iss"`
	Audience      string `json:"aud"`
	Expires       int64  `json:"exp"`
	Issued        int64  `json:"iat"`
	Email         string `json:"email"`
	EmailVerified bool   `json:"email_verified"`
	Google        struct {
		Engine struct {
			Project  string `json:"project_id"`
			Zone     string `json:"zone"`
			Instance string `json:"instance_id"`
			Name     string `json:"instance_name"`
			Created  int64  `json:"instance_creation_timestamp"`
		} `json:"compute_engine"`
	} `json:"google"`
}

func (v *Verifier) verifyGCP(ctx context.Context, token, audience string) (Facts, error) {
	signed, id, err := parseToken(token)
	if err != nil {
		return Facts{}, err
	}
	key, err := v.googleKey(ctx, id)
	if err != nil {
		return Facts{}, err
	}
	raw, err := signed.Verify(key)
	if err != nil {
		return Facts{}, refusef("the token's signature does not hold")
	}
	return readClaims(raw, audience, v.now())
}

func parseToken(token string) (*jose.JSONWebSignature, string, error) {
	if len(token) > maxToken {
		return nil, "", refusef("the token is longer than %d characters", maxToken)
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil || len(signed.Signatures) != 1 || signed.Signatures[0].Header.KeyID == "" {
		return nil, "", refusef("the token is not one that Google signs by RS256")
	}
	return signed, signed.Signatures[0].Header.KeyID, nil
}

// readClaims judges what Google has signed.
func readClaims(raw []byte, audience string, now time.Time) (f Facts, err error) {
	var c gcpClaims
	if err := json.Unmarshal(raw, &c); err != nil {
		return f, refusef("the token's claims cannot be read")
	}
	engine := c.Google.Engine
	zone := gcpZone.FindStringSubmatch(engine.Zone)
	switch {
	case c.Issuer != "https://accounts.google.com" && c.Issuer != "accounts.google.com":
		return f, refusef("the token is not of accounts.google.com")
	case c.Audience != audience:
		return f, refusef("the token is for another control plane, challenge or key")
	case !now.Before(time.Unix(c.Expires, 0).Add(skew)), now.Add(skew).Before(time.Unix(c.Issued, 0)):
		return f, refusef("the token is over, or from the future")
	case !gcpProject.MatchString(engine.Project), !gcpInstance.MatchString(engine.Instance), !gcpName.MatchString(engine.Name), zone == nil, engine.Created <= 0:
		return f, refusef("the token does not describe an instance; it must be of the full format")
	}
	f = Facts{Cloud: GCP, Account: engine.Project, Region: zone[1], Instance: engine.Instance, Name: engine.Name, Started: time.Unix(engine.Created, 0).UTC()}
	if c.EmailVerified {
		f.Identity = strings.ToLower(c.Email)
	}
	return f, nil
}

// googleKey returns the key with this id. Keys are asked for again where they are
// old or do not have it. While Google cannot be reached the old ones serve.
func (v *Verifier) googleKey(ctx context.Context, id string) (jose.JSONWebKey, error) {
	g := &v.google
	g.mu.Lock()
	defer g.mu.Unlock()
	now := v.now()
	key, found := g.keys[id]
	if found && now.Sub(g.fresh) < keysLife {
		return key, nil
	}
	if now.Sub(g.asked) < keysPause && !g.asked.IsZero() {
		if found {
			return key, nil
		}
		return key, refusef("the token is signed by a key that Google does not publish")
	}
	keys, err := v.fetchKeys(ctx)
	g.asked = now
	if err == nil {
		g.keys, g.fresh = keys, now
	} else if !found {
		g.asked = time.Time{} // nobody has to wait for a fault of the network
		return key, err
	}
	if key, found = g.keys[id]; !found {
		return key, refusef("the token is signed by a key that Google does not publish")
	}
	return key, nil
}

func (v *Verifier) fetchKeys(ctx context.Context) (map[string]jose.JSONWebKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, googleKeys, nil)
	if err != nil {
		return nil, err
	}
	res, err := v.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch Google's keys: %w", err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	var set jose.JSONWebKeySet
	switch {
	case err != nil:
	case res.StatusCode != http.StatusOK:
		err = fmt.Errorf("status %d", res.StatusCode)
	case len(raw) > maxAnswer:
		err = fmt.Errorf("more than %d bytes", maxAnswer)
	default:
		err = json.Unmarshal(raw, &set)
	}
	if err != nil {
		return nil, fmt.Errorf("fetch Google's keys: %w", err)
	}
	keys := map[string]jose.JSONWebKey{}
	for _, k := range set.Keys {
		if isStrong(k.Key) && k.KeyID != "" {
			keys[k.KeyID] = k
		}
	}
	return keys, nil
}
