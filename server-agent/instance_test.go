package serveragent

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/smallstep/pkcs7"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/attestation"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/server-agent/metadata/metadatatest"
)

// The first of AWS's own examples of Signature Version 4, get-vanilla.
func TestASignatureForAWSIsWhatAWSExpects(t *testing.T) {
	c := signedCall{
		method: "GET", path: "/", region: "us-east-1", service: "service", key: "AKIDEXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
		header: map[string]string{"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"},
	}
	want := "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
	if got := c.authorization(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

const testRegion, testInstance = "xx-test-1", "i-0123456789abcdef0"

// heaven is the clouds' side: one key signs everything, and STS knows one secret.
type heaven struct {
	t      *testing.T
	key    *rsa.PrivateKey
	cert   *x509.Certificate
	secret string
}

func newHeaven(t *testing.T) *heaven {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "metadata.azure.com"}, DNSNames: []string{"metadata.azure.com"},
		NotBefore: time.Now().AddDate(-20, 0, 0), NotAfter: time.Now().AddDate(50, 0, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), crypto.Signer(key))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &heaven{t: t, key: key, cert: cert, secret: "the secret of the role"}
}

func (h *heaven) sign(content any) string {
	raw, _ := json.Marshal(content)
	d, err := pkcs7.NewSignedData(raw)
	if err == nil {
		d.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
		err = d.AddSigner(h.cert, h.key, pkcs7.SignerInfoConfig{})
	}
	if err == nil {
		raw, err = d.Finish()
	}
	if err != nil {
		h.t.Error(err)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// RoundTrip is Google and STS, which makes the signature again of what has come.
func (h *heaven) RoundTrip(r *http.Request) (*http.Response, error) {
	status, answer := http.StatusOK, ""
	if r.URL.Host == "www.googleapis.com" {
		raw, _ := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: h.key.Public(), KeyID: "g"}}})
		answer = string(raw)
	} else {
		body, _ := io.ReadAll(r.Body)
		c := signedCall{method: r.Method, path: r.URL.Path, body: string(body), region: testRegion, service: "sts", key: "ASIAEXAMPLEEXAMPLE00", secret: h.secret, header: map[string]string{"host": r.URL.Host}}
		for _, name := range strings.Split(api.STSSignedHeaders, ";") {
			if name != "host" {
				c.header[name] = r.Header.Get(name)
			}
		}
		answer = fmt.Sprintf(`{"GetCallerIdentityResponse":{"GetCallerIdentityResult":{"Arn":"arn:aws:sts::123456789012:assumed-role/web/%s"}}}`, testInstance)
		if r.Header.Get("Authorization") != c.authorization() {
			status = http.StatusForbidden
		}
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(answer)), Request: r}, nil
}

// instance is the metadata service of one machine in a cloud.
func (h *heaven) instance(cloud string) *metadatatest.Instance {
	const form = "01/02/06 15:04:05 -0700"
	return &metadatatest.Instance{
		Cloud: cloud, ID: testInstance, Region: testRegion, Role: "web", Key: "ASIAEXAMPLEEXAMPLE00", Secret: h.secret, Session: "token==",
		Document: func() string {
			return h.sign(map[string]any{"accountId": "123456789012", "instanceId": testInstance, "region": testRegion, "pendingTime": time.Now().Format(time.RFC3339)})
		},
		Identity: func(audience string) string {
			s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: h.key, KeyID: "g"}}, nil)
			if err != nil {
				h.t.Error(err)
				return ""
			}
			raw, _ := json.Marshal(map[string]any{"iss": "https://accounts.google.com", "aud": audience, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "google": map[string]any{"compute_engine": map[string]any{
				"project_id": "acme", "zone": "europe-west3-a", "instance_id": "1", "instance_name": "web-1", "instance_creation_timestamp": time.Now().Unix()}}})
			signed, _ := s.Sign(raw)
			token, _ := signed.CompactSerialize()
			return token
		},
		Attested: func(nonce string) string {
			return h.sign(map[string]any{"nonce": nonce, "vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6", "subscriptionId": "8d10da13-8125-4ba9-a717-bf7490507b3d",
				"timeStamp": map[string]string{"createdOn": time.Now().UTC().Format(form), "expiresOn": time.Now().UTC().Add(time.Hour).Format(form)}})
		},
	}
}

// controlPlane verifies as the real one does, and says what it found.
func (h *heaven) controlPlane(found *attestation.Facts, audience *string) http.Handler {
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.cert.Raw}))
	v, err := attestation.New(attestation.Options{HTTP: &http.Client{Transport: h}, AWSCertificates: []byte(testRegion + "\n" + cert), AzureRoots: []byte(cert)})
	if err != nil {
		h.t.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proof, err := dpop.Check(r.Header.Values(dpop.Header), dpop.Expect{Method: r.Method, URL: "http://" + r.Host + r.URL.Path})
		if err != nil {
			h.t.Error(err)
		}
		if strings.HasSuffix(r.URL.Path, "/challenge") {
			answer(w, api.InstanceChallenge{Challenge: "the challenge", Audience: *audience})
			return
		}
		var in api.InstanceEnrolment
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			h.t.Error(err)
		}
		if *found, err = v.Verify(r.Context(), in, *audience, api.Binding(*audience, in.Challenge, proof.Thumbprint)); err != nil {
			answer(w, api.Errorf(api.Denied, "%v", err))
			return
		}
		answer(w, api.EnrolledServer{Token: api.Token{AccessToken: "cardea_srv_test", TokenType: "DPoP"}, Server: ident.New(ident.Server), Name: "web-1", PolicyKey: make([]byte, 32)})
	})
}

func TestAHostEnrolsByItsCloud(t *testing.T) {
	needRoot(t)
	h := newHeaven(t)
	for _, cloud := range []string{"aws", "gcp", "azure"} {
		t.Run(cloud, func(t *testing.T) {
			var found attestation.Facts
			var audience string
			plane := httptest.NewServer(h.controlPlane(&found, &audience))
			defer plane.Close()
			audience = plane.URL
			sky := httptest.NewServer(h.instance(cloud))
			defer sky.Close()
			opt := Options{StateDir: filepath.Join(t.TempDir(), "state"), ControlURL: plane.URL, Cloud: cloud, AccessAddress: "10.0.0.7:22", metadataBase: sky.URL}
			a, err := New(opt)
			if err != nil {
				t.Fatal(err)
			}
			if _, name, err := a.Enrol(t.Context()); err != nil || name != "web-1" {
				t.Fatalf("%q %v", name, err)
			}
			if found.Cloud != cloud || found.Instance == "" || cloud == "aws" && found.Identity != "web" {
				t.Errorf("the control plane found %+v", found)
			}
			// Enrolled is enrolled: neither the cloud nor the control plane is asked again.
			sky.Close()
			plane.Close()
			again, err := New(opt)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := again.Enrol(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAHostSignsForItsOwnControlPlaneAlone(t *testing.T) {
	needRoot(t)
	h := newHeaven(t)
	var found attestation.Facts
	audience := "https://another.example.com"
	plane := httptest.NewServer(h.controlPlane(&found, &audience))
	defer plane.Close()
	i := h.instance("gcp")
	sky := httptest.NewServer(i)
	defer sky.Close()
	a, err := New(Options{StateDir: filepath.Join(t.TempDir(), "state"), ControlURL: plane.URL, Cloud: "gcp", metadataBase: sky.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Enrol(t.Context()); err == nil || !strings.Contains(err.Error(), "give that as control_url") || len(i.Seen()) > 0 {
		t.Errorf("%v, and the cloud was asked %v", err, i.Seen())
	}
}

func TestOriginsAreCompared(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		same bool
	}{
		{"https://a.example.com", "https://A.example.com:443/", true},
		{"http://127.0.0.1:80", "http://127.0.0.1", true},
		{"https://a.example.com", "http://a.example.com", false},
		{"https://a.example.com", "https://a.example.com.evil.org", false},
		{"https://a.example.com", "https://a.example.com:8443", false},
	} {
		if sameOrigin(tc.a, tc.b) != tc.same {
			t.Errorf("%s and %s", tc.a, tc.b)
		}
	}
}
