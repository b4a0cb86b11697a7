package attestation

import (
	"bytes"
	"context"
	"crypto/x509"
	_ "embed"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// awsCertificates are those of the RSA-2048 form of the document. AWS also signs
// it by DSA and by RSA with 1024 bits, and these are not used: DSA is withdrawn
// (FIPS 186-5) and Go no longer verifies it, 1024 bits are too few.
//
//go:embed aws_certificates.pem
var awsCertificates []byte

var (
	awsRegion   = regexp.MustCompile(`^[a-z]{2}(-[a-z]{1,16}){1,3}-[0-9]{1,2}$`)
	awsAccount  = regexp.MustCompile(`^[0-9]{12}$`)
	awsInstance = regexp.MustCompile(`^i-[0-9a-f]{8,17}$`)
	awsDate     = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z$`)
	awsToken    = regexp.MustCompile(`^[A-Za-z0-9+/=]+$`)
	// awsRole is arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION; a role's name has
	// no slash, and the session of an instance is the instance's id.
	awsRole = regexp.MustCompile(`^arn:aws(?:-cn|-us-gov)?:sts::([0-9]{12}):assumed-role/([A-Za-z0-9+=,.@_-]{1,64})/([A-Za-z0-9+=,.@_-]{1,64})$`)
	// awsAuthorization is the header of Signature Version 4 for STS and for exactly
	// the headers that count.
	awsAuthorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([A-Z0-9]{16,128})/([0-9]{8})/([a-z0-9-]+)/sts/aws4_request, ?SignedHeaders=` +
		regexp.QuoteMeta(api.STSSignedHeaders) + `, ?Signature=[0-9a-f]{64}$`)
)

// readRegions adds certificates to those that are known: a line with a region's
// name and its certificate, again and again. Lines that begin with # say nothing.
func readRegions(text []byte, known map[string]*x509.Certificate) (map[string]*x509.Certificate, error) {
	out := map[string]*x509.Certificate{}
	maps.Copy(out, known)
	region := ""
	for len(bytes.TrimSpace(text)) > 0 {
		text = bytes.TrimLeft(text, " \t\r\n")
		if bytes.HasPrefix(text, []byte("-----BEGIN")) {
			block, rest := pem.Decode(text)
			if block == nil || block.Type != "CERTIFICATE" {
				return nil, fmt.Errorf("region %q: what follows is not a certificate", region)
			}
			if _, twice := out[region]; twice || region == "" {
				return nil, fmt.Errorf("region %q: a certificate stands behind one line with a region that has none yet", region)
			}
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("region %s: %w", region, err)
			}
			out[region], region, text = cert, "", rest
			continue
		}
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		if text = rest; line[0] == '#' {
			continue
		}
		if region = string(bytes.TrimSpace(line)); !awsRegion.MatchString(region) {
			return nil, fmt.Errorf("%q is not the name of a region, such as eu-central-1", region)
		}
	}
	if region != "" {
		return nil, fmt.Errorf("region %s has no certificate", region)
	}
	return out, nil
}

// parseAWSDocument verifies a signed instance identity document by the certificate
// of the region that it names.
func parseAWSDocument(text string, certificates map[string]*x509.Certificate) (f Facts, err error) {
	d, err := parseSigned(text)
	if err != nil {
		return f, err
	}
	var doc struct {
		AccountID   string    `json:"accountId"`
		InstanceID  string    `json:"instanceId"`
		Region      string    `json:"region"`
		PendingTime time.Time `json:"pendingTime"`
	}
	if err := json.Unmarshal(d.p7.Content, &doc); err != nil {
		return f, refusef("the instance identity document is not one")
	}
	cert := certificates[doc.Region]
	if cert == nil {
		return f, refusef("the certificate of AWS's region %q is not known here; the operator gives it with aws_certificates", cut(doc.Region))
	}
	if err := d.verify(cert); err != nil {
		return f, err
	}
	// From here on it is AWS that speaks.
	if !awsAccount.MatchString(doc.AccountID) || !awsInstance.MatchString(doc.InstanceID) || !awsRegion.MatchString(doc.Region) || doc.PendingTime.IsZero() {
		return f, refusef("the instance identity document is not complete")
	}
	return Facts{Cloud: AWS, Account: doc.AccountID, Region: doc.Region, Instance: doc.InstanceID, Started: doc.PendingTime.UTC()}, nil
}

// AWSAccount is the account of a document of AWS, whose signature it checks. That
// costs no call, so it tells whether STS is to be called at all: any customer of
// AWS has such a document. The error is a *Refused.
func (v *Verifier) AWSAccount(e api.AWSEvidence) (string, error) {
	f, err := parseAWSDocument(e.Document, v.aws)
	return f.Account, err
}

func (v *Verifier) verifyAWS(ctx context.Context, e api.AWSEvidence, binding string) (Facts, error) {
	f, err := parseAWSDocument(e.Document, v.aws)
	if err != nil {
		return Facts{}, err
	}
	req, err := callerIdentity(ctx, e, f.Region, binding)
	if err != nil {
		return Facts{}, err
	}
	arn, err := v.askSTS(req)
	if err != nil {
		return Facts{}, err
	}
	role := awsRole.FindStringSubmatch(arn)
	switch {
	case role == nil:
		return Facts{}, refusef("AWS does not call the caller the role of an instance")
	case role[1] != f.Account:
		return Facts{}, refusef("the document is of account %s, and the role of account %s", f.Account, role[1])
	case role[3] != f.Instance:
		return Facts{}, refusef("the document is of instance %s, and the role's credentials are not that one's", f.Instance)
	}
	f.Identity = role[2]
	return f, nil
}

// callerIdentity builds the call that the instance has signed. Method, address,
// body and binding are ours: the caller gives a date, a token and a signature.
func callerIdentity(ctx context.Context, e api.AWSEvidence, region, binding string) (*http.Request, error) {
	if len(e.Authorization) > maxHeader || len(e.SessionToken) > maxHeader {
		return nil, refusef("a header of the signed call is longer than %d bytes", maxHeader)
	}
	scope := awsAuthorization.FindStringSubmatch(e.Authorization)
	switch {
	case !awsDate.MatchString(e.Date) || !awsToken.MatchString(e.SessionToken):
		return nil, refusef("the signed call has no date or no session token")
	case scope == nil || scope[2] != e.Date[:8]:
		return nil, refusef("the signed call does not have the one form that is accepted")
	case scope[3] != region:
		return nil, refusef("the call is signed for another region than the instance's")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+api.STSHost(region)+"/", strings.NewReader(api.STSBody))
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"Content-Type": api.STSContentType, "X-Amz-Date": e.Date, "X-Amz-Security-Token": e.SessionToken,
		api.HeaderBinding: binding, "Authorization": e.Authorization, "Accept": "application/json",
	} {
		req.Header.Set(name, value)
	}
	return req, nil
}

// askSTS makes the call and returns the ARN of whoever signed it.
func (v *Verifier) askSTS(req *http.Request) (string, error) {
	res, err := v.HTTP.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask AWS who the caller is: %w", err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("ask AWS who the caller is: %w", err)
	case res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests:
		return "", fmt.Errorf("ask AWS who the caller is: it answers with status %d", res.StatusCode)
	case res.StatusCode != http.StatusOK:
		return "", refusef("AWS does not accept the signed call (status %d); it was not made for this control plane and key, or the clock of the instance is wrong", res.StatusCode)
	case len(raw) > maxAnswer:
		return "", fmt.Errorf("AWS answers more than %d bytes", maxAnswer)
	}
	var answer struct {
		GetCallerIdentityResponse struct {
			GetCallerIdentityResult struct{ Arn string }
		}
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return "", fmt.Errorf("AWS's answer cannot be read: %w", err)
	}
	return answer.GetCallerIdentityResponse.GetCallerIdentityResult.Arn, nil
}

// cut shortens a stranger's text for a sentence.
func cut(s string) string {
	const most = 40
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "?")
}
