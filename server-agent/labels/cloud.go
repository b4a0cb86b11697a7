package labels

import (
	"context"
	"errors"
	"strings"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/server-agent/metadata"
)

// Cloud asks the cloud in which this host runs for its place and its tags. One
// goroutine uses it. The zero value works.
type Cloud struct {
	// Find tells which cloud it is; nil means metadata.Find.
	Find func(context.Context) (metadata.Cloud, error)
	// Client asks it, for tests; its cloud is filled in.
	Client metadata.Client

	found bool
}

// Tags are labels for a Gatherer: cloud, region, zone, instance and account, and
// each tag with "tag." before its name.
func (c *Cloud) Tags(ctx context.Context) (map[string]string, error) {
	if !c.found {
		find := c.Find
		if find == nil {
			find = metadata.Find
		}
		cloud, err := find(ctx)
		if err != nil && !errors.Is(err, metadata.ErrNoCloud) {
			return nil, err
		}
		c.Client.Cloud, c.found = cloud, true // a host does not move to another
	}
	if c.Client.Cloud == "" {
		return nil, nil
	}
	f, err := c.Client.Facts(ctx)
	if err != nil {
		return nil, err
	}
	labels := map[string]string{}
	for key, value := range map[string]string{"cloud": string(f.Cloud), "region": f.Region, "zone": f.Zone, "instance": f.Instance, "account": f.Account} {
		if value != "" {
			labels[key] = value
		}
	}
	for key, value := range f.Tags {
		if value == "" {
			value = "true" // such as a network tag of GCP
		}
		// Of two tags that differ only in what is lost here the lesser value stays, so
		// that it is the same one every time.
		key = tagKey(key)
		if other, twice := labels[key]; !twice || value < other {
			labels[key] = value
		}
	}
	return labels, nil
}

// tagKey makes a label's key of a tag's, which may hold anything: "Cost Center" is
// tag.cost-center.
func tagKey(key string) string {
	key = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, key)
	key = "tag." + strings.Trim(key, "._-")
	return strings.TrimRight(key[:min(len(key), ident.MaxLabelKey)], "._-")
}
