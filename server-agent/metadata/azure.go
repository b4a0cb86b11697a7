package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// Versions of Azure's interface that all its regions have.
const (
	azureInstance = "2021-02-01"
	azureAttested = "2020-09-01"
)

func (c *Client) azure(ctx context.Context, path string, query url.Values) (string, error) {
	return c.ask(ctx, question{method: http.MethodGet, path: "/metadata/" + path + "?" + query.Encode(), header: map[string]string{"Metadata": "true"}})
}

func (c *Client) azureFacts(ctx context.Context) (f Facts, err error) {
	raw, err := c.azure(ctx, "instance", url.Values{"api-version": {azureInstance}})
	if err != nil {
		return f, fmt.Errorf("fetch the instance's description: %w", err)
	}
	var d struct {
		Compute struct {
			VMID, Name, SubscriptionID, Location, Zone string
			TagsList                                   []struct{ Name, Value string }
		}
		Network struct {
			Interface []struct {
				IPv4 struct {
					IPAddress []struct{ PrivateIPAddress, PublicIPAddress string }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(raw), &d); err != nil {
		return f, fmt.Errorf("the instance's description cannot be read: %w", err)
	}
	f = Facts{Instance: value(d.Compute.VMID), Account: value(d.Compute.SubscriptionID), Region: value(d.Compute.Location), Zone: value(d.Compute.Zone), Name: value(d.Compute.Name), Tags: map[string]string{}}
	for _, t := range d.Compute.TagsList {
		if key := value(t.Name); key != "" && len(f.Tags) < maxTags {
			f.Tags[key] = value(t.Value)
		}
	}
	if n := d.Network.Interface; len(n) > 0 && len(n[0].IPv4.IPAddress) > 0 {
		f.PrivateAddress, f.PublicAddress = ip(n[0].IPv4.IPAddress[0].PrivateIPAddress), ip(n[0].IPv4.IPAddress[0].PublicIPAddress)
	}
	return f, nil
}

// AzureIdentity asks for the attested document with a nonce in it: PKCS#7 in
// base64. Azure takes nonces of at most 32 characters.
func (c *Client) AzureIdentity(ctx context.Context, nonce string) (string, error) {
	raw, err := c.azure(ctx, "attested/document", url.Values{"api-version": {azureAttested}, "nonce": {nonce}})
	if err != nil {
		return "", fmt.Errorf("fetch the attested document: %w", err)
	}
	var d struct{ Encoding, Signature string }
	if err := json.Unmarshal([]byte(raw), &d); err != nil || d.Encoding != "pkcs7" || d.Signature == "" {
		return "", errors.New("the attested document cannot be read")
	}
	return d.Signature, nil
}
