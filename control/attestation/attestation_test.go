package attestation

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/smallstep/pkcs7"

	"github.com/cardea-ssh/cardea/api"
)

var (
	start   = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	binding = api.Binding("https://access.example.com", "challenge", "thumbprint")
)

const audience = "https://access.example.com"

// signer is a key with a certificate.
type signer struct {
	key  crypto.Signer
	cert *x509.Certificate
}

func newSigner(t testing.TB, bits int, name string, by *signer, change ...func(*x509.Certificate)) *signer {
	t.Helper()
	var key crypto.Signer
	var err error
	if bits == 0 {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		t.Setenv("GODEBUG", "rsa1024min=0")
		key, err = rsa.GenerateKey(rand.Reader, bits)
	}
	if err != nil {
		t.Fatal(err)
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: start.AddDate(-20, 0, 0), NotAfter: start.AddDate(70, 0, 0),
		BasicConstraintsValid: true, IsCA: !strings.Contains(name, "."), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	if strings.Contains(name, ".") {
		template.DNSNames = []string{name}
	}
	for _, f := range change {
		f(template)
	}
	parent, with := template, key
	if by != nil {
		parent, with = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), with)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{key, cert}
}

// sign makes PKCS #7 in base64, as AWS does: without the certificate.
func (s *signer) sign(t testing.TB, content string, with ...*signer) string {
	t.Helper()
	d, err := pkcs7.NewSignedData([]byte(content))
	if err != nil {
		t.Fatal(err)
	}
	d.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	if err := d.AddSigner(s.cert, s.key, pkcs7.SignerInfoConfig{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range with {
		d.AddCertificate(c.cert)
	}
	raw, err := d.Finish()
	if err != nil {
		t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString(raw)
	var lines []string
	for chunk := range slices.Chunk([]byte(text), 64) {
		lines = append(lines, string(chunk))
	}
	return strings.Join(lines, "\n")
}

func (s *signer) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw})
}

// cloud answers as STS and Google do, whatever the host is.
type cloud struct {
	requests []*http.Request
	bodies   []string
	status   int
	answer   string
	err      error
}

func (c *cloud) RoundTrip(r *http.Request) (*http.Response, error) {
	c.requests = append(c.requests, r)
	if r.Body != nil {
		raw, _ := io.ReadAll(r.Body)
		c.bodies = append(c.bodies, string(raw))
	}
	if c.err != nil {
		return nil, c.err
	}
	h := http.Header{}
	if c.status/100 == 3 {
		h.Set("Location", "https://elsewhere.example.com/")
	}
	return &http.Response{StatusCode: c.status, Header: h, Body: io.NopCloser(strings.NewReader(c.answer)), Request: r}, nil
}

func (c *cloud) client() *http.Client {
	h := newHTTP()
	h.Transport = c
	return h
}

func wantRefused(t *testing.T, err error, says string) {
	t.Helper()
	var r *Refused
	if !errors.As(err, &r) || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v, want a refusal that says %q", err, says)
	}
}

const instance = "i-0123456789abcdef0"

func document(change ...string) string {
	d := map[string]any{"accountId": "123456789012", "instanceId": instance, "region": "eu-central-1", "pendingTime": "2026-11-20T11:58:00Z",
		"privateIp": "10.0.0.7", "billingProducts": nil, "architecture": "x86_64", "version": "2017-09-30"}
	for i := 0; i+1 < len(change); i += 2 {
		d[change[i]] = change[i+1]
	}
	raw, _ := json.MarshalIndent(d, "", "  ")
	return string(raw)
}

func stsAnswer(account, role, session string) string {
	arn := fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s", account, role, session)
	raw, _ := json.Marshal(map[string]any{"GetCallerIdentityResponse": map[string]any{"GetCallerIdentityResult": map[string]string{"Account": account, "Arn": arn, "UserId": "AROA:" + session}}})
	return string(raw)
}

func awsEvidence(document string) api.AWSEvidence {
	return api.AWSEvidence{Document: document, Date: "20261120T120000Z", SessionToken: "token==", Authorization: "AWS4-HMAC-SHA256 Credential=ASIAEXAMPLEEXAMPLE00/20261120/eu-central-1/sts/aws4_request, SignedHeaders=" +
		api.STSSignedHeaders + ", Signature=" + strings.Repeat("ab", 32)}
}

func newVerifier(t *testing.T, c *cloud, by *signer, roots ...*signer) *Verifier {
	t.Helper()
	var azure []byte
	for _, r := range roots {
		azure = append(azure, r.pem()...)
	}
	v, err := New(Options{HTTP: c.client(), Now: func() time.Time { return start }, AzureRoots: azure})
	if err != nil {
		t.Fatal(err)
	}
	if by != nil {
		v.aws = map[string]*x509.Certificate{"eu-central-1": by.cert}
	}
	return v
}

func TestAnInstanceOfAWSIsKnownByItsDocumentAndItsRole(t *testing.T) {
	aws := newSigner(t, 2048, "Amazon", nil)
	good := awsEvidence(aws.sign(t, document()))
	c := &cloud{status: 200, answer: stsAnswer("123456789012", "web", instance)}
	f, err := newVerifier(t, c, aws).Verify(t.Context(), api.InstanceEnrolment{Cloud: AWS, AWS: &good}, audience, binding)
	want := Facts{Cloud: AWS, Account: "123456789012", Region: "eu-central-1", Instance: instance, Identity: "web", Started: start.Add(-2 * time.Minute)}
	if err != nil || f != want || f.ID() != "aws/123456789012/"+instance {
		t.Fatalf("%+v %v", f, err)
	}
	r := c.requests[0]
	if r.Method != "POST" || r.URL.String() != "https://sts.eu-central-1.amazonaws.com/" || c.bodies[0] != api.STSBody || r.Header.Get(api.HeaderBinding) != binding ||
		r.Header.Get("Authorization") != good.Authorization || r.Header.Get("Content-Type") != api.STSContentType {
		t.Errorf("the call: %s %s %q %v", r.Method, r.URL, c.bodies, r.Header)
	}
}

func TestWhatIsNotAnInstanceOfAWSIsRefused(t *testing.T) {
	aws, other := newSigner(t, 2048, "Amazon", nil), newSigner(t, 2048, "Amazon", nil)
	weak, curve := newSigner(t, 1024, "Amazon", nil), newSigner(t, 0, "Amazon", nil)
	// Mallory's certificate has Amazon's name and serial number.
	twin := newSigner(t, 2048, "Amazon", nil, func(c *x509.Certificate) { c.SerialNumber = aws.cert.SerialNumber })
	good := aws.sign(t, document())
	for name, tc := range map[string]struct {
		change func(e *api.AWSEvidence)
		answer string
		by     *signer
		says   string
	}{
		"a document by another key":            {func(e *api.AWSEvidence) { e.Document = other.sign(t, document()) }, "", nil, "signature does not hold"},
		"one whose certificate has AWS's name": {func(e *api.AWSEvidence) { e.Document = twin.sign(t, document()) }, "", nil, "signature does not hold"},
		"a document by 1024 bits":              {func(e *api.AWSEvidence) { e.Document = weak.sign(t, document()) }, "", weak, "RSA of 2048 bits"},
		"a document by another kind of key":    {func(e *api.AWSEvidence) { e.Document = curve.sign(t, document()) }, "", curve, "RSA with SHA-256"},
		"a region that is not known":           {func(e *api.AWSEvidence) { e.Document = aws.sign(t, document("region", "xx-moon-1")) }, "", nil, "aws_certificates"},
		"a document without an instance":       {func(e *api.AWSEvidence) { e.Document = aws.sign(t, document("instanceId", "")) }, "", nil, "not complete"},
		"an instance with a path in it":        {func(e *api.AWSEvidence) { e.Document = aws.sign(t, document("instanceId", "i-0123/../456")) }, "", nil, "not complete"},
		"a document without a time":            {func(e *api.AWSEvidence) { e.Document = aws.sign(t, document("pendingTime", "0001-01-01T00:00:00Z")) }, "", nil, "not complete"},
		"something else that AWS signed":       {func(e *api.AWSEvidence) { e.Document = aws.sign(t, "hello") }, "", nil, "is not one"},
		"no base64":                            {func(e *api.AWSEvidence) { e.Document = "%%%" }, "", nil, "base64"},
		"an empty document":                    {func(e *api.AWSEvidence) { e.Document = "" }, "", nil, "malformed"},
		"a document too long":                  {func(e *api.AWSEvidence) { e.Document = strings.Repeat("A", maxDocument+1) }, "", nil, "longer"},
		"a flipped bit":                        {func(e *api.AWSEvidence) { e.Document = flipped(e.Document) }, "", nil, ""},
		"bytes behind it":                      {func(e *api.AWSEvidence) { e.Document = more(e.Document) }, "", nil, "malformed"},
		"a user's own credentials":             {nil, strings.Replace(stsAnswer("123456789012", "x", "y"), "sts::123456789012:assumed-role/x/y", "iam::123456789012:user/mallory", 1), nil, "role of an instance"},
		"the role of another account":          {nil, stsAnswer("999999999999", "web", instance), nil, "account 999999999999"},
		"another instance of the same account": {nil, stsAnswer("123456789012", "web", "i-00000000000000000"), nil, "not that one's"},
		"a person who took on the role":        {nil, stsAnswer("123456789012", "web", "mallory"), nil, "not that one's"},
		"a call for another region": {func(e *api.AWSEvidence) {
			e.Authorization = strings.Replace(e.Authorization, "eu-central-1", "us-east-1", 1)
		}, "", nil, "another region"},
		"a call of another service": {func(e *api.AWSEvidence) { e.Authorization = strings.Replace(e.Authorization, "/sts/", "/iam/", 1) }, "", nil, "one form"},
		"a call that does not sign the binding": {func(e *api.AWSEvidence) {
			e.Authorization = strings.Replace(e.Authorization, ";x-cardea-binding", "", 1)
		}, "", nil, "one form"},
		"a call with a second header in it": {func(e *api.AWSEvidence) { e.Authorization += "\r\nHost: evil" }, "", nil, "one form"},
		"a call of another day":             {func(e *api.AWSEvidence) { e.Date = "20261121T120000Z" }, "", nil, "one form"},
		"a date that is none":               {func(e *api.AWSEvidence) { e.Date = "20261120T120000Z\r\nX: y" }, "", nil, "no date"},
		"no session token":                  {func(e *api.AWSEvidence) { e.SessionToken = "" }, "", nil, "no date or no session token"},
		"a token too long":                  {func(e *api.AWSEvidence) { e.SessionToken = strings.Repeat("a", maxHeader+1) }, "", nil, "longer"},
	} {
		t.Run(name, func(t *testing.T) {
			e, by := awsEvidence(good), aws
			if tc.change != nil {
				tc.change(&e)
			}
			if tc.by != nil {
				by = tc.by
			}
			c := &cloud{status: 200, answer: tc.answer}
			_, err := newVerifier(t, c, by).Verify(t.Context(), api.InstanceEnrolment{Cloud: AWS, AWS: &e}, audience, binding)
			wantRefused(t, err, tc.says)
			if tc.answer == "" && len(c.requests) > 0 {
				t.Error("AWS was asked for evidence that does not hold")
			}
		})
	}
}

func flipped(text string) string {
	raw, _ := base64.StdEncoding.DecodeString(strings.ReplaceAll(text, "\n", ""))
	raw[len(raw)-3] ^= 1
	return base64.StdEncoding.EncodeToString(raw)
}

func more(text string) string {
	raw, _ := base64.StdEncoding.DecodeString(strings.ReplaceAll(text, "\n", ""))
	return base64.StdEncoding.EncodeToString(append(raw, 5, 0))
}

func TestAnswersOfSTSAreNotTrustedFurtherThanNeeded(t *testing.T) {
	aws := newSigner(t, 2048, "Amazon", nil)
	e := awsEvidence(aws.sign(t, document()))
	for name, tc := range map[string]struct {
		c       cloud
		refused bool
	}{
		"a signature that AWS does not accept": {cloud{status: 403, answer: "SignatureDoesNotMatch"}, true},
		"a redirect":                           {cloud{status: 302}, true},
		"a fault of AWS":                       {cloud{status: 503}, false},
		"too many calls":                       {cloud{status: 429}, false},
		"no network":                           {cloud{err: errors.New("no route to host")}, false},
		"an answer of a byte too many":         {cloud{status: 200, answer: strings.Repeat(" ", maxAnswer+1)}, false},
		"an answer that is none":               {cloud{status: 200, answer: "<html>"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newVerifier(t, &tc.c, aws).Verify(t.Context(), api.InstanceEnrolment{Cloud: AWS, AWS: &e}, audience, binding)
			var r *Refused
			if err == nil || errors.As(err, &r) != tc.refused || len(tc.c.requests) != 1 {
				t.Errorf("%v, %d requests", err, len(tc.c.requests))
			}
		})
	}
}

func TestCertificatesOfRegions(t *testing.T) {
	v, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, region := range []string{"us-east-1", "eu-central-1", "ap-southeast-4", "cn-north-1", "us-gov-west-1"} {
		c := v.aws[region]
		if c == nil || !isStrong(c.PublicKey) || c.Subject.Organization[0] != "Amazon Web Services LLC" || c.NotAfter.Before(start) {
			t.Errorf("%s: %+v", region, c)
		}
	}
	seen := map[string]string{}
	for region, c := range v.aws {
		if was, twice := seen[string(c.Raw)]; twice {
			t.Errorf("%s and %s have one certificate", region, was)
		}
		seen[string(c.Raw)] = region
	}
	extra := string(newSigner(t, 2048, "Amazon", nil).pem())
	for text, ok := range map[string]bool{
		"xx-moon-1\n" + extra:                   true,
		"# new\n\nxx-moon-1\n" + extra:          true,
		"us-east-1\n" + extra:                   false, // what is known stays
		extra:                                   false,
		"xx-moon-1\n":                           false,
		"xx-moon-1\n" + extra + extra:           false,
		"Moon 1\n" + extra:                      false,
		"xx-moon-1\n-----BEGIN CERTIFICATE----": false,
	} {
		v, err := New(Options{AWSCertificates: []byte(text)})
		if (err == nil) != ok || ok && v.aws["xx-moon-1"] == nil {
			t.Errorf("%.30q: %v", text, err)
		}
	}
}

// googleWorld has a key of Google's.
func googleToken(t testing.TB, key *rsa.PrivateKey, kid string, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := json.Marshal(claims)
	signed, err := s.Sign(raw)
	if err != nil {
		t.Fatal(err)
	}
	out, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func gcpToken(change map[string]any) map[string]any {
	engine := map[string]any{"project_id": "acme-web", "project_number": 4711, "zone": "europe-west3-a", "instance_id": "152986662232938449", "instance_name": "web-1", "instance_creation_timestamp": start.Add(-time.Minute).Unix()}
	claims := map[string]any{"iss": "https://accounts.google.com", "aud": api.InstanceAudience(audience, binding), "azp": "1", "sub": "1", "email": "Web@acme.iam.gserviceaccount.com", "email_verified": true,
		"iat": start.Unix(), "exp": start.Add(time.Hour).Unix()}
	for k, v := range change {
		if _, ok := engine[k]; ok {
			engine[k] = v
		} else {
			claims[k] = v
		}
	}
	if _, gone := change["google"]; !gone {
		claims["google"] = map[string]any{"compute_engine": engine}
	}
	return claims
}

func jwks(keys map[string]any) string {
	var set jose.JSONWebKeySet
	for _, id := range slices.Sorted(maps.Keys(keys)) {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: keys[id], KeyID: id, Algorithm: "RS256", Use: "sig"})
	}
	raw, _ := json.Marshal(set)
	return string(raw)
}

func TestAnInstanceOfGCPIsKnownByItsToken(t *testing.T) {
	google, other := newSigner(t, 2048, "g", nil).key.(*rsa.PrivateKey), newSigner(t, 2048, "g", nil).key.(*rsa.PrivateKey)
	weak := newSigner(t, 1024, "g", nil).key.(*rsa.PrivateKey)
	answer := jwks(map[string]any{"a": &google.PublicKey, "weak": &weak.PublicKey})
	verify := func(token string) (Facts, error) {
		v := newVerifier(t, &cloud{status: 200, answer: answer}, nil)
		return v.Verify(t.Context(), api.InstanceEnrolment{Cloud: GCP, GCP: &api.GCPEvidence{Token: token}}, audience, binding)
	}
	f, err := verify(googleToken(t, google, "a", gcpToken(nil)))
	want := Facts{Cloud: GCP, Account: "acme-web", Region: "europe-west3", Instance: "152986662232938449", Name: "web-1", Identity: "web@acme.iam.gserviceaccount.com", Started: start.Add(-time.Minute)}
	if err != nil || f != want {
		t.Fatalf("%+v %v", f, err)
	}
	for name, tc := range map[string]struct{ token, says string }{
		"a token for another control plane":    {googleToken(t, google, "a", gcpToken(map[string]any{"aud": api.InstanceAudience("https://evil.example.com", binding)})), "another control plane"},
		"a token of another challenge":         {googleToken(t, google, "a", gcpToken(map[string]any{"aud": api.InstanceAudience(audience, api.Binding(audience, "x", "y"))})), "another control plane"},
		"a token for a list of audiences":      {googleToken(t, google, "a", gcpToken(map[string]any{"aud": []string{api.InstanceAudience(audience, binding)}})), "claims"},
		"a token of another issuer":            {googleToken(t, google, "a", gcpToken(map[string]any{"iss": "https://accounts.evil.com"})), "accounts.google.com"},
		"a token that is over":                 {googleToken(t, google, "a", gcpToken(map[string]any{"exp": start.Add(-skew).Unix()})), "over"},
		"a token of the future":                {googleToken(t, google, "a", gcpToken(map[string]any{"iat": start.Add(2 * skew).Unix()})), "future"},
		"a token without an end":               {googleToken(t, google, "a", gcpToken(map[string]any{"exp": 0})), "over"},
		"a token of the standard format":       {googleToken(t, google, "a", gcpToken(map[string]any{"google": nil})), "full format"},
		"a zone that is none":                  {googleToken(t, google, "a", gcpToken(map[string]any{"zone": "a/../b"})), "full format"},
		"a token by another key":               {googleToken(t, other, "a", gcpToken(nil)), "signature"},
		"a token by an unknown key":            {googleToken(t, other, "b", gcpToken(nil)), "does not publish"},
		"a token by a weak key":                {googleToken(t, weak, "weak", gcpToken(nil)), "does not publish"},
		"a token without a signature":          {"eyJhbGciOiJub25lIiwia2lkIjoiYSJ9.e30.", "RS256"},
		"a token signed with the public key":   {hmacToken(t, google, gcpToken(nil)), "RS256"},
		"a token too long":                     {strings.Repeat("a", maxToken+1), "longer"},
		"no token":                             {"", "RS256"},
		"a service account that is not proved": {googleToken(t, google, "a", gcpToken(map[string]any{"email_verified": false})), ""},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := verify(tc.token)
			if tc.says != "" {
				wantRefused(t, err, tc.says)
			} else if err != nil || f.Identity != "" {
				t.Errorf("%+v %v", f, err)
			}
		})
	}
}

func hmacToken(t *testing.T, key *rsa.PrivateKey, claims map[string]any) string {
	t.Helper()
	public := x509.MarshalPKCS1PublicKey(&key.PublicKey)
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: public, KeyID: "a"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := json.Marshal(claims)
	signed, _ := s.Sign(raw)
	out, _ := signed.CompactSerialize()
	return out
}

func TestGooglesKeysAreFetchedSeldom(t *testing.T) {
	one, two := newSigner(t, 2048, "g", nil).key.(*rsa.PrivateKey), newSigner(t, 2048, "g", nil).key.(*rsa.PrivateKey)
	c := &cloud{status: 200, answer: jwks(map[string]any{"a": &one.PublicKey})}
	now := start
	v, err := New(Options{HTTP: c.client(), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	try := func(key *rsa.PrivateKey, id string) error {
		_, err := v.verifyGCP(t.Context(), googleToken(t, key, id, gcpToken(map[string]any{"exp": start.AddDate(1, 0, 0).Unix()})), api.InstanceAudience(audience, binding))
		return err
	}
	for range 3 {
		if err := try(one, "a"); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, try(two, "b"), "does not publish")
	}
	if len(c.requests) != 1 || c.requests[0].URL.String() != googleKeys {
		t.Fatalf("%d requests", len(c.requests))
	}
	now = now.Add(keysPause)
	c.answer = jwks(map[string]any{"a": &one.PublicKey, "b": &two.PublicKey})
	if err := try(two, "b"); err != nil || len(c.requests) != 2 {
		t.Errorf("a new key: %v, %d requests", err, len(c.requests))
	}
	now = now.Add(keysLife / 2)
	c.err = errors.New("no route to host")
	if err := try(one, "a"); err != nil || len(c.requests) != 2 {
		t.Errorf("fresh keys: %v, %d requests", err, len(c.requests))
	}
	now = now.Add(keysLife / 2)
	if err := try(one, "a"); err != nil || len(c.requests) != 3 {
		t.Errorf("without Google: %v, %d requests", err, len(c.requests))
	}
	if err := try(one, "a"); err != nil || len(c.requests) != 3 {
		t.Errorf("at once again: %v, %d requests", err, len(c.requests))
	}
}

func attested(nonce string, change ...string) string {
	d := map[string]any{"licenseType": "", "nonce": nonce, "plan": map[string]string{}, "sku": "22_04-lts", "subscriptionId": "8D10DA13-8125-4BA9-A717-BF7490507B3D",
		"vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6"}
	stamp := map[string]string{"createdOn": "11/20/26 11:59:00 -0000", "expiresOn": "11/20/26 17:59:00 -0000"}
	for i := 0; i+1 < len(change); i += 2 {
		if _, ok := stamp[change[i]]; ok {
			stamp[change[i]] = change[i+1]
		} else {
			d[change[i]] = change[i+1]
		}
	}
	d["timeStamp"] = stamp
	raw, _ := json.Marshal(d)
	return string(raw)
}

func TestAVirtualMachineOfAzureIsKnownByItsDocument(t *testing.T) {
	root := newSigner(t, 2048, "Root", nil)
	between := newSigner(t, 2048, "Issuing CA 01", root)
	leaf := newSigner(t, 2048, "eastus.metadata.azure.com", between)
	foreign := newSigner(t, 2048, "Other root", nil)
	nonce := api.AzureNonce(binding)
	good := leaf.sign(t, attested(nonce))
	chain := [][]byte{between.cert.Raw}
	verify := func(e api.AzureEvidence, roots ...*signer) (Facts, error) {
		c := &cloud{err: errors.New("nothing is to be fetched")}
		f, err := newVerifier(t, c, nil, roots...).Verify(context.Background(), api.InstanceEnrolment{Cloud: Azure, Azure: &e}, audience, binding)
		if len(c.requests) > 0 {
			t.Error("something was fetched")
		}
		return f, err
	}
	want := Facts{Cloud: Azure, Account: "8d10da13-8125-4ba9-a717-bf7490507b3d", Instance: "02aab8a4-74ef-476e-8182-f6d2ba4166a6"}
	for name, e := range map[string]api.AzureEvidence{
		"with a chain beside the document": {Document: good, Chain: chain},
		"with the chain in it":             {Document: leaf.sign(t, attested(nonce), between)},
		"of the US government":             {Document: newSigner(t, 2048, "metadata.azure.us", between).sign(t, attested(nonce)), Chain: chain},
	} {
		if f, err := verify(e, root); err != nil || f != want {
			t.Errorf("%s: %+v %v", name, f, err)
		}
	}
	for name, tc := range map[string]struct {
		e     api.AzureEvidence
		roots []*signer
		says  string
	}{
		"no chain":                         {api.AzureEvidence{Document: good}, nil, "does not lead to a root"},
		"another root":                     {api.AzureEvidence{Document: good, Chain: chain}, []*signer{foreign}, "does not lead to a root"},
		"a root that the caller brings":    {api.AzureEvidence{Document: good, Chain: append(chain, root.cert.Raw)}, []*signer{foreign}, "does not lead to a root"},
		"a certificate for another name":   {api.AzureEvidence{Document: newSigner(t, 2048, "metadata.azure.com.evil.example.com", between).sign(t, attested(nonce)), Chain: chain}, nil, "not signed for"},
		"a name that ends alike":           {api.AzureEvidence{Document: newSigner(t, 2048, "evilmetadata.azure.com", between).sign(t, attested(nonce)), Chain: chain}, nil, "not signed for"},
		"the name only in the other field": {api.AzureEvidence{Document: newSigner(t, 2048, "metadata.azure.com", between, func(c *x509.Certificate) { c.DNSNames = []string{"evil.example.com"} }).sign(t, attested(nonce)), Chain: chain}, nil, "not signed for"},
		"a certificate that is over":       {api.AzureEvidence{Document: newSigner(t, 2048, "metadata.azure.com", between, func(c *x509.Certificate) { c.NotAfter = start.Add(-time.Second) }).sign(t, attested(nonce)), Chain: chain}, nil, "does not lead to a root"},
		"a document of another machine's":  {api.AzureEvidence{Document: leaf.sign(t, attested("1234567890")), Chain: chain}, nil, "another control plane"},
		"a document without a nonce":       {api.AzureEvidence{Document: leaf.sign(t, attested("")), Chain: chain}, nil, "another control plane"},
		"a document that is over":          {api.AzureEvidence{Document: leaf.sign(t, attested(nonce, "expiresOn", "11/20/26 12:00:00 -0000")), Chain: chain}, nil, "over"},
		"a document of the future":         {api.AzureEvidence{Document: leaf.sign(t, attested(nonce, "createdOn", "11/20/26 12:05:00 -0000")), Chain: chain}, nil, "future"},
		"a document without an end":        {api.AzureEvidence{Document: leaf.sign(t, attested(nonce, "expiresOn", "")), Chain: chain}, nil, "over"},
		"a document without a machine":     {api.AzureEvidence{Document: leaf.sign(t, attested(nonce, "vmId", "x")), Chain: chain}, nil, "names no virtual machine"},
		"a long chain":                     {api.AzureEvidence{Document: good, Chain: slices.Repeat(chain, 2*maxChain)}, nil, "more certificates"},
		"a chain of no certificates":       {api.AzureEvidence{Document: good, Chain: [][]byte{{1}}}, nil, "is none"},
		"a flipped bit":                    {api.AzureEvidence{Document: flipped(good), Chain: chain}, nil, "signature"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.roots == nil {
				tc.roots = []*signer{root}
			}
			_, err := verify(tc.e, tc.roots...)
			wantRefused(t, err, tc.says)
		})
	}
	// With the system's roots, a certificate authority of one's own is none.
	_, err := verify(api.AzureEvidence{Document: good, Chain: chain})
	wantRefused(t, err, "does not lead to a root")
}

func TestARootThatIsNotMicrosoftsVouchesForNoMetadata(t *testing.T) {
	root := newSigner(t, 2048, "Some root", nil)
	leaf := newSigner(t, 2048, "metadata.azure.com", root)
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	wantRefused(t, azureRoots{pool: pool}.trusts(leaf.cert, nil, nil, start), "none of Microsoft's roots")
	if err := (azureRoots{pool: pool, any: true}).trusts(leaf.cert, nil, nil, start); err != nil {
		t.Error(err)
	}
	if _, err := New(Options{AzureRoots: []byte("no certificate")}); err == nil {
		t.Error("roots that are none were taken")
	}
}

// A stranger's certificates may have keys of any size, and the way to a root is
// looked for through all of them.
func TestKeysThatCostMuchToCheckAreNotTried(t *testing.T) {
	root := newSigner(t, 2048, "Root", nil)
	leaf := newSigner(t, 2048, "metadata.azure.com", newSigner(t, 2048, "Huge", root))
	made := func(key crypto.PublicKey) *x509.Certificate {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Huge"}, NotBefore: start, NotAfter: start.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true}
		der, err := x509.CreateCertificate(rand.Reader, template, root.cert, key, root.key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	rsaKey := func(bits uint, e int) *rsa.PublicKey {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: e}
	}
	curve := func(c elliptic.Curve) crypto.PublicKey {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key.Public()
	}
	for name, tc := range map[string]struct {
		key  crypto.PublicKey
		says string
	}{
		"RSA at the limit":      {rsaKey(maxRSA, maxExponent), "does not lead to a root"},
		"RSA beyond it":         {rsaKey(maxRSA+1, maxExponent), "neither RSA"},
		"RSA that fills it all": {rsaKey(28_000, maxExponent), "neither RSA"},
		"an exponent beyond it": {rsaKey(maxRSA, maxExponent+2), "neither RSA"},
		"a curve at the limit":  {curve(elliptic.P384()), "does not lead to a root"},
		"a curve beyond it":     {curve(elliptic.P521()), "neither RSA"},
		"a key of another kind": {ed25519.PublicKey(make([]byte, 32)), "neither RSA"},
	} {
		cert := made(tc.key)
		pool := x509.NewCertPool()
		pool.AddCert(root.cert)
		roots := azureRoots{pool: pool, any: true}
		for where, err := range map[string]error{
			"in the chain":    roots.trusts(leaf.cert, nil, [][]byte{cert.Raw}, start),
			"in the document": roots.trusts(leaf.cert, []*x509.Certificate{cert}, nil, start),
		} {
			t.Run(name+" "+where, func(t *testing.T) { wantRefused(t, err, tc.says) })
		}
	}
	wantRefused(t, azureRoots{}.trusts(made(rsaKey(28_000, maxExponent)), nil, nil, start), "neither RSA")
}

func TestNestingIsBounded(t *testing.T) {
	deep := func(n int) []byte {
		var b []byte
		for range n {
			b = append([]byte{0x30, byte(len(b))}, b...)
		}
		return b
	}
	endless := func(n int) []byte {
		return append(slices.Repeat([]byte{0x30, 0x80}, n), make([]byte, 2*n)...)
	}
	for name, tc := range map[string]struct {
		raw []byte
		ok  bool
	}{
		"as deep as may be":                {deep(maxNesting + 1), true},
		"one deeper":                       {deep(maxNesting + 2), false},
		"as deep as may be, without sizes": {endless(maxNesting + 1), true},
		"one deeper, without sizes":        {endless(maxNesting + 2), false},
		"nothing":                          {nil, false},
		"a size beyond the end":            {[]byte{0x30, 5, 0}, false},
		"a size of four bytes":             {[]byte{0x30, 0x84, 0, 0, 0, 0}, false},
		"no end mark":                      {[]byte{0x30, 0x80, 5, 0}, false},
		"a primitive without a size":       {[]byte{0x04, 0x80, 0, 0}, false},
		"a long tag":                       {[]byte{0x3f, 0x81, 0x01, 0}, false},
	} {
		if err := checkNesting(tc.raw); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoEvidenceIsNoIdentity(t *testing.T) {
	v := newVerifier(t, &cloud{}, nil)
	for _, in := range []api.InstanceEnrolment{{}, {Cloud: AWS}, {Cloud: GCP, AWS: &api.AWSEvidence{}}, {Cloud: "oracle"}} {
		_, err := v.Verify(t.Context(), in, audience, binding)
		wantRefused(t, err, "no evidence")
	}
}
