//go:build !windows

package login

import (
	"context"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
)

// waits is a control plane that answers polls with these words, one after the other, and
// then with a session.
func waits(t *testing.T, answers ...error) (*apitest.Server, Flow, *[]time.Duration) {
	s := apitest.New(t)
	f := flow(t, s)
	s.Reply("POST", "/oauth/device", api.DeviceCode{DeviceCode: "secret", UserCode: "BCDF-GHJK", VerificationURI: s.URL + "/device", ExpiresIn: 600, Interval: 5})
	s.On("POST", "/oauth/token", func(c apitest.Call) (any, error) {
		form, err := url.ParseQuery(string(c.Body))
		if err != nil || form.Get("grant_type") != api.DeviceGrantType || form.Get("device_code") != "secret" || form.Get("client_id") != api.ClientID {
			t.Errorf("polled with %v, %v", form, err)
		}
		if len(answers) > 0 {
			err := answers[0]
			answers = answers[1:]
			return nil, err
		}
		token, session := s.SignIn(c.Thumbprint)
		return api.SignedIn{Token: api.Token{AccessToken: token, TokenType: "DPoP"}, Session: session}, nil
	})
	var paused []time.Duration
	f.pause = func(d time.Duration) <-chan time.Time {
		paused = append(paused, d)
		now := make(chan time.Time, 1)
		now <- time.Time{}
		return now
	}
	return s, f, &paused
}

func TestSignInByATypedCode(t *testing.T) {
	pending, slow := apitest.OAuth(api.AuthorizationPending), apitest.OAuth(api.SlowDown)
	s, f, paused := waits(t, pending, slow, pending, api.Errorf(api.Unavailable, "restarting"), pending)
	f.DeviceName, f.Enrolment, f.Report = "build", "cardea_enr_x", api.DeviceReport{Key: "tpm"}
	var shown api.DeviceCode
	saved, err := f.RunByCode(t.Context(), func(c api.DeviceCode) { shown = c })
	must(t, err)
	if saved.Session.UserName != "alice" || saved.URL != s.URL || saved.Team != "demo" || !s.Live(saved.Token) {
		t.Errorf("saved %+v", saved)
	}
	if shown.UserCode != "BCDF-GHJK" || shown.VerificationURI != s.URL+"/device" {
		t.Errorf("shown %+v", shown)
	}
	want := []time.Duration{5, 5, 10, 10, 20, 20}
	for i := range want {
		want[i] *= time.Second
	}
	if !slices.Equal(*paused, want) {
		t.Errorf("waited %v, want %v", *paused, want)
	}
	polled, err := url.ParseQuery(string(s.Calls("POST", "/oauth/token")[0].Body))
	if err != nil || polled.Get("enrolment_token") != "cardea_enr_x" || polled.Get("device_report") != `{"key":"tpm"}` {
		t.Errorf("polled with %v, %v", polled, err)
	}
	asked, err := url.ParseQuery(string(s.Calls("POST", "/oauth/device")[0].Body))
	if err != nil || asked.Get("device_name") != "build" {
		t.Errorf("asked with %v, %v", asked, err)
	}
}

func TestATypedCodeThatComesToNothing(t *testing.T) {
	for name, c := range map[string]struct {
		answer error
		kind   api.Kind
	}{
		"a no":                 {apitest.OAuth("access_denied"), api.Denied},
		"a code that is over":  {apitest.OAuth("expired_token"), api.Gone},
		"a client not welcome": {apitest.OAuth("unauthorized_client"), api.Denied},
	} {
		_, f, paused := waits(t, c.answer)
		if _, err := f.RunByCode(t.Context(), func(api.DeviceCode) {}); api.KindOf(err) != c.kind || len(*paused) != 1 {
			t.Errorf("%s: %v after %d waits", name, err, len(*paused))
		}
	}
	s, f, _ := waits(t)
	s.Reply("POST", "/oauth/device", api.DeviceCode{DeviceCode: "secret", UserCode: "BCDF-GHJK", VerificationURI: "https://evil.example.com/device", ExpiresIn: 600})
	if _, err := f.RunByCode(t.Context(), func(api.DeviceCode) { t.Error("shown") }); api.KindOf(err) != api.Foreign {
		t.Errorf("another address: %v", err)
	}
	s, f, _ = waits(t)
	f.pause = func(time.Duration) <-chan time.Time { return nil }
	s.Reply("POST", "/oauth/device", api.DeviceCode{DeviceCode: "secret", UserCode: "BCDF-GHJK", VerificationURI: s.URL + "/device", ExpiresIn: 1})
	if _, err := f.RunByCode(t.Context(), func(api.DeviceCode) {}); api.KindOf(err) != api.SignIn {
		t.Errorf("nobody comes: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := f.RunByCode(ctx, func(api.DeviceCode) { cancel() }); err == nil || api.KindOf(err) == api.SignIn {
		t.Errorf("interrupted: %v", err)
	}
}

func TestAnAddressThatIsPastedIsJudgedAsTheBrowsers(t *testing.T) {
	s := apitest.New(t)
	f := flow(t, s)
	asked, _ := url.Parse("")
	started := make(chan struct{})
	f.Open = func(string) error { return nil } // the browser is on another machine
	f.Tell = func(u, _ string) { asked, _ = url.Parse(u); close(started) }
	tries := 0
	f.Paste = func(context.Context) (string, error) {
		<-started
		back := asked.Query().Get("redirect_uri")
		good := back + "?" + url.Values{"code": {"the code"}, "state": {asked.Query().Get("state")}, "iss": {s.URL}}.Encode()
		tries++
		return []string{
			"", "the code", back + "?code=x", "http://127.0.0.1:1/callback?" + url.Values{"code": {"x"}, "state": {asked.Query().Get("state")}, "iss": {s.URL}}.Encode(),
			good[:len(good)-1], " " + good + "\n",
		}[tries-1], nil
	}
	_, err := f.Run(t.Context())
	if api.KindOf(err) != api.Gone { // the stub never gave that code: it came as far as there
		t.Errorf("got %v", err)
	}
	if tries != 6 || len(s.Calls("POST", "/oauth/token")) != 1 {
		t.Errorf("%d tries, %d codes redeemed", tries, len(s.Calls("POST", "/oauth/token")))
	}
}

func TestWindowsBrowserFromWithinItsLinux(t *testing.T) {
	have := func(names ...string) func(string) (string, error) {
		return func(name string) (string, error) {
			if slices.Contains(names, name) {
				return "/found/" + name, nil
			}
			return "", errNoRing
		}
	}
	for _, c := range []struct {
		release string
		find    func(string) (string, error)
		want    []string
	}{
		{"6.1.0-18-amd64", have("wslview", "rundll32.exe"), nil},
		{"5.15.90.1-microsoft-standard-WSL2", have("wslview", "rundll32.exe"), []string{"/found/wslview"}},
		{"4.4.0-19041-Microsoft", have("rundll32.exe"), []string{"/found/rundll32.exe", "url.dll,FileProtocolHandler"}},
		{"5.15.90.1-microsoft-standard-WSL2", have(), nil},
	} {
		if got := windowsBrowser(c.release, c.find); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.release, got, c.want)
		}
	}
}
