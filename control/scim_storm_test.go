package control

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/internal/sample"
	"github.com/cardea-ssh/cardea/store"
)

// stormSize is how many connections somebody makes while he is disabled.
const (
	stormSize  = 50
	stormPause = 20 * time.Millisecond
)

// disableInAStorm: carol makes connections over both instances, 50 at a time, and has ten that
// run through a gateway. Her provider says by the second instance that she is out. What is tried
// after the answer is refused everywhere, and no certificate has a later time.
func disableInAStorm(t *testing.T, s *stack) {
	s.options.Now = time.Now // timestamps are what this is about
	s.restart()
	sc := sceneOn(t, s)
	_, d := sc.connector("okta")
	id := d.made("Users", `{"userName":"carol@example.com"}`)
	d.made("Groups", `{"displayName":"Web Users","members":[{"value":"`+id+`"}]}`)
	must[api.Grant](t, sc.admin, "POST", "/v1/projects/web/grants", api.NewGrant{Group: "web-users", Role: "user"})
	sc.confirm(sc.server)
	carol := s.federate("carol")
	live := map[string]bool{}
	for range 10 {
		live[sc.enter(carol, "web-1")] = true
	}
	type try struct {
		began time.Time
		ok    bool
	}
	var mu sync.Mutex
	var tries []try
	var people sync.WaitGroup
	over := make(chan struct{})
	stop := sync.OnceFunc(func() { close(over); people.Wait() })
	defer stop() // else it would rage on through all other tests where this one fails early
	for i := range stormSize {
		people.Go(func() {
			f := newFresh(t)
			for {
				began := time.Now()
				var c api.Connection
				err := carol.api(i%2).Send(t.Context(), "POST", "/v1/connect", f.connect("web-1", ""), &c)
				mu.Lock()
				tries = append(tries, try{began, err == nil})
				mu.Unlock()
				select {
				case <-over:
					return
				case <-time.After(stormPause): // those who are refused leave the processors to what is to be seen
				}
			}
		})
	}
	count := func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range tries {
			if c.ok {
				n++
			}
		}
		return n
	}
	for end := time.Now().Add(time.Minute); count() < stormSize && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	got := d.scim(1, "PATCH", "/Users/"+id, patch(deactivate))
	answered := time.Now()
	expectScim(t, got, 200, "")
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if o := sc.orders(); len(o) >= len(live) || time.Now().After(end) {
			for session := range live {
				if o[session] == "" {
					t.Errorf("after 30 s the gateway has no order to end %s", session)
				}
			}
			break
		}
	}
	ordered := time.Since(answered)
	afterwards := func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range tries {
			if c.began.After(answered) {
				n++
			}
		}
		return n
	}
	for end := time.Now().Add(time.Minute); afterwards() < stormSize && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	stop()
	late := afterwards()
	for _, c := range tries {
		if c.ok && c.began.After(answered) {
			t.Errorf("a connection that began %s after the answer was allowed", c.began.Sub(answered))
		}
	}
	issued := 0
	for _, e := range s.events(audit.Connect) {
		if e.User != id || e.Outcome != audit.Allowed {
			continue
		}
		if issued++; e.Time.After(answered) {
			t.Errorf("a certificate was issued %s after the answer", e.Time.Sub(answered))
		}
	}
	if issued < stormSize || late < stormSize {
		t.Errorf("%d certificates were issued, and %d tries came after the answer: this was no storm", issued, late)
	}
	t.Logf("%d certificates before, %d tries after; the gateway was told within %s", issued, late, ordered.Round(time.Millisecond))
}

// scimVariable has the test of a whole company send all of it: 50,000 people.
const (
	scimVariable = "CARDEA_SCIM"
	scimSample   = 2000
)

// A company comes, one in twenty of it garbage that is refused by itself; then its directory is
// emptied by mistake, and nine of ten stay.
func TestAWholeCompanyComesAndIsDeletedByMistake(t *testing.T) {
	t.Parallel()
	count := scimSample
	if os.Getenv(scimVariable) == "all" {
		count = 50_000
	}
	dice := sample.Dice(t)
	s := newScene(t)
	_, d := s.connector("okta")
	must[api.CreatedUser](t, s.admin, "POST", "/v1/users", api.NewUser{Name: "carol", Admin: true})
	made, refused := []string{}, 0
	for from := 0; from < count; from += 100 {
		var operations []string
		bad := map[int]bool{}
		for i := range 100 {
			data := fmt.Sprintf(`{"userName":"p%d@example.com","externalId":"x%d"}`, from+i, from+i)
			if dice.IntN(20) == 0 {
				data, bad[i] = garbage(dice), true
			}
			operations = append(operations, fmt.Sprintf(`{"method":"POST","path":"/Users","bulkId":"b%d","data":%s}`, i, data))
		}
		s.wait(time.Second)
		got := d.scim(from/100%2, "POST", "/Bulk", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],"Operations":[`+strings.Join(operations, ",")+`]}`)
		var done struct {
			Operations []struct{ Status, Location string }
		}
		if err := json.Unmarshal([]byte(got.body), &done); err != nil || len(done.Operations) != len(operations) {
			t.Fatalf("%d operations are answered, %v: %s", len(done.Operations), err, got.body)
		}
		for i, o := range done.Operations {
			if bad[i] != strings.HasPrefix(o.Status, "4") {
				t.Fatalf("%s: %s", operations[i], o.Status)
			}
			if o.Status == "201" {
				made = append(made, o.Location[strings.LastIndex(o.Location, "/")+1:])
			} else {
				refused++
			}
		}
	}
	total := field(t, d.scim(0, "GET", "/Users?count=0", "").body, "totalResults")
	if total != fmt.Sprint(len(made)) || refused == 0 {
		t.Fatalf("%s are there of %d made; %d refused", total, len(made), refused)
	}
	dice.Shuffle(len(made), func(i, j int) { made[i], made[j] = made[j], made[i] })
	gone := 0
	for i, id := range made[:min(len(made), len(made)/10+50)] {
		if i%50 == 0 {
			s.wait(time.Second)
		}
		switch got := d.scim(i%2, "DELETE", "/Users/"+id, ""); got.StatusCode {
		case 204:
			gone++
		case 503:
			if got.Header.Get("Retry-After") == "" {
				t.Fatalf("no Retry-After: %v", got.Header)
			}
		default:
			t.Fatalf("%d %s", got.StatusCode, got.body)
		}
	}
	if want := len(made) / store.BrakeShare; gone != want {
		t.Errorf("%d of %d are deleted, want %d", gone, len(made), want)
	}
	if e := s.events(audit.ScimBrake); len(e) != 1 || e[0].Outcome != audit.Denied {
		t.Errorf("alarms: %+v", e)
	}
	for _, name := range []string{"admin", "carol", "alice"} {
		if u := s.user(name); u.Status != store.Active {
			t.Errorf("%s is %s", name, u.Status)
		}
	}
	c := must[api.ScimClient](t, s.admin, "GET", "/v1/scim-clients/okta", nil)
	if c.State != "paused" || c.Users != len(made)-gone {
		t.Errorf("the client is %+v", c)
	}
	must[api.ScimClient](t, s.admin, "POST", "/v1/scim-clients/okta/resume", nil)
	expectScim(t, d.scim(0, "DELETE", "/Users/"+made[len(made)-1], ""), 204, "")
}

// garbage is what no user is.
func garbage(dice *rand.Rand) string {
	all := []string{
		`{}`, `[]`, `"x"`, `7`, `null`, `{"userName":""}`, `{"userName":"root"}`, `{"userName":"a b"}`, `{"userName":"-oProxyCommand=x"}`, `{"userName":"é"}`,
		`{"userName":"../../x"}`, `{"userName":"a\nb"}`, `{"userName":"a\u0000b"}`, `{"userName":7}`, `{"userName":"ok` + strings.Repeat("k", 300) + `"}`,
		`{"userName":"alice"}`, `{"userName":"ok","active":"perhaps"}`, `{"userName":"ok","userName":"ko"}`,
		`{"userName":"ok","a":` + strings.Repeat(`{"a":`, 50) + `1` + strings.Repeat(`}`, 50) + `}`, `{"userName":"ok","title":"` + strings.Repeat("x", 5000) + `"}`,
	}
	return all[dice.IntN(len(all))]
}
