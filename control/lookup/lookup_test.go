package lookup

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

func TestAnIdIsAnIdAndAllElseIsAName(t *testing.T) {
	id := ident.New(ident.User)
	by := func(what string) func(context.Context, string) (string, error) {
		return func(_ context.Context, ref string) (string, error) {
			if strings.Contains(ref, "nobody") {
				return "", store.ErrNotFound
			}
			return what, nil
		}
	}
	k := Kind[string]{Name: "user", Prefix: ident.User, ByID: by("id"), ByName: by("name")}
	for ref, want := range map[string]string{
		id: "id", "alice": "name", id + "a": "name", "grp_" + id[4:]: "name",
		"": "", "nobody": "", strings.Repeat("a", maxRef): "name", strings.Repeat("a", maxRef+1): "",
	} {
		got, err := Find(t.Context(), k, ref)
		if got != want || (want == "") != (api.KindOf(err) == api.NotFound) {
			t.Errorf("%q: got %q, %v; want %q", ref, got, err, want)
		}
	}
	_, err := Find(t.Context(), k, "nobody\x1b[2J")
	if strings.ContainsAny(err.Error(), "\x1b\n") || !strings.Contains(err.Error(), "cardea admin users list") {
		t.Errorf("the sentence %q repeats control characters or has no hint", err)
	}
}

func TestATimeIsShownAsItIsTyped(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Hour: "1h", 90 * time.Minute: "1h30m", 10 * time.Minute: "10m", 45 * time.Second: "45s", 100 * time.Hour: "100h",
		time.Hour + 30*time.Second: "1h0m30s", 61 * time.Second: "1m1s", 20 * time.Second: "20s", 0: "0s",
	} {
		if got := Span(d); got != want {
			t.Errorf("%s: %s", d, got)
		}
		if back, err := time.ParseDuration(Span(d)); err != nil || back != d {
			t.Errorf("%s reads back as %s, %v", d, back, err)
		}
	}
}

func TestPagesAreBounded(t *testing.T) {
	for in, want := range map[int]int{0: api.PageSize, -1: api.PageSize, 1: 1, api.MaxPageSize: api.MaxPageSize, api.MaxPageSize + 1: api.MaxPageSize} {
		if got := Page(api.Page{Limit: in}).Limit; got != want {
			t.Errorf("%d: got %d, want %d", in, got, want)
		}
	}
}

// bell is a watcher whose topics all ring together.
type bell chan chan struct{}

func (b bell) Watch(context.Context, ...string) <-chan struct{} {
	c := make(chan struct{})
	b <- c
	return c
}

func TestAwaitMissesNoChange(t *testing.T) {
	b := make(bell, 16)
	reads := 0
	read := func(context.Context) (*int, []string, error) {
		reads++
		if reads == 1 {
			close(<-b) // a change while the first read is on its way
			return nil, []string{"t"}, nil
		}
		return &reads, nil, nil
	}
	got, err := Await(t.Context(), b, time.Minute, []string{"t"}, read)
	if err != nil || got == nil || *got != 2 {
		t.Errorf("got %v, %v after %d reads", got, err, reads)
	}
}

func TestAwaitReadsAgainUnderTheTopicsThatItLearnt(t *testing.T) {
	b := make(bell, 16)
	reads := 0
	got, err := Await(t.Context(), b, 30*time.Millisecond, nil, func(context.Context) (*int, []string, error) {
		reads++
		return nil, []string{"learnt"}, nil
	})
	if got != nil || err != nil || reads != 2 || len(b) != 1 {
		t.Errorf("got %v, %v, %d reads, %d watches", got, err, reads, len(b))
	}
}

// A watcher may wake without reason, for example while the database is away.
func TestAwaitDoesNotSpin(t *testing.T) {
	reads := 0
	_, err := Await(t.Context(), ringing{}, 4*pace, []string{"t"}, func(context.Context) (*int, []string, error) {
		reads++
		return nil, []string{"t"}, nil
	})
	if err != nil || reads > 6 {
		t.Errorf("%d reads in %s, %v", reads, 4*pace, err)
	}
}

type ringing struct{}

func (ringing) Watch(context.Context, ...string) <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func TestAwaitEndsWithItsCaller(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b := make(bell, 16)
	time.AfterFunc(10*time.Millisecond, cancel)
	_, err := Await(ctx, b, time.Minute, []string{"t"}, func(context.Context) (*int, []string, error) { return nil, []string{"t"}, nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	fault := errors.New("fault")
	_, err = Await(t.Context(), b, time.Minute, nil, func(context.Context) (*int, []string, error) { return nil, nil, fault })
	if !errors.Is(err, fault) {
		t.Errorf("got %v", err)
	}
}

func TestWaitIsBoundedAndSpread(t *testing.T) {
	if Wait(-1) != 0 || Wait(0) != 0 {
		t.Error("no wait was asked for")
	}
	for range 100 {
		if d := Wait(100000); d > api.LongPoll || d < api.LongPoll*9/10 {
			t.Fatalf("waits %s", d)
		}
	}
}

func TestAHintNamesAVerbOfOneWord(t *testing.T) {
	for what, verb := range map[string]string{"server": "servers list", "enrolment rule": "enrolment-rules list"} {
		if e := Missing(what, "x"); !strings.HasSuffix(e.Hint, "type: cardea admin "+verb) {
			t.Errorf("%s: %q", what, e.Hint)
		}
	}
}
