package agent_test

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/agent/agenttest"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/sshtest"
	"golang.org/x/crypto/ssh"
)

// ssh runs the real one against s with the agent's own files, without a ProxyCommand.
func realSSH(w *agenttest.World, s *agenttest.SSHD, name string, more ...string) sshtest.Result {
	w.Helper()
	host, port, _ := strings.Cut(s.Addr, ":")
	args := append([]string{"-F", w.Paths.SSHConfig(), "-o", "BatchMode=yes", "-o", "ProxyCommand=none", "-o", "HostName=" + host, "-p", port}, more...)
	return sshtest.Run(w, sshtest.Command(w, "ssh", append(args, name, "true")...))
}

func TestRealSSHSignsInWithTheAgentsFilesAndIdentity(t *testing.T) {
	web := agenttest.Entry("web-1", "web")
	w := agenttest.New(t, web)
	w.Start()
	w.Until("ssh's configuration is there", func() bool { _, err := os.Stat(w.Paths.SSHConfig()); return err == nil })
	s := w.SSHD(web.ID, w.HostSigner(web.ID, nil))

	if r := realSSH(w, s, "web-1"); r.Exit == 0 {
		t.Error("ssh got in although nobody asked for a connection")
	}
	w.Connect("web-1", 0)
	if r := realSSH(w, s, "web-1"); r.Exit != 0 || r.Stdout != "hello alice\n" {
		t.Errorf("exit %d, %q\n%s", r.Exit, r.Stdout, r.Stderr)
	}
	if r := realSSH(w, s, "web-1", "-l", "root"); r.Exit == 0 {
		t.Error("the agent signed for another login")
	}
}

// Two servers, two connections at once: each ssh gets the identity of its own server, and
// a server that shows another one's certificate gets none.
func TestTheHostsCertificateChoosesTheIdentity(t *testing.T) {
	web, db := agenttest.Entry("web-1", "web"), agenttest.Entry("db-1", "web")
	w := agenttest.New(t, web, db)
	w.Start()
	w.Until("ssh's configuration is there", func() bool { _, err := os.Stat(w.Paths.SSHConfig()); return err == nil })
	sWeb, sDB := w.SSHD(web.ID, w.HostSigner(web.ID, nil)), w.SSHD(db.ID, w.HostSigner(db.ID, nil))
	w.Connect("web-1", 0)
	w.Connect("db-1", 0)
	if r := realSSH(w, sWeb, "web-1"); r.Exit != 0 {
		t.Errorf("web-1: %s", r.Stderr)
	}
	if r := realSSH(w, sDB, "db-1"); r.Exit != 0 {
		t.Errorf("db-1: %s", r.Stderr)
	}
	if sshtest.Version(t) < 809 {
		t.Log("SKIPPED: this ssh says nothing about the host, so only its own check of host keys counts")
		return
	}
	liar := w.SSHD(web.ID, w.HostSigner(db.ID, nil))
	w.Connect("web-1", 0)
	if r := realSSH(w, liar, "web-1", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"); r.Exit == 0 {
		t.Error("a user who switched off the check of host keys was let down by the agent, too")
	}
	expired := w.SSHD(web.ID, w.HostSigner(web.ID, func(c *ssh.Certificate) { c.ValidBefore = uint64(time.Now().Unix()) - 1 }))
	if r := realSSH(w, expired, "web-1", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"); r.Exit == 0 {
		t.Error("an identity was offered to a host whose certificate is over")
	}
	plain := w.SSHD(web.ID, sshtest.Key(t))
	if r := realSSH(w, plain, "web-1", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "HostKeyAlgorithms=ssh-ed25519"); r.Exit == 0 {
		t.Error("an identity was offered to a host without a certificate")
	}
}

func TestOneAgentRunsForOneUser(t *testing.T) {
	w := agenttest.New(t)
	w.Start()
	err := agent.Run(t.Context(), agent.Options{Account: &agenttest.Account{}, Paths: w.Paths, Binary: "/usr/bin/cardea"})
	if !errors.Is(err, agent.ErrRunning) {
		t.Errorf("got %v, want ErrRunning", err)
	}
	if _, ok := w.Ask.Running(t.Context()); !ok {
		t.Error("the second one broke the first one's socket")
	}
}

func TestTheCatalogFollowsTheControlPlaneAndSurvivesAStart(t *testing.T) {
	web := agenttest.Entry("web-1", "web")
	w := agenttest.New(t, web)
	first := w.Start()
	w.Until("the catalog is there", func() bool { _, _, err := w.Ask.Catalog(t.Context()); return err == nil })
	w.SetCatalog("2", web, agenttest.Entry("web-2", "web"))
	w.Until("the new server is in ssh's configuration", func() bool {
		text, _ := os.ReadFile(w.Paths.SSHConfig())
		return strings.Contains(string(text), "Host web-2")
	})
	first.Set(nil)
	w.Ask.SignInChanged(t.Context(), false)
	if err := w.Ask.Refresh(t.Context()); api.KindOf(err) != api.SignIn {
		t.Errorf("refresh after signing out: got %v, want a request to sign in", err)
	}
	if cat, _, err := w.Ask.Catalog(t.Context()); err != nil || len(cat.Servers) != 2 {
		t.Errorf("the last catalog is gone with the session: %v", err)
	}
	if err := w.Ask.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	w.Until("the agent has gone", func() bool { _, ok := w.Ask.Running(t.Context()); return !ok })
	w.Start(func(o *agent.Options) { o.Account = &agenttest.Account{} })
	if cat, _, err := w.Ask.Catalog(t.Context()); err != nil || len(cat.Servers) != 2 {
		t.Errorf("the catalog of the last run was not read: %v", err)
	}
}

// What a session showed is shown no more as soon as the control plane says that it is over, also
// when that cannot be reached afterwards; and again once somebody has signed in.
func TestNobodyIsShownTheListOfASessionThatIsOver(t *testing.T) {
	w := agenttest.New(t, agenttest.Entry("web-1", "web"))
	acct := w.Start()
	w.Until("the catalog is there", func() bool { _, _, err := w.Ask.Catalog(t.Context()); return err == nil })
	shows := func() map[string]error {
		_, _, list := w.Ask.Catalog(t.Context())
		_, tab := w.Ask.Names(t.Context(), "", false, 10)
		return map[string]error{"the list": list, "a Tab": tab}
	}
	w.Control.RevokeAll()
	if err := w.Ask.Refresh(t.Context()); api.KindOf(err) != api.SignIn {
		t.Fatalf("after its end: %v", err)
	}
	w.SetCatalog("2", agenttest.Entry("web-2", "web"))
	acct.Set(nil)
	w.Ask.Refresh(t.Context()) // which says nothing of that session
	for what, err := range shows() {
		if api.KindOf(err) != api.SignIn {
			t.Errorf("%s: %v", what, err)
		}
	}
	acct.Set(w.Control.Client())
	w.Ask.SignInChanged(t.Context(), false)
	if err := w.Ask.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for what, err := range shows() {
		if err != nil {
			t.Errorf("%s after a sign-in: %v", what, err)
		}
	}
}

func TestConnectSaysWhyNot(t *testing.T) {
	w := agenttest.New(t, agenttest.Entry("web-1", "web"))
	acct := w.Start()
	for name, c := range map[string]struct {
		host, login string
		want        api.Kind
	}{
		"an unknown server":      {"web-9", "", api.NotFound},
		"another login":          {"web-1", "bob", api.Denied},
		"an option":              {"-oProxyCommand=id", "", api.Invalid},
		"a command":              {"$(id)", "", api.Invalid},
		"4 KiB":                  {strings.Repeat("a", 4096), "", api.Invalid},
		"a login of 4 KiB":       {"web-1", strings.Repeat("a", 4096), api.Invalid},
		"an unknown project":     {"x/web-1", "", api.NotFound},
		"a path":                 {"../web-1", "", api.Invalid},
		"a newline":              {"web-1\nweb-2", "", api.Invalid},
		"an empty name":          {"", "", api.Invalid},
		"a look-alike of a name": {"wеb-1", "", api.Invalid},
	} {
		_, err := w.Ask.Connect(t.Context(), c.host, c.login, 0)
		var e *api.Error
		if api.KindOf(err) != c.want || !errors.As(err, &e) || e.Hint == "" {
			t.Errorf("%s: got %v, want %s and a hint", name, err, c.want)
		}
	}
	acct.Set(nil)
	if _, err := w.Ask.Connect(t.Context(), "web-1", "", 0); api.KindOf(err) != api.SignIn {
		t.Errorf("signed out: %v", err)
	}
}

// The catalog is a moment old: what was taken away since is refused by the name that the
// person typed, although the control plane was asked by id.
func TestAServerThatWasTakenAwayIsNamedAsItWasTyped(t *testing.T) {
	w := agenttest.New(t, agenttest.Entry("web-1", "web"))
	w.Start()
	w.Until("the catalog is there", func() bool { _, _, err := w.Ask.Catalog(t.Context()); return err == nil })
	w.Control.On("POST", "/v1/connect", func(c agenttest.Call) (any, error) {
		return nil, api.Errorf(api.NotFound, "you have no access to a server named %q", "srv_x")
	})
	_, err := w.Ask.Connect(t.Context(), "web-1", "", 0)
	if api.KindOf(err) != api.NotFound || !strings.HasPrefix(err.Error(), "you may no longer reach web-1") {
		t.Errorf("got %v", err)
	}
}

// A control plane that was stopped, or a network that swallows everything.
func TestASilentControlPlaneIsReportedWithinFiveSeconds(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, agenttest.Entry("web-1", "web"))
	w.Start()
	w.Control.On("POST", "/v1/connect", func(agenttest.Call) (any, error) {
		select {
		case <-time.After(8 * time.Second):
		case <-t.Context().Done():
		}
		return nil, nil
	})
	start := time.Now()
	_, err := w.Ask.Connect(t.Context(), "web-1", "", 0)
	var e *api.Error
	if api.KindOf(err) != api.Unavailable || !errors.As(err, &e) || e.Hint == "" {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

// It stops for an upgrade, or has all hands full for a moment: whoever typed ssh is not bothered.
func TestABusyControlPlaneIsAskedOnceMore(t *testing.T) {
	t.Parallel()
	busy := api.Errorf(api.Unavailable, "the control plane has all hands full")
	after := func(seconds int) error { e := *busy; e.RetryAfter = seconds; return &e }
	soon := func() error { return after(1) }
	for name, tc := range map[string]struct {
		says  []error // in turn; nil is a connection
		calls int
		want  api.Kind
	}{
		"for a moment":                   {[]error{soon(), nil}, 2, ""},
		"for longer":                     {[]error{soon(), soon(), nil}, 2, api.Unavailable},
		"and says that it takes long":    {[]error{after(60), nil}, 1, api.Unavailable},
		"and does not know for how long": {[]error{busy, nil}, 1, api.Unavailable},
		"and says that it was before":    {[]error{after(-1), nil}, 1, api.Unavailable},
		"and says more than can be told": {[]error{after(math.MaxInt), nil}, 1, api.Unavailable},
		"and then refuses":               {[]error{soon(), api.Errorf(api.Denied, "no")}, 2, api.Denied},
		"or it has had enough of you":    {[]error{api.Errorf(api.Limited, "no").WithRetry(time.Second), nil}, 1, api.Limited},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			web := agenttest.Entry("web-1", "web")
			w := agenttest.New(t, web)
			w.Start()
			says := tc.says
			w.Control.On("POST", "/v1/connect", func(c agenttest.Call) (any, error) {
				said := says[0]
				says = says[1:]
				if said != nil {
					return nil, said
				}
				var in api.Connect
				if err := json.Unmarshal(c.Body, &in); err != nil {
					return nil, err
				}
				return w.Connection(web, in)
			})
			_, err := w.Ask.Connect(t.Context(), "web-1", "", 0)
			if got := api.KindOf(err); err != nil && got != tc.want || err == nil && tc.want != "" {
				t.Errorf("got %v", err)
			}
			if n := len(w.Control.Calls("POST", "/v1/connect")); n != tc.calls {
				t.Errorf("%d calls", n)
			}
		})
	}
}

// A lock is for what is asked from then on, also for whoever waited meanwhile.
func TestNobodyAsksABusyControlPlaneOnceMoreBehindALock(t *testing.T) {
	w := agenttest.New(t, agenttest.Entry("web-1", "web"))
	w.Start()
	w.Control.On("POST", "/v1/connect", func(agenttest.Call) (any, error) {
		if err := w.Ask.Lock(t.Context(), "x"); err != nil {
			t.Error(err)
		}
		return nil, api.Errorf(api.Unavailable, "the control plane has all hands full").WithRetry(time.Second)
	})
	if _, err := w.Ask.Connect(t.Context(), "web-1", "", 0); api.KindOf(err) != api.Denied {
		t.Errorf("got %v", err)
	}
	if n := len(w.Control.Calls("POST", "/v1/connect")); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// The control plane is trusted, but what it is mistaken about must not reach ssh.
func TestConnectRefusesACertificateThatIsNotForIt(t *testing.T) {
	web := agenttest.Entry("web-1", "web")
	w := agenttest.New(t, web)
	w.Start()
	other, err := w.Connection(web, api.Connect{PublicKey: sshtest.Line(sshtest.Key(t).PublicKey())})
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*api.Connection){
		"another key's":       func(c *api.Connection) { c.Certificate = other.Certificate },
		"another login's":     func(c *api.Connection) { c.Login = "bob" },
		"another server's":    func(c *api.Connection) { c.ServerID = agenttest.Entry("x", "y").ID },
		"no certificate":      func(c *api.Connection) { c.Certificate = "" },
		"a name with escapes": func(c *api.Connection) { c.ServerName = "web\x1b[2J" },
		"no route":            func(c *api.Connection) { c.Routes = nil },
		"a gateway with no key": func(c *api.Connection) {
			c.Routes = []api.Route{{Address: "a:1", Recipients: []api.Recipient{{Gateway: "gw_1"}}}}
		},
		"a login that is root's": func(c *api.Connection) { c.Login = "root" },
	} {
		w.OnConnect(func(c *api.Connection, _ ssh.PublicKey) { spoil(c) })
		if _, err := w.Ask.Connect(t.Context(), "web-1", "", 0); api.KindOf(err) != api.Foreign {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if s, err := w.Ask.Status(t.Context()); err != nil || s.Identities != 0 {
		t.Errorf("%d identities stayed, %v", s.Identities, err)
	}
}

func TestAPreparedConnectionIsUsedOnce(t *testing.T) {
	w := agenttest.New(t, agenttest.Entry("web-1", "web"))
	w.Start()
	calls := func() int { return len(w.Control.Calls("POST", "/v1/connect")) }
	c, err := w.Ask.Prepare(t.Context(), "web-1", "")
	if err != nil || len(c.Routes) != 0 {
		t.Fatalf("got %+v, %v", c, err)
	}
	if _, err := w.Ask.Connect(t.Context(), "web-1", "alice", 1); err != nil {
		t.Fatal(err)
	}
	if n := calls(); n != 1 {
		t.Errorf("%d certificates for one connection", n)
	}
	if _, err := w.Ask.Connect(t.Context(), "web-1", "alice", 1); err != nil || calls() != 2 {
		t.Errorf("the second connection: %v, %d certificates", err, calls())
	}
}

func TestTheAgentLeavesWhenNobodyAsks(t *testing.T) {
	w := agenttest.New(t)
	w.Start(func(o *agent.Options) { o.Idle = 30 * time.Millisecond })
	time.Sleep(200 * time.Millisecond) // longer than the idle time; asking would start it anew
	if _, ok := w.Ask.Running(t.Context()); ok {
		t.Error("it is still there")
	}
}

func TestTheAgentRefusesAFolderThatOthersMayWrite(t *testing.T) {
	w := agenttest.New(t)
	if err := os.MkdirAll(w.Paths.Run, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(w.Paths.Run, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := agent.Run(t.Context(), agent.Options{Account: &agenttest.Account{}, Paths: w.Paths, Binary: "/usr/bin/cardea"}); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("got %v", err)
	}
	link := filepath.Join(filepath.Dir(w.Paths.Run), "link")
	if err := os.Symlink("/tmp", link); err != nil {
		t.Fatal(err)
	}
	if err := agent.Run(t.Context(), agent.Options{Account: &agenttest.Account{}, Paths: agent.Paths{Run: link, State: w.Paths.State, SSH: w.Paths.SSH}, Binary: "/usr/bin/cardea"}); err == nil {
		t.Error("a link to a folder of everybody's was taken")
	}
}
