package labels

import (
	"context"
	"errors"
	"maps"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/server-agent/metadata"
	"github.com/cardea-ssh/cardea/server-agent/metadata/metadatatest"
)

func cloudOf(t *testing.T, i *metadatatest.Instance) *Cloud {
	srv := httptest.NewServer(i)
	t.Cleanup(srv.Close)
	return &Cloud{Find: func(context.Context) (metadata.Cloud, error) { return metadata.Cloud(i.Cloud), nil }, Client: metadata.Client{Base: srv.URL}}
}

func TestWhatCloudsSay(t *testing.T) {
	for name, tc := range map[string]struct {
		instance *metadatatest.Instance
		want     map[string]string
	}{
		"AWS": {
			&metadatatest.Instance{Cloud: "aws", ID: "i-0abc", Account: "123456789012", Region: "eu-central-1", Zone: "eu-central-1a",
				Document: func() string { return "x" }, Tags: map[string]string{"Name": "web-1", "aws:autoscaling:groupName": "web", "note": "two words"}},
			map[string]string{"cloud": "aws", "instance": "i-0abc", "account": "123456789012", "region": "eu-central-1", "zone": "eu-central-1a",
				"tag.name": "web-1", "tag.aws-autoscaling-groupname": "web", "tag.note": "two words"},
		},
		"Azure": {
			&metadatatest.Instance{Cloud: "azure", ID: "0f0e", Account: "sub-1", Region: "westeurope", Tags: map[string]string{"Cost Center": "7"}},
			map[string]string{"cloud": "azure", "instance": "0f0e", "account": "sub-1", "region": "westeurope", "tag.cost-center": "7"},
		},
	} {
		got, err := cloudOf(t, tc.instance).Tags(t.Context())
		if err != nil || !maps.Equal(got, tc.want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestWithoutACloudNobodyIsAsked(t *testing.T) {
	i := &metadatatest.Instance{}
	c := cloudOf(t, i)
	c.Find = func(context.Context) (metadata.Cloud, error) { return "", metadata.ErrNoCloud }
	if got, err := c.Tags(t.Context()); len(got) > 0 || err != nil || len(i.Seen()) > 0 {
		t.Errorf("%v, %v, asked %q", got, err, i.Seen())
	}
	c.Find = func(context.Context) (metadata.Cloud, error) { return "", errors.New("asked again") }
	if _, err := c.Tags(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestKeysOfTagsBecomeKeysOfLabels(t *testing.T) {
	for key, want := range map[string]string{
		"Name": "tag.name", "a b": "tag.a-b", "../x": "tag.x", "1st": "tag.1st", "é": "tag", "": "tag", "host/env": "tag.host-env", "a.": "tag.a",
		strings.Repeat("k", 200): "tag." + strings.Repeat("k", ident.MaxLabelKey-4), strings.Repeat("k", 58) + ".x": "tag." + strings.Repeat("k", 58),
	} {
		got := tagKey(key)
		if got != want {
			t.Errorf("%q: %q, want %q", key, got, want)
		}
		if err := ident.HostLabelKey(ident.HostLabelPrefix + got); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
}
