package agenttest

import (
	"net"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// Gateway opens hellos. Where it listens, and what it does then, is the test's.
type Gateway struct {
	id  string
	key *hello.SealingKey
}

// NewGateway makes one with a key of its own.
func NewGateway(t testing.TB) *Gateway {
	t.Helper()
	key, err := hello.NewSealingKey()
	if err != nil {
		t.Fatal(err)
	}
	return &Gateway{ident.New(ident.Gateway), key}
}

// Route leads to it at an address.
func (g *Gateway) Route(address string) api.Route {
	id := g.key.ID()
	return api.Route{Address: address, Recipients: []api.Recipient{{Gateway: g.id, SealingKey: api.SealingKey{ID: id[:], Public: g.key.Public()}}}}
}

// Open reads what comes first, and opens it.
func (g *Gateway) Open(conn net.Conn) (*hello.Opened, error) {
	message, err := hello.ReadMessage(conn)
	if err != nil {
		return nil, err
	}
	var opener hello.Opener
	opener.SetKeys(g.key)
	return opener.Open(message)
}
