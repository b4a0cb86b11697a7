package control

import (
	"net/url"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

func TestWhoeverWaitsForHisListHearsThatHisSessionEnded(t *testing.T) {
	s := newScene(t)
	known := must[api.Catalog](t, s.alice, "GET", "/v1/catalog", nil)
	if len(known.Servers) == 0 {
		t.Fatal("alice reaches nothing")
	}
	answer := make(chan error, 1)
	go func() {
		var got api.Catalog
		found, err := s.alice.api(0).Get(t.Context(), "/v1/catalog", url.Values{"version": {known.Version}, "wait": {"30"}}, &got)
		if err == nil && found {
			t.Errorf("a list of %d servers came", len(got.Servers))
		}
		answer <- err
	}()
	time.Sleep(300 * time.Millisecond) // the call waits by now; if not it is refused at the door, which is no failure
	if err := s.alice.api(1).Send(t.Context(), "POST", "/v1/logout", nil, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-answer:
		if api.KindOf(err) != api.SignIn {
			t.Errorf("got %v, want a word on signing in", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the call still waits")
	}
}
