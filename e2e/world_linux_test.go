package e2e

import (
	"context"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/sso/ssotest"
	"github.com/cardea-ssh/cardea/demo/stage"
	"github.com/cardea-ssh/cardea/internal/pgtest"
	"github.com/cardea-ssh/cardea/internal/vhost"
)

// longest bounds one command of a script: the machine may be busy with others.
const longest = 90 * time.Second

// world is what one script sees.
type world struct {
	t     testing.TB
	stage *stage.Stage
	local *stage.Local
	own   bool // the stage is this script's alone

	servers   []string
	database  *pgtest.Server // if there is one
	instances *instances     // if there are two
	balancer  *balancer
	azure     *azure            // the cloud of the script, if there is one
	platform  *ssotest.Provider // makes tokens for jobs, if there is one
	auditor   string            // file with the age identity that reads recordings, if there are any

	people  map[string]*stage.Person
	jobs    map[string]*job
	mallory mallory // what mallory holds
	since   int64   // the last audit event before the script began

	visits *atomic.Int64 // of all scripts on this stage
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, people: map[string]*stage.Person{}, jobs: map[string]*job{}, own: true, visits: &atomic.Int64{}}
	t.Cleanup(w.end)
	return w
}

// raise builds the stage: project web with these servers, alice with a grant as
// a user, bob with none. Words with "=" are settings:
//
//	gateways=N          how many there are (1)
//	gateway=required    the project's setting
//	forwarding=yes      the project allows it: of ports, of agents and of X11
//	balancer=haproxy    one address for all gateways, and haproxy behind it
//	recording=required  the project's setting
//	database=postgres   in place of SQLite
//	instances=2         an address for two control planes, of which one is started
//	drain=10m           how long a gateway carries sessions on that stops
//	platform=ci         there is a platform that makes tokens for jobs, at $PLATFORM
//	cloud=azure         there is a cloud whose papers the control plane believes
func (w *world) raise(ctx context.Context, words ...string) {
	w.t.Helper()
	dir, err := shortDir()
	w.must(err)
	w.t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	w.must(err)
	w.local = &stage.Local{Agent: filepath.Join(bin, "cardea-server-agent"), SSHD: w.sshd}
	opt := stage.Options{Bin: bin, Dir: dir, Begun: begun, Gateways: 1, Servers: w.local, Browser: self + " " + asBrowser}
	project := api.ProjectSettings{CertificateSeconds: 180, Gateway: "required"}
	for _, word := range words {
		switch key, value, _ := strings.Cut(word, "="); key {
		case "gateways":
			_, err = fmt.Sscan(value, &opt.Gateways)
			w.must(err)
		case "cloud":
			w.azure, err = newAzure()
			w.must(err)
			root := filepath.Join(dir, "azure.pem")
			w.must(os.WriteFile(root, w.azure.root(), 0o600))
			opt.Control = append(opt.Control, "CARDEA_AZURE_ROOTS="+root)
		case "platform":
			w.platform = ssotest.New(w.t)
			root := filepath.Join(dir, "platform.pem")
			w.must(os.WriteFile(root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.platform.Certificate().Raw}), 0o600))
			opt.Control = append(opt.Control, "SSL_CERT_FILE="+root)
		case "balancer":
			w.balancer, err = newBalancer(dir)
			w.must(err)
			opt.Access, opt.Inside = w.balancer.plain, w.balancer.inside
		case "drain":
			opt.Gateway = append(opt.Gateway, "CARDEA_DRAIN_TIME="+value)
		case "gateway":
			project.Gateway = value
		case "recording":
			// The one gateway stores in its own state folder, and $AUDITOR can read it.
			identity, err := age.GenerateX25519Identity()
			w.must(err)
			w.auditor = filepath.Join(dir, "auditor.key")
			w.must(os.WriteFile(w.auditor, []byte(identity.String()+"\n"), 0o600))
			project.RecordSettings = api.RecordSettings{Recording: value, Recipients: []string{identity.Recipient().String()}}
			opt.Control = append(opt.Control, "CARDEA_RECORDINGS=file://"+filepath.Join(dir, "gw-1", "recordings"))
		case "forwarding":
			project.PortForwarding, project.AgentForwarding, project.X11Forwarding = true, true, true
		case "database":
			if value != "postgres" {
				w.t.Fatalf("no database %q", value)
			}
			w.database = pgtest.Start(w.t, false)
			opt.Database = w.database.Database(w.t)
		case "instances":
			if value != "2" {
				w.t.Fatalf("no %q instances", value)
			}
			w.instances, opt.Port = newInstances(w.t)
			opt.Control = append(opt.Control, "CARDEA_LISTEN="+w.instances.listen[0])
		default:
			w.servers = append(w.servers, word)
		}
	}
	w.stage, err = stage.New(ctx, opt)
	w.must(err)
	if w.balancer != nil {
		w.must(w.balancer.start(w.stage.Gateways, true))
	}
	w.people["admin"] = w.stage.Admin
	w.must(w.stage.AddProject(ctx, "web", project))
	for _, name := range []string{"alice", "bob"} {
		w.people[name], err = w.stage.AddUser(ctx, name)
		w.must(err)
	}
	w.must(w.stage.Access(ctx, "web", "engineers", "user", "alice"))
	for _, name := range w.servers {
		role, _, _ := strings.Cut(name, "-")
		w.must(w.stage.AddServer(ctx, "web", name, map[string]string{"role": role}))
	}
}

// sshd has the first server leave out a key exchange for which OpenSSH 8.5 to 9.8 needs a
// tenth of a second of CPU time in each ssh, many times what all else of a login does. The
// other servers do as sshd does by itself, and all do in the whole matrix.
func (w *world) sshd(host string) string {
	if host != w.servers[0] || os.Getenv(matrixVariable) != "" {
		return ""
	}
	return "KexAlgorithms -sntrup761*\n"
}

// visit is the same stage for one more script: its people have fresh laptops.
func (w *world) visit() (*world, error) {
	v := &world{t: w.t, stage: w.stage, local: w.local, servers: w.servers, visits: w.visits, people: map[string]*stage.Person{}, jobs: map[string]*job{}}
	v.people["admin"] = w.stage.Admin
	for _, name := range []string{"alice", "bob"} {
		if err := v.laptop(name, w.people[name]); err != nil {
			return nil, err
		}
	}
	events, err := v.events()
	if len(events) > 0 {
		v.since = events[len(events)-1].Seq
	}
	return v, err
}

// laptop gives name a fresh home that is used as the person was.
func (w *world) laptop(name string, person *stage.Person) error {
	p := *person
	p.Home = fmt.Sprintf("%s.%d", strings.TrimRight(p.Home, ".0123456789"), w.visits.Add(1))
	w.people[name] = &p
	return os.MkdirAll(filepath.Join(p.Home, "run"), 0o700)
}

// setenv tells a script where things are.
func (w *world) setenv(set func(name, value string)) {
	if w.stage == nil {
		return
	}
	set("CONTROL", w.stage.URL)
	set("AUDITOR", w.auditor)
	if w.platform != nil {
		set("PLATFORM", w.platform.URL())
	}
	for name, p := range w.people {
		set(strings.ToUpper(name), p.Home)
	}
	for _, name := range w.servers {
		set(strings.ToUpper(strings.ReplaceAll(name, "-", "_")), w.local.Addr(name).String())
	}
}

// leave ends what the script began.
func (w *world) leave() {
	for _, j := range w.jobs {
		j.kill()
	}
	w.mallory.close()
	for name, p := range w.people {
		if !w.own && name != "admin" {
			w.command(context.Background(), p, p.Home, "cardea", "agent", "stop").Run()
		}
	}
}

// end takes the stage down, and shows what it said if the test failed.
func (w *world) end() {
	if w.stage == nil {
		return
	}
	if w.balancer != nil {
		w.balancer.stop()
	}
	logs := w.logs()
	for name, text := range logs {
		if w.t.Failed() {
			w.t.Logf("%s:\n%s", name, tail(text))
		}
		if _, race, found := strings.Cut(text, "WARNING: DATA RACE"); found {
			w.t.Errorf("%s: a data race:%s", name, race[:min(len(race), 4000)])
		}
	}
	if err := w.stage.Close(); err != nil {
		w.t.Errorf("take the stage down: %v", err)
	}
}

// logs are what all programs that run for long have said.
func (w *world) logs() map[string]string {
	logs := map[string]string{}
	for _, name := range w.servers {
		if p := w.local.AgentProcess(name); p != nil {
			logs["server agent of "+name] = p.Log()
		}
	}
	dir := filepath.Dir(w.stage.Admin.Home)
	for _, pattern := range []string{"log/*", "*/.local/state/cardea/*.log"} {
		files, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, file := range files {
			text, _ := os.ReadFile(file)
			logs[strings.TrimPrefix(file, dir+"/")] = string(text)
		}
	}
	return logs
}

func tail(s string) string {
	const most = 6000
	return s[max(0, len(s)-most):]
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// tools are programs that take ssh's -F, without which they would read the
// configuration of whoever runs the tests: OpenSSH finds it by the account, not
// by HOME.
var tools = []string{"ssh", "scp", "sftp"}

// command is a command of a person, in dir. There ssh, scp and sftp read the
// person's own ~/.ssh/config, also when git or rsync or a shell runs them.
func (w *world) command(ctx context.Context, p *stage.Person, dir, name string, args ...string) *exec.Cmd {
	own := filepath.Join(p.Home, "bin")
	if _, err := os.Stat(own); err != nil {
		w.must(os.MkdirAll(own, 0o700))
		for _, tool := range tools {
			script := fmt.Sprintf("#!/bin/sh\nexec /usr/bin/%s -F '%s' \"$@\"\n", tool, filepath.Join(p.Home, ".ssh/config"))
			w.must(os.WriteFile(filepath.Join(own, tool), []byte(script), 0o700))
		}
	}
	path := own + ":" + bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	if name == "cardea" {
		path = strings.TrimPrefix(path, own+":") // cardea ssh must need no configuration
	}
	// LookPath would look into the PATH of the tests.
	cmd := exec.CommandContext(ctx, "/usr/bin/env", append([]string{name}, args...)...)
	cmd.Env = append(p.Env(), "PATH="+path, "GIT_CONFIG_GLOBAL=/dev/null")
	cmd.Dir = dir
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// signIn signs a person in, whose ssh knows all servers from then on.
func (w *world) signIn(ctx context.Context, p *stage.Person, env ...string) {
	w.t.Helper()
	for _, args := range [][]string{{"login", w.stage.URL}, {"ssh-config", "--install"}} {
		cmd := w.command(ctx, p, p.Home, "cardea", args...)
		cmd.Env = append(cmd.Env, env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			w.t.Fatalf("%s: %v: %s", args, err, out)
		}
	}
}

// host is a virtual host.
func (w *world) host(name string) (*vhost.Host, error) {
	if h := w.local.Host(name); h != nil {
		return h, nil
	}
	return nil, fmt.Errorf("there is no host %q", name)
}

// gateway is one of the stage's.
func (w *world) gateway(name string) (*stage.Gateway, error) {
	for _, g := range w.stage.Gateways {
		if g.Name == name {
			return g, nil
		}
	}
	return nil, fmt.Errorf("there is no gateway %q", name)
}
