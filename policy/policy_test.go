package policy

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// alice has a grant for web-1 by the group ops, and everything about her is in order.
func alice() Facts {
	return Facts{
		Now:         now,
		User:        User{ID: "usr_alice", Login: "alice", Active: true},
		Device:      Device{ID: "dev_1", UserID: "usr_alice", State: DeviceActive},
		Session:     Session{ID: "ses_1", UserID: "usr_alice", DeviceID: "dev_1", ExpiresAt: now.Add(12 * time.Hour), AuthenticatedAt: now.Add(-time.Hour)},
		Project:     Project{ID: "prj_web", Name: "web"},
		Server:      Server{ID: "srv_1", ProjectID: "prj_web", Name: "web-1", Active: true, Enrolled: true, Labels: map[string]string{"env": "prod"}},
		Memberships: []Membership{{UserID: "usr_alice", GroupID: "grp_ops"}},
		Grants:      []Grant{{ID: "grt_1", ProjectID: "prj_web", GroupID: "grp_ops", Role: RoleUser}},
	}
}

func TestEveryRuleAndItsBoundary(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Facts)
		want   Reason
	}{
		"everything in order":                                {func(*Facts) {}, Allowed},
		"her own login asked for":                            {func(f *Facts) { f.Login = "alice" }, Allowed},
		"another login":                                      {func(f *Facts) { f.Login = "root" }, OtherLogin},
		"an own login where one is shared":                   {func(f *Facts) { f.Project.SharedLogin, f.Login = "deploy", "alice" }, OtherLogin},
		"the shared login of administrators":                 {func(f *Facts) { f.Project.SharedAdminLogin, f.Login = "boss", "boss" }, OtherLogin},
		"a login in capitals":                                {func(f *Facts) { f.Login = "Alice" }, OtherLogin},
		"another login and no grant":                         {func(f *Facts) { f.Login, f.Grants = "root", nil }, NoGrant},
		"user disabled":                                      {func(f *Facts) { f.User.Active = false }, UserInactive},
		"device pending":                                     {func(f *Facts) { f.Device.State = DevicePending }, DevicePendingNo},
		"device revoked":                                     {func(f *Facts) { f.Device.State = DeviceRevoked }, DeviceRevokedNo},
		"device in no known state":                           {func(f *Facts) { f.Device.State = "" }, DeviceRevokedNo},
		"session in its last nanosecond":                     {func(f *Facts) { f.Session.ExpiresAt = now.Add(1) }, Allowed},
		"session at its end":                                 {func(f *Facts) { f.Session.ExpiresAt = now }, SessionExpired},
		"session without an end":                             {func(f *Facts) { f.Session.ExpiresAt = time.Time{} }, SessionExpired},
		"session revoked":                                    {func(f *Facts) { f.Session.RevokedAt = now.Add(time.Hour) }, SessionRevoked},
		"who she is was shown a moment within the age":       {func(f *Facts) { f.Project.ReauthAge = time.Hour + 1 }, Allowed},
		"who she is was shown as long ago as the age":        {func(f *Facts) { f.Project.ReauthAge = time.Hour }, Reauth},
		"shown again for this project":                       {func(f *Facts) { f.Project.ReauthAge, f.ShownAt = time.Minute, now.Add(-time.Minute+1) }, Allowed},
		"shown again for this project, too long ago":         {func(f *Facts) { f.Project.ReauthAge, f.ShownAt = time.Minute, now.Add(-time.Minute) }, Reauth},
		"shown for this project before the sign-in":          {func(f *Facts) { f.Project.ReauthAge, f.ShownAt = 2*time.Hour, now.Add(-3*time.Hour) }, Allowed},
		"never shown at all":                                 {func(f *Facts) { f.Project.ReauthAge, f.Session.AuthenticatedAt = 25*time.Hour, time.Time{} }, Reauth},
		"never shown, where nobody asks":                     {func(f *Facts) { f.Session.AuthenticatedAt = time.Time{} }, Allowed},
		"to be shown again, and no grant":                    {func(f *Facts) { f.Project.ReauthAge, f.Grants = time.Minute, nil }, NoGrant},
		"to be shown again, and another login":               {func(f *Facts) { f.Project.ReauthAge, f.Login = time.Minute, "root" }, OtherLogin},
		"to be shown again, and the server disabled":         {func(f *Facts) { f.Project.ReauthAge, f.Server.Active = time.Minute, false }, ServerInactive},
		"a device that nobody approved, where that is asked": {func(f *Facts) { f.Project.DeviceApproval = true }, DeviceUnapproved},
		"an approved device, where that is asked":            {func(f *Facts) { f.Project.DeviceApproval, f.Device.Approved = true, true }, Allowed},
		"a device that nobody approved, and no grant":        {func(f *Facts) { f.Project.DeviceApproval, f.Grants = true, nil }, NoGrant},
		"a program, where devices are approved":              {func(f *Facts) { f.User.Program, f.Project.DeviceApproval = true, true }, Allowed},
		"a program, where devices are to be in order":        {func(f *Facts) { demands(f, Yes, now); f.User.Program = true }, DevicePosture},
		"a program, where only people's are": {func(f *Facts) {
			demands(f, No, now)
			f.User.Program = true
			f.Project.DeviceRules = append(f.Project.DeviceRules, PeopleOnly)
		}, Allowed},
		"a program, where nothing else is asked":  {func(f *Facts) { f.User.Program = true; f.Project.DeviceRules = []DeviceRule{PeopleOnly} }, Allowed},
		"a person, where only people's are":       {func(f *Facts) { demands(f, No, now); f.Project.DeviceRules = append(f.Project.DeviceRules, PeopleOnly) }, DevicePosture},
		"a person, where nothing else is asked":   {func(f *Facts) { f.Project.DeviceRules = []DeviceRule{PeopleOnly} }, Allowed},
		"a program whose sign-in is too long ago": {func(f *Facts) { f.User.Program, f.Project.ReauthAge = true, time.Hour }, Reauth},
		"a device that said yes to all":           {func(f *Facts) { demands(f, Yes, now) }, Allowed},
		"a device that said no":                   {func(f *Facts) { demands(f, No, now) }, DevicePosture},
		"a device that does not know":             {func(f *Facts) { demands(f, "unknown", now) }, DevicePosture},
		"a device that left it out":               {func(f *Facts) { demands(f, Yes, now); delete(f.Device.Posture.Words, RuleScreenLock) }, DevicePosture},
		"a device with a word of its own":         {func(f *Facts) { demands(f, "YES", now) }, DevicePosture},
		"a device that said nothing":              {func(f *Facts) { demands(f, Yes, now); f.Device.Posture = Posture{} }, DevicePosture},
		"a device that said yes at no time":       {func(f *Facts) { demands(f, Yes, time.Time{}) }, DevicePosture},
		"a yes in its last nanosecond":            {func(f *Facts) { demands(f, Yes, now.Add(-ReportAge+1)) }, Allowed},
		"a yes that is too old":                   {func(f *Facts) { demands(f, Yes, now.Add(-ReportAge)) }, DevicePosture},
		"a no, where nobody asks":                 {func(f *Facts) { demands(f, No, now); f.Project.DeviceRules = nil }, Allowed},
		"a rule that nobody knows": {func(f *Facts) {
			demands(f, Yes, now)
			f.Project.DeviceRules = []DeviceRule{"antivirus"}
			f.Device.Posture.Words["antivirus"] = Yes
		}, DevicePosture},
		"a no, and no grant":                         {func(f *Facts) { demands(f, No, now); f.Grants = nil }, NoGrant},
		"a no, and to be shown again":                {func(f *Facts) { demands(f, No, now); f.Project.ReauthAge = time.Minute }, DevicePosture},
		"server held":                                {func(f *Facts) { f.Server.Held = true }, ServerInactive},
		"server disabled":                            {func(f *Facts) { f.Server.Active = false }, ServerInactive},
		"server disabled and no grant":               {func(f *Facts) { f.Server.Active, f.Grants = false, nil }, NoGrant},
		"server not enrolled":                        {func(f *Facts) { f.Server.Enrolled = false }, ServerNotEnrolled},
		"no grant":                                   {func(f *Facts) { f.Grants = nil }, NoGrant},
		"grant of a group she is not in":             {func(f *Facts) { f.Grants[0].GroupID = "grp_db" }, NoGrant},
		"grant of another project":                   {func(f *Facts) { f.Grants[0].ProjectID = "prj_db" }, NoGrant},
		"grant of a role that does not exist":        {func(f *Facts) { f.Grants[0].Role = "root" }, NoGrant},
		"grant in its last nanosecond":               {func(f *Facts) { f.Grants[0].Until = now.Add(1) }, Allowed},
		"grant at its end":                           {func(f *Facts) { f.Grants[0].Until = now }, GrantOver},
		"no membership":                              {func(f *Facts) { f.Memberships = nil }, NoGrant},
		"somebody else's membership":                 {func(f *Facts) { f.Memberships[0].UserID = "usr_bob" }, NoGrant},
		"membership in its last nanosecond":          {func(f *Facts) { f.Memberships[0].Until = now.Add(1) }, Allowed},
		"membership at its end":                      {func(f *Facts) { f.Memberships[0].Until = now }, GrantOver},
		"a group without a name on both sides":       {func(f *Facts) { f.Grants[0].GroupID, f.Memberships[0].GroupID = "", "" }, NoGrant},
		"selector that matches":                      {func(f *Facts) { f.Grants[0].Selector = selector(t, "env=prod") }, Allowed},
		"selector that does not":                     {func(f *Facts) { f.Grants[0].Selector = selector(t, "env=dev") }, NoGrant},
		"over, and for servers that are not this":    {func(f *Facts) { f.Grants[0].Selector, f.Grants[0].Until = selector(t, "env=dev"), now }, NoGrant},
		"suspended by a break-glass":                 {func(f *Facts) { f.BreakGlass = glass("grt_9") }, Suspended},
		"the grant that a break-glass leaves":        {func(f *Facts) { f.BreakGlass = glass("grt_1") }, Allowed},
		"a break-glass in its last nanosecond":       {func(f *Facts) { f.BreakGlass = glass("grt_9"); f.BreakGlass.Until = now.Add(1) }, Suspended},
		"a break-glass at its end":                   {func(f *Facts) { f.BreakGlass = glass("grt_9"); f.BreakGlass.Until = now }, Allowed},
		"a break-glass that was ended":               {func(f *Facts) { f.BreakGlass = glass("grt_9"); f.BreakGlass.Ended = true }, Allowed},
		"a break-glass without an end":               {func(f *Facts) { f.BreakGlass = glass("grt_9"); f.BreakGlass.Until = time.Time{} }, Allowed},
		"a break-glass with no grant":                {func(f *Facts) { f.BreakGlass = glass("") }, Suspended},
		"a break-glass of another project":           {func(f *Facts) { f.BreakGlass = glass("grt_1"); f.BreakGlass.ProjectID = "prj_db" }, FactsMismatch},
		"a break-glass, and no grant before":         {func(f *Facts) { f.BreakGlass, f.Grants = glass("grt_9"), nil }, NoGrant},
		"a break-glass, and a grant that was over":   {func(f *Facts) { f.BreakGlass, f.Grants[0].Until = glass("grt_9"), now }, GrantOver},
		"a break-glass, and not in its group":        {func(f *Facts) { f.BreakGlass, f.Grants[0].GroupID = glass("grt_1"), "grp_db" }, NoGrant},
		"a break-glass, and the server is disabled":  {func(f *Facts) { f.BreakGlass, f.Server.Active = glass("grt_1"), false }, ServerInactive},
		"a session of somebody else":                 {func(f *Facts) { f.Session.UserID = "usr_bob" }, FactsMismatch},
		"a session of another device":                {func(f *Facts) { f.Session.DeviceID = "dev_2" }, FactsMismatch},
		"a device of somebody else":                  {func(f *Facts) { f.Device.UserID = "usr_bob" }, FactsMismatch},
		"a server of another project":                {func(f *Facts) { f.Server.ProjectID = "prj_db" }, FactsMismatch},
		"no time":                                    {func(f *Facts) { f.Now = time.Time{} }, FactsMismatch},
		"no facts at all":                            {func(f *Facts) { *f = Facts{} }, FactsMismatch},
		"a user without a login":                     {func(f *Facts) { f.User.Login = "" }, FactsMismatch},
		"disabled user on a revoked device, no more": {func(f *Facts) { f.User.Active, f.Device.State = false, DeviceRevoked }, UserInactive},
	} {
		t.Run(name, func(t *testing.T) {
			f := alice()
			c.change(&f)
			d := Decide(f)
			if d.Reason != c.want || d.Allow != (c.want == Allowed) {
				t.Fatalf("got %+v, want %s", d, c.want)
			}
			if inForce := InForce(f); (len(inForce) > 0) != d.Allow {
				t.Errorf("in force: %+v", inForce)
			}
			if !d.Allow && (d.Hint == "" || d.Role != "" || d.GrantID != "" || d.Login != "") {
				t.Errorf("a denial must say what to do and give nothing: %+v", d)
			}
			if s := d.Sentence; s == "" || strings.HasSuffix(s, ".") || strings.Contains(s, "%!") {
				t.Errorf("sentence %q", s)
			}
		})
	}
}

// demands has the project ask for every rule, and the device say that of each.
func demands(f *Facts, w Word, at time.Time) {
	f.Project.DeviceRules = DeviceRules()
	f.Device.Posture = Posture{At: at, Words: map[DeviceRule]Word{}}
	for _, r := range f.Project.DeviceRules {
		f.Device.Posture.Words[r] = w
	}
}

// glass is a break-glass of an hour in which one grant counts.
func glass(grant string) BreakGlass {
	return BreakGlass{ID: "brg_1", ProjectID: "prj_web", GrantID: grant, Reason: "gateways are down", Until: now.Add(time.Hour)}
}

func TestABreakGlassLeavesOneGrantAndBoundsIt(t *testing.T) {
	f := alice()
	f.Memberships = append(f.Memberships, Membership{UserID: "usr_alice", GroupID: "grp_sre"})
	f.Grants = append(f.Grants,
		Grant{ID: "grt_2", ProjectID: "prj_web", GroupID: "grp_ops", Role: RoleAdmin},
		Grant{ID: "grt_3", ProjectID: "prj_web", GroupID: "grp_sre", Role: RoleUser})
	f.BreakGlass = glass("grt_3")
	d := Decide(f)
	if d.Role != RoleUser || d.GrantID != "grt_3" || d.BreakGlass != "brg_1" || !d.Expires.Equal(f.BreakGlass.Until) {
		t.Errorf("got %+v, want user by grt_3 until the break-glass ends", d)
	}
	if in := InForce(f); len(in) != 1 || in[0].ID != "grt_3" {
		t.Errorf("in force: %+v", in)
	}
	f.Now = f.BreakGlass.Until
	if d := Decide(f); d.Role != RoleAdmin || d.GrantID != "grt_2" || d.BreakGlass != "" {
		t.Errorf("after it: got %+v, want admin by grt_2", d)
	}
}

func selector(t testing.TB, s string) Selector {
	t.Helper()
	sel, err := ParseSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return sel
}

func TestTheStrongestGrantGivesTheRole(t *testing.T) {
	f := alice()
	f.Memberships = append(f.Memberships, Membership{UserID: "usr_alice", GroupID: "grp_db", Until: now.Add(time.Hour)})
	f.Grants = append(f.Grants,
		Grant{ID: "grt_2", ProjectID: "prj_web", GroupID: "grp_db", Role: RoleAdmin},
		Grant{ID: "grt_3", ProjectID: "prj_web", GroupID: "grp_ops", Role: RoleAdmin, Until: now.Add(30 * time.Minute)},
		Grant{ID: "grt_4", ProjectID: "prj_web", GroupID: "grp_ops", Role: RoleAdmin, Until: now},
	)
	d := Decide(f)
	if d.Role != RoleAdmin || d.GrantID != "grt_2" || !d.Expires.Equal(now.Add(time.Hour)) {
		t.Errorf("got %+v, want admin by grt_2 until the membership ends", d)
	}
	f.Memberships[1].Until = now
	if d := Decide(f); d.Role != RoleAdmin || d.GrantID != "grt_3" {
		t.Errorf("after that membership: got %+v, want admin by grt_3", d)
	}
	f.Grants = f.Grants[:1]
	if d := Decide(f); d.Role != RoleUser || !d.Expires.Equal(f.Session.ExpiresAt) {
		t.Errorf("without them: got %+v, want user until the session ends", d)
	}
}

func TestAllGrantsThatOpenTheServerAreInForce(t *testing.T) {
	f := alice()
	f.Memberships = append(f.Memberships, Membership{UserID: "usr_alice", GroupID: "grp_over", Until: now})
	f.Grants = append(f.Grants,
		Grant{ID: "grt_2", ProjectID: "prj_web", GroupID: "grp_ops", Role: RoleAdmin, Selector: selector(t, "env=prod"), Until: now.Add(1)},
		Grant{ID: "grt_over", ProjectID: "prj_web", GroupID: "grp_ops", Role: RoleUser, Until: now},
		Grant{ID: "grt_group_over", ProjectID: "prj_web", GroupID: "grp_over", Role: RoleUser},
		Grant{ID: "grt_selector", ProjectID: "prj_web", GroupID: "grp_ops", Role: RoleUser, Selector: selector(t, "env=dev")},
		Grant{ID: "grt_project", ProjectID: "prj_db", GroupID: "grp_ops", Role: RoleUser},
		Grant{ID: "grt_group", ProjectID: "prj_web", GroupID: "grp_db", Role: RoleUser},
	)
	var ids []string
	for _, g := range InForce(f) {
		ids = append(ids, g.ID)
	}
	if strings.Join(ids, " ") != "grt_1 grt_2" {
		t.Errorf("in force: %v", ids)
	}
}

func TestTheLongerOfTwoMembershipsCounts(t *testing.T) {
	for name, m := range map[string][]Membership{
		"short one first": {{UserID: "usr_alice", GroupID: "grp_ops", Until: now}, {UserID: "usr_alice", GroupID: "grp_ops"}},
		"long one first":  {{UserID: "usr_alice", GroupID: "grp_ops"}, {UserID: "usr_alice", GroupID: "grp_ops", Until: now}},
	} {
		f := alice()
		f.Memberships = m
		if d := Decide(f); !d.Allow {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// Whatever order the database returns rows in, the answer is the same.
func TestTheOrderOfRowsDoesNotMatter(t *testing.T) {
	f := alice()
	for i := range 20 {
		role := RoleUser
		if i%2 == 0 {
			role = RoleAdmin
		}
		f.Grants = append(f.Grants, Grant{ID: "grt_" + string(rune('a'+i)), ProjectID: "prj_web", GroupID: "grp_ops", Role: role})
	}
	want := Decide(f)
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		rnd.Shuffle(len(f.Grants), func(i, j int) { f.Grants[i], f.Grants[j] = f.Grants[j], f.Grants[i] })
		if got := Decide(f); got != want {
			t.Fatalf("got %+v, then %+v", want, got)
		}
	}
}

func TestSelectors(t *testing.T) {
	labels := map[string]string{"env": "prod", "tier": "web", "host/os": "debian"}
	for text, want := range map[string]bool{
		"":                        true,
		"env=prod":                true,
		"env=dev":                 false,
		"env!=dev":                true,
		"env!=prod":               false,
		"missing=x":               false,
		"missing!=x":              true,
		"env=prod,tier=web":       true,
		"env=prod,tier=db":        false,
		" env = prod , tier!=db ": true,
	} {
		if got := selector(t, text).Matches(labels); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

func TestSelectorsThatAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"a label of the host":          "host/os=debian",
		"a label the host must not be": "host/os!=debian",
		"no operator":                  "env",
		"no key":                       "=prod",
		"no value":                     "env=",
		"two operators":                "env==prod",
		"an empty part":                "env=prod,",
		"blanks alone":                 " ",
		"a newline":                    "env=prod\ntier=db",
		"one part too many":            strings.Repeat("env=prod,", MaxRequirements) + "env=prod",
	} {
		if s, err := ParseSelector(text); err == nil {
			t.Errorf("%s: %q was read as %q", name, text, s)
		}
		if Select(text, map[string]string{"env": "prod", "host/os": "debian"}) {
			t.Errorf("%s: %q selects something", name, text)
		}
	}
	if _, err := ParseSelector(strings.Repeat("env=prod,", MaxRequirements-1) + "env=prod"); err != nil {
		t.Errorf("at the limit: %v", err)
	}
}

func FuzzParseSelector(f *testing.F) {
	f.Add("env=prod,tier!=db")
	f.Add("host/a=b")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSelector(text)
		if err != nil {
			return
		}
		again, err := ParseSelector(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q is written as %q, which reads as %q, %v", text, s, again, err)
		}
		if strings.Contains(s.String(), "host/") {
			t.Fatalf("%q selects by what a host says", text)
		}
	})
}

func TestTheLoginIsThatOfTheRole(t *testing.T) {
	for name, c := range map[string]struct {
		role          Role
		shared, admin string
		want          string
	}{
		"nothing is shared":                         {RoleUser, "", "", "alice"},
		"users share":                               {RoleUser, "deploy", "", "deploy"},
		"users share, and she is no user":           {RoleAdmin, "deploy", "", "alice"},
		"administrators share":                      {RoleAdmin, "", "boss", "boss"},
		"administrators share, and she is not one":  {RoleUser, "", "boss", "alice"},
		"both share, and the stronger grant counts": {RoleAdmin, "deploy", "boss", "boss"},
	} {
		t.Run(name, func(t *testing.T) {
			f := alice()
			f.Project.SharedLogin, f.Project.SharedAdminLogin = c.shared, c.admin
			f.Grants = append(f.Grants, Grant{ID: "grt_2", ProjectID: "prj_web", GroupID: "grp_ops", Role: c.role})
			if d := Decide(f); !d.Allow || d.Login != c.want {
				t.Errorf("got %+v", d)
			}
			f.Login = c.want
			if d := Decide(f); !d.Allow {
				t.Errorf("asked for by its name: %+v", d)
			}
		})
	}
}

// What an administrator reads about somebody speaks of him; what he reads himself, to him.
func TestSentencesAboutOthersSpeakOfThem(t *testing.T) {
	spoil := map[string]func(*Facts){
		"disabled": func(f *Facts) { f.User.Active = false },
		"pending":  func(f *Facts) { f.Device.State = DevicePending },
		"revoked":  func(f *Facts) { f.Device.State = DeviceRevoked },
		"no grant": func(f *Facts) { f.Grants = nil },
		"over":     func(f *Facts) { f.Grants[0].Until = f.Now },
		"suspended": func(f *Facts) {
			f.BreakGlass = BreakGlass{ID: "brk_1", ProjectID: f.Project.ID, GrantID: "other", Until: f.Now.Add(time.Hour)}
		},
		"held":         func(f *Facts) { f.Server.Held = true },
		"server off":   func(f *Facts) { f.Server.Active = false },
		"not enrolled": func(f *Facts) { f.Server.Enrolled = false },
		"login":        func(f *Facts) { f.Login = "somebody" },
		"unapproved":   func(f *Facts) { f.Project.DeviceApproval, f.Device.Approved = true, false },
		"posture":      func(f *Facts) { f.Project.DeviceRules = []DeviceRule{RuleScreenLock} },
	}
	toYou := regexp.MustCompile(`\b(you|your|this device)\b`)
	for name, change := range spoil {
		f := alice()
		change(&f)
		f.Of = "bob"
		d := Decide(f)
		texts := []string{d.Sentence, d.Hint}
		for _, fact := range Chain(f, true) {
			texts = append(texts, fact.Text)
		}
		if d.Allow || d.Hint == "" || toYou.MatchString(strings.Join(texts, "\n")) {
			t.Errorf("%s: %q", name, texts)
		}
		f.Of = ""
		if to := Decide(f); to.Sentence == "" || strings.Contains(to.Sentence+to.Hint, "bob") || regexp.MustCompile(`\b(he|him|his)\b`).MatchString(to.Sentence+to.Hint) {
			t.Errorf("%s: the user reads %q, %q", name, to.Sentence, to.Hint)
		}
	}
}
