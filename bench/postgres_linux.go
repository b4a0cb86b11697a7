package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// errNoPostgres is why PostgreSQL is left out.
var errNoPostgres = errors.New("PostgreSQL is not installed (apt-get install postgresql)")

// postgres is a server of our own, as durable as it is installed.
type postgres struct {
	dir  string
	port int
	cmd  *exec.Cmd
}

// startPostgres starts the newest version there is. It refuses to run as root,
// so somebody else's name is used for it.
func startPostgres(ctx context.Context) (*postgres, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is good
	if len(found) == 0 {
		return nil, errNoPostgres
	}
	newest := func(a, b string) int { return major(a) - major(b) }
	bin := slices.MaxFunc(found, newest)
	who, err := unprivileged()
	if err != nil {
		return nil, err
	}
	p := &postgres{}
	if p.port, err = freePort(); err != nil {
		return nil, err
	}
	if p.dir, err = os.MkdirTemp("", "cardea-bench-pg"); err != nil {
		return nil, err
	}
	if err := p.start(ctx, bin, who); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func major(bin string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin))) // no number is no version
	return n
}

func unprivileged() (*syscall.Credential, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

func (p *postgres) start(ctx context.Context, bin string, who *syscall.Credential) error {
	if err := os.Chown(p.dir, int(who.Uid), int(who.Gid)); err != nil {
		return err
	}
	data := filepath.Join(p.dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
	initdb.Dir = p.dir
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	p.cmd = exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(p.port), "-c", "listen_addresses=", "-c", "unix_socket_directories="+p.dir)
	p.cmd.Dir = p.dir
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who, Pdeathsig: syscall.SIGQUIT, Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		err := exec.CommandContext(ctx, filepath.Join(bin, "pg_isready"), "-q", "-h", p.dir, "-p", strconv.Itoa(p.port)).Run()
		if err == nil {
			return nil
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return fmt.Errorf("postgres does not answer: %w", err)
		}
	}
}

// url is its default database, by the socket.
func (p *postgres) url() string {
	q := url.Values{"host": {p.dir}, "port": {strconv.Itoa(p.port)}, "user": {"postgres"}}
	return "postgres:///postgres?" + q.Encode()
}

// cpu is that of all its processes, ended ones included; nil has none.
func (p *postgres) cpu() (time.Duration, error) {
	if p == nil {
		return 0, nil
	}
	sum, err := cpuWithEnded(p.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	pids, err := childrenOf(p.cmd.Process.Pid)
	for _, pid := range pids {
		one, gone := cpuOf(pid)
		if gone == nil {
			sum += one
		}
	}
	return sum, err
}

func childrenOf(pid int) (pids []int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, field := range strings.Fields(string(text)) {
		if n, err := strconv.Atoi(field); err == nil {
			pids = append(pids, n)
		}
	}
	return pids, err
}

// Close ends the server and removes it.
func (p *postgres) Close() error {
	if p.cmd != nil && p.cmd.Process != nil {
		p.cmd.Process.Signal(syscall.SIGINT) // "fast shutdown"
		p.cmd.Wait()
	}
	return os.RemoveAll(p.dir)
}
