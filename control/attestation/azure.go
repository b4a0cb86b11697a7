package attestation

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

var azureID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// azureNames are for whom the certificate of an attested document is made: of the
// public cloud, the US government's and China's. A region may stand in front.
var azureNames = []string{"metadata.azure.com", "metadata.azure.us", "metadata.azure.cn"}

// azureCAs are SHA-256 fingerprints of the roots under which Microsoft has its
// certificates, by its own list (learn.microsoft.com/azure/security/fundamentals/
// azure-ca-details). Any other root of the system may vouch for any other name,
// and not for this one.
var azureCAs = []string{
	"4348a0e9444c78cb265e058d5e8944b4d84f9662bd26db257f8934a443c70161", // DigiCert Global Root CA
	"cb3ccbb76031e5e0138f8dd39a23f9de47ffc35e43c1144cea27d46a5ab1cb5f", // DigiCert Global Root G2
	"31ad6648f8104138c738f39ea4320133393e3a18cc02296ef97c2ac9ef6731d0", // DigiCert Global Root G3
	"371a00dc0533b3721a7eeb40e8419e70799d2b0a0f2c1d80693165f7cec4ad75", // DigiCert TLS RSA4096 Root G5
	"c741f70f4b2a8d88bf2e71c14122ef53ef10eba0cfa5e64cfa20f418853073e0", // Microsoft RSA Root Certificate Authority 2017
	"358df39d764af9e1b766e9c972df352ee15cfac227af6ad1d70e8e4a6edcba02", // Microsoft ECC Root Certificate Authority 2017
}

// azureRoots are either the operator's, all of which count, or the system's.
type azureRoots struct {
	pool *x509.CertPool // nil means the system's
	any  bool
}

func newAzureRoots(text []byte) (azureRoots, error) {
	if len(text) == 0 {
		return azureRoots{}, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return azureRoots{}, errors.New("the roots of Azure's certificates: there is no certificate in PEM")
	}
	return azureRoots{pool: pool, any: true}, nil
}

// azureTime is how an attested document writes times.
const azureTime = "01/02/06 15:04:05 -0700"

func (v *Verifier) verifyAzure(e api.AzureEvidence, nonce string) (Facts, error) {
	d, err := parseSigned(e.Document)
	if err != nil {
		return Facts{}, err
	}
	signer := d.p7.GetOnlySigner()
	if signer == nil {
		return Facts{}, refusef("the attested document does not have its signer's certificate")
	}
	if err := v.azure.trusts(signer, d.p7.Certificates, e.Chain, v.now()); err != nil {
		return Facts{}, err
	}
	content := d.p7.Content
	if err := d.verify(signer); err != nil {
		return Facts{}, err
	}
	return readAttested(content, nonce, v.now())
}

// readAttested judges what Azure has signed.
func readAttested(raw []byte, nonce string, now time.Time) (f Facts, err error) {
	var doc struct {
		Nonce          string
		VMID           string `json:"vmId"`
		SubscriptionID string `json:"subscriptionId"`
		TimeStamp      struct{ CreatedOn, ExpiresOn string }
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return f, refusef("the attested document is not one")
	}
	made, errMade := time.Parse(azureTime, doc.TimeStamp.CreatedOn)
	ends, errEnds := time.Parse(azureTime, doc.TimeStamp.ExpiresOn)
	vm, subscription := strings.ToLower(doc.VMID), strings.ToLower(doc.SubscriptionID)
	switch {
	case subtle.ConstantTimeCompare([]byte(doc.Nonce), []byte(nonce)) != 1:
		return f, refusef("the attested document was made for another control plane, challenge or key")
	case errMade != nil || errEnds != nil || now.Add(skew).Before(made) || !now.Before(ends):
		return f, refusef("the attested document is over, or from the future")
	case !azureID.MatchString(vm) || !azureID.MatchString(subscription):
		return f, refusef("the attested document names no virtual machine or no subscription")
	}
	return Facts{Cloud: Azure, Account: subscription, Instance: vm}, nil
}

// trusts checks the signer's name and its way to a root. Certificates between them
// may come from the document or from the caller: they prove themselves. None is
// fetched, whatever address a certificate names for that.
func (r azureRoots) trusts(signer *x509.Certificate, enclosed []*x509.Certificate, chain [][]byte, now time.Time) error {
	if len(chain)+len(enclosed) > 2*maxChain {
		return refusef("there are more certificates than %d", 2*maxChain)
	}
	between := x509.NewCertPool()
	enclosed = slices.Clone(enclosed)
	for _, c := range enclosed {
		between.AddCert(c)
	}
	for _, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil || len(der) > maxCertificate {
			return refusef("a certificate of the chain is none, or larger than %d bytes", maxCertificate)
		}
		between.AddCert(c)
		enclosed = append(enclosed, c)
	}
	if slices.ContainsFunc(append(enclosed, signer), isCostly) {
		return refusef("a certificate has a key that is neither RSA of %d bits at most nor ECDSA", maxRSA)
	}
	if !slices.ContainsFunc(certificateNames(signer), isAzure) {
		return refusef("the attested document is not signed for a metadata service of Azure")
	}
	ways, err := signer.Verify(x509.VerifyOptions{Roots: r.pool, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return refusef("the certificate of the attested document does not lead to a root that is trusted here")
	}
	for _, way := range ways {
		if root := sha256.Sum256(way[len(way)-1].Raw); r.any || slices.Contains(azureCAs, hex.EncodeToString(root[:])) {
			return nil
		}
	}
	return refusef("the certificate of the attested document leads to %s, which is none of Microsoft's roots", fmt.Sprintf("%q", cut(ways[0][len(ways[0])-1].Subject.CommonName)))
}

// certificateNames are the DNS names, and the common name only where there are none.
func certificateNames(c *x509.Certificate) []string {
	if len(c.DNSNames) > 0 {
		return c.DNSNames
	}
	return []string{c.Subject.CommonName}
}

func isAzure(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(azureNames, func(suffix string) bool { return name == suffix || strings.HasSuffix(name, "."+suffix) })
}

// isCostly reports whether a signature by a certificate's key costs much to check.
// Whoever looks for a way to a root checks many, by keys that a stranger made: one
// of 28,000 bits, which has room here, costs a tenth of a second each time.
func isCostly(c *x509.Certificate) bool {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() > maxRSA || k.E > maxExponent
	case *ecdsa.PublicKey:
		return k.Curve.Params().BitSize > maxCurve
	}
	return true
}

// isStrong reports whether a key is RSA of a size that counts.
func isStrong(key any) bool {
	k, ok := key.(*rsa.PublicKey)
	return ok && k.N.BitLen() >= minRSA
}
