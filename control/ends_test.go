package control

import (
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/store"
)

// What somebody is in the middle of when he is put out, or gets another password, is over with
// it, on whichever instance: nothing that was begun before lives on when he is let in again.
func TestNothingThatWasBegunOutlivesAnEnd(t *testing.T) {
	t.Parallel()
	raceEnds(t, newStack(t))
}

func raceEnds(t *testing.T, s *stack) {
	admin := s.demands(api.TeamPatch{DeviceCode: ptr(true)})
	for i, c := range []struct {
		name string
		end  api.UserPatch
	}{
		{"disabled", api.UserPatch{Status: ptr(store.Disabled)}},
		{"another password", api.UserPatch{Password: ptr("staple battery horse")}},
		{"disabled, the other instance first", api.UserPatch{Status: ptr(store.Disabled)}},
	} {
		name, whole := fmt.Sprint("p", i), fmt.Sprint("q", i) // whole has a second factor, name has none
		s.user(name)
		_, p, _ := s.enrolled(whole)
		session := s.signIn(name)
		coded := s.device("coded")
		code := coded.approve(s.browser(0), name).Get("code")
		polling, grant := s.hasCode()
		b := s.browser(0)
		id, _ := b.typesCode(grant.UserCode, name)
		b.says(id, "approve")
		open := s.browser(0)
		confirming := s.device("confirming")
		asks := request(t, open.open(confirming.link()))
		open.password(asks, name)
		s.wait(time.Minute)
		_, half, halfID := s.halfway(whole)
		late := s.browser(1)
		lateID := request(t, late.open(s.device("late").link()))

		var mu sync.Mutex
		var won []*device
		wins := func(d *device, in api.SignedIn, err error) {
			if err == nil {
				mu.Lock()
				won = append(won, &device{s: s, key: d.key, token: in.AccessToken, session: in.Session})
				mu.Unlock()
			}
		}
		begin := make(chan struct{})
		var wg sync.WaitGroup
		at := func(do func()) {
			wg.Go(func() { <-begin; do() })
		}
		at(func() {
			in, err := coded.api(i%2).Redeem(t.Context(), coded.form(code))
			wins(coded, in, err)
		})
		at(func() {
			in, word := polling.pollsNow((i+1)%2, grant)
			if word == "" {
				wins(polling, in, nil)
			}
		})
		at(func() {
			var next api.Token
			if err := session.api(1).Send(t.Context(), "POST", "/v1/session/token", nil, &next); err == nil {
				d := &device{s: s, key: session.key, token: next.AccessToken}
				d.api(0).Get(t.Context(), "/v1/session", nil, nil) // the first use takes the other's place
				wins(d, api.SignedIn{Token: next}, nil)
			}
		})
		at(func() {
			to := open.says(asks, "approve").Header.Get("Location")
			if u, err := url.Parse(to); err == nil && u.Query().Get("code") != "" {
				in, err := confirming.api(1).Redeem(t.Context(), confirming.form(u.Query().Get("code")))
				wins(confirming, in, err)
			}
		})
		at(func() { half.post("/factor", with(halfID, "code", p.code(s.now()))) })
		at(func() { late.password(lateID, name) })
		for j, who := range []string{name, whole} {
			at(func() {
				if err := admin.api((i+j)%2).Send(t.Context(), "PATCH", "/v1/users/"+who, c.end, nil); err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
			})
		}
		close(begin)
		wg.Wait()
		for _, who := range []string{name, whole} {
			if c.end.Status != nil {
				must[api.CreatedUser](t, admin, "PATCH", "/v1/users/"+who, api.UserPatch{Status: ptr(store.Active)})
			}
		}
		for _, d := range append(won, session) {
			for j := range s.instances {
				if got := s.send(j, d.request(j, "GET", "/v1/session", "")); got.StatusCode != 401 {
					t.Errorf("%s: the session of a device lives on: %d %s", c.name, got.StatusCode, got.body)
				}
			}
		}
		for what, b := range map[string]*browser{"a page": open, "a half page": half, "a late page": late} {
			if got := b.open("/account"); !strings.Contains(got.body, `type="password"`) {
				t.Errorf("%s: %s lives on: %d %s", c.name, what, got.StatusCode, got.body)
			}
		}
		for what, try := range map[string]func() error{
			"a code": func() error { _, err := coded.api(0).Redeem(t.Context(), coded.form(code)); return err },
			"a device's code": func() error {
				if _, word := polling.polls(0, grant); word != "" {
					return fmt.Errorf("%s", word)
				}
				return nil
			},
		} {
			if try() == nil {
				t.Errorf("%s: %s is good afterwards", c.name, what)
			}
		}
	}
}
