package browse

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// pages is a sign-in of two forms: a password, then a choice of two buttons.
func pages(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /other", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `<a href="/other">Go</a><p>another way`)
	})
	mux.HandleFunc("GET /start", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `<a href="/nowhere">Not this</a><a href="other">Go <b>there</b></a><form method="post" action="signin?x=1"><input type=hidden name=h value=kept><input name=user><input type=password name=pw><button>Go</button></form>`)
	})
	mux.HandleFunc("POST /signin", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("user") != "alice" || r.FormValue("pw") != "secret" || r.FormValue("h") != "kept" || r.FormValue("x") != "1" {
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, `<p>wrong</p><form method="post" action="/signin"><input name=user><input type=password name=pw></form>`)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "c", Value: "1"})
		http.Redirect(w, r, "/confirm", http.StatusSeeOther)
	})
	mux.HandleFunc("GET /confirm", func(w http.ResponseWriter, r *http.Request) {
		if _, err := r.Cookie("c"); err != nil {
			t.Error("the cookie was lost")
		}
		io.WriteString(w, `<form method="post" action="/done"><button name=decision value=cancel>No</button><button name=decision value=approve>Yes</button></form>`)
	})
	mux.HandleFunc("POST /done", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "<title>t</title><p>you chose</p> <b>%s</b>", r.FormValue("decision"))
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv
}

func TestVisit(t *testing.T) {
	srv := pages(t)
	for _, c := range []struct {
		name       string
		person     Person
		want, fail string
	}{
		{"a person signs in and approves", Person{Name: "alice", Password: "secret"}, "you chose approve", ""},
		{"a person signs in and cancels", Person{Name: "alice", Password: "secret", Press: "cancel"}, "you chose cancel", ""},
		{"a person goes another way, once", Person{Name: "alice", Password: "secret", Follow: "Go there"}, "Go another way", ""},
		{"a way that there is not is not gone", Person{Name: "alice", Password: "secret", Follow: "Elsewhere"}, "you chose approve", ""},
		{"a wrong password is told, not tried for ever", Person{Name: "alice", Password: "guess"}, "", "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			page, err := c.person.Visit(t.Context(), srv.URL+"/start")
			if c.fail != "" {
				if err == nil || !strings.Contains(err.Error(), c.fail) {
					t.Fatalf("error %v, want one with %q", err, c.fail)
				}
				return
			}
			if err != nil || page.Text != c.want {
				t.Fatalf("page %q, error %v; want %q", page.Text, err, c.want)
			}
		})
	}
}
