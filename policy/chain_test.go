package policy

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func holds(chain []Fact) bool {
	for _, f := range chain {
		if !f.Holds {
			return false
		}
	}
	return len(chain) > 0
}

// Whatever the facts are, the chain tells what Decide decides: all of it holds exactly
// when the user may enter, and the access exactly when a grant does.
func TestTheChainHoldsExactlyWhenItIsAllowed(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 11))
	pick := func(n int) bool { return rnd.IntN(n) == 0 }
	end := func() time.Time {
		return []time.Time{{}, now, now.Add(-1), now.Add(1), now.Add(time.Hour)}[rnd.IntN(5)]
	}
	allowed := 0
	for range 20_000 {
		f := alice()
		f.User.Active = !pick(8)
		f.Device.State = []DeviceState{DeviceActive, DeviceActive, DeviceActive, DevicePending, DeviceRevoked, ""}[rnd.IntN(6)]
		if pick(8) {
			f.Session.ExpiresAt = now
		}
		if pick(8) {
			f.Session.RevokedAt = now.Add(-time.Hour)
		}
		f.Server.Active, f.Server.Enrolled, f.Server.Held = !pick(8), !pick(8), pick(8)
		if pick(8) {
			f.Login = "root"
		}
		if pick(10) {
			f.Server.ProjectID = "prj_db"
		}
		if pick(4) {
			f.BreakGlass = glass([]string{"grt_1", "grt_2", "grt_9"}[rnd.IntN(3)])
			f.BreakGlass.Ended = pick(3)
		}
		if pick(4) {
			demands(&f, []Word{Yes, Yes, No, "unknown"}[rnd.IntN(4)], []time.Time{now, now, now.Add(-ReportAge), {}}[rnd.IntN(4)])
		}
		f.Project.DeviceApproval, f.Device.Approved = pick(4), !pick(3)
		f.Memberships, f.Grants = nil, nil
		for i := range rnd.IntN(4) {
			f.Memberships = append(f.Memberships, Membership{UserID: []string{"usr_alice", "usr_alice", "usr_bob"}[rnd.IntN(3)], GroupID: []string{"grp_ops", "grp_db"}[i%2], Until: end()})
		}
		for i := range rnd.IntN(4) {
			g := Grant{ID: "grt_" + string(rune('1'+i)), ProjectID: "prj_web", GroupID: []string{"grp_ops", "grp_db", "grp_sre"}[rnd.IntN(3)], Role: []Role{RoleUser, RoleAdmin, "root"}[rnd.IntN(3)], Until: end()}
			if pick(2) {
				g.Selector = selector(t, []string{"env=prod", "env=dev", "env!=prod"}[rnd.IntN(3)])
			}
			f.Grants = append(f.Grants, g)
		}
		d := Decide(f)
		for _, everything := range []bool{false, true} {
			chain := Chain(f, everything)
			if holds(chain) != d.Allow {
				t.Fatalf("decided %+v, and the chain says %+v for %+v", d, chain, f)
			}
			for _, fact := range chain {
				if fact.Text == "" || strings.HasSuffix(fact.Text, ".") || strings.Contains(fact.Text, "%!") {
					t.Fatalf("text of %+v", fact)
				}
				if fact.Kind != FactAccess {
					continue
				}
				any := false
				for _, g := range fact.Under {
					any = any || g.Holds
				}
				if any != fact.Holds {
					t.Fatalf("access holds: %t; of its grants one does: %t; %+v", fact.Holds, any, f)
				}
			}
		}
		if d.Allow {
			allowed++
		}
	}
	if allowed < 100 {
		t.Errorf("only %d of the cases were allowed", allowed)
	}
}

func TestTheChainTellsWhoAsksOfHisOwnGrantsAlone(t *testing.T) {
	f := alice()
	f.Grants = append(f.Grants,
		Grant{ID: "grt_2", ProjectID: "prj_web", GroupID: "grp_sre", GroupName: "sre", Role: RoleAdmin},
		Grant{ID: "grt_3", ProjectID: "prj_web", GroupID: "grp_ops", Role: RoleAdmin, Selector: selector(t, "env=dev")},
		Grant{ID: "grt_4", ProjectID: "prj_db", GroupID: "grp_ops", Role: RoleAdmin})
	grants := func(everything bool) (ids []string) {
		for _, fact := range Chain(f, everything) {
			for _, g := range fact.Under {
				ids = append(ids, g.ID)
			}
		}
		return ids
	}
	if got := strings.Join(grants(false), " "); got != "grt_1" {
		t.Errorf("her own: %s", got)
	}
	if got := strings.Join(grants(true), " "); got != "grt_1 grt_2 grt_3" {
		t.Errorf("all: %s", got)
	}
}

func TestTheChainSaysWhatIsMissing(t *testing.T) {
	f := alice()
	f.Memberships[0].Until = now
	f.Grants = append(f.Grants, Grant{ID: "grt_2", ProjectID: "prj_web", GroupID: "grp_sre", GroupName: "sre", Role: RoleAdmin, Selector: selector(t, "env=dev")})
	var access Fact
	for _, fact := range Chain(f, true) {
		if fact.Kind == FactAccess {
			access = fact
		}
	}
	if access.Holds || len(access.Under) != 2 {
		t.Fatalf("access %+v", access)
	}
	over, other := access.Under[0].Under, access.Under[1].Under
	if over[0].Text != "the membership is over" || !over[0].Until.Equal(now) || !over[1].Holds {
		t.Errorf("of her own group: %+v", over)
	}
	if other[0].Text != "the user is not in the group" || other[1].Holds || other[1].Text != "it is for servers with env=dev; this one has env=prod" {
		t.Errorf("of another: %+v", other)
	}
}
