package control

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// chromium is a real browser, led over its debugging pipe (messages of the
// DevTools protocol as JSON, ended by a zero byte, on descriptors 3 and 4).
type chromium struct {
	t       *testing.T
	in      *os.File
	answers chan message
	session string
	id      int
}

type message struct {
	ID        int             `json:"id,omitempty"`
	Method    string          `json:"method,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Params    any             `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     json.RawMessage `json:"error,omitempty"`
}

// startChromium skips the test where there is no browser.
func startChromium(t *testing.T) *chromium {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("SKIPPED: no chromium here; the pages are not tried in a real browser")
	}
	theirs, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, theirs2, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
		"--ignore-certificate-errors", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--disable-dev-shm-usage", "--proxy-server=direct://",
		// It speaks to us alone, and at localhost not to whoever has the same port at ::1.
		"--host-resolver-rules=MAP localhost 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE ::1",
		"--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{theirs, theirs2}
	if err := cmd.Start(); err != nil {
		t.Skipf("SKIPPED: chromium does not start: %v", err)
	}
	theirs.Close()
	theirs2.Close()
	c := &chromium{t: t, in: in, answers: make(chan message, 1000)}
	go func() {
		defer close(c.answers)
		r := bufio.NewReaderSize(out, 1<<20)
		for {
			raw, err := r.ReadBytes(0)
			if err != nil {
				return
			}
			var m message
			if json.Unmarshal(raw[:len(raw)-1], &m) == nil && m.ID != 0 {
				c.answers <- m
			}
		}
	}()
	t.Cleanup(func() {
		in.Close() // chromium ends with its pipe
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			<-done
		}
		out.Close()
	})
	var target struct{ TargetID, SessionID string }
	c.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	c.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &target)
	c.session = target.SessionID
	return c
}

func (c *chromium) call(method string, params, out any) {
	c.t.Helper()
	if err := c.ask(method, params, out); err != nil {
		c.t.Fatal(err)
	}
}

// ask is call for a question that the browser may decline.
func (c *chromium) ask(method string, params, out any) error {
	c.t.Helper()
	c.id++
	raw, err := json.Marshal(message{ID: c.id, Method: method, SessionID: c.session, Params: params})
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.in.Write(append(raw, 0)); err != nil {
		c.t.Fatalf("%s: %v", method, err)
	}
	late := time.After(30 * time.Second)
	for {
		select {
		case m, ok := <-c.answers:
			switch {
			case !ok:
				c.t.Fatalf("%s: the browser ended", method)
			case m.ID != c.id:
				continue
			case m.Error != nil:
				return fmt.Errorf("%s: %s", method, m.Error)
			case out != nil:
				if err := json.Unmarshal(m.Result, out); err != nil {
					c.t.Fatal(err)
				}
			}
			return nil
		case <-late:
			c.t.Fatalf("%s: no answer", method)
		}
	}
}

// js evaluates an expression in the page.
func (c *chromium) js(expression string) any {
	c.t.Helper()
	value, err := c.evaluate(expression)
	if err != nil {
		c.t.Fatal(err)
	}
	return value
}

// evaluate is js with an error where there is no page to ask just now.
func (c *chromium) evaluate(expression string) (any, error) {
	c.t.Helper()
	var out struct {
		Result           struct{ Value any }
		ExceptionDetails json.RawMessage
	}
	if err := c.ask("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &out); err != nil {
		return nil, err
	}
	if out.ExceptionDetails != nil {
		c.t.Fatalf("%s: %s", expression, out.ExceptionDetails)
	}
	return out.Result.Value, nil
}

// until waits for an expression to be true of a page that is there whole. A question
// that meets the change from one page to the next ("Inspected target navigated or
// closed") is asked again.
func (c *chromium) until(expression string) {
	c.t.Helper()
	var value any
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if value, err = c.evaluate(`document.readyState === "complete" && (` + expression + `)`); value == true {
			return
		}
	}
	if err != nil {
		c.t.Fatalf("never: %s; %v", expression, err)
	}
	c.t.Fatalf("never: %s; the page is %v: %v", expression, c.js("location.href"), c.js("document.documentElement.outerHTML"))
}

// at waits until a page with this element is there.
func (c *chromium) at(selector string) {
	c.t.Helper()
	text, _ := json.Marshal(selector)
	c.until(`!!document.querySelector(` + string(text) + `)`)
}

func (c *chromium) visit(u string) {
	c.t.Helper()
	c.call("Page.navigate", map[string]any{"url": u}, nil)
}

// signIn signs name in on the page that asks for it.
func (c *chromium) signIn(name string) {
	c.t.Helper()
	c.at("#password")
	c.js(`document.querySelector("#name").value = "` + name + `"; document.querySelector("#password").value = "` + secret + `"; document.querySelector("form button").click()`)
}

// A real browser must follow the form's redirect to the device although the
// policy forbids nearly everything, keep our cookies, and load our style.
func TestARealBrowserSignsIn(t *testing.T) {
	c := startChromium(t)
	for _, host := range []string{"127.0.0.1", "::1"} {
		for press, want := range map[string]string{"approve": "code", "cancel": "error"} {
			t.Run(host+" "+press, func(t *testing.T) {
				c.t = t
				listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
				if err != nil {
					t.Skipf("SKIPPED: no %s here: %v", host, err)
				}
				defer listener.Close()
				answers := make(chan url.Values, 10)
				go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/callback" {
						answers <- r.URL.Query()
					}
					fmt.Fprint(w, "you may close this page")
				}))
				s := localStack(t)
				d := s.device(`laptop <img src=x onerror="document.title='owned'">`)
				d.query.Set("redirect_uri", "http://"+listener.Addr().String()+"/callback")
				c.visit(s.options.PublicURL + d.link())
				c.at("#password")
				if got := c.js(`getComputedStyle(document.querySelector(".card")).maxWidth`); got == "none" {
					t.Error("the style sheet is not in force")
				}
				c.signIn("alice")
				c.at("button[value=approve]")
				code := api.ConfirmationCode(d.query.Get("code_challenge"), d.query.Get("dpop_jkt"))
				if got := c.js(`document.querySelector(".code").textContent`); got != code {
					t.Errorf("the page shows the code %v, the terminal %s", got, code)
				}
				if got := fmt.Sprint(c.js(`document.title + document.cookie + document.scripts.length`)); strings.Contains(got, "owned") || strings.Contains(got, "cardea") || !strings.HasSuffix(got, "0") {
					t.Errorf("a script ran, or may read our cookies: %s", got)
				}
				c.js(`document.querySelector("button[value=` + press + `]").click()`)
				select {
				case got := <-answers:
					if got.Get(want) == "" || got.Get("iss") != s.options.PublicURL {
						t.Errorf("the device got %v", got)
					}
				case <-time.After(30 * time.Second):
					t.Fatalf("the browser did not come back; it is at %v", c.js("location.href"))
				}
			})
		}
	}
}

// localStack is a stack at the address where it really is, for a browser that
// cannot be told another one.
func localStack(t *testing.T) *stack {
	t.Helper()
	s := newStack(t)
	s.user("alice")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.options.PublicURL = "http://localhost:" + fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
	server, err := New(s.options)
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Server{Handler: server.Handler()}
	go h.Serve(listener)
	t.Cleanup(func() { h.Close() })
	return s
}

// Mallory has alice's browser open a link that mallory's device made, and then all that a page
// of hers can: to show ours in a frame, and to send its form. Alice is signed in there, and has
// to do nothing but look on; nothing comes of it.
func TestARealBrowserGivesNothingWithoutAClick(t *testing.T) {
	c := startChromium(t)
	s := localStack(t)
	d := s.device("mallory's")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answers := make(chan url.Values, 10)
	evil := http.NewServeMux()
	evil.HandleFunc("/callback", func(_ http.ResponseWriter, r *http.Request) { answers <- r.URL.Query() })
	evil.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!doctype html><iframe src="%[1]s/confirm?request=%[2]s"></iframe>
			<form method="post" action="%[1]s/confirm"><input name="request" value="%[2]s"><input name="decision" value="approve"></form>`, s.options.PublicURL, r.URL.Query().Get("request"))
	})
	h := &http.Server{Handler: evil}
	go h.Serve(listener)
	t.Cleanup(func() { h.Close() })
	at := "http://" + listener.Addr().String()
	d.query.Set("redirect_uri", at+"/callback")

	c.visit(s.options.PublicURL + d.link())
	c.signIn("alice")
	c.at("button[value=approve]")
	id := fmt.Sprint(c.js(`document.querySelector("input[name=request]").value`))
	if got := fmt.Sprint(c.js(`document.body.textContent`)); !strings.Contains(got, "mallory's") || !strings.Contains(got, "127.0.0.1") {
		t.Errorf("the page does not tell from which device and address that is: %s", got)
	}
	c.visit(at + "/page?request=" + id)
	c.at("iframe")
	for _, shown := range c.framed() {
		if strings.Contains(shown, "/static/") { // any of ours
			t.Errorf("a frame of another site shows the page: %s", shown)
		}
	}
	c.js(`document.querySelector("form").submit()`)
	c.until(`location.pathname === "/confirm"`)
	if got := fmt.Sprint(c.js(`document.body.textContent`)); !strings.Contains(got, "another site") {
		t.Errorf("the form of another site: %s", got)
	}
	select {
	case got := <-answers:
		t.Errorf("the device got %v", got)
	default:
	}
	if r, err := s.store.AuthRequest(t.Context(), id); err != nil || r.User != "" {
		t.Errorf("the request is %+v %v", r, err)
	}
}

// framed is what is in the frames of other sites than their page: the browser runs each by
// itself.
func (c *chromium) framed() (html []string) {
	c.t.Helper()
	var all struct {
		TargetInfos []struct{ TargetID, Type string }
	}
	c.call("Target.getTargets", map[string]any{}, &all)
	page := c.session
	defer func() { c.session = page }()
	for _, t := range all.TargetInfos {
		if t.Type != "iframe" {
			continue
		}
		var frame struct{ SessionID string }
		c.session = ""
		c.call("Target.attachToTarget", map[string]any{"targetId": t.TargetID, "flatten": true}, &frame)
		c.session = frame.SessionID
		html = append(html, fmt.Sprint(c.js(`document.documentElement.outerHTML`)))
	}
	return html
}
