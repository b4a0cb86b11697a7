package cli

import (
	"context"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// localAgent is the agent of this user on this machine, as the verbs need it.
type localAgent interface {
	// Catalog is the one that the agent keeps, and its age. The error says that
	// no agent runs, or that it has none.
	Catalog(ctx context.Context) (api.Catalog, time.Duration, error)
	// Running reports whether an agent answers, and its process id.
	Running(ctx context.Context) (pid int, ok bool)
	// SignInChanged has a running agent read the session again.
	SignInChanged(ctx context.Context)
}
