package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Limits of every HTTP server of Cardea. Handlers set their own deadlines for
// bodies; these hold before any handler runs.
const (
	// headerTimeout is how long a client may take to say what it wants: long
	// enough for a bad radio link, short enough to starve a slow attack.
	headerTimeout = 10 * time.Second
	// idleTimeout outlives a long poll (55 s) with its jitter, so that the
	// next one finds its connection warm.
	idleTimeout = 120 * time.Second
	// maxHeader holds a DPoP proof, a token and cookies several times over.
	maxHeader = 32 << 10
)

// NewServer is an HTTP server for handler with these limits. Its own
// complaints about broken clients go to log at debug: they are the peer's.
func NewServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// Serve serves on listener until ctx ends. Then it takes no more requests,
// gives those in flight grace to finish, cuts the rest off, and returns nil.
// Register a long poll's wake-up with server.RegisterOnShutdown.
func Serve(ctx context.Context, server *http.Server, listener net.Listener, grace time.Duration) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		server.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
