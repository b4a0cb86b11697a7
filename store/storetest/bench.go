package storetest

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/store"
)

// benchCallers are at it at once, as in the goals for POST /v1/connect.
const benchCallers = 8

// Bench measures what every connection does: it proves and authenticates, reads
// the facts, and records the certificate with its proof and an audit row.
func Bench(b *testing.B, fresh func(t testing.TB) Database) {
	w := newWorld(b, fresh(b))
	p := w.path()
	for i := range 50 { // company in the tables
		w.server(p.project, fmt.Sprint("more-", i))
	}
	for _, c := range []struct {
		name string
		call func(i int64) error
	}{
		{"RecordIssuance", func(i int64) error {
			m := store.Meta{Now: w.now, Audit: [][]byte{make([]byte, 400)}}
			m.Proof = &store.Proof{Thumbprint: "thumbprint", JTI: fmt.Sprint(i), Expires: w.now.Add(time.Minute)}
			return w.s.RecordIssuance(w.ctx, w.issue(p), m)
		}},
		{"Authenticate", func(int64) error {
			_, err := w.s.Authenticate(w.ctx, p.subject.Session.TokenHash)
			return err
		}},
		{"Facts", func(int64) error {
			_, err := w.s.FactsByName(w.ctx, p.subject.Session.ID, "", p.server.Name)
			return err
		}},
		{"Connect", func(i int64) error {
			if _, err := w.s.Authenticate(w.ctx, p.subject.Session.TokenHash); err != nil {
				return err
			}
			if _, err := w.s.FactsByName(w.ctx, p.subject.Session.ID, "", p.server.Name); err != nil {
				return err
			}
			m := store.Meta{Now: w.now, Audit: [][]byte{make([]byte, 400)}}
			m.Proof = &store.Proof{Thumbprint: "another", JTI: fmt.Sprint(i), Expires: w.now.Add(time.Minute)}
			return w.s.RecordIssuance(w.ctx, w.issue(p), m)
		}},
	} {
		var n atomic.Int64
		b.Run(c.name, func(b *testing.B) {
			work := make(chan struct{}, b.N)
			for range b.N {
				work <- struct{}{}
			}
			close(work)
			b.ResetTimer()
			errs := parallel(benchCallers, func(int) error {
				for range work {
					if err := c.call(n.Add(1)); err != nil {
						return err
					}
				}
				return nil
			})
			for _, err := range errs {
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
		})
	}
}
