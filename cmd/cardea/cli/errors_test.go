//go:build unix

package cli

import (
	"bytes"
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
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/agent/agenttest"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/internal/tcptest"
	"github.com/cardea-ssh/cardea/login"
)

// trouble provokes one line of the document, in a home of its own.
type trouble struct {
	*testing.T
	*app
	control *apitest.Server
}

// newTrouble is a home in which nothing has gone wrong yet.
func newTrouble(t *testing.T) (tr trouble, stdout, stderr *bytes.Buffer) {
	a, stdout, stderr := testApp(t)
	newRoot(a) // binds the options
	return trouble{T: t, app: a, control: apitest.New(t)}, stdout, stderr
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
		return tr.typed(api.Errorf(api.Denied, "this device was revoked or replaced, by you or by an administrator").
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
	"the control plane at … cannot be reached: what listens there ended the connection": func(tr trouble) ExitCode {
		s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
		defer s.Close()
		return tr.signIn(s.URL)
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
	"the control plane at … cannot be reached: there is no host …": func(tr trouble) ExitCode {
		return tr.signIn("https://" + strings.Repeat("a", 64) + ".example.com") // no name has so long a part, so nobody is asked
	},
	"the control plane at … cannot be reached: the proxy does not answer": func(tr trouble) ExitCode {
		// Of its proxies a process asks its environment once.
		return tr.process([]string{"HTTPS_PROXY=http://127.0.0.1:1", login.BrowserVariable + "=true"}, "login", "https://access.example.com")
	},
	"the gateway refused: …": func(tr trouble) ExitCode {
		return tr.through(func(conn net.Conn, o *hello.Opened) {
			conn.Write(o.Refuse("claim", "your access to server web-1 is over"))
		})
	},
	"…: something else than the expected gateways (…) answers there": func(tr trouble) ExitCode {
		return tr.through(func(conn net.Conn, _ *hello.Opened) {
			io.WriteString(conn, strings.Repeat("SSH-2.0-OpenSSH_10.0\r\n", 100))
		})
	},
	"each use of a key is to be confirmed (confirm-use), and there is no desktop to ask on": func(tr trouble) ExitCode {
		tr.world(func(o *agent.Options) { o.Confirm = true })
		return tr.run(tr.Context(), []string{"ssh", "web-1"})
	},
	"the agent that runs (process …) was started with another HOME and writes …": func(tr trouble) ExitCode {
		tr.world()
		tr.Setenv("HOME", tr.TempDir())
		return tr.run(tr.Context(), []string{"ssh-config", "--install"})
	},
	"the local agent does not run": func(tr trouble) ExitCode { return tr.run(tr.Context(), []string{"agent", "status"}) },
	"… is not a verb of …":         func(tr trouble) ExitCode { return tr.run(tr.Context(), []string{"lss"}) },
}

// scripted are the rows that need a terminal, an sshd or time: a script provokes them.
var scripted = map[string]string{
	"that is not the passphrase which the agent is locked with": "testdata/locked.txtar",
	"the control plane at … does not answer":                    "testdata/silent.txtar",
	"the local agent did not start; its log may say why: …":     "testdata/silent.txtar",
	"Host key verification failed":                              "../../../e2e/testdata/alone/mallory_hostkey.txtar",
}

// process is a process of its own, with more in its environment.
func (tr trouble) process(environment []string, args ...string) ExitCode {
	cmd := exec.CommandContext(tr.Context(), "cardea", args...)
	cmd.Env = append(append(os.Environ(), "CARDEA_NO_KEYRING=1"), environment...)
	cmd.Stdout, cmd.Stderr = tr.app.out, tr.app.err
	return exitOf(cmd.Run())
}

// through is `cardea proxycommand web-1 22` by a gateway that does this when it has read what
// comes first.
func (tr trouble) through(serve func(net.Conn, *hello.Opened)) ExitCode {
	route := tr.gateway(serve)
	w := tr.world()
	w.OnConnect(func(out *api.Connection, _ ssh.PublicKey) {
		out.Routes, out.Ticket = []api.Route{route}, []byte("ticket")
	})
	return tr.run(tr.Context(), []string{"proxycommand", "web-1", "22"})
}

// gateway is the way to one that does this when it has read what comes first.
func (tr trouble) gateway(serve func(net.Conn, *hello.Opened)) api.Route {
	g := agenttest.NewGateway(tr)
	return g.Route(tcptest.Serve(tr, func(conn net.Conn) {
		if opened, err := g.Open(conn); err == nil {
			serve(conn, opened)
		}
	}))
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
		if script := scripted[r.said]; provoke == nil && script != "" {
			checkScript(t, script, r)
			continue
		}
		if provoke == nil {
			t.Errorf("nothing provokes %q: give it a line in provoked, or a script and a line in scripted", r.said)
			continue
		}
		t.Run(r.said, func(t *testing.T) {
			tr, _, stderr := newTrouble(t)
			code := provoke(tr)
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
		if !documented[said] || scripted[said] != "" {
			t.Errorf("docs/errors.md does not have %q, or a script provokes it as well", said)
		}
	}
	for said := range scripted {
		if !documented[said] {
			t.Errorf("docs/errors.md does not have %q", said)
		}
	}
}

// checkScript sees to it that a script expects a row, and its code with it.
func checkScript(t *testing.T, script string, r row) {
	text, err := os.ReadFile(script)
	if err != nil {
		t.Error(err)
		return
	}
	want := regexp.MustCompile(`(?m)\bcode ` + r.code + ` .*\n(?:(?:#|!|stdout|wait).*\n)*stderr .*` + regexp.QuoteMeta(longest(r.said)))
	if !want.Match(text) {
		t.Errorf("%s does not expect %q with code %s", script, r.said, r.code)
	}
}

// longest is the longest part of a sentence that stands as it is, with nothing for …
func longest(said string) (longest string) {
	for _, part := range strings.Split(strings.ReplaceAll(said, ": ", "…"), "…") {
		if part = strings.Trim(part, " :(),"); len(part) > len(longest) {
			longest = part
		}
	}
	return longest
}

// The document tells of no line that the code has lost. ssh's own are in the tests that have
// met them.
func TestEverySentenceOfTheDocumentStandsInTheCode(t *testing.T) {
	missing := map[string]string{}
	for _, r := range rowsOf(t) {
		missing[longest(r.said)] = r.code
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
