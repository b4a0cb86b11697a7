// Package attestation finds out which machine of a cloud a caller is, by what the
// cloud has signed: bytes in, facts out.
//
// Each cloud signs something else. AWS signs a document that says which instance
// it is, and that every program on the instance can read and keep. So the
// instance also signs, with the credentials of its role, a call that asks AWS
// who it is, and the control plane makes that call. GCP signs a token for one
// audience, Azure a document with a nonce; into audience and nonce goes what the
// control plane demanded and the key of the agent (api.Binding).
//
// Nothing that a caller sends decides to where the control plane talks: Google's
// keys have one address, and STS that of the region in the document, once its
// signature is checked. No address in a certificate or document is ever fetched.
//
// References: docs.aws.amazon.com/AWSEC2/latest/UserGuide/verify-rsa2048.html,
// docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html,
// cloud.google.com/compute/docs/instances/verifying-instance-identity,
// learn.microsoft.com/azure/virtual-machines/instance-metadata-service (attested
// data), RFC 2315 (PKCS #7).
package attestation

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// Clouds by their names on the wire.
const (
	AWS   = "aws"
	GCP   = "gcp"
	Azure = "azure"
)

// Facts are what a cloud vouches for. What it does not sign is empty.
type Facts struct {
	Cloud    string
	Account  string // AWS account, GCP project, Azure subscription
	Region   string // not of Azure
	Instance string
	Name     string // of GCP alone
	// Identity is the role of an instance of AWS, the service account of GCP.
	Identity string
	// Started is when the instance was started (AWS) or made (GCP).
	Started time.Time
}

// ID names the instance among all clouds: CLOUD/ACCOUNT/INSTANCE.
func (f Facts) ID() string { return f.Cloud + "/" + f.Account + "/" + f.Instance }

const (
	// maxDocument bounds a signed document in base64: real ones have 2 to 6 KiB.
	maxDocument = 16 << 10
	// maxContent bounds what is signed: half a KiB in AWS, a KiB in Azure.
	maxContent = 8 << 10
	// maxNesting bounds how deep the values of a document lie in one another; an
	// honest one has 12.
	maxNesting = 32
	// maxToken bounds a token of GCP, maxHeader a header of the signed call: the
	// session tokens of AWS have a KiB, rarely two.
	maxToken, maxHeader = 8 << 10, 8 << 10
	// maxChain and maxCertificate bound the certificates that a caller sends along.
	maxChain, maxCertificate = 4, 4 << 10
	// maxAnswer bounds what AWS and Google may answer; callTime how long it takes.
	maxAnswer = 64 << 10
	callTime  = 8 * time.Second
	// skew is how far the clouds' clocks and ours may be apart.
	skew = time.Minute
	// minRSA is the least size of a key whose signature counts.
	minRSA = 2048
	// maxRSA, maxExponent and maxCurve bound the keys of certificates that a caller
	// sends: those of Microsoft's and DigiCert's are not above.
	maxRSA, maxExponent, maxCurve = 4096, 65537, 384
)

// Verifier knows the clouds' keys. Make it with New.
type Verifier struct {
	aws    map[string]*x509.Certificate // by region
	azure  azureRoots
	google google
	// HTTP calls STS and fetches Google's keys. Tests put their own TLS behind it.
	HTTP *http.Client
	now  func() time.Time
}

// Options say what a Verifier trusts beside what it knows by itself.
type Options struct {
	// AWSCertificates is more of aws_certificates.pem: for regions that are newer
	// than this program. It cannot replace what is known.
	AWSCertificates []byte
	// AzureRoots are certificates in PEM in place of those of the system; empty
	// means the system's, of which only DigiCert's and Microsoft's count.
	AzureRoots []byte
	// HTTP is for tests; nil means a client that follows nothing and caches nothing.
	HTTP *http.Client
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// New reads the certificates.
func New(o Options) (*Verifier, error) {
	v := &Verifier{HTTP: o.HTTP, now: o.Now}
	if v.HTTP == nil {
		v.HTTP = newHTTP()
	}
	if v.now == nil {
		v.now = time.Now
	}
	var err error
	if v.aws, err = readRegions(awsCertificates, nil); err != nil {
		return nil, fmt.Errorf("built-in certificates of AWS: %w", err)
	}
	if v.aws, err = readRegions(o.AWSCertificates, v.aws); err != nil {
		return nil, fmt.Errorf("certificates of AWS: %w", err)
	}
	v.azure, err = newAzureRoots(o.AzureRoots)
	return v, err
}

// newHTTP makes a client that goes where it is told and nowhere else. A proxy of
// the environment is obeyed: the control plane may have no other way out, and TLS
// says who answers.
func newHTTP() *http.Client {
	c := api.NewHTTP(func(t *http.Transport) {
		t.ResponseHeaderTimeout = callTime
		t.MaxResponseHeaderBytes = 64 << 10
		t.DisableCompression = true
	})
	c.Timeout = callTime
	return c
}

// Refused is the error for evidence that does not hold. Others are faults of the
// way to the cloud.
type Refused struct{ why string }

func (r *Refused) Error() string { return r.why }

func refusef(format string, args ...any) error { return &Refused{fmt.Sprintf(format, args...)} }

// Verify says which instance the caller is. Audience is the control plane's URL,
// binding what the evidence must carry. The error is a *Refused, or a fault.
func (v *Verifier) Verify(ctx context.Context, in api.InstanceEnrolment, audience, binding string) (Facts, error) {
	switch {
	case in.Cloud == AWS && in.AWS != nil:
		return v.verifyAWS(ctx, *in.AWS, binding)
	case in.Cloud == GCP && in.GCP != nil:
		return v.verifyGCP(ctx, in.GCP.Token, api.InstanceAudience(audience, binding))
	case in.Cloud == Azure && in.Azure != nil:
		return v.verifyAzure(*in.Azure, api.AzureNonce(binding))
	}
	return Facts{}, refusef("there is no evidence of a cloud that is known here")
}
