package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// awsTokenSeconds is how long a session token of version 2 of AWS's service is
// good. One is fetched for each call of a method.
const awsTokenSeconds = "60"

// awsSession is one token. Version 1 of the service, which wants none, is not
// used: there a request that somebody else's program was made to send suffices.
func (c *Client) awsSession(ctx context.Context) (string, error) {
	token, err := c.ask(ctx, question{method: http.MethodPut, path: "/latest/api/token",
		header: map[string]string{"X-aws-ec2-metadata-token-ttl-seconds": awsTokenSeconds}})
	if err != nil {
		return "", fmt.Errorf("open a session with AWS's metadata service: %w", err)
	}
	if token = value(token); token == "" {
		return "", errors.New("AWS's metadata service gave no session token")
	}
	return token, nil
}

func (c *Client) awsGet(ctx context.Context, token, path string) (string, error) {
	return c.ask(ctx, question{method: http.MethodGet, path: path, header: map[string]string{"X-aws-ec2-metadata-token": token}})
}

func (c *Client) aws(ctx context.Context, path string) (string, error) {
	token, err := c.awsSession(ctx)
	if err != nil {
		return "", err
	}
	return c.awsGet(ctx, token, path)
}

func (c *Client) awsFacts(ctx context.Context) (f Facts, err error) {
	token, err := c.awsSession(ctx)
	if err != nil {
		return f, err
	}
	raw, err := c.awsGet(ctx, token, "/latest/dynamic/instance-identity/document")
	if err != nil {
		return f, fmt.Errorf("fetch the instance identity document: %w", err)
	}
	var d struct{ AccountID, InstanceID, Region, AvailabilityZone, PrivateIP string }
	if err := json.Unmarshal([]byte(raw), &d); err != nil {
		return f, fmt.Errorf("the instance identity document cannot be read: %w", err)
	}
	f = Facts{Instance: value(d.InstanceID), Account: value(d.AccountID), Region: value(d.Region), Zone: value(d.AvailabilityZone), PrivateAddress: ip(d.PrivateIP)}
	public, err := optional(c.awsGet(ctx, token, "/latest/meta-data/public-ipv4"))
	if err != nil {
		return f, err
	}
	f.PublicAddress = ip(public)
	f.Tags, err = c.awsTags(ctx, token)
	return f, err
}

// awsTags are there only where the instance's options allow it.
func (c *Client) awsTags(ctx context.Context, token string) (map[string]string, error) {
	const path = "/latest/meta-data/tags/instance"
	list, err := optional(c.awsGet(ctx, token, path))
	if err != nil {
		return nil, err
	}
	tags := map[string]string{}
	for key := range strings.SplitSeq(list, "\n") {
		key = value(key)
		// AWS allows no other keys where tags are shown in metadata.
		if key == "" || strings.ContainsAny(key, "/? #%") || len(tags) == maxTags {
			continue
		}
		v, err := optional(c.awsGet(ctx, token, path+"/"+key))
		if err != nil {
			return nil, err
		}
		tags[key] = value(v)
	}
	return tags, nil
}

// AWSIdentity is what an instance of AWS can show.
type AWSIdentity struct {
	// Document is the RSA-2048 signature over the instance identity document,
	// PKCS#7 in base64, which holds the document itself.
	Document string
	Region   string
	// Key, Secret and Session are the credentials of the instance's role.
	Key, Secret, Session string
}

// ErrNoRole: an instance without a role cannot sign anything.
var ErrNoRole = errors.New("this instance has no IAM role; attach an instance profile, which needs no permissions at all")

// AWSIdentity asks for the signed document and the role's credentials.
func (c *Client) AWSIdentity(ctx context.Context) (id AWSIdentity, err error) {
	token, err := c.awsSession(ctx)
	if err != nil {
		return id, err
	}
	document, err := c.awsGet(ctx, token, "/latest/dynamic/instance-identity/rsa2048")
	if err != nil {
		return id, fmt.Errorf("fetch the instance identity document: %w", err)
	}
	region, err := c.awsGet(ctx, token, "/latest/meta-data/placement/region")
	if err != nil {
		return id, fmt.Errorf("fetch the instance's region: %w", err)
	}
	const roles = "/latest/meta-data/iam/security-credentials/"
	list, err := optional(c.awsGet(ctx, token, roles))
	if err != nil {
		return id, fmt.Errorf("fetch the instance's role: %w", err)
	}
	role, _, _ := strings.Cut(strings.TrimSpace(list), "\n")
	if role = value(role); role == "" || strings.ContainsAny(role, "/? #%") {
		return id, ErrNoRole
	}
	raw, err := c.awsGet(ctx, token, roles+role)
	if err != nil {
		return id, fmt.Errorf("fetch the role's credentials: %w", err)
	}
	var d struct{ AccessKeyID, SecretAccessKey, Token string }
	if err := json.Unmarshal([]byte(raw), &d); err != nil || d.AccessKeyID == "" || d.SecretAccessKey == "" {
		return id, errors.New("the role's credentials cannot be read")
	}
	return AWSIdentity{Document: strings.TrimSpace(document), Region: value(region), Key: d.AccessKeyID, Secret: d.SecretAccessKey, Session: d.Token}, nil
}
