package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// direction is one way for bytes to go.
type direction struct{ name, pipeline string }

// directions of n MiB of zeros. What ssh's own start costs is part of it.
func directions(mib int) []direction {
	n := mib << 20
	return []direction{
		{"up", fmt.Sprintf("head -c %d /dev/zero | SSH 'cat >/dev/null'", n)},
		{"down", fmt.Sprintf("SSH 'head -c %d /dev/zero' >/dev/null", n)},
	}
}

// pouring is one comparison of bulk.
type pouring struct {
	table   *table
	options []option
}

// bulk measures how fast many bytes go over one connection.
func (b *bench) bulk(ctx context.Context) error {
	w, err := b.ways(ctx)
	if err != nil {
		return err
	}
	return b.pourings(ctx, w.only(wayDirect, wayJump, wayPipe, wayPass),
		pouring{&table{Name: "bulk", Title: "bulk: the cipher that each would choose (Cardea's configuration prefers AES-GCM)"}, nil},
		pouring{&table{Name: "bulk-aes", Title: "bulk: " + aes}, []option{{"Ciphers", aes}}},
	)
}

func (b *bench) pourings(ctx context.Context, some []*way, kinds ...pouring) error {
	type cell struct{ speed, middle []float64 }
	found := map[string]*cell{}
	for range max(1, b.opt.rounds/10) {
		for _, i := range rand.Perm(len(kinds) * len(some) * 2) {
			kind, way, d := kinds[i%len(kinds)], some[i/len(kinds)/2], directions(b.opt.mib)[i/len(kinds)%2]
			if err := b.ground.certify(ctx); err != nil {
				return err
			}
			speed, middle, err := b.pour(ctx, way, kind.options, d)
			if err != nil {
				return err
			}
			c := found[kind.table.Name+way.name+d.name]
			if c == nil {
				c = &cell{}
				found[kind.table.Name+way.name+d.name] = c
			}
			c.speed, c.middle = append(c.speed, speed), append(c.middle, middle)
		}
	}
	for _, kind := range kinds {
		t := kind.table
		t.Columns = []column{
			{"up", "up MB/s", 0}, {"up_ratio", "ratio", 2}, {"up_middle", "middle CPU-s/GB", 2},
			{"down", "down MB/s", 0}, {"down_ratio", "ratio", 2}, {"down_middle", "middle CPU-s/GB", 2},
		}
		t.Note = fmt.Sprintf("medians of %d; %d MiB a connection, its start included", max(1, b.opt.rounds/10), b.opt.mib)
		for _, way := range some {
			values := map[string]float64{}
			for _, d := range []string{"up", "down"} {
				c := found[t.Name+way.name+d]
				values[d], values[d+"_middle"] = median(c.speed), median(c.middle)
				values[d+"_ratio"] = values[d] / median(found[t.Name+wayDirect+d].speed)
			}
			t.add(way.name, values)
		}
		b.report(t)
	}
	return nil
}

// pour returns MB/s, and the CPU seconds for each GB in the middle. An sshd in
// the middle is known by its ended children, so it is asked when it has reaped.
func (b *bench) pour(ctx context.Context, way *way, options []option, d direction) (speed, middle float64, err error) {
	before, err := way.middle()
	if err != nil {
		return 0, 0, err
	}
	got, err := way.script(options, d.pipeline).must(ctx)
	if err != nil {
		return 0, 0, err
	}
	time.Sleep(5 * settle)
	after, err := way.middle()
	bytes := float64(b.opt.mib << 20)
	return bytes / 1e6 / got.Wall.Seconds(), (after - before).Seconds() / (bytes / 1e9), err
}
