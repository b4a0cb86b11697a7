//go:build unix

package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"io/fs"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/agent/agenttest"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
	"github.com/cardea-ssh/cardea/login"
)

// trouble provokes one line of the document, in a home of its own.
type trouble struct {
	*testing.T
	*app
	control *apitest.Server
}

// signedIn saves a session that is good.
func (tr trouble) signedIn() {
	tr.Helper()
	if err := tr.configure(); err != nil {
		tr.Fatal(err)
	}
	if err := tr.home.Check(); err != nil {
		tr.Fatal(err)
	}
	key, err := tr.home.DeviceKey()
	if err != nil {
		tr.Fatal(err)
	}
	token, session := tr.control.SignIn(key.Thumbprint())
	if err := tr.home.Save(login.Saved{URL: tr.control.URL, Token: token, Session: session}); err != nil {
		tr.Fatal(err)
	}
}

// typed is a verb of somebody who is signed in, told by the control plane that it cannot be.
func (tr trouble) typed(answer *api.Error, args ...string) ExitCode {
	tr.signedIn()
	for _, call := range []string{"GET /v1/catalog", "GET /v1/why"} {
		method, path, _ := strings.Cut(call, " ")
		tr.control.Fail(method, path, answer)
	}
	return tr.run(tr.Context(), args)
}

// refused is `cardea ssh web-1` with that answer to /v1/connect, through a local agent.
func (tr trouble) refused(answer *api.Error) ExitCode {
	w := tr.world()
	w.Control.Fail("POST", "/v1/connect", answer)
	return tr.run(tr.Context(), []string{"ssh", "web-1"})
}

// world is a local agent that knows web-1, and whose control plane lets everybody in.
func (tr trouble) world(change ...func(*agent.Options)) *agenttest.World {
	tr.signedIn()
	w := agenttest.New(tr, agenttest.Entry("web-1", "web"))
	w.Paths = tr.paths
	w.Ask = &agent.Control{Paths: tr.paths}
	w.Start(change...)
	return w
}

// overTLS is a control plane whose certificate is for 127.0.0.1, until then.
func (tr trouble) overTLS(until time.Time) *httptest.Server {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tr.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: until, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	cert, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		tr.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	tr.Cleanup(s.Close)
	return s
}

// signIn is `cardea login` at a terminal whose browser shows nothing.
func (tr trouble) signIn(url string) ExitCode {
	lookup := tr.app.lookup
	tr.app.lookup = func(name string) (string, bool) {
		if name == login.BrowserVariable {
			return "true", true
		}
		return lookup(name)
	}
	return tr.run(tr.Context(), []string{"login", url})
}

// provoked are the rows that can be had in this process. The sentences of the control plane
// are given to it as it gives them, and found in its code by the other test.
var provoked = map[string]func(trouble) ExitCode{
	"not signed in":                  func(tr trouble) ExitCode { return tr.run(tr.Context(), []string{"ls"}) },
	"no control plane is known here": func(tr trouble) ExitCode { return tr.run(tr.Context(), []string{"login"}) },
	"this session is over since …": func(tr trouble) ExitCode {
		return tr.typed(api.Errorf(api.SignIn, "this session is over since 2026-11-22 08:00"), "ls")
	},
	"this session is not known here, or it is over": func(tr trouble) ExitCode {
		return tr.typed(api.Errorf(api.SignIn, "this session is not known here, or it is over"), "ls")
	},
	"this session was not used since …, which is longer than the team allows": func(tr trouble) ExitCode {
		return tr.typed(api.Errorf(api.SignIn, "this session was not used since 2026-11-22 08:00, which is longer than the team allows"), "ls")
	},
	"this session was ended at …": func(tr trouble) ExitCode {
		return tr.typed(api.Errorf(api.SignIn, "this session was ended at 2026-11-22 08:00"), "ls")
	},
	"signed in at …, not at …": func(tr trouble) ExitCode {
		tr.signedIn()
		return tr.run(tr.Context(), []string{"ls", "--url", "https://other.example.com"})
	},
	"nobody is here to sign in": func(tr trouble) ExitCode { return tr.run(tr.Context(), []string{"login", tr.control.URL}) },
	"project … asks who you are each …": func(tr trouble) ExitCode {
		return tr.refused(api.Errorf(api.SignIn, "project web asks who you are each 30m").WithHint("type: cardea login --project web"))
	},
	"this device waits for approval": func(tr trouble) ExitCode {
		return tr.refused(api.Errorf(api.Denied, "this device waits for approval").WithHint("ask your administrator to approve it"))
	},
	"this device was revoked or replaced, …": func(tr trouble) ExitCode {
		return tr.typed(api.Errorf(api.SignIn, "this device was revoked or replaced, by you or by an administrator").
			WithHint("to come back as a new device type: cardea device replace"), "ls")
	},
	"the device key (…) cannot be used: …": func(tr trouble) ExitCode {
		tr.signedIn()
		tr.write(tr.home.KeyPath(), "nonsense", 0o600)
		return tr.run(tr.Context(), []string{"ls"})
	},
	"there is no server … that you may reach": func(tr trouble) ExitCode { return tr.pick("wbe-1") },
	"you have no access to a server named …": func(tr trouble) ExitCode {
		return tr.typed(api.Errorf(api.NotFound, `you have no access to a server named "web-9"`).WithHint("ask your administrator for a grant; to see what you may reach type: cardea ls"), "why", "web-9")
	},
	"… is the name of … servers: …": func(tr trouble) ExitCode { return tr.pick("web-2") },
	"you have no grant for server …": func(tr trouble) ExitCode {
		return tr.refused(api.Errorf(api.Denied, "you have no grant for server web-1").WithHint("ask your administrator for a grant in project web"))
	},
	"you may not enter server … now, and may ask for it": func(tr trouble) ExitCode {
		return tr.refused(api.Errorf(api.Denied, "you may not enter server web-1 now, and may ask for it").WithHint("type: cardea request web-1 --for 1h --reason …"))
	},
	"your access to server … is over": func(tr trouble) ExitCode {
		return tr.refused(api.Errorf(api.Denied, "your access to server web-1 is over").WithHint("ask your administrator to renew it"))
	},
	"nobody enters a server as … through Cardea": func(tr trouble) ExitCode { return tr.run(tr.Context(), []string{"ssh", "root@web-1"}) },
	"your login is …, not …": func(tr trouble) ExitCode {
		return tr.refused(api.Errorf(api.Denied, `your login is alice, not "bob"`).WithHint("type: cardea ssh web-1"))
	},
	"your account on server … is being made": func(tr trouble) ExitCode {
		return tr.refused(api.Errorf(api.Unavailable, "your account on server web-1 is being made").WithHint("type the same again in a moment"))
	},
	"your account on server … has to be made first, and its agent has not been heard of": func(tr trouble) ExitCode {
		return tr.refused(api.Errorf(api.Unavailable, "your account on server web-1 has to be made first, and its agent has not been heard of").WithHint("tell your administrator"))
	},
	"the control plane at … cannot be reached: nothing listens there": func(tr trouble) ExitCode {
		tr.signedIn()
		tr.control.Stop()
		return tr.run(tr.Context(), []string{"ls"})
	},
	"the TLS certificate of … is not one to trust": func(tr trouble) ExitCode {
		return tr.signIn(apitest.NewTLS(tr).URL)
	},
	"the TLS certificate of … is for another name": func(tr trouble) ExitCode {
		return tr.signIn(strings.Replace(tr.overTLS(time.Now().Add(time.Hour)).URL, "127.0.0.1", "localhost", 1))
	},
	"the TLS certificate of … is expired or not yet good": func(tr trouble) ExitCode {
		return tr.signIn(tr.overTLS(time.Now().Add(-time.Hour)).URL)
	},
	"it is over already: is the clock of this machine right?": func(tr trouble) ExitCode {
		tr.world(func(o *agent.Options) { o.Now = func() time.Time { return time.Now().Add(time.Hour) } })
		return tr.run(tr.Context(), []string{"ssh", "web-1"})
	},
	"no way leads to the server: …": func(tr trouble) ExitCode {
		tr.world() // its only route leads to a port at which nothing listens
		return tr.run(tr.Context(), []string{"proxycommand", "web-1", "22"})
	},
	"… answered with status …, and not as a control plane of Cardea does": func(tr trouble) ExitCode {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "maintenance", http.StatusServiceUnavailable)
		}))
		defer s.Close()
		return tr.signIn(s.URL)
	},
	"the control plane has all hands full": func(tr trouble) ExitCode {
		return tr.refused(api.Errorf(api.Unavailable, "the control plane has all hands full"))
	},
	"too many calls from your address": func(tr trouble) ExitCode {
		return tr.refused(api.Errorf(api.Limited, "too many calls from your address").WithHint("try again in a moment"))
	},
	"project … requires a gateway, and none takes sessions now": func(tr trouble) ExitCode {
		return tr.refused(api.Errorf(api.NoGateway, "project web requires a gateway, and none takes sessions now").WithHint("try again in a minute"))
	},
	"sessions in project … are recorded, and no gateway of it can record now": func(tr trouble) ExitCode {
		return tr.refused(api.Errorf(api.NoGateway, "sessions in project web are recorded, and no gateway of it can record now").WithHint("try again in a minute"))
	},
	"unknown key …": func(tr trouble) ExitCode {
		tr.write(filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "cardea", "config.yaml"), "uri: https://access.example.com\n", 0o600)
		return tr.run(tr.Context(), []string{"ls"})
	},
	"… is open to other users": func(tr trouble) ExitCode {
		tr.signedIn()
		if err := os.Chmod(tr.home.Path(), 0o644); err != nil {
			tr.Fatal(err)
		}
		return tr.run(tr.Context(), []string{"ls"})
	},
	"… is a symbolic link": func(tr trouble) ExitCode {
		tr.signedIn()
		if err := os.Rename(tr.home.Path(), tr.home.Path()+".kept"); err != nil {
			tr.Fatal(err)
		}
		if err := os.Symlink(tr.home.Path()+".kept", tr.home.Path()); err != nil {
			tr.Fatal(err)
		}
		return tr.run(tr.Context(), []string{"ls"})
	},
	"the session file … is damaged": func(tr trouble) ExitCode {
		tr.signedIn()
		tr.write(tr.home.Path(), `{"url": "https://acc`, 0o600)
		return tr.run(tr.Context(), []string{"ls"})
	},
	"the local agent is locked": func(tr trouble) ExitCode {
		return tr.refused(api.Errorf(api.Denied, "the local agent is locked").WithHint("type: cardea agent unlock"))
	},
	"the local agent does not run": func(tr trouble) ExitCode { return tr.run(tr.Context(), []string{"agent", "status"}) },
	"… is not a verb of …":         func(tr trouble) ExitCode { return tr.run(tr.Context(), []string{"lss"}) },
}

func (tr trouble) write(path, text string, mode fs.FileMode) {
	tr.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, []byte(text), mode)
	}
	if err != nil {
		tr.Fatal(err)
	}
}

// pick asks what a name means, where web-2 is in two projects.
func (tr trouble) pick(name string) ExitCode {
	tr.signedIn()
	tr.control.Reply("GET", "/v1/catalog", catalogOf(tr.control))
	return tr.run(tr.Context(), []string{"resolve", name})
}

// row is one line of docs/errors.md.
type row struct{ said, do, code string }

// rowsOf reads the tables of three columns.
func rowsOf(t *testing.T) (rows []row) {
	text, err := os.ReadFile("../../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 || strings.Contains(cells[2], "Code") || strings.Contains(cells[2], "---") {
			continue
		}
		rows = append(rows, row{strings.TrimSpace(cells[0]), strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2])})
	}
	if len(rows) < 40 {
		t.Fatalf("only %d rows were found", len(rows))
	}
	return rows
}

// Whoever has trouble reads the same line as in the document, with something to do behind it
// and the code that stands there.
func TestErrorsAreSaidAsDocumented(t *testing.T) {
	documented := map[string]bool{}
	for _, r := range rowsOf(t) {
		documented[r.said] = true
		provoke := provoked[r.said]
		if provoke == nil {
			continue // the other test finds it in the code
		}
		t.Run(r.said, func(t *testing.T) {
			a, _, stderr := testApp(t)
			newRoot(a)                         // binds the options
			run, err := os.MkdirTemp("", "ce") // a socket's path has to be short
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(run) })
			t.Setenv("XDG_RUNTIME_DIR", run)
			code := provoke(trouble{T: t, app: a, control: apitest.New(t)})
			said := strings.ReplaceAll(regexp.QuoteMeta(r.said), "…", ".+")
			if strconv.Itoa(int(code)) != r.code || !regexp.MustCompile(`(?m)^cardea: (.*: ?)?`+said+`.*; .+$`).MatchString(stderr.String()) {
				t.Errorf("code %d, said %q; documented is %q with code %s", code, stderr, r.said, r.code)
			}
			command := regexp.MustCompile("^`(cardea [a-z]+)").FindStringSubmatch(r.do)
			if command != nil && r.code == "4" && !strings.Contains(stderr.String(), command[1]) {
				t.Errorf("said %q; documented is to type %q", stderr, r.do)
			}
		})
	}
	for said := range provoked {
		if !documented[said] {
			t.Errorf("docs/errors.md does not have %q", said)
		}
	}
}

// The document tells of no line that the code has lost. ssh's own are in the tests that have
// met them.
func TestEverySentenceOfTheDocumentStandsInTheCode(t *testing.T) {
	missing := map[string]string{}
	for _, r := range rowsOf(t) {
		longest := ""
		for _, part := range strings.Split(strings.ReplaceAll(r.said, ": ", "…"), "…") {
			if part = strings.Trim(part, " :(),"); len(part) > len(longest) {
				longest = part
			}
		}
		missing[longest] = r.code
	}
	err := filepath.WalkDir("../../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || filepath.Base(path) == "errors_test.go" {
			return err
		}
		text, err := os.ReadFile(path)
		for part, code := range missing {
			if own := code != "255"; own != strings.HasSuffix(path, "_test.go") && strings.Contains(string(text), part) {
				delete(missing, part)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for part := range missing {
		t.Errorf("no code says %q", part)
	}
}
