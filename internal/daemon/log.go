package daemon

import (
	"fmt"
	"io"
	"log/slog"
)

// LogOptions are the options of every program that logs; embed them in its
// options struct. The zero value logs from info up, as text.
type LogOptions struct {
	// Level is the least level that is logged: debug, info, warn or error.
	Level slog.Level `name:"log-level" help:"least level to log: debug, info, warn, error"`
	// Format is text (for people and journald) or json (for collectors).
	Format string `name:"log-format" help:"text or json"`
}

// Logger writes to w, which is stderr outside tests: stdout may be the product.
// Both formats escape what others wrote, so that no value forges a line.
func (o LogOptions) Logger(w io.Writer) (*slog.Logger, error) {
	opt := &slog.HandlerOptions{Level: o.Level}
	switch o.Format {
	case "", "text":
		return slog.New(slog.NewTextHandler(w, opt)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opt)), nil
	}
	return nil, fmt.Errorf("log-format %q is unknown: use text or json", o.Format)
}
