package login

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/dpop"
)

// Patience is how long the loopback listener waits for the browser.
const Patience = 5 * time.Minute

// maxDeviceName is how much of the host's name the confirmation page gets, in
// bytes: that of a DNS label.
const maxDeviceName = 63

// ErrCancelled is wrapped when the person said no in the browser.
var ErrCancelled = errors.New("cancelled in the browser")

// Flow is one sign-in through a browser.
type Flow struct {
	// URL is the control plane's, as CleanURL gives it.
	URL string
	// Key is the device key.
	Key *dpop.Key
	// DeviceName is shown on the confirmation page; empty means the host's name.
	DeviceName string
	// HTTP is the transport; nil means api.NewHTTP's.
	HTTP *http.Client
	// UserAgent names the program and version.
	UserAgent string
	// Slow becomes that of its clients.
	Slow func()
	// Tell shows where to go and the code that the page must show.
	Tell func(url, code string)
	// Open shows the URL in a browser; OpenBrowser as a rule. It runs beside
	// the flow, and may outlast it as a browser does.
	Open func(url string) error
	// Unopened is told why Open failed, if the flow should wait on for a person
	// who opens the URL by hand. Nil ends the flow with that error.
	Unopened func(error)
	// Patience bounds the wait; zero means the constant.
	Patience time.Duration
	// Project is the name of the project for which a person shows once more who he is,
	// for Touch; empty signs in.
	Project string
	// Enrolment is the token of a fleet, which spares a new device the approval; empty for
	// none.
	Enrolment string
	// Waiting is the request of another device whose code the person typed here, to show
	// for it who he is; empty for a sign-in.
	Waiting string
	// Report is what the device says of itself.
	Report api.DeviceReport
	// Replaces is the name or id of the device in whose place this one comes, or else
	// ReplacesKey the thumbprint of its key; both empty for none.
	Replaces, ReplacesKey string
	// Before is the id of the session that this device had before, good or over; empty for
	// none.
	Before string
	// Paste asks the person for the address at which his browser ended, where that is on
	// another machine and cannot come back by itself. It obeys its context, and an error
	// of it only means that nobody is asked. Nil to wait for the browser alone.
	Paste func(ctx context.Context) (string, error)

	pause     func(time.Duration) <-chan time.Time // nil means time.After
	interrupt func(step string) error              // ends a change of keys as a kill would; nil never
}

// CleanURL takes the URL of a control plane as people type it: https:// may be
// missing, and a slash may stand at the end.
func CleanURL(raw string) (string, error) {
	raw = strings.TrimSpace(raw)
	if raw != "" && !strings.Contains(raw, "://") {
		raw = "https://" + raw
	}
	if err := api.CheckURL(raw); err != nil {
		return "", err
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "", err
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if port := u.Port(); port == "443" && u.Scheme == "https" || port == "80" && u.Scheme == "http" {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// Run signs in and returns the session with its token, not yet saved.
func (f Flow) Run(ctx context.Context) (Saved, error) {
	client := &api.Client{URL: f.URL, Prover: f.Key, HTTP: f.HTTP, UserAgent: f.UserAgent, Slow: f.Slow}
	team, b, err := f.browse(ctx, client)
	if err != nil {
		return Saved{}, err
	}
	in, err := client.Redeem(ctx, f.enrolled(url.Values{
		"grant_type": {"authorization_code"}, "client_id": {api.ClientID}, "code": {b.code},
		"code_verifier": {b.verifier}, "redirect_uri": {b.redirectURI},
	}))
	if err != nil {
		return Saved{}, err
	}
	return Saved{URL: f.URL, Team: team.Name, Token: in.AccessToken, Session: in.Session}, nil
}

// enrolled adds what there is of this device to tell: the token of the fleet, what it says of
// itself, which one it replaces.
func (f Flow) enrolled(form url.Values) url.Values {
	if text, err := json.Marshal(f.Report); err == nil && f.Report != (api.DeviceReport{}) {
		form.Set("device_report", string(text))
	}
	if f.Enrolment != "" {
		form.Set("enrolment_token", f.Enrolment)
	}
	return f.replacing(form)
}

// replacing adds which device this one comes in the place of, if it does: to what the page is
// told, and to what makes the session.
func (f Flow) replacing(form url.Values) url.Values {
	if f.Replaces != "" {
		form.Set("replaces", f.Replaces)
	}
	if f.ReplacesKey != "" {
		form.Set("replaces_key", f.ReplacesKey)
	}
	return form
}

// Program signs in a program, which has no browser: form says by what. The session is not
// yet saved.
func (f Flow) Program(ctx context.Context, form url.Values) (Saved, error) {
	client := &api.Client{URL: f.URL, Prover: f.Key, HTTP: f.HTTP, UserAgent: f.UserAgent, Slow: f.Slow}
	team, err := f.team(ctx, client)
	if err != nil {
		return Saved{}, err
	}
	in, err := client.Redeem(ctx, form)
	return Saved{URL: f.URL, Team: team.Name, Token: in.AccessToken, Session: in.Session, Thumbprint: f.Key.Thumbprint()}, err
}

// Touch has the person of client's session show once more who he is, for f.Project.
func (f Flow) Touch(ctx context.Context, client *api.Client) (api.Touched, error) {
	var out api.Touched
	_, b, err := f.browse(ctx, client)
	if err == nil {
		err = client.Send(ctx, http.MethodPost, "/v1/touch", api.TouchRequest{
			Project: f.Project, Code: b.code, CodeVerifier: b.verifier, RedirectURI: b.redirectURI,
		}, &out)
	}
	return out, err
}

// Approve has the person of client's session show who he is, and lets the device of
// f.Waiting sign in as him.
func (f Flow) Approve(ctx context.Context, client *api.Client) error {
	_, b, err := f.browse(ctx, client)
	if err != nil {
		return err
	}
	return client.Send(ctx, http.MethodPost, "/v1/device-codes/"+url.PathEscape(f.Waiting)+"/approve",
		api.ApproveWaiting{Code: b.code, CodeVerifier: b.verifier, RedirectURI: b.redirectURI}, nil)
}

// brought is what the browser brings back, and what goes with it.
type brought struct{ code, verifier, redirectURI string }

// browse sends the person to the browser, and waits for the code.
func (f Flow) browse(ctx context.Context, client *api.Client) (team api.Team, b brought, err error) {
	if team, err = f.team(ctx, client); err != nil {
		return team, b, err
	}
	state, verifier := rand.Text(), rand.Text()+rand.Text() // 128 and 256 bits
	back, err := listen(state, team.URL)
	if err != nil {
		return team, b, fmt.Errorf("wait for the browser: %w", err)
	}
	challenge := s256(verifier)
	query := url.Values{
		"response_type": {"code"}, "client_id": {api.ClientID}, "redirect_uri": {back.redirectURI()},
		"state": {state}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
		"dpop_jkt": {f.Key.Thumbprint()}, "device_name": {f.deviceName()},
	}
	if f.Project != "" {
		query.Set("project", f.Project)
	}
	if f.Waiting != "" {
		query.Set("device_request", f.Waiting)
	}
	f.replacing(query)
	address := f.URL + "/oauth/authorize?" + query.Encode()
	if f.Tell != nil {
		f.Tell(address, api.ConfirmationCode(challenge, f.Key.Thumbprint()))
	}
	code, err := f.visit(ctx, back, address)
	return team, brought{code, verifier, back.redirectURI()}, err
}

// team makes sure that a control plane of that very URL is there, before a
// person is sent anywhere: proofs are made for the URL that it knows itself by.
func (f Flow) team(ctx context.Context, client *api.Client) (api.Team, error) {
	var team api.Team
	if _, err := client.Get(ctx, "/v1/team", nil, &team); err != nil {
		return team, err
	}
	own, err := CleanURL(team.URL)
	if err != nil || team.Name == "" {
		return team, api.Errorf(api.Foreign, "%s did not answer as a control plane of Cardea does", f.URL).WithHint("check the URL")
	}
	if own != f.URL {
		return team, api.Errorf(api.Invalid, "the control plane at %s is called %s", f.URL, own).WithHint("type: cardea login %s", own)
	}
	return team, nil
}

// visit sends the person to the browser and waits for the code.
func (f Flow) visit(ctx context.Context, back *callback, address string) (string, error) {
	patience := f.Patience
	if patience == 0 {
		patience = Patience
	}
	ctx, late := context.WithTimeoutCause(ctx, patience, errLate)
	defer late()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() { // not waited for: a browser may stay open all day
		if err := f.Open(address); err != nil {
			if f.Unopened == nil {
				stop(err)
			} else if ctx.Err() == nil {
				f.Unopened(err)
			}
		}
	}()
	var asking sync.WaitGroup
	if f.Paste != nil {
		asking.Go(func() { back.paste(ctx, f.Paste) })
	}
	o, err := back.wait(ctx)
	cause := context.Cause(ctx)
	stop(nil)
	asking.Wait()
	switch {
	case err == nil && o.refused == api.NoSuchDevice:
		detail, hint, _ := strings.Cut(o.reason, "; ")
		return "", api.Errorf(api.Invalid, "%s", detail).WithHint("%s", hint)
	case err == nil && o.refused != "" && o.refused != "access_denied":
		return "", api.Errorf(api.Foreign, "the control plane refused the sign-in: %s", cmp.Or(o.reason, o.refused)).
			WithHint("check that both are of one version: cardea version")
	case err == nil && o.refused != "":
		return "", api.Errorf(api.Denied, "the sign-in was refused in the browser").WithHint("to try again type: cardea login").WithCause(ErrCancelled)
	case err == nil:
		return o.code, nil
	case errors.Is(cause, errLate):
		return "", needed("nobody came back from the browser within %s", patience)
	case cause != nil:
		return "", cause
	default:
		return "", err
	}
}

func (f Flow) deviceName() string {
	name := f.DeviceName
	if name == "" {
		name, _ = os.Hostname()
	}
	name = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, name)
	if len(name) > maxDeviceName {
		name = strings.ToValidUTF8(name[:maxDeviceName], "")
	}
	if name == "" {
		return "unnamed"
	}
	return name
}

// s256 is the code challenge of RFC 7636 section 4.2.
func s256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// HTTP is a client for a control plane whose certificate comes from the roots
// in caFile alone; those of the system if it is empty.
func HTTP(caFile string) (*http.Client, error) {
	if caFile == "" {
		return api.NewHTTP(nil), nil
	}
	text, err := readRoot(filepath.Clean(caFile))
	if err != nil {
		return nil, api.Errorf(api.Invalid, "read the TLS root: %s", err).WithHint("check --ca-file").WithCause(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, api.Errorf(api.Invalid, "%s holds no certificate in PEM form", caFile).WithHint("check --ca-file")
	}
	return api.NewHTTP(func(t *http.Transport) {
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}), nil
}

// maxRoot bounds the file of a TLS root, in bytes: the roots of a whole system
// have about 200 KiB.
const maxRoot = 1 << 20

func readRoot(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRoot {
		return nil, fmt.Errorf("%s is not a regular file of at most %d bytes", path, maxRoot)
	}
	return os.ReadFile(path)
}
