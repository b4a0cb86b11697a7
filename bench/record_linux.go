package main

import (
	"context"
	"fmt"
	"time"

	"filippo.io/age"

	"github.com/cardea-ssh/cardea/api"
)

// record measures what wall, bulk and storm do, with a gateway that ends SSH on both
// sides and records what passes. Plain ssh goes to the same account of the same server.
func (b *bench) record(ctx context.Context) error {
	w, err := b.ways(ctx)
	if err != nil {
		return err
	}
	if err := b.ground.record(ctx); err != nil {
		return err
	}
	some := w.only(wayDirect, wayJump, wayPipe, wayPass)
	for _, kind := range []struct {
		name, title string
		options     []option
	}{
		{"record-wall", "recorded, ssh host true: default key exchange", nil},
		{"record-wall-curve25519", "recorded, ssh host true: KexAlgorithms " + exchange, []option{{"KexAlgorithms", exchange}}},
	} {
		t, err := b.oneByOne(ctx, some, kind.options)
		if err != nil {
			return err
		}
		t.Name, t.Title = kind.name, kind.title
		b.report(t)
	}
	err = b.pourings(ctx, some,
		pouring{&table{Name: "record-bulk", Title: "recorded, bulk: the cipher that each would choose"}, nil},
		pouring{&table{Name: "record-bulk-aes", Title: "recorded, bulk: " + aes}, []option{{"Ciphers", aes}}},
	)
	if err == nil {
		err = b.storms(ctx, some, "record-storm", ", recorded")
	}
	if err == nil {
		err = b.echoes(ctx, some)
	}
	if err == nil {
		err = b.held(ctx, "record-idle", "recorded sessions that do nothing")
	}
	if err != nil {
		return err
	}
	return b.ground.unrecord(ctx)
}

// record has the project's sessions recorded from now on, for a recipient that nobody
// has the key of, after plain ssh got a certificate that lasts.
func (g *ground) record(ctx context.Context) error {
	if err := g.unrecord(ctx); err != nil {
		return err
	}
	g.certified = time.Time{}
	if err := g.certify(ctx); err != nil {
		return err
	}
	reader, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	on, to := "required", []string{reader.Recipient().String()}
	if err := g.patch(ctx, api.ProjectPatch{RecordPatch: api.RecordPatch{Recording: &on, Recipients: &to}}); err != nil {
		return err
	}
	g.records = true
	return g.warm(ctx, g.cardeas)
}

func (g *ground) unrecord(ctx context.Context) error {
	off, life := "off", 600
	g.records = false
	if err := g.patch(ctx, api.ProjectPatch{CertificateSeconds: &life, RecordPatch: api.RecordPatch{Recording: &off}}); err != nil {
		return err
	}
	return g.warm(ctx, g.cardeas)
}

func (g *ground) patch(ctx context.Context, p api.ProjectPatch) error {
	if err := g.Client().Send(ctx, "PATCH", "/v1/projects/"+project, p, nil); err != nil {
		return fmt.Errorf("change the project: %w", err)
	}
	return nil
}
