package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// manyServers is the catalog of a large team.
func manyServers(n int) api.Catalog {
	c := api.Catalog{Version: "1"}
	for i := range n {
		c.Servers = append(c.Servers, api.CatalogEntry{
			ID: ident.New(ident.Server), Name: fmt.Sprintf("web-%d", i), Project: ident.New(ident.Project), ProjectName: "web",
			Login: "alice", Role: "user", Gateway: "allowed", LastSeen: time.Now(),
			Labels: map[string]string{"env": "prod", "tier": "web", "region": "eu-1"},
		})
	}
	return c
}

// The goal is that 10,000 servers are listed within 50 ms.
func BenchmarkTableOf10000Servers(b *testing.B) {
	a := &app{out: io.Discard, now: time.Now}
	c := manyServers(10_000)
	var rows []*api.CatalogEntry
	for i := range c.Servers {
		rows = append(rows, &c.Servers[i])
	}
	for b.Loop() {
		if err := show(a, rows, serverColumns(a)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReading10000Servers(b *testing.B) {
	text, err := json.Marshal(manyServers(10_000))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		var c api.Catalog
		if err := json.Unmarshal(text, &c); err != nil {
			b.Fatal(err)
		}
	}
}
