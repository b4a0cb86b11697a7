package sqlstore

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// channel is PostgreSQL's name for our notifications.
const channel = "cardea"

// Bounds of notifications. PostgreSQL takes 8,000 bytes in one.
const (
	maxPayload = 7500
	// maxPayloads of one transaction; a change that touches more wakes everybody.
	maxPayloads = 8
	everything  = "*"
)

// notify tells the other instances, when the transaction commits. The payload
// is the sender and topics, separated by spaces.
func (w *writer) notify(ctx context.Context, topics []string) error {
	for _, p := range payloads(w.sender, topics) {
		if _, err := w.conn.later(ctx, `SELECT pg_notify('`+channel+`', ?)`, p); err != nil {
			return err
		}
	}
	return nil
}

func payloads(sender string, topics []string) []string {
	var out []string
	var b strings.Builder
	for _, t := range topics {
		if b.Len() > 0 && b.Len()+1+len(t) > maxPayload {
			out = append(out, b.String())
			b.Reset()
		}
		if b.Len() == 0 {
			b.WriteString(sender)
		}
		b.WriteString(" " + t)
	}
	if b.Len() > 0 {
		out = append(out, b.String())
	}
	if len(out) > maxPayloads {
		return []string{sender + " " + everything}
	}
	return out
}

// listener hears what the other instances commit, on a connection of its own.
type listener struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// Reconnecting: at once, then slower.
const (
	firstPause = 50 * time.Millisecond
	maxPause   = 5 * time.Second
)

func listen(ctx context.Context, cfg *pgx.ConnConfig, h *hub, sender string, log *slog.Logger) (*listener, error) {
	c, err := dialListen(ctx, cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		l.run(ctx, c, cfg, h, sender, log)
	}()
	return l, nil
}

func (l *listener) close() {
	l.cancel()
	<-l.done
}

func dialListen(ctx context.Context, cfg *pgx.ConnConfig) (*pgx.Conn, error) {
	c, err := pgx.ConnectConfig(ctx, cfg.Copy())
	if err != nil {
		return nil, err
	}
	if _, err := c.Exec(ctx, "LISTEN "+channel); err != nil {
		c.Close(context.Background())
		return nil, err
	}
	return c, nil
}

// run hears until ctx is done. Whenever the connection is lost everybody is
// woken, and again when it is back: in between nothing was heard.
func (l *listener) run(ctx context.Context, c *pgx.Conn, cfg *pgx.ConnConfig, h *hub, sender string, log *slog.Logger) {
	pause := firstPause
	for {
		if c != nil {
			pause = firstPause
			err := hear(ctx, c, h, sender)
			c.Close(context.Background())
			if ctx.Err() != nil {
				return
			}
			log.Warn("lost the connection that hears of changes; connecting again", "err", err)
			h.touchAll()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
		var err error
		if c, err = dialListen(ctx, cfg); err != nil {
			c = nil
			continue
		}
		h.touchAll()
	}
}

// quiet is after how long without news the connection is tried: a peer that
// vanished without a word would else stay unnoticed for ever.
const quiet = 20 * time.Second

func hear(ctx context.Context, c *pgx.Conn, h *hub, sender string) error {
	for {
		wait, cancel := context.WithTimeout(ctx, quiet)
		n, err := c.WaitForNotification(wait)
		cancel()
		switch {
		case err == nil:
			h.heard(n.Payload, sender)
		case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) && !c.IsClosed():
			if err := ping(ctx, c); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

func ping(ctx context.Context, c *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, statementTime)
	defer cancel()
	return c.Ping(ctx)
}

// heard takes a payload; our own were told to the hub at the commit.
func (h *hub) heard(payload, sender string) {
	from, topics, _ := strings.Cut(payload, " ")
	switch {
	case from == sender:
	case topics == everything:
		h.touchAll()
	default:
		h.touch(strings.Fields(topics))
	}
}
