package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sync/errgroup"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
	"github.com/cardea-ssh/cardea/store/sqlstore"
)

const (
	// manyTime bounds the whole part.
	manyTime = 10 * time.Minute
	// enrolAtOnce is how many servers are written together: the store commits in groups.
	enrolAtOnce = 64
	// frameTime bounds one frame of the picker.
	frameTime = 5 * time.Second
	// typed are what is typed into the picker's search, one key after another, and taken back.
	typed = "w9e"
)

// many measures what a person with very many servers waits for: the list, the tabulator, the
// picker. The servers are in the database and nowhere else.
func (b *bench) many(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, manyTime)
	defer cancel()
	g, err := raise(ctx, b.opt.bin, filepath.Join(b.opt.dir, "many"), "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	if err := g.enrolMany(ctx, b.opt.servers); err != nil {
		return err
	}
	cardea := filepath.Join(g.bin, "cardea")
	commands := map[string][]string{
		manyList:     {cardea, "ls"},
		manyJSON:     {cardea, "ls", "-o", "json"},
		manyComplete: {cardea, "__complete", "ssh", "web-9"},
	}
	names := []string{manyList, manyJSON, manyComplete}
	wall, cpu := map[string][]float64{}, map[string][]float64{}
	for range b.opt.rounds {
		for _, i := range rand.Perm(len(names)) {
			got, err := job{Argv: commands[names[i]], Env: g.environment(), Dir: g.alice.Home}.must(ctx)
			if err != nil {
				return err
			}
			wall[names[i]], cpu[names[i]] = append(wall[names[i]], milliseconds(got.Wall)), append(cpu[names[i]], milliseconds(got.CPU))
		}
	}
	t := &table{
		Name: "many", Title: fmt.Sprintf("somebody with %d servers", b.opt.servers+1), Columns: []column{{"wall_ms", "wall ms", 1}, {"cpu_ms", "CPU ms", 1}, {"most_ms", "most ms", 1}},
		Note: fmt.Sprintf("medians of %d, the local agent is warm; the picker runs at a real terminal, a key is measured from the write to the frame's first byte", b.opt.rounds),
	}
	for _, name := range names {
		t.add(name, map[string]float64{"wall_ms": median(wall[name]), "cpu_ms": median(cpu[name]), "most_ms": most(wall[name])})
	}
	if err := g.picker(ctx, b.opt.rounds, t); err != nil {
		return err
	}
	b.report(t)
	return nil
}

// enrolMany writes servers into the database of a control plane that does not run, and waits
// until alice's agent has heard of them.
func (g *ground) enrolMany(ctx context.Context, count int) error {
	if err := g.StopControl(); err != nil {
		return err
	}
	if err := enrol(ctx, filepath.Join(g.dir, "control", "cardea.db"), count); err != nil {
		return err
	}
	if err := g.StartControl(ctx); err != nil {
		return err
	}
	for {
		out, err := g.alice.Must(ctx, "cardea", "ls", "-q")
		if err == nil && strings.Count(out, "\n") > count {
			return nil
		}
		if paused := pause(ctx, time.Second); paused != nil {
			return errors.Join(fmt.Errorf("the agent does not hear of %d servers: %w", count, paused), err)
		}
	}
}

// enrol makes servers beside the one that there is, in its project.
func enrol(ctx context.Context, database string, count int) (err error) {
	s, err := sqlstore.Open(ctx, sqlstore.Options{URL: database})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	there, err := s.ServersByName(ctx, server)
	if err != nil || len(there) != 1 {
		return fmt.Errorf("%d servers are called %s: %w", len(there), server, err)
	}
	now := time.Now()
	secret := sha256.Sum256([]byte("many"))
	token := store.EnrolmentToken{
		ID: ident.New(ident.Enrolment), SecretHash: secret[:], Kind: store.KindServer, Project: there[0].Project, UsesLeft: count, ExpiresAt: now.Add(time.Hour), CreatedAt: now,
	}
	if err := s.CreateEnrolmentToken(ctx, token, store.Meta{Now: now}); err != nil {
		return err
	}
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(enrolAtOnce)
	for i := range count {
		all.Go(func() error {
			id := ident.New(ident.Server)
			hash := sha256.Sum256([]byte(id))
			_, err := s.EnrolServer(ctx, secret[:], store.Server{
				ID: id, Project: token.Project, Name: fmt.Sprintf("web-%d", i+2), Address: fmt.Sprintf("10.%d.%d.%d:22", i>>16, i>>8&255, i&255),
				Labels: map[string]string{"role": "web", "rack": fmt.Sprint(i % 40)}, State: store.Active, CreatedAt: now,
			}, store.Credential{TokenHash: hash[:], Thumbprint: id}, store.Meta{Now: now})
			return err
		})
	}
	return all.Wait()
}

// picker measures its first frame, and how soon a key is answered by one.
func (g *ground) picker(ctx context.Context, rounds int, t *table) error {
	var first, key []float64
	for range max(1, rounds/10) {
		p, err := g.openPicker(ctx)
		if err != nil {
			return err
		}
		took, keys, err := p.use()
		if err := errors.Join(err, p.close()); err != nil {
			return err
		}
		first, key = append(first, took), append(key, keys...)
	}
	t.add(manyPaint, map[string]float64{"wall_ms": median(first), "most_ms": most(first)})
	t.add(manyKey, map[string]float64{"wall_ms": median(key), "most_ms": most(key)})
	return nil
}

// screen is a picker at a terminal, and when what it wrote came.
type screen struct {
	cmd    *exec.Cmd
	tty    *os.File
	began  time.Time
	chunks chan frame
}

type frame struct {
	at   time.Time
	text string
}

func (g *ground) openPicker(ctx context.Context) (*screen, error) {
	s := &screen{cmd: exec.CommandContext(ctx, filepath.Join(g.bin, "cardea")), chunks: make(chan frame, 1024), began: time.Now()}
	s.cmd.Env, s.cmd.Dir = append(g.environment(), "TERM=xterm-256color"), g.alice.Home
	var err error
	if s.tty, err = pty.StartWithSize(s.cmd, &pty.Winsize{Rows: 40, Cols: 120}); err != nil {
		return nil, err
	}
	go func() {
		defer close(s.chunks)
		for buf := make([]byte, 1<<16); ; {
			n, err := s.tty.Read(buf)
			if n > 0 {
				s.chunks <- frame{time.Now(), string(buf[:n])}
			}
			if err != nil {
				return
			}
		}
	}()
	return s, nil
}

// use waits for the first servers to be shown, and types.
func (s *screen) use() (first float64, keys []float64, err error) {
	at, err := s.until("web-")
	if err != nil {
		return 0, nil, err
	}
	first = milliseconds(at.Sub(s.began))
	for _, k := range "/" + typed + strings.Repeat("\x7f", len(typed)) {
		s.quiet()
		wrote := time.Now()
		if _, err := io.WriteString(s.tty, string(k)); err != nil {
			return 0, nil, err
		}
		at, err := s.until("")
		if err != nil {
			return 0, nil, err
		}
		keys = append(keys, milliseconds(at.Sub(wrote)))
	}
	return first, keys, nil
}

// until returns when text has come, in one piece.
func (s *screen) until(text string) (time.Time, error) {
	timer := time.NewTimer(frameTime)
	defer timer.Stop()
	for {
		select {
		case f, more := <-s.chunks:
			if !more {
				return time.Time{}, errors.New("the picker has ended")
			}
			if strings.Contains(f.text, text) {
				return f.at, nil
			}
		case <-timer.C:
			return time.Time{}, errors.New("the picker draws nothing")
		}
	}
}

// quiet returns when nothing has come for a while: what comes next is an answer.
func (s *screen) quiet() {
	for {
		select {
		case _, more := <-s.chunks:
			if !more {
				return
			}
		case <-time.After(100 * time.Millisecond):
			return
		}
	}
}

func (s *screen) close() error {
	s.cmd.Process.Kill()
	s.cmd.Wait()
	return s.tty.Close()
}

func most(values []float64) float64 { return quantile(values, 1) }
