package metadata

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-ssh/cardea/server-agent/metadata/metadatatest"
)

func machine(t *testing.T, i *metadatatest.Instance) *Client {
	t.Helper()
	s := httptest.NewServer(i)
	t.Cleanup(s.Close)
	return &Client{Cloud: Cloud(i.Cloud), Base: s.URL}
}

func TestEachCloudTellsWhatItKnowsOfTheHost(t *testing.T) {
	t.Parallel()
	for _, i := range []*metadatatest.Instance{
		{Cloud: "aws", ID: "i-0abc", Account: "123456789012", Region: "eu-central-1", Zone: "eu-central-1a", PrivateAddress: "10.0.0.7", PublicAddress: "192.0.2.7", Tags: map[string]string{"Name": "web-1", "env": "prod"}},
		{Cloud: "gcp", ID: "123456789", Account: "acme-web", Region: "europe-west3", Zone: "europe-west3-a", Name: "web-1", PrivateAddress: "10.0.0.7", PublicAddress: "192.0.2.7", Tags: map[string]string{"http-server": ""}},
		{Cloud: "azure", ID: "02aab8a4-74ef-476e-8182-f6d2ba4166a6", Account: "8d10da13-8125-4ba9-a717-bf7490507b3d", Region: "westeurope", Zone: "2", Name: "web-1", PrivateAddress: "10.0.0.7", PublicAddress: "192.0.2.7", Tags: map[string]string{"env": "prod"}},
	} {
		t.Run(i.Cloud, func(t *testing.T) {
			t.Parallel()
			c := machine(t, i)
			got, err := c.Facts(t.Context())
			want := Facts{Cloud: Cloud(i.Cloud), Instance: i.ID, Account: i.Account, Region: i.Region, Zone: i.Zone, Name: i.Name, PrivateAddress: i.PrivateAddress, PublicAddress: i.PublicAddress, Tags: i.Tags}
			if d := cmp.Diff(want, got); err != nil || d != "" {
				t.Errorf("%v %s", err, d)
			}
			if id, err := c.Instance(t.Context()); err != nil || id != i.ID {
				t.Errorf("instance %q: %v", id, err)
			}
		})
	}
}

func TestWhatAnInstanceLacksIsLeftOut(t *testing.T) {
	t.Parallel()
	for _, cloud := range []string{"aws", "gcp", "azure"} {
		c := machine(t, &metadatatest.Instance{Cloud: cloud, ID: "i-1", Account: "a", Region: "r", Zone: "z-1-a", Name: "n"})
		f, err := c.Facts(t.Context())
		if err != nil || f.PublicAddress != "" || f.PrivateAddress != "" || len(f.Tags) != 0 || f.Instance != "i-1" {
			t.Errorf("%s: %+v %v", cloud, f, err)
		}
	}
}

func TestTheClientIsNotLedAstray(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed to %s", r.URL)
	}))
	defer elsewhere.Close()
	for name, tc := range map[string]struct {
		cloud   Cloud
		handler http.HandlerFunc
		says    string
	}{
		"a redirect is an error": {AWS, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		}, "status 302"},
		"an answer that says not that it is Google's is none": {GCP, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "x") }, "not gcp"},
		"an answer of a byte too many is none": {Azure, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, strings.Repeat("x", maxAnswer+1))
		}, "more than 65536 bytes"},
		"an answer of the greatest length is read": {Azure, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"compute":{}}`+strings.Repeat(" ", maxAnswer-14))
		}, "name no instance"},
		"a login page is no description": {Azure, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>") }, "cannot be read"},
		"an empty session token is none": {AWS, func(w http.ResponseWriter, r *http.Request) {}, "no session token"},
		"a cloud that there is not":      {"oracle", func(w http.ResponseWriter, r *http.Request) {}, "use aws, gcp or azure"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(tc.handler)
			defer s.Close()
			c := &Client{Cloud: tc.cloud, Base: s.URL}
			if f, err := c.Facts(t.Context()); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%+v %v", f, err)
			}
		})
	}
}

func TestAProxyOfTheEnvironmentIsNotAsked(t *testing.T) {
	if p := direct().Transport.(*http.Transport).Proxy; p != nil {
		t.Error("a proxy would be asked")
	}
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the proxy was asked") }))
	defer s.Close()
	t.Setenv("HTTP_PROXY", s.URL)
	t.Setenv("http_proxy", s.URL)
	c := &Client{Cloud: AWS, Base: "http://127.0.0.1:1"}
	if _, err := c.Facts(t.Context()); err == nil {
		t.Error("nobody answered, and that was no error")
	}
}

func TestAPassingFaultIsTriedAgainAndARefusalIsNot(t *testing.T) {
	t.Parallel()
	i := &metadatatest.Instance{Cloud: "gcp", ID: "1", Fail: tries - 1}
	if id, err := machine(t, i).Instance(t.Context()); err != nil || id != "1" {
		t.Errorf("after %d faults: %q %v", tries-1, id, err)
	}
	i = &metadatatest.Instance{Cloud: "gcp", ID: "1", Fail: tries}
	if _, err := machine(t, i).Instance(t.Context()); err == nil || len(i.Seen()) != tries {
		t.Errorf("after %d faults: %v, %d requests", tries, err, len(i.Seen()))
	}
	i = &metadatatest.Instance{Cloud: "gcp"}
	if _, err := machine(t, i).Instance(t.Context()); err == nil || len(i.Seen()) != 1 {
		t.Errorf("nothing there: %v, %d requests", err, len(i.Seen()))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := machine(t, &metadatatest.Instance{Cloud: "gcp", ID: "1"}).Instance(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that is over: %v", err)
	}
}

func TestSignedPapersAreFetched(t *testing.T) {
	t.Parallel()
	i := &metadatatest.Instance{Cloud: "aws", Region: "eu-central-1", Role: "web", Key: "AKIA", Secret: "s", Session: "t", Document: func() string { return "MIIB\nAAA\n" }}
	id, err := machine(t, i).AWSIdentity(t.Context())
	if want := (AWSIdentity{Document: "MIIB\nAAA", Region: "eu-central-1", Key: "AKIA", Secret: "s", Session: "t"}); err != nil || id != want {
		t.Errorf("aws: %+v %v", id, err)
	}
	i.Role = ""
	if _, err := machine(t, i).AWSIdentity(t.Context()); !errors.Is(err, ErrNoRole) {
		t.Errorf("aws without a role: %v", err)
	}
	g := &metadatatest.Instance{Cloud: "gcp", Identity: func(a string) string { return "jwt for " + a }}
	if token, err := machine(t, g).GCPIdentity(t.Context(), "https://a.example.com/x?y&z"); err != nil || token != "jwt for https://a.example.com/x?y&z" {
		t.Errorf("gcp: %q %v", token, err)
	}
	g.Identity = nil
	if _, err := machine(t, g).GCPIdentity(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "service account") {
		t.Errorf("gcp without a service account: %v", err)
	}
	a := &metadatatest.Instance{Cloud: "azure", Attested: func(n string) string { return "signed " + n }}
	if s, err := machine(t, a).AzureIdentity(t.Context(), "n-1"); err != nil || s != "signed n-1" {
		t.Errorf("azure: %q %v", s, err)
	}
}

func TestTheFirmwareTellsTheCloud(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		entries map[string]string
		want    Cloud
	}{
		"a Nitro machine":                      {map[string]string{"sys_vendor": "Amazon EC2\n"}, AWS},
		"a Xen machine of AWS":                 {map[string]string{"sys_vendor": "Xen", "bios_version": "4.11.amazon"}, AWS},
		"a machine of Google":                  {map[string]string{"sys_vendor": "Google", "product_name": "Google Compute Engine"}, GCP},
		"a machine of Azure":                   {map[string]string{"sys_vendor": "Microsoft Corporation", "chassis_asset_tag": azureChassis}, Azure},
		"Microsoft's hypervisor in the cellar": {map[string]string{"sys_vendor": "Microsoft Corporation"}, ""},
		"a machine at home":                    {map[string]string{"sys_vendor": "LENOVO"}, ""},
		"no firmware tables at all":            {nil, ""},
	} {
		sys := t.TempDir()
		dir := filepath.Join(sys, "class/dmi/id")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for k, v := range tc.entries {
			if err := os.WriteFile(filepath.Join(dir, k), []byte(v), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := find(sys)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}
