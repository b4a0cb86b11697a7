package serveragent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/internal/buildtest"
	"github.com/cardea-ssh/cardea/internal/daemon"
	"github.com/cardea-ssh/cardea/internal/faulttest"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/vhost"
	"github.com/cardea-ssh/cardea/server-agent/accounts"
	"github.com/cardea-ssh/cardea/sshcert"
	"golang.org/x/crypto/ssh"
)

// The test binary is the agent too, when a virtual host runs it as such: so
// the agent under test has the race detector, and dies where a test says.
func TestMain(m *testing.M) {
	faulttest.Main(soundHost)
	if os.Getenv("CARDEA_TEST_AGENT") == "" {
		os.Exit(m.Run())
	}
	os.Exit(agentMain())
}

// stepMark begins what an agent that is to die says before each step.
const stepMark = "cardea-test-step"

func agentMain() int {
	ctx, stop := daemon.Context(context.Background())
	defer stop()
	debug.SetMemoryLimit(MemoryLimit)
	dieAt, _ := strconv.Atoi(os.Getenv("CARDEA_TEST_DIE_AT"))
	many, _ := strconv.Atoi(os.Getenv("CARDEA_TEST_MANY"))
	ahead := envDuration("CARDEA_TEST_AHEAD")
	steps := 0
	a, err := New(Options{
		Now:        func() time.Time { return time.Now().Add(ahead) },
		ControlURL: "http://127.0.0.1:7080", Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		backoff:  func(int, error) time.Duration { return 50 * time.Millisecond },
		manyFrom: many,
		Adopt:    strings.Split(os.Getenv("CARDEA_TEST_ADOPT"), ","),
		tick:     envDuration("CARDEA_TEST_TICK"),
		hooksDir: os.Getenv("CARDEA_TEST_HOOKS"),
		before: func(step string) {
			if stick := os.Getenv("CARDEA_TEST_STICK"); stick != "" && strings.Contains(step, stick) {
				fmt.Fprintln(os.Stderr, "stuck before:", step)
				select {}
			}
			steps++
			if dieAt != 0 {
				fmt.Fprintln(os.Stderr, stepMark, steps, step)
			}
			if steps == dieAt {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				time.Sleep(time.Minute)
			}
		},
	})
	if err == nil {
		switch os.Args[1] {
		case "run":
			err = a.Run(ctx)
		case "unenroll":
			u := Unenrolment{Restore: len(os.Args) > 2}
			if u.Restore {
				u.Accounts = accounts.Fate(os.Args[2])
			}
			var lines []string
			lines, err = a.Unenrol(ctx, u)
			fmt.Println(strings.Join(lines, "\n"))
		case "confirm":
			_, err = a.ConfirmRemovals()
		case "plan":
			var lines []string
			_, lines, err = a.Plan(ctx)
			fmt.Println(strings.Join(lines, "\n"))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "failed:", err)
		return 1
	}
	return 0
}

// envDuration is zero where the variable is not set.
func envDuration(name string) time.Duration {
	d, _ := time.ParseDuration(os.Getenv(name))
	return d
}

const agentPath = "/opt/cardea-test/cardea-server-agent"

// rig is a control plane and one host with a real sshd.
type rig struct {
	*testing.T
	p     *plane
	n     *vhost.Network
	h     *vhost.Host
	agent *vhost.Process
}

func newRig(t *testing.T, binds ...vhost.Bind) *rig {
	t.Helper()
	n, err := vhost.NewNetwork(t.Context(), vhost.NetworkOptions{Private: true})
	if errors.Is(err, vhost.ErrUnable) {
		t.Skipf("SKIPPED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	for _, program := range []string{"/usr/sbin/sshd", "/usr/sbin/visudo", "/usr/bin/cvtsudoers", "/usr/sbin/useradd", "/usr/bin/ssh"} {
		if _, err := os.Stat(program); err != nil {
			t.Skipf("SKIPPED: this machine has no %s", program)
		}
	}
	p := newPlane(t)
	l, err := n.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.serve(l)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h, err := n.NewHost(t.Context(), vhost.Options{
		Name: "web-1", Forwards: []vhost.Forward{{Port: 7080, To: l.Addr().String()}}, Binds: append(binds, vhost.Bind{From: self, To: agentPath}),
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t, p: p, n: n, h: h}
	r.write("/var/lib/cardea-server-agent/enrollment.token", p.secret+"\n", 0o600)
	r.run("chmod", "700", "/var/lib/cardea-server-agent")
	t.Cleanup(func() {
		if t.Failed() && r.agent != nil {
			t.Logf("the agent said:\n%s", r.agent.Log())
			out, _ := h.Run(context.Background(), "tail", "-n", "30", "/var/log/auth.log")
			t.Logf("auth.log:\n%s", out)
		}
	})
	return r
}

func (r *rig) sshd() {
	r.Helper()
	if err := r.h.StartSSHD(r.Context()); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) start(env ...string) {
	r.Helper()
	args := append(append([]string{"CARDEA_TEST_AGENT=1", buildtest.RaceOptions + " halt_on_error=1"}, env...), agentPath, "run")
	p, err := r.h.Start(context.Background(), "/usr/bin/env", args...)
	if err != nil {
		r.Fatal(err)
	}
	r.agent = p
}

func (r *rig) stop() {
	r.Helper()
	if r.agent == nil {
		return
	}
	if err := r.agent.Stop(10 * time.Second); err != nil {
		r.Fatalf("the agent ended badly: %v\n%s", err, r.agent.Log())
	}
	r.agent = nil
}

// run runs a program on the host and fails if it does.
func (r *rig) run(name string, args ...string) string {
	r.Helper()
	out, err := r.h.Run(r.Context(), name, args...)
	if err != nil {
		r.Fatal(err)
	}
	return out
}

func (r *rig) sh(script string) string { r.Helper(); return r.run("/bin/sh", "-c", script) }

func (r *rig) write(path, text string, mode os.FileMode) {
	r.Helper()
	if err := r.h.WriteFile(path, []byte(text), mode); err != nil {
		r.Fatal(err)
	}
}

// snapshot is every file that the agent may change, with owner and mode.
func (r *rig) snapshot() string {
	r.Helper()
	return r.sh(`cd /etc; set -- passwd group shadow gshadow sudoers sudoers.d ssh /home
		[ ! -e /var/lib/cardea-server-agent/accounts.json ] || set -- "$@" /var/lib/cardea-server-agent/accounts.json
		{ find "$@" -xdev -exec stat -c '%n %F %a %u:%g' {} +; find "$@" -xdev -type f -exec sha256sum {} +; } | LC_ALL=C sort`)
}

// person is somebody with a key and a certificate, or only a key.
type person struct {
	login string
	dir   string
}

func (r *rig) person(login string, certified bool) person {
	r.Helper()
	who := person{login: login, dir: r.TempDir()}
	key := filepath.Join(who.dir, "key")
	if out, err := exec.Command("/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		r.Fatalf("%v: %s", err, out)
	}
	raw, err := os.ReadFile(key + ".pub")
	if err != nil {
		r.Fatal(err)
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(raw)
	if err != nil {
		r.Fatal(err)
	}
	if certified {
		r.certify(who, public, ident.New(ident.User), "")
	}
	return who
}

func (r *rig) certify(who person, public ssh.PublicKey, user, glass string) {
	r.Helper()
	if err := os.WriteFile(filepath.Join(who.dir, "key-cert.pub"), []byte(sshcert.Line(r.p.userCert(public, user, who.login, glass))+"\n"), 0o600); err != nil {
		r.Fatal(err)
	}
}

func (who person) public(t *rig) string {
	raw, err := os.ReadFile(filepath.Join(who.dir, "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// ssh runs a command on the host as who. The host is known by the team's host
// CA alone, unless plain says that its key is taken as it is. With the key exchange that is
// left out OpenSSH 8.5 to 9.8 works for a tenth of a second, on either side.
func (r *rig) ssh(who person, plain bool, command ...string) *exec.Cmd {
	known := filepath.Join(who.dir, "known_hosts")
	os.WriteFile(known, []byte("@cert-authority *.cardea "+sshcert.Line(r.p.hostCA.PublicKey())+"\n"), 0o600)
	args := []string{"-F", "none", "-i", filepath.Join(who.dir, "key"), "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "LogLevel=ERROR", "-o", "KexAlgorithms=-sntrup761*", "-o", "UserKnownHostsFile=" + known}
	if plain {
		args = append(args, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
	} else {
		args = append(args, "-o", "StrictHostKeyChecking=yes", "-o", "HostKeyAlias="+r.p.server+".cardea")
	}
	args = append(args, who.login+"@"+r.h.Addr().String())
	return r.n.Command(context.Background(), "/usr/bin/ssh", append(args, command...)...)
}

func (r *rig) mayEnter(who person, command ...string) string {
	r.Helper()
	out, err := r.ssh(who, false, command...).CombinedOutput()
	if err != nil {
		r.Fatalf("%s cannot enter: %v: %s", who.login, err, out)
	}
	return string(out)
}

func (r *rig) mayNotEnter(who person) {
	r.Helper()
	out, err := r.ssh(who, false, "echo", "IN").CombinedOutput()
	if err == nil || strings.Contains(string(out), "IN") {
		r.Fatalf("%s can enter: %s", who.login, out)
	}
	if !strings.Contains(string(out), "Permission denied") && !strings.Contains(string(out), "Connection closed") {
		r.Fatalf("%s is kept out by something else: %s", who.login, out)
	}
}

// eventually waits for a condition on the host. It asks less and less often: many
// conditions are a dozen programs to run.
func (r *rig) eventually(what string, check func() bool) {
	r.Helper()
	pause := 30 * time.Millisecond
	for deadline := time.Now().Add(patience); !check(); time.Sleep(pause) {
		pause = min(pause*3/2, 500*time.Millisecond)
		if time.Now().After(deadline) {
			r.Fatalf("it never came to pass that %s", what)
		}
	}
}
