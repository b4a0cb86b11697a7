package control

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/sso"
)

// codes are those by which cardea ends, of what programs hear.
var codes = map[api.Kind]int{api.Unavailable: 1, api.Invalid: 2, api.SignIn: 4, api.Denied: 5}

// documented are the sentences of docs/programs.md, with the code that it names.
func documented(t *testing.T) map[string]int {
	t.Helper()
	text, err := os.ReadFile("../docs/programs.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([1245]) \\| ").FindAllStringSubmatch(string(text), -1) {
		out[m[1]], _ = strconv.Atoi(m[2])
	}
	return out
}

func TestWhatProgramsHearIsOneLineThatSaysWhatToDoAndIsDocumented(t *testing.T) {
	j := newJobs(t)
	said := documented(t)
	heard := map[string]bool{}
	hears := func(sentence string, err error) {
		t.Helper()
		heard[sentence] = true
		if err == nil {
			t.Fatalf("%q is not said: it signs in", sentence)
		}
		code, known := said[sentence]
		switch text := err.Error(); {
		case !known:
			t.Errorf("%q is not documented", sentence)
		case codes[api.KindOf(err)] != code:
			t.Errorf("%q is documented with code %d, and is a %s", text, code, api.KindOf(err))
		case !strings.Contains(text, sentence), strings.Contains(text, "\n"), !strings.Contains(text, "; "):
			t.Errorf("%q is said as %q", sentence, text)
		}
	}
	job := func(change func(map[string]any)) error {
		j.wait(time.Second)
		return j.device("").enter(t, jobForm(j.token(change)))
	}
	set := func(name string, v any) func(map[string]any) { return func(c map[string]any) { c[name] = v } }
	now := time.Now()
	hears("the token of this job is for another audience", job(set("aud", "https://elsewhere.example.com")))
	hears("the token of this job is for others as well", job(set("aud", []string{publicURL, "https://elsewhere.example.com"})))
	hears("the token of this job is good for longer than 24h0m0s", job(set("exp", now.Add(25*time.Hour).Unix())))
	hears("the token of this job is over", job(set("exp", now.Add(-time.Hour).Unix())))
	hears("the token of this job is not good yet", job(set("nbf", now.Add(time.Hour).Unix())))
	hears("no rule fits a job of", job(set("ref", "refs/heads/mine")))
	hears("the token of this job is not taken here", job(set("iss", "https://unknown.example.com")))
	token := j.token(nil)
	if err := j.device("").enter(t, jobForm(token)); err != nil {
		t.Fatal(err)
	}
	hears("this token was used with another key before", j.device("").enter(t, jobForm(token)))
	must[api.ServiceUser](t, j.admin, "POST", "/v1/service-users", api.NewServiceUser{Name: "keeper"})
	second := j.addRule("keeper", map[string]string{"sub": "repo:acme/**"})
	hears("this job may be several service users", job(nil))
	must[any](t, j.admin, "DELETE", "/v1/workload-issuers/github/rules/"+second.ID, nil)

	d, over := j.device(""), j.device("")
	hears("this key may not sign in", d.enter(t, serviceForm()))
	k := registered(t, j.admin, "deploy", d)
	must[api.ServiceKey](t, j.admin, "POST", "/v1/service-users/deploy/keys", api.NewServiceKey{Name: "x", Thumbprint: over.key.Thumbprint(), ExpiresAt: j.now().Add(time.Minute)})
	must[any](t, j.admin, "PATCH", "/v1/users/deploy", map[string]string{"status": "disabled"})
	hears("the service user deploy is disabled", d.enter(t, serviceForm()))
	hears("the service user deploy is disabled", job(nil))
	must[any](t, j.admin, "PATCH", "/v1/users/deploy", map[string]string{"status": "active"})
	must[any](t, j.admin, "DELETE", "/v1/service-users/deploy/keys/"+k.ID, nil)
	hears("this key was taken away on", d.enter(t, serviceForm()))
	next := j.device("")
	if err := over.enter(t, serviceForm()); err != nil {
		t.Fatal(err)
	}
	if _, err := changes(t, over, next); err != nil {
		t.Fatal(err)
	}
	if err := next.enter(t, serviceForm()); err != nil {
		t.Fatal(err)
	}
	must[any](t, next, "POST", "/v1/service-keys/retire", nil)
	hears("another key took the place of this one on", over.enter(t, serviceForm()))
	j.wait(time.Minute)
	hears("this key was good until", next.enter(t, serviceForm()))
	fresh := j.token(nil)
	j.platform.Close()
	j.options.Issuers = sso.New(sso.Options{Roots: j.platform.Roots()}) // which has no keys yet
	j.restart()
	hears("the issuer of this token does not answer as it should", j.device("").enter(t, jobForm(fresh)))

	elsewhere := map[string]bool{"the platform gave this job no token": true, "cannot be reached": true, "this job may not sign in": true}
	for sentence := range said {
		if !heard[sentence] && !elsewhere[sentence] {
			t.Errorf("%q is documented, and nobody hears it", sentence)
		}
	}
}

// mallory has a token that no issuer signed, and a key that nobody registered: whatever else
// is wrong with them, she hears the same.
func TestStrangersLearnNothingOfWhatIsKnownHere(t *testing.T) {
	j := newJobs(t)
	heard := map[string]bool{}
	for _, change := range []func(map[string]any){
		nil, func(c map[string]any) { c["aud"] = "https://elsewhere.example.com" }, func(c map[string]any) { c["exp"] = 1 },
		func(c map[string]any) { c["sub"] = "repo:evil/web" }, func(c map[string]any) { c["iss"] = "https://unknown.example.com" },
	} {
		token := j.token(change)
		forged := token[:strings.LastIndexByte(token, '.')+1] + strings.Repeat("A", 86)
		j.wait(time.Second)
		heard[j.device("").enter(t, jobForm(forged)).Error()] = true
	}
	must[any](t, j.admin, "PATCH", "/v1/workload-issuers/github", api.WorkloadIssuerPatch{State: "disabled"})
	heard[j.device("").enter(t, jobForm(j.token(nil))).Error()] = true
	if len(heard) != 1 {
		t.Errorf("she heard %v", heard)
	}
}
