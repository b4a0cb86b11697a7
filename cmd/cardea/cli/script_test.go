//go:build unix

package cli

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
	"github.com/cardea-ssh/cardea/internal/buildtest"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/sshtest"
	"github.com/cardea-ssh/cardea/internal/tcptest"
	"github.com/cardea-ssh/cardea/sshcert"
)

// The scripts run this test's binary under these names.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"cardea":  func() { os.Exit(int(Main(os.Args[1:]))) },
		"browser": func() { os.Exit(browse(os.Args[len(os.Args)-1])) },
		"sleeper": func() { time.Sleep(2 * time.Second) },
		// ssh would need an account; this one shows what it was told.
		"ssh": showSSH, "scp": showArguments, "sftp": showArguments,
	})
}

// showSSH prints its arguments. What ssh says of itself and of its configuration the real
// one is asked.
func showSSH() {
	if len(os.Args) > 1 && (os.Args[1] == "-V" || slices.Contains(os.Args, "-G")) {
		cmd := exec.Command("/usr/bin/ssh", os.Args[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if cmd.Run() != nil {
			os.Exit(255)
		}
		return
	}
	showArguments()
}

// showArguments prints them, and plays the command that stands last.
func showArguments() {
	fmt.Println(strings.Join(os.Args[1:], "\n"))
	if last := os.Args[len(os.Args)-1]; strings.HasPrefix(last, "end ") {
		code, _ := strconv.Atoi(strings.TrimPrefix(last, "end "))
		fmt.Fprintln(os.Stderr, "about to end")
		os.Exit(code)
	} else if last == "cat" {
		io.Copy(os.Stdout, os.Stdin)
	}
}

// browse is a browser without a person: it follows where it is sent.
func browse(url string) int {
	fmt.Println("noise on stdout")
	res, err := http.Get(url)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer res.Body.Close()
	io.Copy(io.Discard, res.Body)
	return 0
}

// TestScripts runs testdata/*.txtar, each with a control plane of its own at
// $CONTROL. Beside testscript's own words they have:
//
//	reply METHOD PATH FILE      answer with the JSON in FILE ($CONTROL is filled in)
//	fail METHOD PATH KIND TEXT  answer with an error
//	calls METHOD PATH           print the bodies (or queries) of the calls so far
//	control stop|revoke|silent  take the control plane away; end all sessions; let nobody who
//	                            wants to connect hear anything
//	ask-again PROJECT           refuse connections until somebody has shown who he is for it
//	code N COMMAND ...          run a command that must end with code N
//	administrator               who signs in from here on is one
//	recorded SESSION FILE       have the control plane serve a recording that the key in FILE reads
//	screen COMMAND ...          run a command in a terminal of tmux, in the place of one before
//	press KEY...                press keys there, or type a text
//	see REGEXP...               wait until all of it is seen in one of its panes, whose names stand above
//	                            them as == NAME; with ! it is not to be seen
//	windows N                   wait until tmux has N windows
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: func(env *testscript.Env) error { return setup(t, env) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"reply": replyCmd, "fail": failCmd, "calls": callsCmd, "control": controlCmd, "code": codeCmd, "ask-again": askAgainCmd,
			"screen": screenCmd, "press": pressCmd, "see": seeCmd, "windows": windowsCmd,
			"administrator": func(ts *testscript.TestScript, _ bool, _ []string) { controlOf(ts).SignInAdministrators() },
			"recorded":      func(ts *testscript.TestScript, _ bool, args []string) { recordedCmd(t, ts, args) },
		},
	})
}

func setup(t *testing.T, env *testscript.Env) error {
	s := apitest.New(t)
	env.Values["control"] = s
	env.Setenv("CONTROL", s.URL)
	secure := apitest.NewTLS(t)
	secure.Reply("GET", "/v1/catalog", catalogOf(secure))
	env.Setenv("SECURE", secure.URL)
	env.Setenv("SECURE_CA", secure.CA())
	env.Setenv("HOME", env.WorkDir+"/home")
	env.Setenv("XDG_CONFIG_HOME", env.WorkDir+"/config")
	env.Setenv("XDG_STATE_HOME", env.WorkDir+"/state")
	env.Setenv("XDG_RUNTIME_DIR", env.WorkDir+"/run")
	env.Setenv("CARDEA_NO_KEYRING", "1")
	env.Setenv("CARDEA_BROWSER", "browser")
	env.Setenv("TZ", "UTC")
	env.Vars = append(env.Vars, buildtest.RaceOptions)
	env.Setenv("SSH_AUTH_SOCK", "")
	program, err := exec.LookPath("cardea")
	if err != nil {
		return err
	}
	env.Setenv("CARDEA", program)
	known := catalogOf(s)
	known.HostCAs = []string{sshtest.Line(sshtest.Key(t).PublicKey())}
	s.On("GET", "/v1/catalog", func(c apitest.Call) (any, error) {
		if c.Query.Get("version") == known.Version { // the agent's long poll
			time.Sleep(300 * time.Millisecond)
			return nil, nil
		}
		known := known
		known.Session = s.SessionOf(c.Token)
		return known, nil
	})
	connect := connector(t)
	env.Values["connect"] = connect
	s.On("POST", "/v1/connect", connect)
	// An agent that a script started must not outlive it.
	env.Defer(func() {
		stop := exec.Command("cardea", "agent", "stop")
		stop.Env = env.Vars
		if out, err := stop.CombinedOutput(); err != nil {
			t.Errorf("stop the agent: %v: %s", err, out)
		}
	})
	for _, dir := range []string{"/home", "/run", "/state"} {
		if err := os.Mkdir(env.WorkDir+dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// catalogOf has two servers of one name, one in each of two projects.
func catalogOf(s *apitest.Server) api.Catalog {
	entry := func(id, name, project, role string) api.CatalogEntry {
		return api.CatalogEntry{
			ID: "srv_" + strings.Repeat(id, 20), Name: name, Project: "prj_" + strings.Repeat(project[:1], 20), ProjectName: project,
			Login: "alice", Role: role, Gateway: "required", Labels: map[string]string{"env": "prod", "tier": name[:2]},
			LastSeen: time.Now().Add(-90 * time.Second),
		}
	}
	return api.Catalog{Version: "1", Session: s.Who, Servers: []api.CatalogEntry{
		entry("a", "web-1", "web", "user"), entry("b", "web-2", "web", "user"),
		entry("c", "db-1", "data", "admin"), entry("d", "web-2", "data", "user"),
	}, Projects: []api.CatalogProject{{ID: "prj_" + strings.Repeat("e", 20), Name: "empty"}}}
}

// connector answers /v1/connect: with a certificate and an echo for web-1, and
// a refusal for db-1.
func connector(t *testing.T) apitest.Handler {
	ca := sshtest.Key(t)
	echo := tcptest.Serve(t, func(c net.Conn) { io.Copy(c, c) })
	return func(c apitest.Call) (any, error) {
		var in api.Connect
		c.Into(t, &in)
		web := "srv_" + strings.Repeat("a", 20)
		switch in.Server {
		case web, "web-1", "web/web-1":
		case "db-1", "srv_" + strings.Repeat("c", 20):
			return nil, api.Errorf(api.Denied, "no grant lets alice in").WithHint("ask for one")
		default:
			return nil, api.Errorf(api.NotFound, "no server %s that you may reach", in.Server)
		}
		key, err := sshcert.ParseLine(in.PublicKey)
		if err != nil {
			return nil, err
		}
		cert, err := sshcert.BuildUser(sshcert.User{
			Login: "alice", ServerID: web, UserID: "usr_" + strings.Repeat("a", 20), SessionID: ident.New(ident.Session),
			DeviceID: ident.New(ident.Device), ProjectID: ident.New(ident.Project), Serial: sshcert.NewSerial(), Issued: time.Now(),
		}, key)
		if err != nil {
			return nil, err
		}
		if err := cert.SignCert(rand.Reader, ca.Signer); err != nil {
			return nil, err
		}
		return api.Connection{
			Certificate: sshtest.Line(cert), Serial: fmt.Sprint(cert.Serial), ExpiresAt: time.Now().Add(3 * time.Minute),
			ServerID: web, ServerName: "web-1", Login: "alice", Routes: []api.Route{{Address: echo}},
		}, nil
	}
}

func controlOf(ts *testscript.TestScript) *apitest.Server {
	return ts.Value("control").(*apitest.Server)
}

func replyCmd(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: reply METHOD PATH FILE")
	}
	text := strings.ReplaceAll(ts.ReadFile(args[2]), "$CONTROL", controlOf(ts).URL)
	controlOf(ts).Reply(args[0], args[1], json.RawMessage(text))
}

func failCmd(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: fail METHOD PATH KIND TEXT")
	}
	controlOf(ts).Fail(args[0], args[1], api.Errorf(api.Kind(args[2]), "%s", args[3]))
}

func callsCmd(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: calls METHOD PATH")
	}
	for _, c := range controlOf(ts).Calls(args[0], args[1]) {
		fmt.Fprintf(ts.Stdout(), "%s?%s %s\n", c.Path, c.Query.Encode(), c.Body)
	}
}

func askAgainCmd(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: ask-again PROJECT")
	}
	s, connect := controlOf(ts), ts.Value("connect").(apitest.Handler)
	before := len(s.Calls("POST", "/v1/touch"))
	s.Reply("GET", "/v1/touch/"+args[0], api.Named{ID: "prj_aaaaaaaaaaaaaaaaaaaa"})
	s.Reply("POST", "/v1/touch", api.Touched{Project: args[0], Until: time.Now().Add(time.Hour)})
	s.On("POST", "/v1/connect", func(c apitest.Call) (any, error) {
		if len(s.Calls("POST", "/v1/touch")) > before {
			return connect(c)
		}
		err := api.Errorf(api.SignIn, "project %s asks who you are each 30m", args[0]).WithHint("type: cardea login --project %s", args[0])
		err.Reauth = args[0]
		return nil, err
	})
}

func controlCmd(ts *testscript.TestScript, _ bool, args []string) {
	switch args[0] {
	case "stop":
		controlOf(ts).Stop()
	case "revoke":
		controlOf(ts).RevokeAll()
	case "silent":
		over := make(chan struct{})
		ts.Defer(func() { close(over) })
		controlOf(ts).On("POST", "/v1/connect", func(apitest.Call) (any, error) { <-over; return nil, nil })
	default:
		ts.Fatalf("usage: control stop|revoke|silent")
	}
}

func codeCmd(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND ...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("ended with code %d, want %s", code, args[0])
	}
}
