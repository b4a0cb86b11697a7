package bridge

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/cardea-ssh/cardea/internal/sshtest"
	"github.com/cardea-ssh/cardea/internal/tcptest"
	"github.com/cardea-ssh/cardea/recording"
)

// folder is where a benchmark's recording goes; it syncs nothing.
type folder string

func (f folder) Create(number int) (recording.Segment, error) {
	return os.Create(filepath.Join(string(f), recording.SegmentName(number)))
}

// toDisk is a change of a stage's options: record as a gateway does.
func toDisk(b testing.TB, dir string) func(*Options) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		b.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	return func(o *Options) {
		n++
		sub := filepath.Join(dir, strconv.Itoa(n))
		os.Mkdir(sub, 0o700)
		w, err := recording.NewWriter(folder(sub), recording.WriterOptions{
			Header: recording.Header{Session: "gse_1", Gateway: "gw_1", Started: time.Now()}, Recipients: []age.Recipient{identity.Recipient()},
			Key: func() (ed25519.PrivateKey, error) { return key, nil },
		})
		if err != nil {
			b.Fatal(err)
		}
		o.Recorder = w
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkBulk moves BRIDGE_MB (256) megabytes by exec, each way: zeros, which compress, and
// what does not.
func BenchmarkBulk(b *testing.B) {
	mb := 256
	if v := os.Getenv("BRIDGE_MB"); v != "" {
		mb, _ = strconv.Atoi(v)
	}
	dir, err := os.MkdirTemp("/dev/shm", "bridge-bench")
	if err != nil {
		b.Skip(err)
	}
	defer os.RemoveAll(dir)
	noise := filepath.Join(dir, "noise")
	random := make([]byte, mb<<20)
	rand.Read(random)
	if err := os.WriteFile(noise, random, 0o600); err != nil {
		b.Fatal(err)
	}
	s := newReal(b, toDisk(b, dir))
	direct := newDirect(b, s)
	for _, way := range []struct {
		name string
		args []string
	}{{"bridge", s.ssh}, {"direct", direct}, {"direct-gcm", append([]string{"-o", "Ciphers=aes128-gcm@openssh.com"}, direct...)}} {
		b.Run("down-random/"+way.name, func(b *testing.B) {
			for range b.N {
				measure(b, mb, func() {
					cmd := sshtest.Command(b, "ssh", append(append([]string{}, way.args...), "web-1", "openssl enc -aes-128-ctr -nosalt -pass pass:x -in /dev/zero 2>/dev/null | head -c "+strconv.Itoa(mb)+"M")...)
					cmd.Stdout = must(os.OpenFile(os.DevNull, os.O_WRONLY, 0))
					if err := cmd.Run(); err != nil {
						b.Fatal(err)
					}
				})
			}
		})
		b.Run("down/"+way.name, func(b *testing.B) {
			for range b.N {
				measure(b, mb, func() {
					cmd := sshtest.Command(b, "ssh", append(append([]string{}, way.args...), "web-1", fmt.Sprintf("head -c %dM /dev/zero", mb))...)
					cmd.Stdout = must(os.OpenFile(os.DevNull, os.O_WRONLY, 0))
					if err := cmd.Run(); err != nil {
						b.Fatal(err)
					}
				})
			}
		})
		b.Run("up/"+way.name, func(b *testing.B) {
			for range b.N {
				measure(b, mb, func() {
					cmd := sshtest.Command(b, "ssh", append(append([]string{}, way.args...), "web-1", "cat >/dev/null")...)
					cmd.Stdin = must(os.Open(noise))
					if out, err := cmd.CombinedOutput(); err != nil {
						b.Fatalf("%v: %s", err, out)
					}
				})
			}
		})
	}
}

func must(f *os.File, err error) *os.File {
	if err != nil {
		panic(err)
	}
	return f
}

func measure(b *testing.B, mb int, f func()) {
	before, began := cpu(), time.Now()
	f()
	took, spent := time.Since(began), cpu()-before
	b.ReportMetric(float64(mb)/took.Seconds(), "MB/s")
	b.ReportMetric(spent.Seconds()/float64(mb)*1024, "cpu-s/GiB")
}

// newDirect are the options of an ssh that goes to the server itself, on a socket with no
// delay, as the gateway's are.
func newDirect(b testing.TB, s *real) []string {
	identity := s.fresh.Write(b, filepath.Join(b.TempDir(), "id"))
	sshtest.WriteFile(b, filepath.Dir(identity), "id-cert.pub", sshtest.Line(s.user(s.userCA, s.fresh.PublicKey(), nil))+"\n")
	known := sshtest.WriteFile(b, b.TempDir(), "known_hosts", "@cert-authority * "+sshtest.Line(s.hostCA.PublicKey())+"\n")
	_, port, _ := net.SplitHostPort(tcptest.Serve(b, func(near net.Conn) {
		far, err := s.dial()
		if err != nil {
			return
		}
		defer far.Close()
		var both sync.WaitGroup
		both.Go(func() { io.Copy(far, near); far.(*net.TCPConn).CloseWrite() })
		both.Go(func() { io.Copy(near, far); near.(*net.TCPConn).CloseWrite() })
		both.Wait()
	}))
	return append(sshtest.Alone(), "-o", "UserKnownHostsFile="+known, "-o", "HostKeyAlias="+s.server+".cardea",
		"-o", "IdentityFile="+identity, "-o", "User="+s.login, "-o", "HostName=127.0.0.1", "-o", "Port="+port)
}

// BenchmarkTrue is the wall time of `ssh host true`.
func BenchmarkTrue(b *testing.B) {
	s := newReal(b, toDisk(b, b.TempDir()))
	direct := newDirect(b, s)
	for name, args := range map[string][]string{"bridge": s.ssh, "direct": direct} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				if got := sshtest.Run(b, sshtest.Command(b, "ssh", append(append([]string{}, args...), "web-1", "true")...)); got.Exit != 0 {
					b.Fatal(got)
				}
			}
		})
	}
}

// BenchmarkEcho is the time of a keystroke to a terminal and back.
func BenchmarkEcho(b *testing.B) {
	s := newReal(b, toDisk(b, b.TempDir()))
	conn := s.goClient(b)
	defer conn.Close()
	session, err := conn.NewSession()
	if err != nil {
		b.Fatal(err)
	}
	in, _ := session.StdinPipe()
	out, _ := session.StdoutPipe()
	if err := session.Start("cat"); err != nil {
		b.Fatal(err)
	}
	var one [1]byte
	b.ResetTimer()
	for range b.N {
		in.Write([]byte("x"))
		io.ReadFull(out, one[:])
	}
}
