// Package metadatatest answers as the metadata services of the clouds do, for
// tests. It demands the headers that they demand, so that a client which forgets
// one fails here as it would there.
package metadatatest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Instance is one virtual machine. Its zero values are left out of the answers.
type Instance struct {
	Cloud                           string // aws, gcp, azure
	ID, Account, Region, Zone, Name string
	PrivateAddress, PublicAddress   string
	Tags                            map[string]string
	Role, Key, Secret, Session      string // AWS
	Document                        func() string
	Identity                        func(audience string) string
	Attested                        func(nonce string) string
	// Fail is how many requests are answered with 503 before one is served.
	Fail int

	mu   sync.Mutex
	seen []string // guarded by mu
}

// Seen are the requests so far, method and path.
func (i *Instance) Seen() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.seen)
}

const awsToken = "AQAEtoken=="

// ServeHTTP implements http.Handler.
func (i *Instance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.seen = append(i.seen, r.Method+" "+r.URL.Path)
	fail := i.Fail > 0
	i.Fail--
	i.mu.Unlock()
	var text string
	var status int
	switch {
	case fail:
		status = http.StatusServiceUnavailable
	case r.Header.Get("X-Forwarded-For") != "":
		status = http.StatusForbidden
	case i.Cloud == "aws":
		text, status = i.aws(r)
	case i.Cloud == "gcp":
		w.Header().Set("Metadata-Flavor", "Google")
		text, status = i.gcp(r)
	case i.Cloud == "azure":
		text, status = i.azure(r)
	}
	if status == 0 && text == "" {
		status = http.StatusNotFound
	}
	if status != 0 {
		http.Error(w, http.StatusText(status), status)
		return
	}
	fmt.Fprint(w, text)
}

func (i *Instance) aws(r *http.Request) (string, int) {
	if r.URL.Path == "/latest/api/token" {
		if r.Method != http.MethodPut || r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") == "" {
			return "", http.StatusBadRequest
		}
		return awsToken, 0
	}
	if r.Header.Get("X-aws-ec2-metadata-token") != awsToken {
		return "", http.StatusUnauthorized
	}
	switch path := strings.TrimPrefix(r.URL.Path, "/latest/"); path {
	case "dynamic/instance-identity/document":
		return encoded(map[string]any{"accountId": i.Account, "instanceId": i.ID, "region": i.Region, "availabilityZone": i.Zone, "privateIp": i.PrivateAddress, "billingProducts": nil}), 0
	case "dynamic/instance-identity/rsa2048":
		return call0(i.Document), 0
	case "meta-data/instance-id":
		return i.ID, 0
	case "meta-data/placement/region":
		return i.Region, 0
	case "meta-data/public-ipv4":
		return i.PublicAddress, 0
	case "meta-data/tags/instance":
		var keys []string
		for k := range i.Tags {
			keys = append(keys, k)
		}
		return strings.Join(keys, "\n"), 0
	case "meta-data/iam/security-credentials/":
		return i.Role, 0
	case "meta-data/iam/security-credentials/" + i.Role:
		return encoded(map[string]string{"Code": "Success", "AccessKeyId": i.Key, "SecretAccessKey": i.Secret, "Token": i.Session}), 0
	default:
		tag, ok := strings.CutPrefix(path, "meta-data/tags/instance/")
		if !ok {
			return "", 0
		}
		return i.Tags[tag], 0
	}
}

func (i *Instance) gcp(r *http.Request) (string, int) {
	if r.Header.Get("Metadata-Flavor") != "Google" {
		return "", http.StatusForbidden
	}
	switch strings.TrimPrefix(r.URL.Path, "/computeMetadata/v1/") {
	case "project/project-id":
		return i.Account, 0
	case "instance/id":
		return i.ID, 0
	case "instance/name":
		return i.Name, 0
	case "instance/zone":
		return "projects/4711/zones/" + i.Zone, 0
	case "instance/tags":
		tags := []string{}
		for k := range i.Tags {
			tags = append(tags, k)
		}
		return encoded(tags), 0
	case "instance/network-interfaces/":
		return encoded([]any{map[string]any{"ip": i.PrivateAddress, "accessConfigs": []any{map[string]string{"externalIp": i.PublicAddress}}}}), 0
	case "instance/service-accounts/default/identity":
		if r.URL.Query().Get("format") != "full" {
			return "", http.StatusBadRequest
		}
		return call1(i.Identity, r.URL.Query().Get("audience")), 0
	}
	return "", 0
}

func (i *Instance) azure(r *http.Request) (string, int) {
	if r.Header.Get("Metadata") != "true" || r.URL.Query().Get("api-version") == "" {
		return "", http.StatusBadRequest
	}
	switch r.URL.Path {
	case "/metadata/instance":
		tags := []map[string]string{}
		for k, v := range i.Tags {
			tags = append(tags, map[string]string{"name": k, "value": v})
		}
		return encoded(map[string]any{
			"compute": map[string]any{"vmId": i.ID, "name": i.Name, "subscriptionId": i.Account, "location": i.Region, "zone": i.Zone, "tagsList": tags},
			"network": map[string]any{"interface": []any{map[string]any{"ipv4": map[string]any{"ipAddress": []any{map[string]string{"privateIpAddress": i.PrivateAddress, "publicIpAddress": i.PublicAddress}}}}}},
		}), 0
	case "/metadata/attested/document":
		return encoded(map[string]string{"encoding": "pkcs7", "signature": call1(i.Attested, r.URL.Query().Get("nonce"))}), 0
	}
	return "", 0
}

func encoded(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // a mistake in this file
	}
	return string(raw)
}

func call0(f func() string) string {
	if f == nil {
		return ""
	}
	return f()
}

func call1(f func(string) string, s string) string {
	if f == nil {
		return ""
	}
	return f(s)
}
