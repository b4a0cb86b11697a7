package control

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// benchClients is how many laptops connect at once.
const benchClients = 8

// BenchmarkConnectByGateway is POST /v1/connect with its durable record, as eight
// clients see it: plain HTTP on loopback, a fresh key each time, and the
// clients' own signatures on the same cores. Each gets a ticket, too.
func BenchmarkConnectByGateway(b *testing.B) {
	s := newScene(b)
	plain := httptest.NewServer(s.servers[0].Handler())
	b.Cleanup(plain.Close)
	transport := &http.Transport{MaxIdleConnsPerHost: benchClients, DisableCompression: true}
	at := strings.TrimPrefix(plain.URL, "http://")
	send := roundTripper(func(r *http.Request) (*http.Response, error) {
		r.URL.Scheme, r.URL.Host = "http", at
		return transport.RoundTrip(r)
	})
	var mu sync.Mutex
	var took []time.Duration
	work := make(chan struct{})
	var wg sync.WaitGroup
	for range benchClients {
		wg.Go(func() {
			client := s.alice.api(0)
			client.HTTP = &http.Client{Transport: send}
			var mine []time.Duration
			for range work {
				in := newFresh(b).connect("web-1", "")
				began := time.Now()
				if err := client.Send(b.Context(), "POST", "/v1/connect", in, new(api.Connection)); err != nil {
					b.Error(err)
				}
				mine = append(mine, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
		})
	}
	b.ResetTimer()
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	wg.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "connects/s")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
