// Package postgres starts a PostgreSQL of our own, for tests and benchmarks: in
// a folder of its own, on a socket there and nowhere else, gone when it is
// closed or its starter ends. PostgreSQL refuses to run as root, so root starts
// it as postgres or nobody.
package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNone is why there is no server on this machine.
var ErrNone = errors.New("PostgreSQL is not installed (apt-get install postgresql)")

// ErrNobody is why root cannot start one: nobody else is there to run it.
var ErrNobody = errors.New("PostgreSQL does not run as root, and there is no other user to run it")

const (
	// startTime is how long it may take to answer for the first time.
	startTime = time.Minute
	// stopTime is how long it may take to end before it is killed.
	stopTime = 10 * time.Second
	// port is part of the socket's name, and of nothing else: it listens on no
	// address.
	port = "5432"
)

// Server is a running PostgreSQL.
type Server struct {
	bin, dir string
	cmd      *exec.Cmd
	exited   chan struct{}
}

// Start makes a cluster and starts it, with lines for its postgresql.conf. With
// none it is as durable as it is installed.
func Start(ctx context.Context, settings ...string) (*Server, error) {
	return StartBelow(ctx, "", settings...)
}

// StartBelow is Start in a folder of its own below parent, which all may enter; empty
// for that of temporary files.
func StartBelow(ctx context.Context, parent string, settings ...string) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, "cardea-pg") // at the top: its user enters no private folder
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: dir}
	if err := s.begin(ctx, settings); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// binaries finds the newest installed version.
func binaries() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is good
	if len(found) > 0 {
		return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	return "", ErrNone
}

func version(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // no number is no version
	return n
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) begin(ctx context.Context, settings []string) error {
	if err := giveAway(s.dir); err != nil {
		return fmt.Errorf("%w: %w", ErrNobody, err)
	}
	initdb := exec.CommandContext(ctx, filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	runAs(initdb)
	initdb.Dir = s.dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	conf, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	settings = append([]string{"listen_addresses = ''", "port = " + port, "unix_socket_directories = '" + s.dir + "'"}, settings...)
	_, err = conf.WriteString(strings.Join(settings, "\n") + "\n")
	if err := errors.Join(err, conf.Close()); err != nil {
		return err
	}
	return s.Up(ctx)
}

// Up starts the server again after Down or Kill, and waits until it answers.
func (s *Server) Up(ctx context.Context) error {
	var out bytes.Buffer
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), "-D", s.data())
	runAs(cmd)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, &out, &out
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.exited = cmd, make(chan struct{})
	go func(exited chan struct{}) {
		cmd.Wait()
		close(exited)
	}(s.exited)
	for end := time.Now().Add(startTime); ; time.Sleep(20 * time.Millisecond) {
		err := exec.CommandContext(ctx, filepath.Join(s.bin, "pg_isready"), "-q", "-h", s.dir, "-p", port).Run()
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			s.cmd = nil
			return fmt.Errorf("postgres ended: %s", out.String())
		default:
		}
		if time.Now().After(end) || ctx.Err() != nil {
			s.Kill() // before out is read: the process writes to it
			return fmt.Errorf("postgres did not answer: %w: %s", err, out.String())
		}
	}
}

// Down stops the server at once: connections break, nothing committed is lost.
func (s *Server) Down() { s.signal(syscall.SIGQUIT) }

// Kill kills the server with kill -9.
func (s *Server) Kill() { s.signal(syscall.SIGKILL) }

func (s *Server) signal(sig syscall.Signal) {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Signal(sig)
	select {
	case <-s.exited:
	case <-time.After(stopTime):
		s.cmd.Process.Kill()
		<-s.exited
	}
	s.cmd = nil
}

// Close stops the server and removes it.
func (s *Server) Close() error {
	s.Down()
	return os.RemoveAll(s.dir)
}

// PID is that of its first process, the parent of the others; 0 if it is down.
func (s *Server) PID() int {
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// URL is how clients reach a database, by the socket.
func (s *Server) URL(database string) string {
	q := url.Values{"host": {s.dir}, "port": {port}, "user": {"postgres"}}
	return "postgres:///" + database + "?" + q.Encode()
}

// SQL runs statements with psql as the owner of everything and returns what it
// prints, unaligned, also where they are refused.
func (s *Server) SQL(database, statements string) (string, error) {
	cmd := exec.Command(filepath.Join(s.bin, "psql"), "-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1",
		"-h", s.dir, "-p", port, "-U", "postgres", "-d", database, "-c", statements)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
