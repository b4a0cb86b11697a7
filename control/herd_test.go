package control

import (
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// On Monday at nine everybody signs in within a minute, at a provider that is slow and has
// changed its keys over the weekend: nobody waits for another's answer, and the keys are
// fetched once by each instance, not once for each person.
func TestEverybodySignsInAtNine(t *testing.T) {
	people, slow := 20, 300*time.Millisecond
	if all := os.Getenv("CARDEA_HERD"); all != "" {
		n, err := strconv.Atoi(all)
		if err != nil {
			t.Fatal("CARDEA_HERD is not a number of people: ", all)
		}
		people, slow = n, 2*time.Second
	} else {
		t.Parallel()
	}
	f := newFederation(t)
	if first := f.run().back("op"); first.StatusCode != 200 { // the old keys are known
		t.Fatal(first.body)
	}
	var next atomic.Int64
	f.provider.Claims(func(c map[string]any) {
		who := fmt.Sprintf("p%d", next.Add(1))
		c["sub"], c["preferred_username"], c["name"], c["email"] = who, who, who, who+"@example.com"
	})
	f.provider.Rotate("of the weekend")
	f.provider.Slow(slow)
	keys, described := f.provider.Hits("/jwks"), f.provider.Hits("/.well-known/openid-configuration")

	const pause = time.Minute / 2000
	began := time.Now()
	took := make([]time.Duration, people) // from the provider's answer to the session
	names := make([]string, people)
	var wg sync.WaitGroup
	for i := range people {
		time.Sleep(pause)
		f.wait(pause)
		wg.Go(func() { took[i], names[i] = f.comes(i % len(f.instances)) })
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	slices.Sort(names)
	if n := len(slices.Compact(names)); n != people {
		t.Errorf("%d people had %d names", people, n)
	}
	slices.Sort(took)
	t.Logf("%d people: p50 %s, p99 %s, of which the provider takes %s", people, took[people/2], took[people*99/100], slow)
	if n := f.provider.Hits("/jwks") - keys; n > len(f.instances) {
		t.Errorf("the keys were fetched %d times", n)
	}
	// Where to sign in is asked anew every five seconds.
	most := len(f.instances) + int(time.Since(began)/(5*time.Second))
	if n := f.provider.Hits("/.well-known/openid-configuration") - described; n > most {
		t.Errorf("the provider's description was fetched %d times", n)
	}
}

// comes is one person, by this instance, and how long he waited after the provider had sent
// him back.
func (f *federation) comes(instance int) (took time.Duration, name string) {
	r := &run{f: f, browser: f.browser(instance), device: f.stack.device("laptop")}
	r.request = request(f.t, r.browser.open(r.device.link()))
	r.answer = f.provider.Visit(r.sent("op"))
	began := time.Now()
	if page := r.back("op"); page.StatusCode != 200 {
		f.t.Errorf("%d %s", page.StatusCode, page.body)
		return
	}
	code := sentBack(f.t, r.browser.post("/confirm", url.Values{"request": {r.request}, "decision": {"approve"}})).Get("code")
	in, err := r.device.api(instance).Redeem(f.t.Context(), r.device.form(code))
	if err != nil {
		f.t.Error(err)
		return
	}
	return time.Since(began), in.Session.UserName
}
