package filewatch

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-ssh/cardea/recording"
)

const (
	tapLog    = "CARDEA_TEST_TAP"
	sftpProg  = "/usr/lib/openssh/sftp-server"
	fromUser  = 'u'
	fromBelow = 's'
)

// TestMain lets the test binary stand in for ssh: sftp -S and scp -S run it. It runs
// what they ask for on this machine, and writes down what passes, in order.
func TestMain(m *testing.M) {
	if log := os.Getenv(tapLog); log != "" {
		os.Exit(tap(log, os.Args[1:]))
	}
	os.Exit(m.Run())
}

func tap(log string, args []string) int {
	command := args[len(args)-1]
	cmd := exec.Command("/bin/sh", "-c", command)
	if command == "sftp" {
		cmd = exec.Command(sftpProg)
	}
	out, err := os.Create(log)
	if err != nil {
		return 97
	}
	defer out.Close()
	cmd.Stderr = os.Stderr
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	down, err := cmd.StdoutPipe()
	if err != nil {
		return 97
	}
	up, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return 97
	}
	var mu sync.Mutex
	note := func(from byte, b []byte) {
		mu.Lock()
		defer mu.Unlock()
		out.Write(binary.BigEndian.AppendUint32([]byte{from}, uint32(len(b))))
		out.Write(b)
	}
	note('c', []byte(command))
	go func() {
		carry(up, os.Stdin, func(b []byte) { note(fromUser, b) })
		up.Close()
	}()
	carry(os.Stdout, down, func(b []byte) { note(fromBelow, b) })
	if cmd.Wait() != nil {
		return 1
	}
	return 0
}

func carry(to io.Writer, from io.Reader, note func([]byte)) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		note(b[:n])
		if n > 0 {
			to.Write(b[:n])
		}
		if err != nil {
			return
		}
	}
}

// seen is what a watcher emits, as text, and the count of the answers apart.
type seen struct {
	rows    []string
	answers recording.FileAction
}

func (s *seen) emit(kind recording.Kind, v any) {
	switch v := v.(type) {
	case recording.FileAction:
		if v.Action == "answers" {
			s.answers = v
			return
		}
		s.rows = append(s.rows, row(v))
	case recording.Missing:
		s.rows = append(s.rows, "GAP "+v.Why)
	default:
		panic(fmt.Sprint(kind, v))
	}
}

func row(a recording.FileAction) string {
	out := a.Action + " " + a.Path
	if a.To != "" {
		out += " -> " + a.To
	}
	if a.Entries > 0 {
		out += fmt.Sprintf(" %d names", a.Entries)
	}
	if a.SHA256 != "" && a.Entries == 0 {
		out += fmt.Sprintf(" %d %s", a.Size, a.SHA256[:8])
	}
	if a.Whole {
		out += " whole"
	}
	if a.Said != "" {
		out += " (" + a.Said + ")"
	}
	if a.Error != "" {
		out += ": " + a.Error
	}
	return out
}

// follow plays a log into a watcher, in pieces of random sizes.
func follow(t *testing.T, log string, random *rand.Rand) []string {
	t.Helper()
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var s seen
	var w *Watcher
	for len(data) > 0 {
		from, n := data[0], int(binary.BigEndian.Uint32(data[1:]))
		b := data[5 : 5+n]
		data = data[5+n:]
		if from == 'c' {
			if w = Subsystem(string(b), s.emit); w == nil {
				w = Exec(string(b), s.emit)
			}
			if w == nil {
				t.Fatalf("nobody watches %q", b)
			}
			continue
		}
		for len(b) > 0 {
			n := 1 + random.IntN(len(b))
			if random.IntN(3) == 0 {
				n = 1
			}
			if from == fromUser {
				w.FromUser(b[:n])
			} else {
				w.FromServer(b[:n])
			}
			b = b[n:]
		}
	}
	w.Close()
	return s.rows
}

// sums make the names of hashes for what is expected.
func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:4])
}

func TestWhatOpenSSHTransfersIsSeen(t *testing.T) {
	for _, p := range []string{"sftp", "scp"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip("SKIPPED: no " + p + " here")
		}
	}
	if _, err := os.Stat(sftpProg); err != nil {
		t.Skip("SKIPPED: no sftp-server here")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	usage, _ := exec.Command("scp").CombinedOutput()
	old := !strings.Contains(string(usage), "ABCO") // before 8.7 scp knew its own protocol alone
	random := rand.New(rand.NewPCG(1, 2))
	large := make([]byte, 3_000_001)
	for i := range large {
		large[i] = byte(random.Uint32())
	}
	small := []byte("hello\n")
	for _, tc := range []struct {
		name string
		args []string
		in   string
		fail bool
		want func(there string) []string
	}{
		{"sftp does all that its commands can", []string{"sftp", "-b", "-", "host"},
			"put HERE/large THERE/large\nput HERE/empty THERE/empty\nget THERE/large HERE/back\nls THERE\nmkdir THERE/d\nrename THERE/large THERE/d/moved\n" +
				"symlink THERE/d/moved THERE/link\nln THERE/d/moved THERE/hard\nchmod 600 THERE/d/moved\nrm THERE/hard\nget THERE/none\nrmdir THERE/d\nrm THERE/d/moved\nrmdir THERE/d\n",
			true, func(d string) []string {
				return []string{
					"upload " + d + "/large 3000001 " + sum(large) + " whole", "upload " + d + "/empty 0 " + sum(nil) + " whole",
					"download " + d + "/large 3000001 " + sum(large) + " whole", "list " + d + "/ 6 names whole",
					"mkdir " + d + "/d", "rename " + d + "/large -> " + d + "/d/moved", "symlink " + d + "/link -> " + d + "/d/moved",
					"link " + d + "/hard -> " + d + "/d/moved", "setstat " + d + "/d/moved", "remove " + d + "/hard",
				}
			}},
		{"a resumed upload is not whole", []string{"sftp", "-b", "-", "host"}, "put HERE/half THERE/large\nreput HERE/large THERE/large\n", false, func(d string) []string {
			return []string{"upload " + d + "/large 1500000 " + sum(large[:1_500_000]) + " whole", "upload " + d + "/large 1500001 " + sum(large[1_500_000:])}
		}},
		{"scp by SFTP", []string{"scp", "-s", "HERE/large", "host:THERE/x"}, "", false, func(d string) []string {
			return []string{"upload " + d + "/x 3000001 " + sum(large) + " whole"}
		}},
		{"scp by SFTP fetches", []string{"scp", "-s", "host:THERE/small", "HERE/x"}, "", false, func(d string) []string {
			return []string{"download " + d + "/small 6 " + sum(small) + " whole"}
		}},
		{"scp by its old protocol", []string{"scp", "-O", "HERE/large", "HERE/empty", "host:THERE"}, "", false, func(d string) []string {
			return []string{"upload " + d + "/large 3000001 " + sum(large) + " whole", "upload " + d + "/empty 0 " + sum(nil) + " whole"}
		}},
		{"scp by its old protocol to another name", []string{"scp", "-O", "HERE/large", "host:THERE/y"}, "", false, func(d string) []string {
			return []string{"upload " + d + "/y -> large 3000001 " + sum(large) + " whole"}
		}},
		{"scp by its old protocol fetches a tree", []string{"scp", "-O", "-p", "-r", "host:THERE/tree", "HERE/x"}, "", false, func(d string) []string {
			return []string{"list " + d + "/tree", "list " + d + "/tree/a", "download " + d + "/tree/a/one 6 " + sum(small) + " whole"}
		}},
		{"scp by its old protocol sends a tree", []string{"scp", "-O", "-p", "-r", "HERE/wood", "host:THERE/."}, "", false, func(d string) []string {
			return []string{"mkdir " + d + "/wood", "upload " + d + "/wood/two 6 " + sum(small) + " whole"}
		}},
		{"scp by its old protocol fails", []string{"scp", "-O", "HERE/small", "host:THERE/none/x"}, "", true, func(d string) []string {
			return []string{"upload " + d + "/none/x -> small: scp: " + d + "/none/x: No such file or directory"}
		}},
		{"scp by its old protocol fetches what is not there", []string{"scp", "-O", "host:THERE/none", "HERE/x"}, "", true, func(d string) []string {
			return []string{"download " + d + ": scp: " + d + "/none: No such file or directory"}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if old && slices.Contains(tc.args, "-s") {
				t.Skip("SKIPPED: this scp does not use SFTP")
			}
			here, there := t.TempDir(), t.TempDir()
			for name, data := range map[string][]byte{
				here + "/large": large, here + "/half": large[:1_500_000], here + "/empty": nil, here + "/small": small,
				there + "/small": small, there + "/tree/a/one": small, here + "/wood/two": small,
			} {
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			fill := strings.NewReplacer("HERE", here, "THERE", there)
			args := []string{"-S", self}
			for _, a := range tc.args[1:] {
				if old && a == "-O" {
					continue
				}
				args = append(args, fill.Replace(a))
			}
			cmd := exec.Command(tc.args[0], args...)
			log := filepath.Join(t.TempDir(), "log")
			cmd.Env = append(os.Environ(), tapLog+"="+log)
			cmd.Stdin = strings.NewReader(fill.Replace(tc.in))
			out, err := cmd.CombinedOutput()
			if (err != nil) != tc.fail {
				t.Fatalf("%v: %s", err, out)
			}
			for seed := range uint64(3) {
				got := follow(t, log, rand.New(rand.NewPCG(seed, 7)))
				// A directory of modes and times after a transfer is told too; not of interest here.
				got = slices.DeleteFunc(got, func(r string) bool { return strings.HasPrefix(r, "setstat") && tc.args[0] == "scp" })
				want := tc.want(there)
				if len(got) > len(want) && tc.fail {
					got = got[:len(want)]
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("seed %d (-want +got):\n%s\n%s", seed, d, bytes.TrimSpace(out))
				}
			}
		})
	}
}
