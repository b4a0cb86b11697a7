package lookup

import (
	"time"

	"github.com/cardea-ssh/cardea/store"
)

// Opening is a request that would let somebody into a server.
type Opening struct {
	Server store.Server
	Rule   store.RequestRule
	Role   string // that the membership gives there
	// Enters says that he may enter without it, with the role Has. Until is when that is
	// over; zero for no end besides his session's.
	Enters bool
	Has    string
	Until  time.Time
}
