package sshd

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/sshcert"
	"golang.org/x/crypto/ssh"
)

const server = "srv_abcdefghijklmnopqrst"

func caLine(t testing.TB) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return sshcert.Line(key)
}

func TestIncluded(t *testing.T) {
	for name, tc := range map[string]struct {
		config string
		want   bool
	}{
		"Debian's":                        {"# x\nInclude /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n", true},
		"relative, as sshd allows":        {"Include sshd_config.d/*.conf\n", true},
		"another case, equals and quotes": {"iNCLUDE=\"/etc/ssh/sshd_config.d/*.conf\"\n", true},
		"second of several":               {"Include /etc/a.conf /etc/ssh/sshd_config.d/50-*\n", true},
		"ours":                            {includeText, true},
		"none":                            {"UsePAM yes\n", false},
		"in a comment":                    {"#Include /etc/ssh/sshd_config.d/*.conf\n", false},
		"behind a comment on the line":    {"Include /etc/a.conf # /etc/ssh/sshd_config.d/*.conf\n", false},
		"another folder":                  {"Include /etc/ssh/other.d/*.conf\n", false},
		"after a Match, too late":         {"Match User bob\nInclude /etc/ssh/sshd_config.d/*.conf\n", false},
		"an empty file":                   {"", false},
		"the keyword alone":               {"Include", false},
	} {
		if got := included(tc.config); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
		changed := withInclude(tc.config)
		if !included(changed) || !strings.HasSuffix(changed, tc.config) || tc.want && changed != tc.config {
			t.Errorf("%s: became %q", name, changed)
		}
	}
}

func FuzzSplitLine(f *testing.F) {
	f.Add(`Include "a b" c=d # e`)
	f.Add(`"Match" =x`)
	f.Fuzz(func(t *testing.T, line string) {
		keyword, args := splitLine(line)
		if strings.ContainsAny(keyword, " \t=") || keyword == "" && args != nil {
			t.Errorf("%q: %q %q", line, keyword, args)
		}
		if included(withInclude(line)) != true {
			t.Errorf("%q: the Include is not found again", line)
		}
	})
}

func TestPrincipals(t *testing.T) {
	now := time.Date(2026, 11, 20, 23, 55, 0, 0, time.UTC)
	c := checked{Want: Want{Server: server, Logins: []string{"alice"}}, sources: []string{"10.0.0.0/24", "10.1.0.1"}, valid: DefaultPrincipals}
	files := c.principals(now, time.UTC, []string{"127.0.0.1", "10.0.0.5"})
	if got, want := string(files["alice"]), `from="10.0.0.0/24,10.1.0.1",expiry-time="202611271747" alice@`+server+"\n"; got != want {
		t.Errorf("alice: %q, want %q", got, want)
	}
	if got, want := string(files["cardea-canary"]), `restrict,from="127.0.0.1,10.0.0.5",expiry-time="202611271747" cardea-canary@`+server+"\n"; got != want {
		t.Errorf("canary: %q, want %q", got, want)
	}
	c.sources = nil
	zone := time.FixedZone("x", 2*3600)
	if got, want := string(c.principals(now, zone, nil)["alice"]), `expiry-time="202611271947" alice@`+server+"\n"; got != want {
		t.Errorf("alice from anywhere: %q, want %q", got, want)
	}
	if len(files) != 2 {
		t.Errorf("%d files", len(files))
	}
}

// A host that nobody can reach does not stay open because its agent runs.
func TestPrincipalsEndAfterTheLastNews(t *testing.T) {
	ca := caLine(t)
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		news time.Time
		want string
	}{
		"just now":              {now, "202611261747"},
		"not told":              {time.Time{}, "202611261747"},
		"by a clock that jumps": {now.Add(time.Hour * 24 * 365), "202611261747"},
		"three days ago":        {now.Add(-3 * 24 * time.Hour), "202611231747"},
		"nine days ago":         {now.Add(-9 * 24 * time.Hour), "202611171747"},
	} {
		c, err := Want{Server: server, UserCAs: []string{ca}, HostCAs: []string{ca}, Logins: []string{"alice"}, News: tc.news}.check()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(c.principals(now, time.UTC, nil)["alice"]), `expiry-time="`+tc.want+`" alice@`+server+"\n"; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// What was written holds for at least half of its time whenever it is looked
// at, and changes once a day.
func TestExpiryMovesOnDaily(t *testing.T) {
	start := time.Date(2026, 11, 20, 0, 0, 1, 0, time.UTC)
	for _, valid := range []time.Duration{MinPrincipals, 24 * time.Hour, DefaultPrincipals} {
		different := map[time.Time]bool{}
		for m := range 24 * 60 {
			now := start.Add(time.Duration(m) * time.Minute)
			e := expiry(server, now, valid, time.UTC)
			different[e] = true
			if left := e.Sub(now); left > valid || left <= valid/2-time.Second {
				t.Fatalf("valid %s at %s: %s left", valid, now, left)
			}
		}
		if want := int(24 * time.Hour / min(renewPrincipals, valid/2)); len(different) > want+1 {
			t.Errorf("valid %s: %d different files a day", valid, len(different))
		}
	}
}

func TestWhatTheStateMayAskOfSSHD(t *testing.T) {
	ca := caLine(t)
	good := Want{Server: server, UserCAs: []string{ca}, HostCAs: []string{ca}, Logins: []string{"alice"}, Sources: []string{"10.0.0.9", "fd00::/64", "10.1.2.3/8"}}
	if c, err := good.check(); err != nil || !slices.Equal(c.sources, []string{"10.0.0.0/8", "10.0.0.9", "fd00::/64"}) || c.valid != DefaultPrincipals {
		t.Fatalf("%v %v %v", err, c.sources, c.valid)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaPublic, err := ssh.NewPublicKey(&rsaKey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	many := slices.Repeat([]string{ca}, maxCAs+1)
	var sources []string
	for i := range maxSources + 1 {
		sources = append(sources, fmt.Sprintf("10.0.%d.%d", i/256, i%256))
	}
	for name, change := range map[string]func(*Want){
		"no server":                       func(w *Want) { w.Server = "" },
		"another kind of id":              func(w *Want) { w.Server = "usr_abcdefghijklmnopqrst" },
		"no CA of users":                  func(w *Want) { w.UserCAs = nil },
		"no CA of hosts":                  func(w *Want) { w.HostCAs = nil },
		"more CAs than may be":            func(w *Want) { w.UserCAs = many },
		"a CA with options":               func(w *Want) { w.UserCAs = []string{"cert-authority " + ca} },
		"two CAs on one line":             func(w *Want) { w.UserCAs = []string{ca + "\n" + ca} },
		"a CA of another type":            func(w *Want) { w.UserCAs = []string{sshcert.Line(rsaPublic)} },
		"no key at all":                   func(w *Want) { w.UserCAs = []string{"none"} },
		"a source that is a name":         func(w *Want) { w.Sources = []string{"example.com"} },
		"a source that is a pattern":      func(w *Want) { w.Sources = []string{"10.*"} },
		"a source that denies":            func(w *Want) { w.Sources = []string{"!10.0.0.1"} },
		"a source that ends the option":   func(w *Want) { w.Sources = []string{`10.0.0.1" root@x`} },
		"a source with a zone":            func(w *Want) { w.Sources = []string{"fe80::1%eth0"} },
		"two sources in one":              func(w *Want) { w.Sources = []string{"10.0.0.1,10.0.0.2"} },
		"more sources than may be":        func(w *Want) { w.Sources = sources },
		"a login that climbs":             func(w *Want) { w.Logins = []string{"../../x"} },
		"root":                            func(w *Want) { w.Logins = []string{"root"} },
		"the probe's login for a person":  func(w *Want) { w.Logins = []string{"cardea-canary"} },
		"a login that begins a new line":  func(w *Want) { w.Logins = []string{"a\nb"} },
		"a login that is an option's end": func(w *Want) { w.Logins = []string{"a b"} },
	} {
		w := good
		change(&w)
		if _, err := w.check(); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	w := good
	w.UserCAs, w.Sources = many[:maxCAs], sources[:maxSources]
	if c, err := w.check(); err != nil || strings.Count(string(c.userCAText()), "\n") != 1 {
		t.Errorf("at the limits: %v", err)
	}
	for asked, want := range map[time.Duration]time.Duration{time.Second: MinPrincipals, MaxPrincipals + 1: MaxPrincipals, time.Hour * 30: time.Hour * 30} {
		w := good
		w.Valid = asked
		if c, err := w.check(); err != nil || c.valid != want {
			t.Errorf("valid for %s became %s", asked, c.valid)
		}
	}
}

func TestProbeAddresses(t *testing.T) {
	own := []string{"127.0.0.1", "::1", "10.0.0.5", "fd00::5"}
	for name, tc := range map[string]struct {
		listen []string
		own    []string
		access string
		want   []string
	}{
		"wildcards mean the loopback and the access address": {[]string{"[::]:22", "0.0.0.0:22"}, own, "10.0.0.5", []string{"[::1]:22", "127.0.0.1:22", "10.0.0.5:22"}},
		"an access address that is not the host's own":       {[]string{"0.0.0.0:22"}, own, "203.0.113.7", []string{"127.0.0.1:22"}},
		"an access address that is a name":                   {[]string{"0.0.0.0:22"}, own, "web-1", []string{"127.0.0.1:22"}},
		"two ports":                                          {[]string{"0.0.0.0:22", "0.0.0.0:2222"}, own, "", []string{"127.0.0.1:22", "127.0.0.1:2222"}},
		"one address":                                        {[]string{"10.0.0.5:22"}, own, "", []string{"10.0.0.5:22"}},
		"a host without IPv6":                                {[]string{"[::]:22", "0.0.0.0:22"}, own[:1], "", []string{"127.0.0.1:22"}},
		"nonsense":                                           {[]string{"x", ""}, own, "", nil},
	} {
		if got := probeAddresses(tc.listen, tc.own, tc.access); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestEffectiveSettingsOfOldAndNewVersions(t *testing.T) {
	for version, out := range map[string]string{
		"9.2":  "port 2222\nport 22\nauthorizedkeysfile none\nhostcertificate /a\nhostcertificate /b\nbanner none\n",
		"10.6": "Port 2222\nPort 22\nAuthorizedKeysFile none\nHostCertificate /a\nHostCertificate /b\nBanner none\n",
	} {
		e := parseEffective([]byte(out))
		if Port([]byte(out)) != "2222" || e.first("authorizedkeysfile") != "none" || !slices.Equal(e["hostcertificate"], []string{"/a", "/b"}) || e.first("pidfile") != "" {
			t.Errorf("%s: %v", version, e)
		}
	}
	if Port(nil) != "" {
		t.Error("no output has a port")
	}
}
