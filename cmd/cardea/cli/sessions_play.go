package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	xterm "golang.org/x/term"

	"github.com/cardea-ssh/cardea/internal/span"
	"github.com/cardea-ssh/cardea/internal/term"
	"github.com/cardea-ssh/cardea/recording"
)

type playOptions struct {
	ref        string
	identities []string
	channel    uint32
	speed      float64
	idle       time.Duration
	at         string
	hold       bool
}

func newSessionsPlay(a *app) *cobra.Command {
	var o playOptions
	cmd := &cobra.Command{
		Use: "play " + recordingArg, Short: "Show what a recorded session showed",
		Long: "Show what a recorded session showed, in its own time. Space pauses, + and - change the speed, ← and → go 10 s\n" +
			"back and on, Home to its beginning; q ends.\n" +
			"Where stdout is no terminal nothing waits. Codes by which a program could do more to your terminal than draw are left out.\n" + recordingHelp,
		Example: "  cardea sessions play -i auditor.key gse_abc --idle-limit 2s\n  cardea sessions play -i auditor.key gse_abc/ --at 1h2m --speed 4",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ref = args[0]
			if o.speed <= 0 || o.speed > maxSpeed {
				return usageErrorf(cmd, "--speed is %v; give a number above 0, at most %d", o.speed, maxSpeed)
			}
			return lacksIdentity(cmd, a.sessionsPlay(cmd.Context(), o))
		},
	}
	identityFlag(cmd, &o.identities)
	cmd.Flags().Uint32Var(&o.channel, "channel", 0, "the channel to show; 0 is the first that shows something")
	cmd.Flags().Float64Var(&o.speed, "speed", 1, "how many times as fast")
	span.Var(cmd.Flags(), &o.idle, "idle-limit", 0, "let no pause take longer than this, for example 2s")
	cmd.Flags().BoolVar(&o.hold, "hold", false, "play on a cleared screen, and at its end wait for a key")
	cmd.Flags().StringVar(&o.at, "at", "", "where to begin: 90s, 1h2m, 1:02:03, or a time such as 2026-11-21T09:30:00Z")
	return cmd
}

const (
	maxSpeed = 1000
	// backlog is how far before --at reading begins, and backlogBytes how much of that is
	// drawn at once: what stands on a screen is rarely older.
	backlog      = 10 * time.Minute
	backlogBytes = 1 << 20
	// stride is how far a key goes back or on.
	stride = 10 * time.Second
)

func (a *app) sessionsPlay(ctx context.Context, o playOptions) error {
	r, err := a.readRecording(ctx, o.ref, o.identities)
	if err != nil {
		return err
	}
	at, err := instant(o.at, r.Header().Started)
	if err != nil {
		return err
	}
	if err := ofChannel(ctx, r, o.channel); err != nil {
		return err
	}
	p := &player{
		app: a, reader: r, out: &screen{out: a.out}, pace: recording.Pace{Speed: o.speed, Idle: o.idle}, hold: o.hold,
		terminal: recording.Terminal{Channel: o.channel},
	}
	if err := p.peek(); err != nil {
		return err
	}
	err = p.begin(ctx, at)
	if err == nil && p.ended && !p.shown && at == 0 {
		a.nothingShown(o.ref)
	}
	return err
}

// begin plays to what stdout is.
func (p *player) begin(ctx context.Context, at time.Duration) error {
	out, ok := p.app.out.(*os.File)
	if !ok || !term.IsTerminal(out) {
		return p.play(ctx, at)
	}
	p.waits = true
	if w, h, err := xterm.GetSize(int(out.Fd())); err == nil && p.terminal.Pty && !p.hold && (w < int(p.terminal.Size.Columns) || h < int(p.terminal.Size.Rows)) {
		p.say("note: this was recorded at %d by %d characters; this terminal has %d by %d", p.terminal.Size.Columns, p.terminal.Size.Rows, w, h)
	}
	return p.atTerminal(ctx, out, at)
}

// instant reads --at: how far into the session, or when.
func instant(text string, started time.Time) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	if d, err := span.Parse(text); err == nil && d >= 0 {
		return d, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return max(t.Sub(started), 0), nil
	}
	total, parts := time.Duration(0), strings.Split(text, ":")
	for _, part := range parts {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil || len(parts) < 2 || len(parts) > 3 {
			return 0, &usageError{fmt.Sprintf("--at %q is no time", text), "give 90s, 1h2m, 1:02:03 or 2026-11-21T09:30:00Z"}
		}
		total = total*60 + time.Duration(n)*time.Second
	}
	return total, nil
}

// player shows one channel.
type player struct {
	*app
	reader   *recording.Reader
	out      *screen
	pace     recording.Pace
	terminal recording.Terminal
	waits    bool
	keys     <-chan byte
	hold     bool              // begin on a cleared screen, and wait at the end
	at       time.Duration     // what is shown
	raw      bool              // the terminal makes no line ends of its own
	shown    bool              // something was put out
	ended    bool              // the recording came to its end
	queue    []recording.Event // read already
}

// errQuit ends the play by a key.
var errQuit = errors.New("quit")

// seek ends the play at one time, to go on at another.
type seek struct {
	to   time.Duration
	soon bool // without the wait that is before the next event
}

func (seek) Error() string { return "seek" }

// catchUp goes to a time and draws what was put out shortly before. there is false if the
// recording ends before that time.
func (p *player) catchUp(at time.Duration) (there bool, err error) {
	p.queue = nil
	if err := p.reader.Seek(max(at-backlog, 0)); err != nil {
		return false, err
	}
	var before []byte
	p.at = 0
	for {
		e, err := p.reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false, err
		}
		shows := p.terminal.Shows(e)
		if p.at = min(e.At, at); e.At >= at {
			p.keep(e)
			there = true
			break
		}
		if shows && (e.Kind == recording.Output || e.Kind == recording.Errput) {
			if before = append(before, p.lines(e.Data)...); len(before) > 2*backlogBytes {
				before = append(before[:0], before[len(before)-backlogBytes:]...)
			}
		}
	}
	p.pace.From(p.at)
	p.shown = p.shown || len(before) > 0
	_, err = p.out.Write(before[max(len(before)-backlogBytes, 0):])
	return there, err
}

// peek reads how the session began: which channel, and how large its terminal.
func (p *player) peek() error {
	const enough = 100 // events: requests come before any output
	seen := p.terminal
	for range enough {
		e, err := p.reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		p.keep(e)
		if seen.Shows(e) && (seen.Pty || e.Kind == recording.Output) {
			break
		}
	}
	p.terminal = seen
	return nil
}

// keep puts an event aside; its data are good for one call of the reader only.
func (p *player) keep(e recording.Event) {
	e.Data = bytes.Clone(e.Data)
	p.queue = append(p.queue, e)
}

// lines are the bytes as the terminal needs them.
func (p *player) lines(b []byte) []byte {
	if !p.raw {
		return b
	}
	return p.terminal.Lines(b)
}

// play shows all from a time on.
func (p *player) play(ctx context.Context, at time.Duration) error {
	if at > 0 {
		there, err := p.catchUp(at)
		if err == nil && !there {
			err = fmt.Errorf("the recording ends before %v; give an earlier --at", at)
		}
		if err != nil {
			return err
		}
	}
	for {
		err := p.run(ctx)
		if err == nil {
			err = p.atEnd(ctx)
		}
		var to seek
		if !errors.As(err, &to) {
			return err
		}
		if err := p.jump(to.to); err != nil {
			return err
		}
		if to.soon && len(p.queue) > 0 {
			p.pace.From(p.queue[0].At)
		}
	}
}

// jump goes to a time by a key: what is there is wiped away, and drawn anew.
func (p *player) jump(to time.Duration) error {
	if _, err := fmt.Fprint(p.out.out, p.out.undo()+wiped); err != nil {
		return err
	}
	p.out = &screen{out: p.out.out}
	p.ended = false
	_, err := p.catchUp(max(to, 0))
	return err
}

// wiped is an empty screen with the cursor at its top.
const wiped = "\x1b[H\x1b[2J"

// atEnd waits for a key where that is wanted and something was shown.
func (p *player) atEnd(ctx context.Context) error {
	if !p.hold || !p.shown || p.keys == nil {
		return nil
	}
	fmt.Fprint(p.out.out, p.out.undo()+"\x1b7\x1b[999;1H\x1b[7m This is the end: q goes back, ← 10 s, Home to the beginning \x1b[0m\x1b8")
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case key := <-p.keys:
			if err := p.turn(key, p.at); err != nil {
				return err
			}
		}
	}
}

// turn is what the keys do that end the play or take it elsewhere; nil for others.
func (p *player) turn(key byte, at time.Duration) error {
	switch key {
	case 'q', 3: // Ctrl-C, of which a raw terminal makes no signal
		return errQuit
	case keyBack:
		return seek{to: at - stride}
	case keyOn:
		return seek{to: at + stride}
	case keyBegin:
		return seek{}
	}
	return nil
}

// run shows events until they end, or a key or a signal ends it.
func (p *player) run(ctx context.Context) error {
	for {
		e, err := p.next()
		if errors.Is(err, io.EOF) {
			p.ended = true
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.wait(ctx, e); err != nil {
			return err
		}
		if err := p.show(e); err != nil {
			return err
		}
	}
}

func (p *player) next() (recording.Event, error) {
	if len(p.queue) > 0 {
		e := p.queue[0]
		p.queue = p.queue[1:]
		return e, nil
	}
	return p.reader.Next()
}

func (p *player) show(e recording.Event) error {
	p.noteGap(e)
	p.at = max(p.at, e.At)
	if !p.terminal.Shows(e) || e.Kind != recording.Output && e.Kind != recording.Errput {
		return nil
	}
	p.shown = true
	_, err := p.out.Write(p.lines(e.Data))
	return err
}

// nothingShown says where else to look: of a transfer of files, or of forwarded ports,
// there is nothing on any screen.
func (a *app) nothingShown(ref string) {
	a.say("nothing was shown here; for the files that passed type: cardea sessions export --format files -i KEY %s, and for all else --format json", ref)
}

// wait waits for the time of an event, and obeys keys meanwhile.
func (p *player) wait(ctx context.Context, e recording.Event) error {
	if err := ctx.Err(); err != nil || !p.waits {
		return err
	}
	began := time.Now()
	timer := time.NewTimer(p.pace.Until(e.At))
	defer timer.Stop()
	paused := false
	for {
		due := timer.C
		if paused {
			due = nil
		}
		select {
		case <-due:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case key := <-p.keys:
			passed := time.Duration(float64(time.Since(began)) * p.pace.Speed)
			if err := p.turn(key, min(p.at+passed, max(e.At, p.at))); err != nil {
				return err
			}
			switch key {
			case ' ':
				if paused {
					return p.unpause() // the pause is over, and so is the wait
				}
				paused = true
				p.sayPaused()
			case '+':
				p.pace.Speed = min(p.pace.Speed*2, maxSpeed)
				timer.Reset(0)
			case '-':
				p.pace.Speed = max(p.pace.Speed/2, 1.0/maxSpeed)
			}
		}
	}
}

// sayPaused says so in the last line of a screen that is ours: a picture that stands still looks
// like one of somebody who thinks. It leaves the recorded program's colours and screen as they are.
func (p *player) sayPaused() {
	if p.hold {
		fmt.Fprint(p.out.out, "\x1b7\x1b(B\x0f\x1b[999;1H\x1b[0;7m Paused: space goes on, q goes back, ← → 10 s \x1b[0m\x1b8")
	}
}

// unpause draws anew what sayPaused wrote over.
func (p *player) unpause() error {
	if p.hold {
		return seek{to: p.at + 1, soon: true} // behind all that was shown
	}
	return nil
}

// atTerminal plays with the terminal raw: keys are ours, and what the terminal may
// answer to what it is shown is typed into nothing.
func (p *player) atTerminal(ctx context.Context, out *os.File, at time.Duration) error {
	in, ok := p.in.(*os.File)
	if !ok || !term.IsTerminal(in) {
		defer func() { fmt.Fprint(out, p.out.undo()) }()
		return p.play(ctx, at)
	}
	state, err := xterm.MakeRaw(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("make the terminal raw: %w", err)
	}
	p.raw = true
	if _, h, err := xterm.GetSize(int(out.Fd())); err == nil && p.hold {
		fmt.Fprint(out, strings.Repeat("\r\n", h)+wiped) // what stands there is scrolled away, not lost
	}
	defer func() {
		fmt.Fprint(out, p.out.undo()+"\r\n")
		xterm.Restore(int(in.Fd()), state)
	}()
	keys := make(chan byte)
	p.keys = keys
	over, stop := context.WithCancel(ctx)
	defer stop()
	// A read of a terminal cannot be called off: this one ends with the program, which is
	// about to end when the play does.
	go func() {
		b := make([]byte, 1)
		var code keyCode
		for {
			if n, err := in.Read(b); err != nil || n == 0 {
				return
			}
			key, whole := code.take(b[0])
			if !whole {
				continue
			}
			select {
			case keys <- key:
			case <-over.Done():
				return
			}
		}
	}()
	if err := p.play(ctx, at); !errors.Is(err, errQuit) {
		return err
	}
	return nil
}
