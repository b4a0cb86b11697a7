//go:build !windows

package login

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/api/apitest"
)

const jobToken = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"

// platform gives tokens as GitHub does; answer is all that it says.
func platform(t *testing.T, answer http.HandlerFunc) Workload {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	env := map[string]string{githubURL: s.URL + "/token?api-version=2.0", githubToken: "for this job"}
	return Workload{Audience: "https://access.example.com", Lookup: lookup(env)}
}

func lookup(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := env[name]; return v, ok }
}

func TestATokenIsAskedForOnce(t *testing.T) {
	asked := 0
	w := platform(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		q := r.URL.Query()
		if q.Get("api-version") != "2.0" || q.Get("audience") != "https://access.example.com" || r.Header.Get("Authorization") != "Bearer for this job" {
			t.Errorf("asked %s with %v", r.URL, r.Header)
		}
		json.NewEncoder(w).Encode(map[string]any{"count": 1, "value": jobToken})
	})
	got, err := w.Token(t.Context())
	if err != nil || got != jobToken || asked != 1 {
		t.Errorf("%q, %v, asked %d times", got, err, asked)
	}
}

func TestAPlatformThatGivesNoToken(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the request was redirected") }))
	defer elsewhere.Close()
	for name, answer := range map[string]http.HandlerFunc{
		"refuses":                 func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) },
		"answers with a page":     func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) },
		"answers with nothing":    func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("{}")) },
		"answers with other text": func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"value":"a secret of another kind"}`)) },
		"answers with too much": func(w http.ResponseWriter, _ *http.Request) {
			json.NewEncoder(w).Encode(map[string]string{"value": "a." + strings.Repeat("b", maxIDToken) + ".c"})
		},
		"sends elsewhere": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) },
	} {
		t.Run(name, func(t *testing.T) {
			token, err := platform(t, answer).Token(t.Context())
			if err == nil || token != "" || strings.Contains(err.Error(), "for this job") || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q, %v", token, err)
			}
		})
	}
}

func TestWhereATokenIsLookedFor(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	must(t, os.WriteFile(file, []byte(jobToken+"\n"), 0o600))
	must(t, os.Symlink("token", filepath.Join(dir, "link")))
	for name, w := range map[string]Workload{
		"a file":                {File: file, Lookup: lookup(map[string]string{IDTokenVariable: "a.b.c"})},
		"a link to one":         {File: filepath.Join(dir, "link")},
		"a variable":            {Lookup: lookup(map[string]string{IDTokenVariable: " " + jobToken + "\n"})},
		"the variable is first": {Lookup: lookup(map[string]string{IDTokenVariable: jobToken, githubURL: "http://127.0.0.1:1", githubToken: "x"})},
	} {
		if got, err := w.Token(t.Context()); got != jobToken || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for name, w := range map[string]Workload{
		"a file that is not there":  {File: filepath.Join(dir, "none")},
		"a folder":                  {File: dir},
		"a device":                  {File: "/dev/zero"},
		"a text that is no token":   {Lookup: lookup(map[string]string{IDTokenVariable: "hunter2"})},
		"two lines":                 {Lookup: lookup(map[string]string{IDTokenVariable: "a.b\n.c"})},
		"an address without TLS":    {Lookup: lookup(map[string]string{githubURL: "http://192.0.2.1/", githubToken: "x"})},
		"an address that is none":   {Lookup: lookup(map[string]string{githubURL: "::", githubToken: "x"})},
		"nothing, outside of a pod": {Lookup: lookup(nil)},
	} {
		if got, err := w.Token(t.Context()); err == nil || got != "" || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestTokensAreBounded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	for length, good := range map[int]bool{maxIDToken: true, maxIDToken + 1: false, 4 * maxIDToken: false} {
		must(t, os.WriteFile(file, []byte("a."+strings.Repeat("b", length-4)+".c\n"), 0o600))
		if got, err := (Workload{File: file}).Token(t.Context()); (err == nil) != good || good && len(got) != length {
			t.Errorf("%d bytes: %d, %v", length, len(got), err)
		}
	}
}

func TestEachTokenHasItsOwnKey(t *testing.T) {
	h := &Home{Dir: filepath.Join(t.TempDir(), "cardea")}
	first, a, err := h.JobKey(jobToken)
	must(t, err)
	again, b, err := h.JobKey(jobToken)
	must(t, err)
	other, c, err := h.JobKey("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ5In0.c2ln")
	must(t, err)
	if first != again || a.Thumbprint() != b.Thumbprint() || first == other || a.Thumbprint() == c.Thumbprint() {
		t.Errorf("%s, %s, %s", first, again, other)
	}
	if info, err := os.Stat(first); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	service := filepath.Join(h.Dir, "deploy.pem")
	must(t, os.WriteFile(service, nil, 0o600))
	outside := filepath.Join(t.TempDir(), "job-x.pem")
	must(t, os.WriteFile(outside, nil, 0o600))
	for _, v := range []struct{ old, now string }{{"", ""}, {first, first}, {service, ""}, {outside, ""}, {filepath.Join(h.Dir, "sub", "..", "..", "job-x"), ""}} {
		must(t, h.Outlived(Saved{KeyFile: v.old}, Saved{KeyFile: v.now}))
	}
	for _, path := range []string{first, service, outside} {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("removed: %v", err)
		}
	}
	must(t, h.Outlived(Saved{KeyFile: first}, Saved{KeyFile: other}))
	must(t, h.Outlived(Saved{KeyFile: first}, Saved{}))
	if _, err := os.Stat(first); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the key of an ended session is still there: %v", err)
	}
}

func TestWithoutATokenAPersonReadsWhatToDo(t *testing.T) {
	if _, err := os.Stat(KubernetesToken); err == nil {
		t.Skip("SKIPPED: this machine has " + KubernetesToken)
	}
	_, err := Workload{Lookup: lookup(nil)}.Token(t.Context())
	if api.KindOf(err) != api.SignIn || !strings.Contains(err.Error(), "id-token: write") || !strings.Contains(err.Error(), IDTokenVariable) {
		t.Error(err)
	}
}

func TestASessionIsProvedByTheKeyThatItIsBoundTo(t *testing.T) {
	s := apitest.New(t)
	h := &Home{Dir: filepath.Join(t.TempDir(), "cardea"), NoKeyring: true}
	path, key, err := h.JobKey(jobToken)
	must(t, err)
	form := url.Values{"grant_type": {api.GrantWorkload}, "client_id": {api.ClientID}, "assertion": {jobToken}}
	saved, err := Flow{URL: s.URL, Key: key, HTTP: s.HTTP()}.Program(t.Context(), form)
	must(t, err)
	hasKey(t, h)
	for keyFile, want := range map[string]api.Kind{path: "", "": api.SignIn} {
		saved.KeyFile = keyFile
		must(t, h.Save(saved))
		client, err := (&Account{Home: h}).Client(t.Context())
		must(t, err)
		if _, err := client.Get(t.Context(), "/v1/session", nil, nil); api.KindOf(err) != want {
			t.Errorf("with the key in %q: %v", keyFile, err)
		}
	}
	saved.KeyFile = path
	must(t, h.Save(saved))
	must(t, os.Remove(path))
	if _, err := (&Account{Home: h}).Client(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without its key: %v", err)
	}
}
