package serveragent

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
)

// signedCall is a request to AWS that is to be signed by Signature Version 4
// (docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
// It has no query, and its header values no blanks to fold.
type signedCall struct {
	method, path, body string
	header             map[string]string // lower-case names, host and x-amz-date among them
	region, service    string
	key, secret        string
}

// authorization is the header that signs the call.
func (c signedCall) authorization() string {
	names := slices.Sorted(maps.Keys(c.header))
	var canonical strings.Builder
	canonical.WriteString(c.method + "\n" + c.path + "\n\n")
	for _, name := range names {
		canonical.WriteString(name + ":" + strings.TrimSpace(c.header[name]) + "\n")
	}
	signed := strings.Join(names, ";")
	canonical.WriteString("\n" + signed + "\n" + hexSum(c.body))
	date := c.header["x-amz-date"]
	scope := date[:8] + "/" + c.region + "/" + c.service + "/aws4_request"
	key := []byte("AWS4" + c.secret)
	for _, part := range []string{date[:8], c.region, c.service, "aws4_request", "AWS4-HMAC-SHA256\n" + date + "\n" + scope + "\n" + hexSum(canonical.String())} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return "AWS4-HMAC-SHA256 Credential=" + c.key + "/" + scope + ", SignedHeaders=" + signed + ", Signature=" + hex.EncodeToString(key)
}

func hexSum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
