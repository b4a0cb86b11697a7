package control

import (
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/sso/ssotest"
)

const clusterIssuer = "https://kubernetes.default.svc"

// cluster is one that the control plane cannot reach.
func cluster(t *testing.T, j *jobs) (p *ssotest.Provider, token func() string) {
	p = ssotest.New(t)
	p.Claims(func(c map[string]any) {
		c["iss"], c["sub"], c["aud"] = clusterIssuer, "system:serviceaccount:ci:deploy", publicURL
		c["jti"] = rand.Text()
		delete(c, "nonce")
	})
	return p, func() string { j.wait(time.Second); return p.Token("") }
}

func TestAnIssuerThatNobodyCanReachHasTheKeysThatItWasGiven(t *testing.T) {
	j := newJobs(t)
	p, token := cluster(t, j)
	i := must[api.WorkloadIssuer](t, j.admin, "POST", "/v1/workload-issuers", api.NewWorkloadIssuer{Name: "cluster-1", Issuer: clusterIssuer, Set: p.KeySet()})
	if len(i.Keys) != 1 || len(i.Keys[0].Thumbprint) != 43 || i.Keys[0].ID != "first" || i.Keys[0].Kind != "ECDSA P-256" || i.KeysAt.IsZero() {
		t.Fatalf("%+v", i)
	}
	must[api.WorkloadRule](t, j.admin, "POST", "/v1/workload-issuers/cluster-1/rules", api.NewWorkloadRule{User: "deploy", Claims: map[string]string{"sub": "system:serviceaccount:ci:deploy"}})
	if err := j.device("").enter(t, jobForm(token())); err != nil {
		t.Fatal(err)
	}
	if got := j.look(token()); !got.Allow || got.UserName != "deploy" {
		t.Errorf("%+v", got)
	}
	if e := j.events(audit.WorkloadIssuerCreate); e[len(e)-1].Detail["key 1"] != i.Keys[0].Thumbprint {
		t.Errorf("audit: %+v", e)
	}
	// mallory has a cluster of her own, whose issuer and whose keys are called the same.
	_, mallory := cluster(t, j)
	refusedJob(t, j.redeem(j.device(""), jobForm(mallory())), "not taken here")
	// The platform whose keys are fetched says that it is the cluster, with a key of its own.
	refusedJob(t, j.redeem(j.device(""), jobForm(j.token(func(c map[string]any) { c["iss"] = clusterIssuer }))), "not taken here")
	for name, sign := range map[string]func(map[string]any, jose.JSONWebKey) string{
		"none": func(c map[string]any, _ jose.JSONWebKey) string { return ssotest.Unsigned(c) },
		"HS256": func(c map[string]any, k jose.JSONWebKey) string {
			return ssotest.Sign(t, c, jose.HS256, ssotest.PublicDER(t, k), k.KeyID)
		},
	} {
		p.Sign(sign)
		if got := j.redeem(j.device(""), jobForm(token())); got.StatusCode == 200 || !strings.Contains(got.body, "not taken here") {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.body)
		}
	}
	p.Sign(nil)
	// The cluster changes its keys: nothing is fetched, until it was given the new ones.
	before := token()
	p.Rotate("second")
	refusedJob(t, j.redeem(j.device(""), jobForm(token())), "not taken here")
	changed := must[api.WorkloadIssuer](t, j.admin, "PUT", "/v1/workload-issuers/cluster-1/keys", api.WorkloadKeys{Set: p.KeySet()})
	if len(changed.Keys) != 1 || changed.Keys[0].ID != "second" || !changed.KeysAt.After(i.KeysAt) {
		t.Errorf("%+v", changed)
	}
	if err := j.device("").enter(t, jobForm(token())); err != nil {
		t.Error(err)
	}
	refusedJob(t, j.redeem(j.device(""), jobForm(before)), "not taken here")
	if n := p.Hits("/jwks") + p.Hits("/.well-known/openid-configuration"); n != 0 {
		t.Errorf("the cluster was asked %d times", n)
	}
}

func TestKeysThatNobodyShouldGive(t *testing.T) {
	j := newJobs(t)
	p, _ := cluster(t, j)
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal([]byte(p.KeySet()), &set); err != nil {
		t.Fatal(err)
	}
	good := string(set.Keys[0])
	with := func(members string) string {
		return `{"keys":[` + strings.TrimSuffix(good, "}") + "," + members + `}]}`
	}
	for name, c := range map[string]struct{ set, want string }{
		"a private key":               {with(`"d":"AAAA"`), "is a private key"},
		"a private key, in capitals":  {with(`"D":"AAAA"`), "is a private key"},
		"a private key in PEM":        {"-----BEGIN EC " + "PRIVATE KEY-----", "that is a private key"},
		"a shared secret":             {`{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`, "is a shared secret"},
		"a secret beside a good key":  {`{"keys":[` + good + `,{"kty":"oct","k":"c2VjcmV0"}]}`, "key 2 of the set is a shared secret"},
		"a key for encryption":        {`{"keys":[` + strings.Replace(good, `"sig"`, `"enc"`, 1) + `]}`, "is not for signatures"},
		"an algorithm that shares":    {`{"keys":[` + strings.Replace(good, `"ES256"`, `"HS256"`, 1) + `]}`, "is for the algorithm"},
		"a curve of another kind":     {`{"keys":[` + strings.Replace(good, `"P-256"`, `"P-257"`, 1) + `]}`, "not known here"},
		"two keys of one name":        {`{"keys":[` + good + `,` + good + `]}`, "has the name of another one"},
		"no keys":                     {`{"keys":[]}`, "has no keys"},
		"the issuer's other document": {`{"issuer":"x","jwks_uri":"https://x"}`, "kubectl get --raw /openid/v1/jwks"},
		"no JSON":                     {"hello", "is no JWK set"},
		"more keys than any has":      {`{"keys":[` + strings.TrimSuffix(strings.Repeat(`{},`, 21), ",") + `]}`, "more than 20 keys"},
		"more than it could be":       {`{"keys":[` + good + `]}` + strings.Repeat(" ", 64<<10), "larger than 65536 bytes"},
	} {
		_, err := try[any](t, j.admin, "PUT", "/v1/workload-issuers/github/keys", api.WorkloadKeys{Set: c.set})
		if api.KindOf(err) != api.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if i := must[api.WorkloadIssuer](t, j.admin, "GET", "/v1/workload-issuers/github", nil); len(i.Keys) != 0 {
		t.Errorf("%+v", i)
	}
}
