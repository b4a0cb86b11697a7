// Package pgtest starts a real PostgreSQL for tests: in a folder of its own, on
// a socket and a loopback port of its own, gone when the test ends. PostgreSQL
// refuses to run as root, so root starts it as postgres or nobody.
package pgtest

import (
	"bytes"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// startTime is how long PostgreSQL may take to answer for the first time.
const startTime = 30 * time.Second

// Server is a running PostgreSQL.
type Server struct {
	bin, dir string
	port     int
	cmd      *exec.Cmd
	exited   chan struct{}
	names    atomic.Int64
}

// Start starts a server for the length of the test, or skips the test where
// PostgreSQL is not installed. Without durable it never waits for the disk,
// which makes tests several times faster.
func Start(t testing.TB, durable bool) *Server {
	t.Helper()
	bin := binaries(t)
	dir, err := os.MkdirTemp("", "pgtest") // not t.TempDir: others cannot enter it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := giveAway(dir); err != nil {
		t.Skipf("SKIPPED: PostgreSQL does not run as root, and there is no other user to run it: %v", err)
	}
	s := &Server{bin: bin, dir: dir, port: freePort(t), exited: make(chan struct{})}
	s.initdb(t)
	s.write(t, durable)
	s.Up(t)
	t.Cleanup(s.Down)
	return s
}

// binaries finds the newest installed version.
func binaries(t testing.TB) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.SortFunc(found, func(a, b string) int { return version(a) - version(b) })
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1])
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path)
	}
	t.Skip("SKIPPED: PostgreSQL is not installed (apt-get install postgresql)")
	return ""
}

func version(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) initdb(t testing.TB) {
	t.Helper()
	cmd := exec.Command(filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	runAs(cmd)
	cmd.Dir = s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
}

func (s *Server) write(t testing.TB, durable bool) {
	t.Helper()
	conf := fmt.Sprintf("listen_addresses = '127.0.0.1'\nport = %d\nunix_socket_directories = '%s'\nmax_connections = 200\nshared_buffers = 64MB\n", s.port, s.dir)
	if !durable {
		conf += "fsync = off\nfull_page_writes = off\n"
	}
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(conf); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// Up starts the server, also after Kill, and waits until it answers.
func (s *Server) Up(t testing.TB) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), "-D", s.data())
	runAs(cmd)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.cmd, s.exited = cmd, make(chan struct{})
	go func(exited chan struct{}) {
		cmd.Wait()
		close(exited)
	}(s.exited)
	for end := time.Now().Add(startTime); ; time.Sleep(20 * time.Millisecond) {
		err := exec.Command(filepath.Join(s.bin, "pg_isready"), "-q", "-h", s.dir, "-p", strconv.Itoa(s.port)).Run()
		if err == nil {
			return
		}
		select {
		case <-s.exited:
			t.Fatalf("postgres ended:\n%s", out.String())
		default:
		}
		if time.Now().After(end) {
			s.Kill()
			t.Fatalf("postgres did not answer:\n%s", out.String())
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
	case <-time.After(10 * time.Second):
		s.cmd.Process.Kill()
		<-s.exited
	}
	s.cmd = nil
}

// Database makes an empty database and returns its URL.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", s.names.Add(1))
	s.SQL(t, "postgres", "CREATE DATABASE "+name)
	return s.URL(name)
}

// URL is how clients reach a database, by the socket.
func (s *Server) URL(database string) string {
	q := url.Values{"host": {s.dir}, "port": {strconv.Itoa(s.port)}, "user": {"postgres"}}
	return "postgres:///" + database + "?" + q.Encode()
}

// SQL runs statements with psql as the owner of everything and returns what it
// prints, unaligned.
func (s *Server) SQL(t testing.TB, database, statements string) string {
	t.Helper()
	out, err := s.TrySQL(database, statements)
	if err != nil {
		t.Fatalf("%s: %v\n%s", statements, err, out)
	}
	return out
}

// TrySQL is SQL for statements that may be refused.
func (s *Server) TrySQL(database, statements string) (string, error) {
	cmd := exec.Command(filepath.Join(s.bin, "psql"), "-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1",
		"-h", s.dir, "-p", strconv.Itoa(s.port), "-U", "postgres", "-d", database, "-c", statements)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
