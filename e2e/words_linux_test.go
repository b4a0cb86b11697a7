package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cardea-ssh/cardea/api"
)

// call is one line of a script being run.
type call struct {
	*world
	dir      string // where the script is
	out, err io.Writer
	env      func(name, value string) // sets a variable of the script
}

// verb does what a word of the scripts means and returns an exit code. An error
// means that it could not be tried, or was not as the word demands.
type verb func(c *call, args []string) (int, error)

// verbs are the words beside testscript's own. They find the control plane's URL
// in $CONTROL, the homes of people in $ALICE and the like, addresses of servers
// in $WEB_1 and the like, and in $CROWD how many should come at once, twice $HALF.
//
//	stage WORD...              raise a stage of the script's own (see raise)
//	sign-in PERSON             cardea login, through the real pages
//	user NAME                  make a user
//	laptop NAME PERSON         NAME is PERSON on another, fresh machine
//	as PERSON COMMAND...       run it as that person, with stdin from nowhere
//	root COMMAND...            run it on this machine, in the stage's folder
//	host NAME COMMAND...       run it as root on a server
//	put FILE NAME PATH         copy a file to a server, as root, mode 0600
//	begin JOB PERSON COMMAND...  start it; its stdin stays open
//	heard JOB PATTERN          wait until it has said that
//	said JOB PATTERN NAME      what the pattern's group matched of it becomes $NAME
//	tell JOB TEXT              type a line
//	finish JOB [CODE]          end its stdin; wait; it must end with CODE (0)
//	ended JOB [CODE]           wait; it must end with CODE (0) by itself
//	signal JOB SIGNAL [CODE]   send it; wait; it must end with CODE if given
//	gateway kill|stop|start NAME, control kill|stop|start, agent kill|start NAME
//	settled SERVER             wait until its agent has confirmed what is wanted
//	audited PATTERN...         one event since the script began matches all, soon
//	unaudited PATTERN...       none does, up to now
//	new-ca PERSON SERVER       a certificate that is made now is the active CA's
//	job-token FILE CLAIM=VALUE...  what the platform gives to a job (see stage)
//	metadata HOST VM SUBSCRIPTION  begin its cloud's metadata service
//	no-helpers PERSON          no cardea proxycommand is left, soon
//
// and these, which stand before another word:
//
//	code N, within DURATION, eventually DURATION
func verbs() map[string]verb {
	v := map[string]verb{
		"stage": stageVerb, "sign-in": signIn, "user": user, "laptop": laptop, "as": as, "root": root, "host": host, "put": put,
		"begin": beginJob, "heard": heard, "said": said, "tell": tell, "finish": finish, "ended": waitEnded, "signal": signal, "running": running,
		"gateway": gateway, "control": control, "agent": agent, "settled": settled,
		"audited": audited, "unaudited": unaudited, "no-helpers": noHelpers, "metadata": metadataVerb, "job-token": jobToken, "new-ca": newCA,
		"code": codeVerb, "within": within, "eventually": eventually,
	}
	for name, do := range malloryVerbs() {
		v[name] = do
	}
	return v
}

// say runs a line of a script.
func say(ts *testscript.TestScript, neg bool, name string, args []string) {
	c := &call{world: worldOf(ts), dir: ts.MkAbs("."), out: ts.Stdout(), err: ts.Stderr(), env: ts.Setenv}
	began := time.Now()
	code, err := c.do(name, args)
	if took := time.Since(began); took > 3*time.Second {
		ts.Logf("[%s: %.1f s]", name, took.Seconds())
	}
	switch {
	case err != nil:
		ts.Fatalf("%s: %v", name, err)
	case neg && code == 0:
		ts.Fatalf("%s: it succeeded, and must not", name)
	case !neg && code != 0:
		ts.Fatalf("%s: exit code %d", name, code)
	}
}

func (c *call) do(name string, args []string) (int, error) {
	do := verbs()[name]
	if do == nil {
		return 0, fmt.Errorf("%q is no word of these scripts", name)
	}
	return do(c, args)
}

// errUsage is a mistake in a script.
var errUsage = errors.New("wrong number of words")

func atLeast(args []string, n int) error {
	if len(args) < n {
		return errUsage
	}
	return nil
}

func stageVerb(c *call, args []string) (int, error) {
	if c.stage != nil {
		return 0, errors.New("there is a stage already")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*longest)
	defer cancel()
	c.raise(ctx, args...)
	c.setenv(c.env)
	return 0, nil
}

func signIn(c *call, args []string) (int, error) {
	if len(args) != 1 || c.people[args[0]] == nil {
		return 0, errUsage
	}
	if code, err := as(c, []string{args[0], "cardea", "login", c.stage.URL}); err != nil || code != 0 {
		return code, err
	}
	return as(c, []string{args[0], "cardea", "ssh-config", "--install"})
}

func user(c *call, args []string) (_ int, err error) {
	if len(args) != 1 {
		return 0, errUsage
	}
	c.people[args[0]], err = c.stage.AddUser(context.Background(), args[0])
	c.setenv(c.env)
	return 0, err
}

func laptop(c *call, args []string) (int, error) {
	if len(args) != 2 || c.people[args[1]] == nil {
		return 0, errUsage
	}
	err := c.laptop(args[0], c.people[args[1]])
	c.setenv(c.env)
	return 0, err
}

// run runs a command to its end.
func (c *call) run(cmd *exec.Cmd) (int, error) {
	cmd.Stdout, cmd.Stderr = c.out, c.err
	err := cmd.Run()
	if cmd.ProcessState == nil {
		return 0, err
	}
	return code(cmd), nil
}

func as(c *call, args []string) (int, error) {
	if len(args) < 2 || c.people[args[0]] == nil {
		return 0, errUsage
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	return c.run(c.command(ctx, c.people[args[0]], c.dir, args[1], args[2:]...))
}

func root(c *call, args []string) (int, error) {
	if err := atLeast(args, 1); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = filepath.Dir(c.stage.Admin.Home)
	return c.run(cmd)
}

func host(c *call, args []string) (int, error) {
	if err := atLeast(args, 2); err != nil {
		return 0, err
	}
	h, err := c.world.host(args[0])
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	return c.run(h.Command(ctx, args[1], args[2:]...))
}

func put(c *call, args []string) (int, error) {
	if len(args) != 3 {
		return 0, errUsage
	}
	h, err := c.world.host(args[1])
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return 0, err
	}
	return 0, h.WriteFile(args[2], text, 0o600)
}

func beginJob(c *call, args []string) (int, error) {
	if len(args) < 3 || c.people[args[1]] == nil || c.jobs[args[0]] != nil {
		return 0, errUsage
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*longest)
	j, err := begin(c.command(ctx, c.people[args[1]], c.dir, args[2], args[3:]...), cancel)
	if err != nil {
		cancel()
		return 0, err
	}
	c.jobs[args[0]] = j
	return 0, nil
}

func (c *call) job(args []string, words int) (*job, error) {
	if len(args) < words || c.jobs[args[0]] == nil {
		return nil, errUsage
	}
	return c.jobs[args[0]], nil
}

func heard(c *call, args []string) (int, error) {
	j, err := c.job(args, 2)
	if err != nil {
		return 0, err
	}
	pattern, err := regexp.Compile(`(?m)` + args[1])
	if err != nil {
		return 0, err
	}
	return 0, j.heard(pattern, longest/3)
}

// said is for what another program has to be told.
func said(c *call, args []string) (int, error) {
	j, err := c.job(args, 3)
	if err != nil {
		return 0, err
	}
	pattern, err := regexp.Compile(`(?m)` + args[1])
	if err != nil {
		return 0, err
	}
	m := pattern.FindStringSubmatch(j.out.String() + j.errs.String())
	if len(m) < 2 {
		return 0, fmt.Errorf("it has not said %s", args[1])
	}
	c.env(args[2], m[1])
	return 0, nil
}

func tell(c *call, args []string) (int, error) {
	j, err := c.job(args, 2)
	if err != nil {
		return 0, err
	}
	_, err = fmt.Fprintln(j.stdin, strings.Join(args[1:], " "))
	return 0, err
}

// running succeeds while the job lives.
func running(c *call, args []string) (int, error) {
	j, err := c.job(args, 1)
	if err != nil || j.running() {
		return 0, err
	}
	return 1, nil
}

func finish(c *call, args []string) (int, error) {
	j, err := c.job(args, 1)
	if err == nil {
		err = j.finish(longest / 2)
	}
	if err != nil {
		return 0, err
	}
	return c.ended(args[0], args[1:])
}

func waitEnded(c *call, args []string) (int, error) {
	j, err := c.job(args, 1)
	if err != nil {
		return 0, err
	}
	if err := j.wait(longest / 2); err != nil {
		return 0, err
	}
	return c.ended(args[0], args[1:])
}

func signal(c *call, args []string) (int, error) {
	j, err := c.job(args, 2)
	if err != nil {
		return 0, err
	}
	sig := map[string]syscall.Signal{"KILL": syscall.SIGKILL, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP}[args[1]]
	if sig == 0 {
		return 0, fmt.Errorf("no signal %q", args[1])
	}
	j.cmd.Process.Signal(sig)
	if err := j.wait(longest / 2); err != nil {
		return 0, err
	}
	if len(args) == 2 {
		args = append(args, strconv.Itoa(j.code()))
	}
	return c.ended(args[0], args[2:])
}

// ended shows what a job said, and compares its code.
func (c *call) ended(name string, want []string) (int, error) {
	j := c.jobs[name]
	delete(c.jobs, name)
	j.end()
	io.WriteString(c.out, j.out.String())
	io.WriteString(c.err, j.errs.String())
	return same(j.code(), append(want, "0")[0])
}

func same(code int, want string) (int, error) {
	if strconv.Itoa(code) != want {
		return 0, fmt.Errorf("exit code %d, want %s", code, want)
	}
	return 0, nil
}

func codeVerb(c *call, args []string) (int, error) {
	if err := atLeast(args, 2); err != nil {
		return 0, err
	}
	got, err := c.do(args[1], args[2:])
	if err != nil {
		return 0, err
	}
	return same(got, args[0])
}

func within(c *call, args []string) (int, error) {
	if err := atLeast(args, 2); err != nil {
		return 0, err
	}
	limit, err := time.ParseDuration(args[0])
	if err != nil {
		return 0, err
	}
	began := time.Now()
	got, err := c.do(args[1], args[2:])
	if took := time.Since(began); err == nil && took > limit {
		err = fmt.Errorf("it took %v, longer than %v", took, limit)
	}
	return got, err
}

// eventually tries until it succeeds, and shows the last try.
func eventually(c *call, args []string) (int, error) {
	if err := atLeast(args, 2); err != nil {
		return 0, err
	}
	limit, err := time.ParseDuration(args[0])
	if err != nil {
		return 0, err
	}
	out, errs := c.out, c.err
	// What is tried is mostly an ssh through all of Cardea, so the pause grows.
	pause := 100 * time.Millisecond
	for end := time.Now().Add(limit); ; pause = min(2*pause, time.Second) {
		var o, e bytes.Buffer
		c.out, c.err = &o, &e
		got, err := c.do(args[1], args[2:])
		if err == nil && got == 0 || time.Now().After(end) {
			out.Write(o.Bytes())
			errs.Write(e.Bytes())
			return got, err
		}
		time.Sleep(min(pause, max(0, time.Until(end))))
	}
}

func gateway(c *call, args []string) (int, error) {
	if len(args) != 2 {
		return 0, errUsage
	}
	g, err := c.world.gateway(args[1])
	if err != nil {
		return 0, err
	}
	switch args[0] {
	case "kill":
		return 0, g.Kill()
	case "stop":
		return 0, g.Stop()
	case "start":
		return 0, g.Start(context.Background())
	case "drain":
		return 0, syscall.Kill(g.PID(), syscall.SIGTERM)
	}
	return 0, errUsage
}

func control(c *call, args []string) (int, error) {
	switch strings.Join(args, " ") {
	case "kill":
		return 0, c.stage.KillControl()
	case "stop":
		return 0, c.stage.StopControl()
	case "start":
		return 0, c.stage.StartControl(context.Background())
	}
	return 0, errUsage
}

func agent(c *call, args []string) (int, error) {
	if len(args) != 2 {
		return 0, errUsage
	}
	if _, err := c.world.host(args[1]); err != nil {
		return 0, err
	}
	switch args[0] {
	case "kill":
		p := c.local.AgentProcess(args[1])
		if err := p.Signal(syscall.SIGKILL); err != nil {
			return 0, err
		}
		p.Wait()
		return 0, nil
	case "start":
		return 0, c.local.StartAgent(context.Background(), args[1])
	case "log":
		io.WriteString(c.out, c.local.AgentProcess(args[1]).Log())
		return 0, nil
	}
	return 0, errUsage
}

// settled waits until the server has confirmed all that the project demands.
func settled(c *call, args []string) (int, error) {
	if len(args) != 1 {
		return 0, errUsage
	}
	return 0, c.stage.Confirmed(context.Background(), "web", args[0])
}

// audited waits until one event matches all patterns. An event is searched as
// its JSON: "action":"connect".
func audited(c *call, args []string) (int, error) {
	var all []string
	for end := time.Now().Add(longest / 2); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		found, lines, err := c.search(args)
		if err != nil {
			return 0, err
		}
		if len(found) > 0 {
			fmt.Fprintf(c.out, "%s\n", found[0])
			return 0, nil
		}
		all = lines
	}
	return 0, fmt.Errorf("no such event among:\n%s", tail(strings.Join(all, "\n")))
}

// unaudited looks once: what it speaks of must have been waited for before.
func unaudited(c *call, args []string) (int, error) {
	found, _, err := c.search(args)
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("there is such an event:\n%s", tail(strings.Join(found, "\n")))
	}
	return 0, err
}

// search returns the events that match all patterns, and all there are.
func (c *call) search(args []string) (found, all []string, err error) {
	var patterns []*regexp.Regexp
	for _, a := range args {
		p, err := regexp.Compile(a)
		if err != nil {
			return nil, nil, err
		}
		patterns = append(patterns, p)
	}
	events, err := c.events()
	if err != nil {
		return nil, nil, err
	}
	for _, e := range events {
		line, err := json.Marshal(e)
		if err != nil {
			return nil, nil, err
		}
		if !slices.ContainsFunc(patterns, func(p *regexp.Regexp) bool { return !p.Match(line) }) {
			found = append(found, string(line))
		}
		all = append(all, string(line))
	}
	return found, all, nil
}

// events are those since the script began, or since the last mark.
func (w *world) events() ([]api.AuditEvent, error) {
	return api.All[api.AuditEvent](context.Background(), w.stage.Client(), "/v1/audit", map[string][]string{"after": {strconv.FormatInt(w.since, 10)}})
}

// noHelpers waits until no ProxyCommand of the person is left.
func noHelpers(c *call, args []string) (int, error) {
	if len(args) != 1 || c.people[args[0]] == nil {
		return 0, errUsage
	}
	var left []string
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if left = helpers(c.people[args[0]].Home); len(left) == 0 {
			return 0, nil
		}
	}
	return 0, fmt.Errorf("left: %s", strings.Join(left, "; "))
}

// helpers are the command lines of the processes that are proxycommand and have
// this home.
func helpers(home string) (left []string) {
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		line, err := os.ReadFile(filepath.Join(p, "cmdline"))
		if err != nil || !bytes.Contains(line, []byte("\x00proxycommand\x00")) {
			continue
		}
		env, err := os.ReadFile(filepath.Join(p, "environ"))
		if err == nil && bytes.Contains(env, []byte("HOME="+home+"\x00")) {
			left = append(left, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return left
}
