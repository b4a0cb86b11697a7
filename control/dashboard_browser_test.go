package control

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
)

// screenshots is the variable that names a folder where the pages are kept as pictures, for
// people who want to see them.
const screenshots = "CARDEA_TEST_SCREENSHOTS"

// picture keeps what the browser shows, at some widths and in both colour schemes.
func (c *chromium) picture(name string) {
	c.t.Helper()
	dir := os.Getenv(screenshots)
	if dir == "" {
		return
	}
	for _, width := range []int{1200, 390} {
		for _, scheme := range []string{"light", "dark"} {
			c.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false}, nil)
			c.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
			var shot struct{ Data string }
			c.call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
			raw, err := base64.StdEncoding.DecodeString(shot.Data)
			if err != nil {
				c.t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("dash-%s-%d-%s.png", name, width, scheme)), raw, 0o644); err != nil {
				c.t.Fatal(err)
			}
		}
	}
}

// atHome is one more instance of a stack, at an address where a real browser finds it.
func (s *stack) atHome() (url string) {
	s.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	o := s.options
	o.Store, o.PublicURL = s.store, "http://localhost:"+fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
	server, err := New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	h := &http.Server{Handler: server.Handler()}
	go h.Serve(listener)
	s.t.Cleanup(func() { h.Close() })
	return o.PublicURL
}

// Bob asks in his terminal, carol approves in a real browser, and bob's connection works.
func TestARealBrowserAnswersARequest(t *testing.T) {
	c := startChromium(t)
	s := newAskScene(t)
	home := s.atHome()
	r := must[api.AccessRequest](t, s.bob, "POST", "/v1/requests", api.NewAccessRequest{Target: "prod-1", Seconds: 7200, Reason: `the disk is full <img src=x onerror="document.title='owned'">`})
	f := newFresh(t)
	denied(t, s.bob, api.Denied, "POST", "/v1/connect", f.connect("prod-1", ""))

	c.visit(home + "/requests/" + r.ID)
	c.signIn("carol")
	c.until(`location.pathname === "/requests/` + r.ID + `" && !!document.querySelector("#seconds")`)
	c.picture("request")
	if got := fmt.Sprint(c.js(`document.title + document.cookie + document.scripts.length`)); strings.Contains(got, "owned") || strings.Contains(got, "cardea") || !strings.HasSuffix(got, "0") {
		t.Errorf("a script ran, or may read our cookies: %s", got)
	}
	c.visit(home + "/")
	c.until(`location.pathname === "/requests" && document.title.startsWith("(1)")`)
	c.picture("waiting")
	if got := c.js(`getComputedStyle(document.querySelector(".list a")).display`); got != "grid" {
		t.Errorf("the style sheet is not in force: %v", got)
	}
	c.js(`document.querySelector(".list a").click()`)
	c.until(`location.pathname === "/requests/` + r.ID + `" && !!document.querySelector("#seconds")`)
	c.js(`document.querySelector("#seconds").value = "3600"; document.querySelector("#yes").value = "until noon"; document.querySelector("form[action$=approve] button").click()`)
	c.at(".state.approved")
	c.picture("approved")

	got := must[api.AccessRequest](t, s.bob, "GET", "/v1/requests/"+r.ID, nil)
	if got.State != "approved" || got.Given != 3600 || got.Answer != "until noon" || got.AnsweredByName != "carol" {
		t.Errorf("bob reads %+v", got)
	}
	s.confirm(s.prod)
	must[api.Connection](t, s.bob, "POST", "/v1/connect", f.connect("prod-1", ""))

	// Mallory's page, at another origin, sends the form that ends it.
	evil, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer evil.Close()
	go http.Serve(evil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<form method="post" action="%s/requests/%s/end"><button>win</button></form><iframe src="%s/requests"></iframe>`, home, r.ID, home)
	}))
	c.visit("http://" + evil.Addr().String() + "/")
	c.at("button")
	c.js(`document.querySelector("button").click()`)
	c.until(`location.pathname === "/requests/` + r.ID + `/end"`)
	if got := must[api.AccessRequest](t, s.bob, "GET", "/v1/requests/"+r.ID, nil); got.State != "approved" || len(s.events(audit.RequestEnd)) != 0 {
		t.Errorf("another origin's form ended it: %+v", got)
	}

	// Who is signed out sees nothing by going back.
	c.visit(home + "/requests")
	c.at(".bar button")
	c.picture("answered")
	c.js(`document.querySelector(".bar button").click()`)
	c.until(`location.pathname === "/"`)
	c.js(`history.back()`)
	c.at("#password")
}
