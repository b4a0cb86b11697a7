package serveragent

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/smallstep/pkcs7"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/server-agent/metadata"
)

// AnyCloud is the word for the cloud on which the host runs.
const AnyCloud = "auto"

// CheckCloud checks the name of a cloud, or AnyCloud; "" is none.
func CheckCloud(name string) error {
	if name == "" || name == AnyCloud || metadata.Known(metadata.Cloud(name)) {
		return nil
	}
	return fmt.Errorf("%q is none of aws, gcp, azure and %s", name, AnyCloud)
}

// findCloud is the cloud by which this host enrols.
func (a *Agent) findCloud(ctx context.Context) (metadata.Cloud, error) {
	if a.opt.Cloud != AnyCloud {
		return metadata.Cloud(a.opt.Cloud), nil
	}
	return metadata.Find(ctx)
}

// enrolInstance enrols by what the cloud says of this host. What is signed holds
// for this control plane, its challenge and this agent's key alone.
func (a *Agent) enrolInstance(ctx context.Context, client *api.Client, key *dpop.Key, out *api.EnrolledServer) (err error) {
	if a.cloud, err = a.findCloud(ctx); err != nil {
		return err
	}
	var c api.InstanceChallenge
	if err := client.Send(ctx, http.MethodPost, "/v1/servers/enrol/challenge", nil, &c); err != nil {
		return err
	}
	// Else somebody in between could have us sign for another control plane.
	if !sameOrigin(c.Audience, client.URL) {
		return fmt.Errorf("the control plane calls itself %s; give that as control_url", c.Audience)
	}
	in := api.InstanceEnrolment{
		Cloud: string(a.cloud), Challenge: c.Challenge, Address: a.proposal(ctx), HostLabels: a.opt.HostLabels, Version: a.opt.Version,
	}
	if err := a.evidence(ctx, &in, c.Audience, api.Binding(c.Audience, c.Challenge, key.Thumbprint())); err != nil {
		return err
	}
	return client.Send(ctx, http.MethodPost, "/v1/servers/enrol/instance", in, out)
}

func sameOrigin(a, b string) bool {
	x, errX := url.Parse(a)
	y, errY := url.Parse(b)
	return errX == nil && errY == nil && x.Scheme == y.Scheme && strings.EqualFold(x.Hostname(), y.Hostname()) && port(x) == port(y)
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "http":
		return "80"
	}
	return "443"
}

func (a *Agent) evidence(ctx context.Context, in *api.InstanceEnrolment, audience, binding string) error {
	m := a.metadata(a.cloud)
	switch a.cloud {
	case metadata.AWS:
		id, err := m.AWSIdentity(ctx)
		if err != nil {
			return err
		}
		in.AWS = signCallerIdentity(id, binding, a.now())
	case metadata.GCP:
		token, err := m.GCPIdentity(ctx, api.InstanceAudience(audience, binding))
		if err != nil {
			return err
		}
		in.GCP = &api.GCPEvidence{Token: token}
	case metadata.Azure:
		document, err := m.AzureIdentity(ctx, api.AzureNonce(binding))
		if err != nil {
			return err
		}
		in.Azure = &api.AzureEvidence{Document: document, Chain: a.issuers(ctx, document)}
	}
	return nil
}

// signCallerIdentity signs the question to AWS who we are, for the control plane to
// ask it. It is good for that question alone, and for some minutes.
func signCallerIdentity(id metadata.AWSIdentity, binding string, now time.Time) *api.AWSEvidence {
	date := now.UTC().Format("20060102T150405Z")
	call := signedCall{
		method: http.MethodPost, path: "/", body: api.STSBody, region: id.Region, service: "sts", key: id.Key, secret: id.Secret,
		header: map[string]string{
			"content-type": api.STSContentType, "host": api.STSHost(id.Region), "x-amz-date": date,
			"x-amz-security-token": id.Session, strings.ToLower(api.HeaderBinding): binding,
		},
	}
	return &api.AWSEvidence{Document: id.Document, Date: date, SessionToken: id.Session, Authorization: call.authorization()}
}

// issuerHosts are where Microsoft and DigiCert publish the certificates that stand
// between that of Azure's metadata and a root. The control plane fetches nothing
// that a stranger's paper names, so the agent brings them along.
var issuerHosts = []string{"www.microsoft.com", "caissuers.microsoft.com", "cacerts.digicert.com"}

const (
	// maxIssuers and maxIssuer bound the certificates, in number and bytes.
	maxIssuers, maxIssuer = 3, 4 << 10
	issuerLimit           = 5 * time.Second
)

// issuers fetches the issuers of the signer's certificate, up to a root or what
// cannot be had. They prove themselves, so they may come over open wires.
func (a *Agent) issuers(ctx context.Context, document string) (chain [][]byte) {
	raw, err := base64.StdEncoding.DecodeString(document)
	if err != nil {
		return nil
	}
	p7, err := pkcs7.Parse(raw)
	if err != nil || p7.GetOnlySigner() == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, issuerLimit)
	defer cancel()
	client := api.NewHTTP(nil)
	defer client.CloseIdleConnections()
	for cert := p7.GetOnlySigner(); len(chain) < maxIssuers; {
		der, err := fetchIssuer(ctx, client, cert)
		if err != nil {
			a.log.Debug("a certificate of Azure's cannot be fetched", "of", cert.Issuer.CommonName, "err", err)
			return chain
		}
		if cert, err = x509.ParseCertificate(der); err != nil || cert.Issuer.String() == cert.Subject.String() {
			return chain
		}
		chain = append(chain, der)
	}
	return chain
}

func fetchIssuer(ctx context.Context, client *http.Client, cert *x509.Certificate) ([]byte, error) {
	for _, raw := range cert.IssuingCertificateURL {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Port() != "" || !slices.Contains(issuerHosts, u.Hostname()) {
			continue
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, raw, nil)
		if err != nil {
			return nil, err
		}
		res, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		der, err := io.ReadAll(io.LimitReader(res.Body, maxIssuer+1))
		if err == nil && (res.StatusCode != http.StatusOK || len(der) > maxIssuer) {
			err = fmt.Errorf("%s answers with status %d and %d bytes", u.Hostname(), res.StatusCode, len(der))
		}
		return der, err
	}
	return nil, errors.New("the certificate names no address that is known here")
}
