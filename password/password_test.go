package password

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestAPasswordIsKnownAgain(t *testing.T) {
	hash, err := Hash("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") || strings.Contains(hash, "horse") {
		t.Errorf("hash %q", hash)
	}
	for _, c := range []struct {
		name, hash, password string
		want                 bool
	}{
		{"the right one", hash, "correct horse", true},
		{"a wrong one", hash, "correct horsf", false},
		{"an empty one", hash, "", false},
		{"a longer one", hash, "correct horse ", false},
		{"an account without a password", "", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if ok, err := Verify(c.hash, c.password); ok != c.want || err != nil {
				t.Errorf("got %v, %v", ok, err)
			}
		})
	}
	if again, _ := Hash("correct horse"); again == hash {
		t.Error("two hashes have the same salt")
	}
}

func TestTheLengthIsBounded(t *testing.T) {
	long := strings.Repeat("a", MaxLength)
	hash, err := Hash(long)
	if err != nil {
		t.Fatal(err)
	}
	if ok, _ := Verify(hash, long); !ok {
		t.Error("a password at the limit is refused")
	}
	if _, err := Hash(long + "a"); err == nil {
		t.Error("a password over the limit is hashed")
	}
	if ok, _ := Verify(hash, long+"a"); ok {
		t.Error("what lies behind the limit does not count")
	}
}

func TestAMalformedHashIsAnErrorAndCostsNothing(t *testing.T) {
	good, _ := Hash("x")
	for name, hash := range map[string]string{
		"plain text":        "x",
		"another algorithm": strings.Replace(good, "argon2id", "argon2i", 1),
		"another version":   strings.Replace(good, "v=19", "v=16", 1),
		"all memory":        strings.Replace(good, "m=19456", "m=4294967295", 1),
		"a KiB too much":    strings.Replace(good, "m=19456", "m=65537", 1),
		"no memory":         strings.Replace(good, "m=19456", "m=0", 1),
		"endless passes":    strings.Replace(good, "t=2", "t=9", 1),
		"no pass":           strings.Replace(good, "t=2", "t=0", 1),
		"many lanes":        strings.Replace(good, "p=1", "p=200", 1),
		"more behind":       strings.Replace(good, "p=1$", "p=1,x$", 1),
		"a short key":       good[:len(good)-4],
		"a part more":       good + "$x",
	} {
		t.Run(name, func(t *testing.T) {
			best := time.Hour
			for range 3 {
				began := time.Now()
				if ok, err := Verify(hash, "x"); ok || !errors.Is(err, ErrMalformed) {
					t.Fatalf("got %v, %v", ok, err)
				}
				best = min(best, time.Since(began))
			}
			if best > 5*time.Millisecond {
				t.Errorf("took %s", best)
			}
		})
	}
}

func TestTimeDoesNotTellWhoExists(t *testing.T) {
	hash, _ := Hash("x")
	measure := func(hash string) time.Duration {
		best := time.Hour
		for range 8 {
			began := time.Now()
			Verify(hash, "y")
			best = min(best, time.Since(began))
		}
		return best
	}
	known, unknown := measure(hash), measure("")
	if ratio := float64(known) / float64(unknown); ratio < 1./3 || ratio > 3 {
		t.Errorf("a known account takes %s, an unknown one %s", known, unknown)
	}
}

// The queue takes Working+Waiting and not one more; a place is given back.
func TestTheQueueIsBounded(t *testing.T) {
	q := NewQueue()
	var working []func()
	for range Working {
		leave, err := q.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		working = append(working, leave)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	for range Waiting {
		wait.Go(func() {
			if _, err := q.enter(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("someone who waits got %v", err)
			}
		})
	}
	for len(q.places) < Working+Waiting {
		time.Sleep(time.Millisecond)
	}
	if _, err := q.Verify(t.Context(), "", "x"); !errors.Is(err, ErrBusy) {
		t.Errorf("one too many got %v", err)
	}
	cancel()
	wait.Wait()
	for _, leave := range working {
		leave()
	}
	if _, err := q.Hash(t.Context(), "x"); err != nil {
		t.Errorf("after the rush: %v", err)
	}
}

func BenchmarkVerify(b *testing.B) {
	hash, _ := Hash("x")
	for b.Loop() {
		Verify(hash, "x")
	}
}
