package control

import (
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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/smallstep/pkcs7"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/attestation"
	"github.com/cardea-ssh/cardea/internal/pgtest"
	"github.com/cardea-ssh/cardea/store"
)

// sky is three clouds with keys of the tests.
type sky struct {
	key  *rsa.PrivateKey
	cert *x509.Certificate
	// arn is what STS answers; asked are its requests.
	mu    sync.Mutex
	arn   string          // guarded by mu
	asked []*http.Request // guarded by mu
	fail  bool            // guarded by mu
}

const testRegion = "xx-test-1"

// skyKey is made once: RSA keys take their time.
var skyKey = sync.OnceValues(func() (*rsa.PrivateKey, *x509.Certificate) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(4711), Subject: pkix.Name{CommonName: "metadata.azure.com"}, DNSNames: []string{"metadata.azure.com"},
		NotBefore: time.Now().AddDate(-20, 0, 0), NotAfter: time.Now().AddDate(50, 0, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return key, cert
})

func newSky() *sky {
	s := &sky{}
	s.key, s.cert = skyKey()
	return s
}

// RoundTrip is STS and Google.
func (s *sky) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r)
	answer, status := "", http.StatusOK
	switch {
	case s.fail:
		status = http.StatusServiceUnavailable
	case r.URL.Host == "www.googleapis.com":
		raw, _ := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &s.key.PublicKey, KeyID: "g", Algorithm: "RS256"}}})
		answer = string(raw)
	case r.URL.Host == api.STSHost(testRegion):
		answer = fmt.Sprintf(`{"GetCallerIdentityResponse":{"GetCallerIdentityResult":{"Arn":%q}}}`, s.arn)
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(answer)), Request: r}, nil
}

func (s *sky) verifier(t testing.TB, now func() time.Time) *attestation.Verifier {
	t.Helper()
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw}))
	v, err := attestation.New(attestation.Options{Now: now, HTTP: &http.Client{Transport: s}, AWSCertificates: []byte(testRegion + "\n" + cert), AzureRoots: []byte(cert)})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (s *sky) sign(t testing.TB, content any) string {
	t.Helper()
	raw, _ := json.Marshal(content)
	d, err := pkcs7.NewSignedData(raw)
	if err != nil {
		t.Fatal(err)
	}
	d.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	if err := d.AddSigner(s.cert, s.key, pkcs7.SignerInfoConfig{}); err != nil {
		t.Fatal(err)
	}
	if raw, err = d.Finish(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

const azureAccount = "8d10da13-8125-4ba9-a717-bf7490507b3d"

func vmID(n int) string { return fmt.Sprintf("a%07d-74ef-476e-8182-f6d2ba4166a6", n) }

// azure is the evidence of a virtual machine.
func (s *scene) azure(d *device, vm string) api.InstanceEnrolment {
	s.t.Helper()
	c := must[api.InstanceChallenge](s.t, d, "POST", "/v1/servers/enrol/challenge", nil)
	const form = "01/02/06 15:04:05 -0700"
	document := s.sky.sign(s.t, map[string]any{"nonce": api.AzureNonce(api.Binding(publicURL, c.Challenge, d.key.Thumbprint())), "vmId": vm, "subscriptionId": azureAccount,
		"timeStamp": map[string]string{"createdOn": s.now().Format(form), "expiresOn": s.now().Add(6 * time.Hour).Format(form)}})
	return api.InstanceEnrolment{Cloud: "azure", Challenge: c.Challenge, Azure: &api.AzureEvidence{Document: document}, Address: "10.0.0.9:22"}
}

func (s *scene) gcp(d *device, name string, change func(engine map[string]any)) api.InstanceEnrolment {
	s.t.Helper()
	c := must[api.InstanceChallenge](s.t, d, "POST", "/v1/servers/enrol/challenge", nil)
	engine := map[string]any{"project_id": "acme-web", "zone": "europe-west3-a", "instance_id": "152986662232938449", "instance_name": name, "instance_creation_timestamp": s.now().Add(-time.Minute).Unix()}
	if change != nil {
		change(engine)
	}
	raw, _ := json.Marshal(map[string]any{"iss": "https://accounts.google.com", "aud": api.InstanceAudience(c.Audience, api.Binding(c.Audience, c.Challenge, d.key.Thumbprint())),
		"iat": s.now().Unix(), "exp": s.now().Add(time.Hour).Unix(), "email": "web@acme.iam.gserviceaccount.com", "email_verified": true, "google": map[string]any{"compute_engine": engine}})
	by, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: s.sky.key, KeyID: "g"}}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	signed, _ := by.Sign(raw)
	token, _ := signed.CompactSerialize()
	return api.InstanceEnrolment{Cloud: "gcp", Challenge: c.Challenge, GCP: &api.GCPEvidence{Token: token}, Address: "10.0.0.9:22"}
}

func (s *scene) aws(d *device, instance string) api.InstanceEnrolment {
	s.t.Helper()
	c := must[api.InstanceChallenge](s.t, d, "POST", "/v1/servers/enrol/challenge", nil)
	document := s.sky.sign(s.t, map[string]any{"accountId": "123456789012", "instanceId": instance, "region": testRegion, "pendingTime": s.now().Add(-time.Minute).Format(time.RFC3339)})
	return api.InstanceEnrolment{Cloud: "aws", Challenge: c.Challenge, Address: "10.0.0.9:22", AWS: &api.AWSEvidence{Document: document, Date: "20261120T120000Z", SessionToken: "t",
		Authorization: "AWS4-HMAC-SHA256 Credential=ASIAEXAMPLEEXAMPLE00/20261120/" + testRegion + "/sts/aws4_request, SignedHeaders=" + api.STSSignedHeaders + ", Signature=" + strings.Repeat("ab", 32)}}
}

func (s *scene) rule(in api.NewEnrolmentRule) api.EnrolmentRule {
	s.t.Helper()
	in.Project = "web"
	return must[api.EnrolmentRule](s.t, s.admin, "POST", "/v1/enrolment-rules", in)
}

const enrolInstance = "/v1/servers/enrol/instance"

func TestInstancesOfEachCloudEnrolByARule(t *testing.T) {
	s := newScene(t)
	for _, tc := range []struct {
		rule api.NewEnrolmentRule
		in   func(d *device) api.InstanceEnrolment
		name string
	}{
		{api.NewEnrolmentRule{Cloud: "azure", Account: strings.ToUpper(azureAccount), Labels: map[string]string{"env": "prod"}}, func(d *device) api.InstanceEnrolment { return s.azure(d, vmID(1)) }, vmID(1)},
		{api.NewEnrolmentRule{Cloud: "gcp", Account: "acme-web", Regions: []string{"europe-*"}, Identities: []string{"web@*"}, ServerName: "{instance_name}-{region}", Labels: map[string]string{"env": "prod"}},
			func(d *device) api.InstanceEnrolment { return s.gcp(d, "web-7", nil) }, "web-7-europe-west3"},
		{api.NewEnrolmentRule{Cloud: "aws", Account: "123456789012", Regions: []string{testRegion}, Identities: []string{"web"}, Labels: map[string]string{"env": "prod"}}, func(d *device) api.InstanceEnrolment {
			s.sky.arn = "arn:aws:sts::123456789012:assumed-role/web/i-0123456789abcdef0"
			return s.aws(d, "i-0123456789abcdef0")
		}, "i-0123456789abcdef0"},
	} {
		d := s.device("")
		denied(t, d, api.Denied, "POST", enrolInstance, tc.in(d))
		rule := s.rule(tc.rule)
		in := tc.in(d)
		in.HostLabels = map[string]string{"env": "mine"}
		got := must[api.EnrolledServer](t, d, "POST", enrolInstance, in)
		v := must[api.Server](t, s.admin, "GET", "/v1/servers/"+got.Server, nil)
		if v.Name != tc.name || v.Project != s.project.ID || v.Labels["env"] != "prod" || v.Labels["host/env"] != "mine" || v.Address != "10.0.0.9:22" {
			t.Errorf("%s: %+v", tc.rule.Cloud, v)
		}
		d.token = got.AccessToken
		must[api.AgentReportAnswer](t, d, "POST", "/v1/agent/report", api.AgentReport{})
		events := s.events(audit.ServerEnrol)
		if e := events[len(events)-1]; e.Detail["rule"] != rule.ID || !strings.HasPrefix(e.Detail["instance"], tc.rule.Cloud+"/") || e.Server != got.Server || e.Project != s.project.ID {
			t.Errorf("%s: %+v", tc.rule.Cloud, e)
		}
	}
}

func TestInstancesThatNoRuleTakesStayOutside(t *testing.T) {
	s := newScene(t)
	s.rule(api.NewEnrolmentRule{Cloud: "gcp", Account: "acme-web", Regions: []string{"europe-west3"}, Identities: []string{"web@acme.iam.gserviceaccount.com"}, ServerName: "{instance_name}", Within: 60})
	for name, change := range map[string]func(engine map[string]any){
		"of another project":   func(e map[string]any) { e["project_id"] = "acme-web2" },
		"in another region":    func(e map[string]any) { e["zone"] = "europe-west31-a" },
		"a second too old":     func(e map[string]any) { e["instance_creation_timestamp"] = s.now().Add(-61 * time.Second).Unix() },
		"without a good name":  func(e map[string]any) { e["instance_name"] = "localhost" },
		"with the name of one": func(e map[string]any) { e["instance_name"] = "web-1" },
	} {
		d := s.device("")
		_, err := try[api.EnrolledServer](t, d, "POST", enrolInstance, s.gcp(d, "web-8", change))
		if kind := api.KindOf(err); kind != api.Denied && kind != api.Invalid && kind != api.Conflict {
			t.Errorf("%s: %v", name, err)
		}
	}
	d := s.device("")
	must[api.EnrolledServer](t, d, "POST", enrolInstance, s.gcp(d, "web-8", func(e map[string]any) { e["instance_creation_timestamp"] = s.now().Add(-60 * time.Second).Unix() }))
}

func TestEvidenceIsGoodOnceAndForOneKey(t *testing.T) {
	s := newScene(t)
	rule := s.rule(api.NewEnrolmentRule{Cloud: "azure", Account: azureAccount})
	alice, mallory := s.device(""), s.device("")
	in := s.azure(alice, vmID(1))
	e := denied(t, mallory, api.Denied, "POST", enrolInstance, in)
	if !strings.Contains(e.Detail, "another control plane, challenge or key") {
		t.Errorf("%v", e)
	}
	first := must[api.EnrolledServer](t, alice, "POST", enrolInstance, in)
	// The answer was lost: the same key gets the same server, by new evidence or old.
	if again := must[api.EnrolledServer](t, alice, "POST", enrolInstance, s.azure(alice, vmID(1))); again.Server != first.Server || again.AccessToken == first.AccessToken {
		t.Errorf("%s and %s", first.Server, again.Server)
	}
	// Another key on the same instance gets nothing, also when the server is gone.
	denied(t, mallory, api.Gone, "POST", enrolInstance, s.azure(mallory, vmID(1)))
	must[api.Named](t, s.admin, "DELETE", "/v1/servers/"+first.Server, nil)
	denied(t, mallory, api.Gone, "POST", enrolInstance, s.azure(mallory, vmID(1)))
	denied(t, alice, api.Denied, "POST", enrolInstance, in) // the challenge of the first try
	s.wait(time.Second)
	denied(t, alice, api.Gone, "POST", enrolInstance, s.azure(alice, vmID(1)))
	// Old challenges, and such as were never given.
	d := s.device("")
	in = s.azure(d, vmID(2))
	s.wait(61 * time.Second)
	denied(t, d, api.Denied, "POST", enrolInstance, in)
	in = s.azure(d, vmID(2))
	in.Challenge = "made up"
	denied(t, d, api.Denied, "POST", enrolInstance, in)
	in = s.azure(d, vmID(2))
	must[api.Named](t, s.admin, "DELETE", "/v1/enrolment-rules/"+rule.ID, nil)
	denied(t, d, api.Denied, "POST", enrolInstance, in)
}

func TestTheCloudIsNotAskedForNothing(t *testing.T) {
	s := newScene(t)
	d := s.device("")
	denied(t, d, api.Denied, "POST", enrolInstance, s.gcp(d, "web-8", nil))
	if len(s.sky.asked) > 0 {
		t.Error("Google was asked though no rule could take the instance")
	}
	// Any customer of AWS has a document of an instance of his own.
	s.rule(api.NewEnrolmentRule{Cloud: "aws", Account: "210987654321"})
	denied(t, d, api.Denied, "POST", enrolInstance, s.aws(d, "i-0123456789abcdef0"))
	if len(s.sky.asked) > 0 {
		t.Error("STS was asked for an instance of an account that no rule takes")
	}
	s.rule(api.NewEnrolmentRule{Cloud: "gcp", Account: "acme-web"})
	s.sky.fail = true
	if e := denied(t, d, api.Unavailable, "POST", enrolInstance, s.gcp(d, "web-8", nil)); e.RetryAfter == 0 {
		t.Errorf("%+v", e)
	}
}

func TestRulesThatMeanNothingAreRefused(t *testing.T) {
	s := newScene(t)
	for name, in := range map[string]api.NewEnrolmentRule{
		"a cloud that there is not":        {Cloud: "oracle", Account: "1"},
		"no account":                       {Cloud: "aws"},
		"an account of eleven digits":      {Cloud: "aws", Account: "12345678901"},
		"a pattern for the account":        {Cloud: "gcp", Account: "*"},
		"a region of azure":                {Cloud: "azure", Account: azureAccount, Regions: []string{"westeurope"}},
		"an identity of azure":             {Cloud: "azure", Account: azureAccount, Identities: []string{"x"}},
		"a start of azure":                 {Cloud: "azure", Account: azureAccount, Within: 60},
		"a pattern with a blank":           {Cloud: "aws", Account: "123456789012", Regions: []string{"eu central"}},
		"too many patterns":                {Cloud: "aws", Account: "123456789012", Regions: make([]string, 33)},
		"one name for all":                 {Cloud: "aws", Account: "123456789012", ServerName: "web"},
		"a name that is none":              {Cloud: "aws", Account: "123456789012", ServerName: "{instance_id}_x"},
		"a part that there is not":         {Cloud: "aws", Account: "123456789012", ServerName: "{instance_id}{tag:Name}"},
		"what aws does not sign":           {Cloud: "aws", Account: "123456789012", ServerName: "{instance_name}"},
		"a number as the name":             {Cloud: "gcp", Account: "acme", ServerName: "{instance_id}{instance_id}."},
		"a name in a domain of others":     {Cloud: "aws", Account: "123456789012", ServerName: "{instance_id}.github.com"},
		"a label of the host":              {Cloud: "aws", Account: "123456789012", Labels: map[string]string{"host/env": "prod"}},
		"instances that are ten years old": {Cloud: "aws", Account: "123456789012", Within: 10*365*24*3600 + 1},
	} {
		in.Project = "web"
		if _, err := try[api.EnrolmentRule](t, s.admin, "POST", "/v1/enrolment-rules", in); api.KindOf(err) != api.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := try[api.EnrolmentRule](t, s.admin, "POST", "/v1/enrolment-rules", api.NewEnrolmentRule{Cloud: "gcp", Account: "acme", Project: "none"}); api.KindOf(err) != api.NotFound {
		t.Errorf("%v", err)
	}
	r := s.rule(api.NewEnrolmentRule{Cloud: "aws", Account: "123456789012"})
	if r.Within != 3600 || r.ServerName != "{instance_id}" {
		t.Errorf("%+v", r)
	}
	list := must[api.List[api.EnrolmentRule]](t, s.admin, "GET", "/v1/enrolment-rules", nil)
	if len(list.Items) != 1 || list.Items[0].ID != r.ID {
		t.Errorf("%+v", list)
	}
	must[api.Project](t, s.admin, "PATCH", "/v1/projects/web", api.ProjectPatch{NameSuffixes: &[]string{"prod.example.com"}})
	s.rule(api.NewEnrolmentRule{Cloud: "aws", Account: "123456789012", ServerName: "{instance_id}.prod.example.com"})
}

// Two instances of the control plane, one instance of a cloud, and many tries at
// once: one gets in.
func TestOneInstanceEnrolsOnceOverTwoControlPlanes(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: starts a PostgreSQL")
	}
	st := newStackAt(t, pgtest.Start(t, false).Database(t), true)
	s := &scene{stack: st, admin: st.admin()}
	must[api.Project](t, s.admin, "POST", "/v1/projects", api.NewProject{Name: "web", ProjectSettings: api.ProjectSettings{CertificateSeconds: 180, Gateway: "allowed"}})
	s.rule(api.NewEnrolmentRule{Cloud: "azure", Account: azureAccount})
	var mu sync.Mutex
	won := 0
	var wg sync.WaitGroup
	for i := range 30 {
		d := s.device("")
		in := s.azure(d, vmID(1))
		wg.Go(func() {
			err := d.api(i%2).Send(t.Context(), "POST", enrolInstance, in, nil)
			mu.Lock()
			defer mu.Unlock()
			if kind := api.KindOf(err); err == nil {
				won++
			} else if kind != api.Gone && kind != api.Conflict && kind != api.Limited && kind != api.Unavailable {
				t.Errorf("one of the others got %v", err)
			}
		})
	}
	wg.Wait()
	list := must[api.List[api.Server]](t, s.admin, "GET", "/v1/servers", nil)
	if won != 1 || len(list.Items) != 1 || list.Items[0].State != store.Active {
		t.Errorf("%d got in, %d servers", won, len(list.Items))
	}
}
