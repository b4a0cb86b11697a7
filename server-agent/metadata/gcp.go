package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// gcp asks Google's service, and believes only what says that it is Google's.
func (c *Client) gcp(ctx context.Context, path string) (string, error) {
	const flavor, google = "Metadata-Flavor", "Google"
	return c.ask(ctx, question{method: http.MethodGet, path: "/computeMetadata/v1/" + path,
		header: map[string]string{flavor: google}, proof: flavor, proofValue: google})
}

// gcpInstance is the part of the description that is used. Attributes are not:
// they hold keys and start-up scripts.
type gcpInstance struct {
	ID                json.Number
	Name, Zone        string
	Tags              []string
	NetworkInterfaces []struct {
		IP            string
		AccessConfigs []struct{ ExternalIP string }
	}
}

func (c *Client) gcpFacts(ctx context.Context) (f Facts, err error) {
	project, err := c.gcp(ctx, "project/project-id")
	if err != nil {
		return f, fmt.Errorf("fetch the project's id: %w", err)
	}
	f.Account = value(project)
	var i gcpInstance
	for name, into := range map[string]*string{"id": (*string)(&i.ID), "name": &i.Name, "zone": &i.Zone} {
		if *into, err = c.gcp(ctx, "instance/"+name); err != nil {
			return f, fmt.Errorf("fetch the instance's %s: %w", name, err)
		}
	}
	for name, into := range map[string]any{"tags": &i.Tags, "network-interfaces/?recursive=true": &i.NetworkInterfaces} {
		raw, err := optional(c.gcp(ctx, "instance/"+name))
		if err != nil {
			return f, fmt.Errorf("fetch the instance's %s: %w", name, err)
		}
		if raw != "" && json.Unmarshal([]byte(raw), into) != nil {
			return f, fmt.Errorf("the instance's %s cannot be read", name)
		}
	}
	f.Instance, f.Name = value(i.ID.String()), value(i.Name)
	f.Zone = value(path.Base(i.Zone)) // projects/NUMBER/zones/europe-west3-a
	if at := strings.LastIndexByte(f.Zone, '-'); at > 0 {
		f.Region = f.Zone[:at]
	}
	if len(i.NetworkInterfaces) > 0 {
		n := i.NetworkInterfaces[0]
		f.PrivateAddress = ip(n.IP)
		if len(n.AccessConfigs) > 0 {
			f.PublicAddress = ip(n.AccessConfigs[0].ExternalIP)
		}
	}
	f.Tags = map[string]string{}
	for _, t := range i.Tags {
		if t = value(t); t != "" && len(f.Tags) < maxTags {
			f.Tags[t] = ""
		}
	}
	return f, nil
}

// GCPIdentity asks for a token that Google signs for one audience, with the
// description of the instance in it.
func (c *Client) GCPIdentity(ctx context.Context, audience string) (string, error) {
	token, err := c.gcp(ctx, "instance/service-accounts/default/identity?format=full&audience="+url.QueryEscape(audience))
	if errors.Is(absent(err), errAbsent) {
		return "", errors.New("this instance has no service account; give it one, which needs no roles and no scopes")
	}
	if err != nil {
		return "", fmt.Errorf("fetch the instance's identity token: %w", err)
	}
	return strings.TrimSpace(token), nil
}
