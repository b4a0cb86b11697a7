//go:build unix

package recording

import (
	"bufio"
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
)

// recordFor makes the test binary record into a folder until it is killed, to the
// recipient in the variable after it. Each event that Record has taken it tells.
const recordFor = "CARDEA_TEST_RECORD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(recordFor); dir != "" {
		if err := recordForEver(dir, os.Getenv(recordFor+"_TO")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func recordForEver(dir, recipient string) error {
	recipients, err := ParseRecipients([]string{recipient})
	if err != nil {
		return err
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	w, err := NewWriter(folder(dir), WriterOptions{
		Header: Header{Session: "ses_a", Gateway: "gw_a"}, Recipients: recipients,
		Key: func() (ed25519.PrivateKey, error) { return key, nil }, SegmentBytes: 20_000, CheckBytes: 5_000,
	})
	if err != nil {
		return err
	}
	fmt.Printf("key %x\n", publicOf(key))
	for i := 0; ; i++ {
		if err := w.Record(Event{Channel: 1, Kind: Output, Data: fmt.Appendf(nil, "%d\n", i)}); err != nil {
			return err
		}
		fmt.Printf("%d\n", i) // one write, so all of it is there or nothing
	}
}

// SOAK=1 kills 1,000 of them.
func TestAWriterThatIsKilledLosesNothingThatItTook(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	identity, _ := newReaderKey(t)
	kills := 8
	if soak() {
		kills = 1000
	}
	random := rand.New(rand.NewPCG(5, 6))
	for range kills {
		killOne(t, self, identity, time.Duration(random.Int64N(int64(40*time.Millisecond))))
	}
}

func killOne(t *testing.T, self string, identity *age.X25519Identity, after time.Duration) {
	t.Helper()
	dir := folder(t.TempDir())
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), recordFor+"="+string(dir), recordFor+"_TO="+identity.Recipient().String())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("it does not begin")
	}
	var public []byte
	if _, err := fmt.Sscanf(lines.Text(), "key %x", &public); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(after, func() { cmd.Process.Kill() })
	taken := 0
	for lines.Scan() {
		if lines.Text() != fmt.Sprint(taken) {
			t.Fatalf("%q after %d", lines.Text(), taken)
		}
		taken++
	}
	cmd.Wait()

	next := newKey(t)
	numbers, err := Segments(dir.fs())
	if err != nil {
		t.Fatal(err)
	}
	got := recoverLast(t, dir, numbers, next)
	r, err := Verify(dir.fs(), VerifyOptions{Keys: KeySet(public, publicOf(next)), Head: got.Head})
	if err != nil || !r.Whole() || r.Cause != Interrupted {
		t.Fatalf("after %v: %+v, %v", after, r, err)
	}
	var text strings.Builder
	for _, e := range read(t, dir.fs(), identity) {
		if e.Kind == Output {
			text.Write(e.Data)
		}
	}
	for i, line := range strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n") {
		if line != fmt.Sprint(i) && text.Len() > 0 {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	if n := strings.Count(text.String(), "\n"); n < taken {
		t.Fatalf("killed after %v: %d of %d events are there", after, n, taken)
	}
}

// recoverLast ends the recording, in the segment before the last if that has no head.
func recoverLast(t *testing.T, dir folder, numbers []int, key ed25519.PrivateKey) Recovered {
	t.Helper()
	for i := len(numbers) - 1; i >= 0; i-- {
		name := filepath.Join(string(dir), SegmentName(numbers[i]))
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Recover(f, info.Size(), RecoverOptions{Key: key})
		if err == nil {
			return got
		}
		if err != ErrNoHead || os.Remove(name) != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("no segment has a head")
	return Recovered{}
}
