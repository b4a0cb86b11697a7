package e2e

import (
	"context"
	"net/url"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/api"
)

// newCA asks for a certificate of a person for a server; the exit code is 0 if the
// project's active CA has signed it.
func newCA(c *call, args []string) (int, error) {
	if len(args) != 2 {
		return 0, errUsage
	}
	const name = "new-ca"
	if code, err := certify(c, append(args, name)); code != 0 || err != nil {
		return code, err
	}
	admin, err := c.people["admin"].Client(context.Background())
	if err != nil {
		return 0, err
	}
	var v api.Rotation
	if _, err := admin.Get(context.Background(), "/v1/cas/"+url.PathEscape("user/web"), nil, &v); err != nil {
		return 0, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(c.mallory.loot[name].connection.Certificate))
	if err != nil {
		return 0, err
	}
	if ssh.FingerprintSHA256(key.(*ssh.Certificate).SignatureKey) != v.Active.Fingerprint {
		return 1, nil
	}
	return 0, nil
}
