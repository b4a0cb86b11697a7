package signin

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

// Whatever a stranger writes into a link: it never leads anywhere but to a
// loopback address, and what is taken is whole.
func FuzzAuthorizationRequest(f *testing.F) {
	const good = "response_type=code&client_id=cardea&redirect_uri=http%3A%2F%2F127.0.0.1%3A43210%2Fcallback&state=s" +
		"&code_challenge=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA&code_challenge_method=S256&dpop_jkt=BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB&device_name=x"
	f.Add(good)
	f.Add(strings.Replace(good, "127.0.0.1%3A43210", "%5B%3A%3A1%5D%3A1", 1))
	f.Add(strings.Replace(good, "S256", "plain", 1))
	f.Add(strings.Replace(good, "127.0.0.1", "127.0.0.1%40evil", 1))
	f.Add(good + "&state=t&device_name=%1b%5b2J")
	s := New(Options{PublicURL: "https://access.example.com"})
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		r, refusal := s.parse(q)
		to := r.RedirectURI
		if refusal != nil {
			if to = refusal.Redirect; to == "" {
				return
			}
		} else if r.State == "" || len(r.State) > maxState || !digest.MatchString(r.Challenge) || !digest.MatchString(r.Thumbprint) || strings.ContainsAny(r.DeviceName, "\n\x1b\x00") {
			t.Errorf("taken: %+v", r)
		}
		u, err := url.Parse(to)
		if err != nil || u.Scheme != "http" || u.User != nil || u.Path != "/callback" || u.Hostname() != "127.0.0.1" && u.Hostname() != "::1" {
			t.Errorf("%q leads to %q", raw, to)
		}
	})
}

func FuzzCode(f *testing.F) {
	code := newCode("req_aaaaaaaaaaaaaaaaaaaa", time.Unix(1_800_000_000, 0))
	f.Add(code)
	f.Add("..")
	f.Add("req_aaaaaaaaaaaaaaaaaaaa.-1." + NewSecret())
	f.Fuzz(func(t *testing.T, code string) {
		request, _, ok := parseCode(code)
		if ok && !strings.HasPrefix(code, request+".") {
			t.Errorf("%q is of request %q", code, request)
		}
	})
	if _, since, ok := parseCode(code); !ok || since.Unix() != 1_800_000_000 {
		f.Error("a code of ours is not understood")
	}
}
