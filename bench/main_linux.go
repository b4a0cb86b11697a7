// Bench measures, side by side on one machine, what Cardea costs and saves:
// one connection against plain ssh and ssh -J, bulk, many at once, certificates
// a second, start and memory, and how a server gets its accounts. It builds a whole team with a real sshd for it
// (see package demo/stage), prints tables, and writes the same as JSON.
//
// What is compared is interleaved in random order, so that a busy machine hits
// all alike; still, ratios of a quiet one are better.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cardea-ssh/cardea/internal/browse"
	"github.com/cardea-ssh/cardea/internal/vhost"
)

// asBrowser makes this program the browser that signs people in.
const asBrowser = "browser"

// options of a run.
type options struct {
	bin, dir string
	only     []string
	rounds   int
	mib      int
	storms   []int
	load     time.Duration // of connect
	idle     time.Duration // before memory is read
	held     int           // sessions that do nothing, whose memory is measured
	keys     int           // of echo
	people   int           // of accounts
	servers  int           // of many
	rest     time.Duration // of the server agent, of accounts
	away     time.Duration // a round trip of far
}

// parts in their order: memory is read before there is load.
var parts = []string{"start", "wall", "bulk", "storm", "idle", "record", "connect", "identity", "accounts", "many", "far"}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	var err error
	switch {
	case len(args) > 1 && args[0] == asBrowser:
		return browse.Main(args[1:])
	case len(args) == 1 && args[0] == asRunner:
		err = runner(os.Stdin, os.Stdout)
	default:
		err = fromFlags(ctx, args)
	}
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, new(usageError)):
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	return 1
}

type usageError struct{ error }

func fromFlags(ctx context.Context, args []string) (err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	quick := f.Bool("quick", false, "small counts: shows that all of it runs; the figures mean nothing")
	only := f.String("only", strings.Join(parts, ","), "the parts to run")
	rounds := f.Int("rounds", 30, "rounds of one connection; a tenth of them of bulk and of many at once")
	mib := f.Int("mib", 1024, "MiB of one bulk transfer")
	people := f.Int("people", 5000, "accounts that one server gets at once")
	rest := f.Duration("rest", time.Minute, "how long the server agent is looked at while nothing happens")
	away := f.Duration("away", roundTrip, "the round trip of part far")
	bin := f.String("bin", "bin", "folder of the programs")
	out := f.String("out", filepath.Join("bench/results", time.Now().UTC().Format("20060102T150405")+".json"), "file of the JSON report; empty for none")
	toStdout := f.Bool("json", false, "print the JSON report on stdout and the tables on stderr")
	if err := f.Parse(args); err != nil {
		return usageError{err}
	}
	o := options{bin: *bin, only: strings.Split(*only, ","), rounds: *rounds, mib: *mib, storms: []int{50, 200}, load: 10 * time.Second, idle: 3 * time.Second, held: 100, keys: 1000, people: *people, servers: 9999, rest: *rest, away: *away}
	if *quick {
		o.rounds, o.mib, o.storms, o.load, o.idle = min(o.rounds, 2), min(o.mib, 8), []int{4}, time.Second, 0
		o.held, o.keys = 3, 10
		o.people, o.servers, o.rest = min(o.people, 30), 20, min(o.rest, time.Second)
	}
	for _, name := range o.only {
		if !slices.Contains(parts, name) {
			return usageError{fmt.Errorf("there is no part %q; the parts are %s", name, strings.Join(parts, ", "))}
		}
	}
	if f.NArg() > 0 || o.rounds < 1 || o.mib < 1 || o.people < 1 || o.rest <= 0 {
		return usageError{errors.New("it takes flags alone, and counts from 1; type: bench -help")}
	}
	talk := io.Writer(os.Stdout)
	if *toStdout {
		talk = os.Stderr
	}
	r, err := measure(ctx, o, talk)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return write(append(text, '\n'), *out, *toStdout, talk)
}

func write(text []byte, file string, stdout bool, talk io.Writer) error {
	if stdout {
		if _, err := os.Stdout.Write(text); err != nil {
			return err
		}
	}
	if file == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	fmt.Fprintf(talk, "\nall of it as JSON: %s\n", file)
	return os.WriteFile(file, text, 0o644)
}

// bench is one run.
type bench struct {
	opt    options
	talk   io.Writer
	result *report
	ground *ground // of all parts but connect, made when first needed
	roads  *ways
}

func measure(ctx context.Context, o options, talk io.Writer) (r *report, err error) {
	if err := vhost.Check(); err != nil {
		return nil, err
	}
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(o.bin, "nodelay")); err != nil {
		return nil, errors.New("the programs are not built; type: make bench")
	}
	// A short path, because sockets lie below it.
	if o.dir, err = os.MkdirTemp("", "cb"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	b := &bench{opt: o, talk: talk, result: &report{Machine: describe(), Tables: []*table{}}}
	defer func() { err = errors.Join(err, b.Close()) }()
	part := map[string]func(context.Context) error{"start": b.start, "wall": b.wall, "bulk": b.bulk, "storm": b.storm, "idle": b.idleSessions, "record": b.record, "connect": b.connect, "identity": b.identity, "accounts": b.accounts, "many": b.many, "far": b.far}
	for _, name := range parts {
		if !slices.Contains(o.only, name) {
			continue
		}
		if err := part[name](ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	b.result.Machine.Load += ", " + load()
	b.result.Goals = judge(b.result)
	printGoals(talk, b.result.Goals)
	fmt.Fprintf(talk, "\n%d CPUs, load %s\n", b.result.Machine.CPUs, b.result.Machine.Load)
	return b.result, nil
}

// stand makes the ground.
func (b *bench) stand(ctx context.Context) (err error) {
	if b.ground == nil {
		b.ground, err = raise(ctx, b.opt.bin, filepath.Join(b.opt.dir, "team"), "")
	}
	return err
}

// ways makes the ground with all ways, warm.
func (b *bench) ways(ctx context.Context) (*ways, error) {
	if b.roads != nil {
		return b.roads, nil
	}
	if err := b.stand(ctx); err != nil {
		return nil, err
	}
	var err error
	if b.roads, err = newWays(ctx, b.ground); err != nil {
		return nil, err
	}
	return b.roads, b.ground.warm(ctx, b.roads.all)
}

func (b *bench) report(t *table) {
	b.result.Tables = append(b.result.Tables, t)
	t.print(b.talk) // a closed terminal does not spoil the report
}

// Close ends all that was started.
func (b *bench) Close() error {
	var errs []error
	if b.roads != nil {
		errs = append(errs, b.roads.Close())
	}
	if b.ground != nil {
		errs = append(errs, b.ground.Close())
	}
	return errors.Join(errs...)
}

func describe() machine {
	m := machine{At: time.Now().UTC().Truncate(time.Second), CPUs: runtime.NumCPU(), Load: load(), Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				m.Commit = s.Value
			}
		}
	}
	// What cannot be found out is left empty.
	version, _ := exec.Command("ssh", "-V").CombinedOutput()
	m.OpenSSH = strings.TrimSpace(string(version))
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	m.Kernel = strings.TrimSpace(string(kernel))
	return m
}

// load is the machine's averages over 1, 5 and 15 minutes.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	return strings.Join(fields[:min(3, len(fields))], " ")
}
