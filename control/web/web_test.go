package web

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
)

var update = flag.Bool("update", false, "write what the pages are now into testdata")

func pages(t *testing.T) *Pages {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// hostile is every place of every page filled with the same text.
func hostile(s string) map[string]func(*Pages, *bytes.Buffer) error {
	frame, asked := Frame{s, s}, Request{s, s, s, s, s, s, s, s, s, s, s, s, s, true}
	field := Field{Name: s, Type: s, Doc: s, Ref: s, Needed: true}
	return map[string]func(*Pages, *bytes.Buffer) error{
		"signin": func(p *Pages, b *bytes.Buffer) error {
			return p.SignIn(b, SignIn{s, s, s, s, s, false, true, s, s, []Provider{{s, s}}})
		},
		"confirm": func(p *Pages, b *bytes.Buffer) error {
			return p.Confirm(b, Confirm{s, s, s, s + "2", s, s, s, s, "", false, true, s, ""})
		},
		"confirm-device": func(p *Pages, b *bytes.Buffer) error {
			return p.Confirm(b, Confirm{s, s, s, s + "2", s, s, s, "", s, true, true, "", s})
		},
		"device": func(p *Pages, b *bytes.Buffer) error { return p.Device(b, Device{s, s}) },
		"factor": func(p *Pages, b *bytes.Buffer) error {
			return p.Factor(b, Factor{s, s, s, true, true, s, s})
		},
		"account": func(p *Pages, b *bytes.Buffer) error {
			return p.Account(b, Account{s, s, s, s, false, []AccountFactor{{s, s, true, s, s}}, 3, true, s})
		},
		"totp":     func(p *Pages, b *bytes.Buffer) error { return p.TOTP(b, TOTP{s, s, s, s, s}) },
		"password": func(p *Pages, b *bytes.Buffer) error { return p.Password(b, Password{s, s, s, s}) },
		"passkey":  func(p *Pages, b *bytes.Buffer) error { return p.Passkey(b, Passkey{s, s, s}) },
		"recovery": func(p *Pages, b *bytes.Buffer) error { return p.Recovery(b, Recovery{s, s, "/account", []string{s}}) },
		"enter":    func(p *Pages, b *bytes.Buffer) error { return p.Enter(b, Enter{s, s, s}) },
		"requests": func(p *Pages, b *bytes.Buffer) error {
			return p.Requests(b, Requests{frame, []Request{asked}, []Request{asked}, []Request{asked}, true, 60})
		},
		"request": func(p *Pages, b *bytes.Buffer) error {
			return p.Request(b, RequestPage{frame, asked, true, true, true, true, []Span{{60, s}}, s, s, "", ""})
		},
		"request-again": func(p *Pages, b *bytes.Buffer) error {
			return p.Request(b, RequestPage{frame, asked, false, true, true, true, []Span{{60, s}}, s, s, s, ""})
		},
		"request-elsewhere": func(p *Pages, b *bytes.Buffer) error {
			return p.Request(b, RequestPage{frame, asked, false, true, true, true, nil, "", s, "", s})
		},
		"setup":   func(p *Pages, b *bytes.Buffer) error { return p.Setup(b, Setup{s, s, s, s}) },
		"message": func(p *Pages, b *bytes.Buffer) error { return p.Message(b, Message{s, s, s, s, s, s, s}) },
		"docs": func(p *Pages, b *bytes.Buffer) error {
			return p.Docs(b, Docs{s, s, s,
				[]Group{{s, []Call{{ID: s, Method: s, Path: s, Doc: s, Access: s, Parameters: []Field{field}, In: s, Out: s, List: true}}}},
				[]Type{{s, []Field{field}}}})
		},
	}
}

// shape is the elements and attribute names of a page: what text must not change.
func shape(t *testing.T, page []byte) string {
	t.Helper()
	root, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			b.WriteString(n.Data)
			for _, a := range n.Attr {
				b.WriteString(" " + a.Key)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func TestTextOfStrangersIsInert(t *testing.T) {
	p := pages(t)
	for _, evil := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onfocus='alert(1)' autofocus x='`,
		`</title><script>`, `javascript:alert(1)`, `<!--`, `{{.Team}}`, "\u202eevil", `&lt;script&gt;`, `</textarea><svg onload=alert(1)>`,
	} {
		for name, render := range hostile(evil) {
			var got, want bytes.Buffer
			if err := render(p, &got); err != nil {
				t.Fatal(err)
			}
			if err := hostile("plain")[name](p, &want); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(shape(t, want.Bytes()), shape(t, got.Bytes())); d != "" {
				t.Errorf("%s with %q has other elements:\n%s", name, evil, d)
			}
		}
	}
}

// What the content security policy forbids must not be there in the first place.
func TestPagesHoldNothingThatThePolicyForbids(t *testing.T) {
	p := pages(t)
	inline := regexp.MustCompile(`(?i)<script|<style|\sstyle=|\son[a-z]+=|javascript:|https?://`)
	for name, render := range hostile("plain") {
		var b bytes.Buffer
		if err := render(p, &b); err != nil {
			t.Fatal(err)
		}
		page := b.String()
		if name == "factor" || name == "passkey" { // what their policy allows: one file of ours
			page = regexp.MustCompile(`<script src="/static/[^"]+"></script>`).ReplaceAllString(page, "")
		}
		if m := inline.FindString(page); m != "" {
			t.Errorf("%s holds %q", name, m)
		}
		for _, m := range regexp.MustCompile(`(?:src|href)="(/static/[^"]+)"`).FindAllStringSubmatch(b.String(), -1) {
			if _, ok := p.Static(m[1]); !ok {
				t.Errorf("%s names %s, which is not there", name, m[1])
			}
		}
	}
	css, _ := files.ReadFile("static/cardea.css")
	if m := regexp.MustCompile(`(?i)url\(|@import`).Find(css); m != nil {
		t.Errorf("the style sheet loads something: %s", m)
	}
}

func TestEveryFieldHasALabel(t *testing.T) {
	var b bytes.Buffer
	if err := pages(t).SignIn(&b, SignIn{}); err != nil {
		t.Fatal(err)
	}
	root, _ := html.Parse(&b)
	labels, fields := map[string]bool{}, []string{}
	for n := range root.Descendants() {
		if n.Data == "label" {
			labels[value(n, "for")] = true
		}
		if n.Data == "input" && value(n, "type") != "hidden" {
			fields = append(fields, value(n, "id"))
		}
	}
	for _, id := range fields {
		if !labels[id] {
			t.Errorf("field %q has no label", id)
		}
	}
	if len(fields) != 2 {
		t.Errorf("%d fields, want name and password", len(fields))
	}
}

func value(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func TestPages(t *testing.T) {
	p := pages(t)
	for name, render := range map[string]func(*bytes.Buffer) error{
		"signin": func(b *bytes.Buffer) error {
			return p.SignIn(b, SignIn{Team: "demo", Request: "req_1", Device: "alice's laptop", Code: "ABCD-2345"})
		},
		"signin-again": func(b *bytes.Buffer) error {
			return p.SignIn(b, SignIn{Team: "demo", Request: "req_1", Device: "laptop", Code: "ABCD-2345", Name: "alice", Problem: "the name or the password is wrong"})
		},
		"signin-providers": func(b *bytes.Buffer) error {
			return p.SignIn(b, SignIn{Team: "demo", Request: "req_1", Device: "laptop", Code: "ABCD-2345", Problem: "Okta does not answer.",
				Providers: []Provider{{"Okta", "/sso/okta?request=req_1"}, {"Entra <ID>", "/sso/entra?request=req_1"}}})
		},
		"confirm": func(b *bytes.Buffer) error {
			return p.Confirm(b, Confirm{Team: "demo", Request: "req_1", User: "alice", Login: "alice", Device: "laptop", Source: "192.0.2.1", Code: "ABCD-2345"})
		},
		"confirm-device": func(b *bytes.Buffer) error {
			return p.Confirm(b, Confirm{Team: "demo", Request: "req_1", User: "alice", Login: "alice", Device: "build", Source: "192.0.2.1", Origin: "198.51.100.7", Elsewhere: true})
		},
		"device": func(b *bytes.Buffer) error {
			return p.Device(b, Device{"demo", "No device waits with this code."})
		},
		"signin-device": func(b *bytes.Buffer) error {
			return p.SignIn(b, SignIn{Team: "demo", Request: "req_1", Device: "build"})
		},
		"signin-account": func(b *bytes.Buffer) error { return p.SignIn(b, SignIn{Team: "demo", Request: "account"}) },
		"confirm-replace": func(b *bytes.Buffer) error {
			return p.Confirm(b, Confirm{Team: "demo", Request: "req_1", User: "alice", Login: "alice", Device: "laptop", Source: "192.0.2.1", Code: "ABCD-2345", Replaces: true, InPlaceOf: "old (dev_1)"})
		},
		"confirm-missing": func(b *bytes.Buffer) error {
			return p.Confirm(b, Confirm{Team: "demo", Request: "req_1", User: "alice", Login: "alice", Device: "laptop", Source: "192.0.2.1", Code: "ABCD-2345", Replaces: true, Missing: "You have no device <old>"})
		},
		"confirm-project": func(b *bytes.Buffer) error {
			return p.Confirm(b, Confirm{Team: "demo", Request: "req_1", User: "alice", Login: "alice", Device: "laptop", Source: "192.0.2.1", Code: "ABCD-2345", Project: "pay"})
		},
		"factor": func(b *bytes.Buffer) error {
			return p.Factor(b, Factor{Team: "demo", Request: "req_1", User: "alice", TOTP: true, Codes: true, Passkey: `{"challenge":"x"}`})
		},
		"account": func(b *bytes.Buffer) error {
			return p.Account(b, Account{Team: "demo", Request: "account", User: "alice", Codes: 9, Passkeys: true,
				Factors: []AccountFactor{{"fac_1", "telephone", false, "2026-11-01 12:00 UTC", "never"}}})
		},
		"account-must": func(b *bytes.Buffer) error {
			return p.Account(b, Account{Team: "demo", Request: "req_1", User: "alice", Device: "laptop", Must: true})
		},
		"totp": func(b *bytes.Buffer) error {
			return p.TOTP(b, TOTP{Team: "demo", Request: "account", Secret: "gezd gnbv", URI: "otpauth://totp/demo:alice?secret=GEZDGNBV"})
		},
		"signin-dashboard": func(b *bytes.Buffer) error {
			return p.SignIn(b, SignIn{Team: "demo", Request: "req_1", Dashboard: true})
		},
		"enter": func(b *bytes.Buffer) error { return p.Enter(b, Enter{"demo", "req_1", "bob"}) },
		"requests": func(b *bytes.Buffer) error {
			return p.Requests(b, Requests{Frame: Frame{"demo", "bob"}, Anew: 60, Waiting: []Request{
				{ID: "rqs_1", State: "pending", User: "alice", To: "web/prod-1", For: "2h", Reason: "the disk is <full>", Asked: "2026-11-21 12:00 UTC", Since: "12m"}}})
		},
		"request": func(b *bytes.Buffer) error {
			return p.Request(b, RequestPage{Frame: Frame{"demo", "bob"}, Answers: true, Spans: []Span{{300, "5m"}, {3600, "1h"}}, Request: Request{
				ID: "rqs_1", State: "pending", User: "alice", To: "web/prod-1", Group: "oncall", Rule: "rqr_1", For: "2h", Reason: "the disk is full",
				Asked: "2026-11-21 12:00 UTC", Since: "12m", Until: "2026-11-22 12:00 UTC"}})
		},
		"request-elsewhere": func(b *bytes.Buffer) error {
			return p.Request(b, RequestPage{Frame: Frame{"demo", "bob"}, Answers: true, NotHere: "A browser is no approved device.", Request: Request{
				ID: "rqs_1", State: "pending", User: "alice", To: "web", Group: "oncall", Rule: "rqr_1", For: "2h", Reason: "x", Asked: "2026-11-21 12:00 UTC", Since: "12m"}})
		},
		"request-over": func(b *bytes.Buffer) error {
			return p.Request(b, RequestPage{Frame: Frame{"demo", "bob"}, Own: true, Ends: true, Problem: "The request does not wait any more: it is approved.", Request: Request{
				ID: "rqs_1", State: "approved", User: "bob", To: "web", Group: "oncall", Rule: "rqr_1", For: "2h", Reason: "x", Asked: "2026-11-21 12:00 UTC", Since: "12m",
				Until: "2026-11-22 12:00 UTC", By: "carol", Answer: "until noon", InAdvance: true}})
		},
		"passkey": func(b *bytes.Buffer) error { return p.Passkey(b, Passkey{"demo", "account", `{"challenge":"x"}`}) },
		"password": func(b *bytes.Buffer) error {
			return p.Password(b, Password{"demo", "account", "alice", "The present password is wrong."})
		},
		"setup": func(b *bytes.Buffer) error { return p.Setup(b, Setup{Team: "demo"}) },
		"setup-named": func(b *bytes.Buffer) error {
			return p.Setup(b, Setup{Team: "demo", Code: "x", User: "alice"})
		},
		"recovery": func(b *bytes.Buffer) error {
			return p.Recovery(b, Recovery{"demo", "req_1", "/confirm", []string{"abcd-efgh-ijkl-mnop"}})
		},
		"message": func(b *bytes.Buffer) error {
			return p.Message(b, Message{Team: "demo", Title: "This sign-in is over", Text: "It was finished before", Hint: "Type cardea login", ID: "call_1"})
		},
		"docs": func(b *bytes.Buffer) error {
			return p.Docs(b, Docs{Team: "demo", URL: "https://a.example", Version: "1", Types: []Type{{"Team", []Field{{Name: "name", Type: "string", Needed: true}}}},
				Groups: []Group{{"team", []Call{{ID: "get-team", Method: "GET", Path: "/v1/team", Doc: "The team", Access: "public", Out: "Team"}}}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := render(&b); err != nil {
				t.Fatal(err)
			}
			// The hash of a static file is no part of how a page reads.
			got := regexp.MustCompile(`/static/[0-9a-f]{16}/`).ReplaceAll(b.Bytes(), []byte("/static/HASH/"))
			golden := filepath.Join("testdata", name+".html")
			if *update {
				os.MkdirAll("testdata", 0o755)
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("differs from %s (run with -update to accept):\n%s", golden, d)
			}
		})
	}
}
