package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/recording"
)

type exportOptions struct {
	ref        string
	identities []string
	format     string
	channel    uint32
}

// What a recording can be exported as.
const (
	exportCast  = "asciicast"
	exportText  = "text"
	exportJSON  = "json"
	exportFiles = "files"
)

func newSessionsExport(a *app) *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use: "export " + recordingArg, Short: "Write a recorded session in another form, to stdout",
		Long: "Write a recorded session in another form, to stdout: asciicast (version 2) and text are of one channel, json has an event\n" +
			"in each line, files lists the files that passed by sftp and scp.\n" + recordingHelp,
		Example: "  cardea sessions export -i auditor.key gse_abc > session.cast\n  cardea sessions export -i auditor.key gse_abc/ --format files",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ref = args[0]
			return lacksIdentity(cmd, a.sessionsExport(cmd.Context(), o))
		},
	}
	identityFlag(cmd, &o.identities)
	oneOf(cmd, cmd.Flags(), &o.format, "format", "", []string{exportCast, exportText, exportJSON, exportFiles}, "asciicast, text, json or files")
	cmd.Flags().Uint32Var(&o.channel, "channel", 0, "one channel alone; 0 is the first that shows something, for json and files all")
	return cmd
}

func (a *app) sessionsExport(ctx context.Context, o exportOptions) error {
	r, err := a.readRecording(ctx, o.ref, o.identities)
	if err != nil {
		return err
	}
	if err := ofChannel(ctx, r, o.channel); err != nil {
		return err
	}
	switch o.format {
	case exportText:
		return a.exportAsText(ctx, r, o)
	case exportJSON:
		return exportAsJSON(ctx, a.out, r, o.channel)
	case exportFiles:
		return a.exportFiles(ctx, r, o.channel)
	}
	out := bufio.NewWriter(&plainJSON{out: a.out})
	if err := recording.Asciicast(out, r, o.channel); err != nil {
		return err
	}
	return out.Flush()
}

// noteGap tells of what is missing, where the form of the output has no place for it.
func (a *app) noteGap(e recording.Event) {
	if e.Kind == recording.Gap {
		missing, _ := recording.Decode[recording.Missing](e)
		a.say("note: at %v something is missing: %s", e.At.Round(time.Millisecond), missing.Why)
	}
}

// events calls f with each event, until there are no more.
func events(ctx context.Context, r *recording.Reader, f func(recording.Event) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := f(e); err != nil {
			return err
		}
	}
}

// exportAsText writes what was put out, without the codes that moved a cursor.
func (a *app) exportAsText(ctx context.Context, r *recording.Reader, o exportOptions) error {
	out := bufio.NewWriter(a.out)
	text := &words{screen: screen{out: out}}
	terminal := recording.Terminal{Channel: o.channel}
	shown := false
	err := events(ctx, r, func(e recording.Event) error {
		a.noteGap(e)
		if !terminal.Shows(e) || e.Kind != recording.Output && e.Kind != recording.Errput {
			return nil
		}
		shown = true
		_, err := text.Write(e.Data)
		return err
	})
	if err != nil {
		return err
	}
	if !shown {
		a.nothingShown(o.ref)
	}
	return out.Flush()
}

// words is a screen of which nothing remains but text, lines and tabs.
type words struct{ screen }

func (t *words) Write(b []byte) (int, error) {
	t.keep = t.keep[:0]
	for _, c := range b {
		before := len(t.keep)
		t.take(c)
		added := t.keep[before:]
		t.keep = t.keep[:before]
		for i, k := range added {
			if k == 0x1b {
				break // a code, to its end
			}
			if k >= 0x20 || k == '\n' || k == '\t' {
				t.keep = append(t.keep, added[i])
			}
		}
	}
	if _, err := t.out.Write(t.keep); err != nil {
		return 0, err
	}
	return len(b), nil
}

// exportedEvent is a line of the export as JSON.
type exportedEvent struct {
	At      float64         `json:"at"` // seconds
	Channel uint32          `json:"channel"`
	Kind    string          `json:"kind"`
	Text    *string         `json:"text,omitempty"`  // of output, errput and input that are UTF-8
	Bytes   []byte          `json:"bytes,omitempty"` // of those that are not, in base64
	Data    json.RawMessage `json:"data,omitempty"`  // of all others
}

// kinds are the names of what happens, in JSON.
func kindName(k recording.Kind) string {
	names := []string{"", "open", "request", "refusal", "output", "errput", "input", "resize", "file", "forward", "exit", "close", "gap", "end"}
	if int(k) > 0 && int(k) < len(names) {
		return names[k]
	}
	return "kind " + strconv.Itoa(int(k))
}

func exportAsJSON(ctx context.Context, w io.Writer, r *recording.Reader, channel uint32) error {
	out := bufio.NewWriter(&plainJSON{out: w})
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	err := lines.Encode(map[string]any{"kind": "header", "data": r.Header()})
	if err != nil {
		return err
	}
	err = events(ctx, r, func(e recording.Event) error {
		if channel != 0 && e.Channel != channel && e.Channel != 0 {
			return nil
		}
		line := exportedEvent{At: e.At.Seconds(), Channel: e.Channel, Kind: kindName(e.Kind)}
		switch {
		case e.Kind != recording.Output && e.Kind != recording.Errput && e.Kind != recording.Input:
			if line.Data = e.Data; !json.Valid(e.Data) { // a gateway writes JSON there, or nothing
				line.Data, line.Bytes = nil, e.Data
			}
		case utf8.Valid(e.Data):
			text := string(e.Data)
			line.Text = &text
		default:
			line.Bytes = e.Data
		}
		return lines.Encode(line)
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

// plainJSON escapes what JSON may hold as it is and a terminal would obey: C1 controls,
// and characters that cannot be seen. Only strings can hold them.
type plainJSON struct {
	out  io.Writer
	rest []byte // of a character
}

func (p *plainJSON) Write(b []byte) (int, error) {
	var text strings.Builder
	all := append(p.rest, b...)
	p.rest = nil
	for len(all) > 0 {
		if !utf8.FullRune(all) {
			p.rest = append(p.rest, all...)
			break
		}
		r, n := utf8.DecodeRune(all)
		if r == '\n' || strconv.IsPrint(r) {
			text.Write(all[:n])
		} else if r > 0xffff {
			r -= 0x10000
			fmt.Fprintf(&text, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		} else {
			fmt.Fprintf(&text, `\u%04x`, r)
		}
		all = all[n:]
	}
	if _, err := io.WriteString(p.out, text.String()); err != nil {
		return 0, err
	}
	return len(b), nil
}

// exportedFile is a row of the list of files.
type exportedFile struct {
	At      time.Time `json:"at"`
	Channel uint32    `json:"channel"`
	recording.FileAction
}

func (a *app) exportFiles(ctx context.Context, r *recording.Reader, channel uint32) error {
	var rows []exportedFile
	err := events(ctx, r, func(e recording.Event) error {
		a.noteGap(e)
		if e.Kind != recording.File || channel != 0 && e.Channel != channel {
			return nil
		}
		f, err := recording.Decode[recording.FileAction](e)
		if err != nil {
			return err
		}
		rows = append(rows, exportedFile{r.Header().Started.Add(e.At), e.Channel, f})
		return nil
	})
	if err != nil {
		return err
	}
	if len(rows) == 0 && a.output != asJSON {
		a.say("no file passed by sftp or scp in this session")
		return nil
	}
	return show(a, rows, []column[exportedFile]{
		{"time", func(f exportedFile) string { return f.At.UTC().Format(time.RFC3339) }},
		{"action", func(f exportedFile) string { return f.Action }},
		{"size", func(f exportedFile) string { return strconv.FormatInt(f.Size, 10) }},
		{"whole", func(f exportedFile) string {
			switch f.Action {
			case "upload", "download", "list":
				return yesNo(f.Whole)
			}
			return "" // nothing passed that could be whole
		}},
		{"sha256", func(f exportedFile) string { return f.SHA256 }},
		{"error", func(f exportedFile) string { return cmp.Or(f.Error, f.Said) }},
		{"path", func(f exportedFile) string { return f.Path }},
		{"to", func(f exportedFile) string { return f.To }},
	})
}
