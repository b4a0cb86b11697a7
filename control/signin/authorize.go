package signin

import (
	"context"
	"crypto/subtle"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// maxState bounds the client's state, in bytes: we keep it for ten minutes.
const maxState = 512

// loopback is the only place where a browser is ever sent: a listener of the
// device itself, on the address and not the name (RFC 8252 section 7.3 and
// 8.3), on one fixed path.
var loopback = regexp.MustCompile(`^http://(?:127\.0\.0\.1|\[::1\]):([1-9][0-9]{0,4})/callback$`)

// digest is SHA-256 in base64url without padding: a challenge or a thumbprint.
var digest = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// Refusal is an authorization request that cannot be taken (RFC 6749 section
// 4.1.2.1). If Redirect is empty it must be shown to the person instead: it is
// not known to whom the browser would be sent.
type Refusal struct {
	Code, Reason string
	Redirect     string
}

func (r *Refusal) Error() string { return r.Reason }

// Begin takes the authorization request of a device and returns the id under
// which it is kept. A *Refusal says why it is not taken.
func (s *Service) Begin(ctx context.Context, q url.Values, b Browser) (id string, err error) {
	r, refusal := s.parse(q)
	if refusal != nil {
		return "", refusal
	}
	r.ID, r.CreatedAt = ident.New(ident.AuthRequest), s.now()
	r.ExpiresAt = r.CreatedAt.Add(RequestLife)
	r.BrowserHash, r.Source = hashOf(b.Token), b.Source
	// No audit row: anybody may follow a link, and nothing was asked of us yet.
	if err := s.Store.CreateAuthRequest(ctx, r, store.Meta{Now: r.CreatedAt}); err != nil {
		return "", err
	}
	return r.ID, nil
}

// parse checks the request in the order of RFC 6749: first whom it is from and
// where it would go, which is never answered with a redirect.
func (s *Service) parse(q url.Values) (store.AuthRequest, *Refusal) {
	one := func(name string) string {
		if len(q[name]) != 1 {
			return "" // section 3.1: at most once
		}
		return q[name][0]
	}
	redirect := one("redirect_uri")
	m := loopback.FindStringSubmatch(redirect)
	if m == nil {
		return store.AuthRequest{}, &Refusal{Code: "invalid_request", Reason: "the link does not lead back to a program on this computer"}
	}
	if port, err := strconv.Atoi(m[1]); err != nil || port > 65535 {
		return store.AuthRequest{}, &Refusal{Code: "invalid_request", Reason: "the link has an impossible port"}
	}
	if one("client_id") != api.ClientID {
		return store.AuthRequest{}, &Refusal{Code: "unauthorized_client", Reason: "the link is of a program that is not known here"}
	}
	r := store.AuthRequest{
		RedirectURI: redirect, State: one("state"), Challenge: one("code_challenge"),
		Thumbprint: one("dpop_jkt"), DeviceName: deviceName(one("device_name")), Project: one("project"),
		Replaces: one("replaces"), ReplacesKey: one("replaces_key"),
	}
	if other := one("device_request"); other != "" {
		r.Project = forDevice + other
	}
	code, reason := "invalid_request", ""
	switch {
	case r.State == "" || len(r.State) > maxState:
		r.State, reason = "", "state is missing or longer than "+strconv.Itoa(maxState)+" bytes"
	case one("response_type") != "code":
		code, reason = "unsupported_response_type", "response_type is not code"
	case one("code_challenge_method") != "S256" || !digest.MatchString(r.Challenge):
		reason = "code_challenge is not one of the method S256"
	case !digest.MatchString(r.Thumbprint):
		reason = "dpop_jkt is not the thumbprint of a key"
	case len(q["project"]) > 0 && ident.ProjectName(one("project")) != nil:
		r.Project, reason = "", "project is not the name of one"
	case len(q["device_request"]) > 0 && (len(q["project"]) > 0 || ident.Check(one("device_request"), ident.AuthRequest) != nil):
		reason = "device_request is not the id of a request, or is there beside a project"
	case len(q["device_name"]) > 1 || len(one("device_name")) > maxDevice:
		reason = "device_name is longer than " + strconv.Itoa(maxDevice) + " bytes"
	}
	if reason == "" {
		reason = replacing(r, q)
	}
	if reason != "" {
		return r, &Refusal{Code: code, Reason: reason, Redirect: s.back(r, url.Values{"error": {code}, "error_description": {reason}})}
	}
	return r, nil
}

// replacing is what is wrong with what a device says it comes in the place of; empty if nothing
// is, and if it comes in no device's place.
func replacing(r store.AuthRequest, q url.Values) string {
	given := len(q["replaces"]) + len(q["replaces_key"])
	switch {
	case given == 0:
		return ""
	case given > 1 || r.Replaces == "" && r.ReplacesKey == "":
		return "replaces and replaces_key name one device"
	case len(r.Replaces) > maxDevice || r.ReplacesKey != "" && !digest.MatchString(r.ReplacesKey) || r.ReplacesKey == r.Thumbprint:
		return "replaces is no id or name of a device, or replaces_key is not the thumbprint of another key"
	case r.Project != "":
		return "a device is replaced by a sign-in"
	}
	return ""
}

// deviceName makes what the device calls itself fit for a page and a log.
func deviceName(s string) string {
	if s = strings.TrimSpace(s); s == "" {
		return "unnamed device"
	}
	return ident.Text(s)
}

// back is the way back to the device: state and issuer go with every answer,
// so that it can tell this answer from one to another question (RFC 9207).
func (s *Service) back(r store.AuthRequest, answer url.Values) string {
	if r.State != "" {
		answer.Set("state", r.State)
	}
	answer.Set("iss", s.PublicURL)
	return r.RedirectURI + "?" + answer.Encode()
}

// Request is what a person is shown of a request.
type Request struct {
	ID, DeviceName, Source, Code string
	// Redirect is where the browser will be sent, without the answer.
	Redirect string
	// Project is the name, by the link, of what the person has to show again who he is
	// for; empty for a sign-in.
	Project string
	// Grant tells that the device has no browser and waits elsewhere, at the address Origin;
	// there is no code to compare then, because he typed it.
	Grant  bool
	Origin string
	// Other is the id of such a request of another device, whose code was typed in a
	// terminal here: this one only shows who he is for it.
	Other string
	// Dashboard tells that it is no device that waits, but a page of ours.
	Dashboard bool
	// Replaces tells that it is to come in the place of another device; InPlaceOf says which.
	Replaces bool
	since    time.Time
	row      store.AuthRequest
}

// Rests tells whether a yes to the request may rest on what the person showed at that
// time: for a project, and for a device elsewhere, only if he was asked for it.
func (r Request) Rests(shown time.Time) bool {
	return r.Project == "" && !r.Grant && r.Other == "" || !shown.Before(r.since)
}

// Show returns a request to the browser that began it. In another browser it
// is as if it were not there.
func (s *Service) Show(ctx context.Context, id string, b Browser) (Request, error) {
	r, err := s.request(ctx, id, b)
	if err != nil {
		return Request{}, err
	}
	shown := asked(r)
	shown.row, shown.Replaces = r, replaces(r)
	return s.other(ctx, shown)
}

func asked(r store.AuthRequest) Request {
	if r.Grant != "" {
		return Request{ID: r.ID, DeviceName: r.DeviceName, Source: r.Source, Grant: true, Origin: r.Origin, since: r.CreatedAt}
	}
	if r.Dashboard() {
		return Request{ID: r.ID, Source: r.Source, Project: r.Project, Dashboard: true, since: r.CreatedAt}
	}
	out := Request{
		ID: r.ID, DeviceName: r.DeviceName, Source: r.Source, Redirect: r.RedirectURI,
		Code: api.ConfirmationCode(r.Challenge, r.Thumbprint), Project: r.Project, Other: otherOf(r), since: r.CreatedAt,
	}
	if out.Other != "" {
		out.Project = ""
	}
	return out
}

func (s *Service) request(ctx context.Context, id string, b Browser) (store.AuthRequest, error) {
	return s.requestOf(ctx, id, hashOf(b.Token))
}

// requestOf finds an open request of this browser, or of what is in its place.
func (s *Service) requestOf(ctx context.Context, id string, browser []byte) (store.AuthRequest, error) {
	if ident.Check(id, ident.AuthRequest) != nil {
		return store.AuthRequest{}, gone(store.ErrNotFound)
	}
	r, err := s.Store.AuthRequest(ctx, id)
	switch {
	case err != nil:
		return r, gone(err)
	case subtle.ConstantTimeCompare(r.BrowserHash, browser) != 1:
		return r, gone(store.ErrNotFound)
	case r.User != "", !s.now().Before(r.ExpiresAt):
		return r, gone(store.ErrUsed)
	}
	return r, nil
}
