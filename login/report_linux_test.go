package login

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// inHome is a home whose keys go to files, with a device and its session.
func inHome(t *testing.T) (*Home, Device) {
	t.Helper()
	h, _, _ := home(t)
	h.NoKeyring, h.TPM = true, filepath.Join(h.Dir, "no TPM")
	d, err := h.Device()
	must(t, err)
	must(t, h.Save(session("before")))
	return h, d
}

// What the device says of itself goes with its next token, and no token comes without it.
func TestATokenIsRenewedWithWhatTheDeviceSaysOfItself(t *testing.T) {
	var said []api.NextToken
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in api.NextToken
		json.NewDecoder(r.Body).Decode(&in)
		said = append(said, in)
		json.NewEncoder(w).Encode(api.Token{AccessToken: "next", TokenType: "DPoP"})
	}))
	defer s.Close()
	h, d := inHome(t)
	saved := session("before")
	saved.URL, saved.Session.CreatedAt = s.URL, time.Now().Add(-time.Hour)
	must(t, h.Save(saved))
	slow, stop := context.WithCancel(t.Context())
	a := &Account{Home: h, Report: func(context.Context, Device) api.DeviceReport {
		stop() // somebody would not wait: what was not read must not pass for unknown
		return api.DeviceReport{ScreenLock: "unknown"}
	}}
	if err := a.Rotate(slow); err == nil || len(said) != 0 {
		t.Errorf("a report that was cut short: %v, %+v", err, said)
	}
	a = &Account{Home: h, Report: func(_ context.Context, d Device) api.DeviceReport {
		return api.DeviceReport{Key: d.Kind, ScreenLock: "no"}
	}}
	must(t, a.Rotate(t.Context()))
	if len(said) != 1 || said[0].DeviceReport != `{"key":"file","screen_lock":"no"}` {
		t.Errorf("it said %+v", said)
	}
	// A program says nothing of itself.
	saved.Token, saved.KeyFile = "before", d.Path
	saved.Session.ExpiresAt = time.Now().Add(12 * time.Hour)
	must(t, h.Save(saved))
	must(t, (&Account{Home: h, Report: a.Report}).Rotate(t.Context()))
	if len(said) != 2 || said[1].DeviceReport != "" {
		t.Errorf("a program said %+v", said)
	}
}
