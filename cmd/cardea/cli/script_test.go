package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
)

// The scripts run this test's binary under these names.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"cardea":  func() { os.Exit(int(Main(os.Args[1:]))) },
		"browser": func() { os.Exit(browse(os.Args[len(os.Args)-1])) },
	})
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
//	control stop|revoke         take the control plane away; end all sessions
//	code N COMMAND ...          run a command that must end with code N
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: func(env *testscript.Env) error { return setup(t, env) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"reply": replyCmd, "fail": failCmd, "calls": callsCmd, "control": controlCmd, "code": codeCmd,
		},
	})
}

func setup(t *testing.T, env *testscript.Env) error {
	s := apitest.New(t)
	env.Values["control"] = s
	env.Setenv("CONTROL", s.URL)
	env.Setenv("HOME", env.WorkDir+"/home")
	env.Setenv("XDG_CONFIG_HOME", env.WorkDir+"/config")
	env.Setenv("XDG_STATE_HOME", env.WorkDir+"/state")
	env.Setenv("XDG_RUNTIME_DIR", env.WorkDir+"/run")
	env.Setenv("CARDEA_NO_KEYRING", "1")
	env.Setenv("CARDEA_BROWSER", "browser")
	env.Setenv("TZ", "UTC")
	s.Reply("GET", "/v1/catalog", catalogOf(s))
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
	}}
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

func controlCmd(ts *testscript.TestScript, _ bool, args []string) {
	switch args[0] {
	case "stop":
		controlOf(ts).Stop()
	case "revoke":
		controlOf(ts).RevokeAll()
	default:
		ts.Fatalf("usage: control stop|revoke")
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
