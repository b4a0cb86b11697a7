package store

import "testing"

// What an identity provider's connector may take over, case by case. The first one is the only
// one without a person's word.
func TestWhomAClientMayTakeOver(t *testing.T) {
	const here, other = "https://here.example.com", "https://other.example.com"
	them := Takeover{Client: ScimClient{ID: "scm_1"}, Issuer: here, User: User{Issuer: here, Status: Active}, ExternalID: "x", Said: "x"}
	for name, c := range map[string]struct {
		change func(*Takeover)
		want   Standing
	}{
		"the provider says that it is he":                       {func(*Takeover) {}, TakeCertain},
		"also of one who is disabled":                           {func(v *Takeover) { v.User.Status = Disabled }, TakeCertain},
		"the provider has not said who he is":                   {func(v *Takeover) { v.Said = "" }, TakeByWord},
		"the client does not say whom it means":                 {func(v *Takeover) { v.ExternalID = "" }, TakeByWord},
		"neither says anything":                                 {func(v *Takeover) { v.ExternalID, v.Said = "", "" }, TakeByWord},
		"an administrator who signs in there":                   {func(v *Takeover) { v.User.Admin = true }, TakeByWord},
		"one whom an administrator released":                    {func(v *Takeover) { v.Released = true }, TakeByWord},
		"a local account":                                       {func(v *Takeover) { v.User.Issuer = LocalIssuer }, TakeByWord},
		"one whom a client made that is gone":                   {func(v *Takeover) { v.User.Issuer = ScimIssuer("scm_0") }, TakeByWord},
		"a local administrator":                                 {func(v *Takeover) { v.User.Issuer, v.User.Admin = LocalIssuer, true }, TakeNever},
		"a local account while somebody else is who it means":   {func(v *Takeover) { v.User.Issuer, v.Other = LocalIssuer, true }, TakeNever},
		"somebody else is who it means, too":                    {func(v *Takeover) { v.Other = true }, TakeNever},
		"the provider says that it is somebody else":            {func(v *Takeover) { v.Said = "y" }, TakeNever},
		"in letters of another size":                            {func(v *Takeover) { v.Said = "X" }, TakeNever},
		"one who signs in at another provider":                  {func(v *Takeover) { v.User.Issuer = other }, TakeNever},
		"one whom it keeps":                                     {func(v *Takeover) { v.User.Keeper = "scm_1" }, TakeNever},
		"one whom another client keeps":                         {func(v *Takeover) { v.User.Keeper = "scm_2" }, TakeNever},
		"a program":                                             {func(v *Takeover) { v.User.Issuer = ServiceIssuer }, TakeNever},
		"one who was deleted":                                   {func(v *Takeover) { v.User.Status = Deleted }, TakeNever},
		"anybody, if the client is of no provider":              {func(v *Takeover) { v.Issuer = "" }, TakeNever},
		"nobody in particular, if the client is of no provider": {func(v *Takeover) { v.Issuer, v.User.Issuer = "", "" }, TakeNever},
	} {
		v := them
		c.change(&v)
		if got, why := v.Judge(); got != c.want || why == "" {
			t.Errorf("%s: %s (%s), want %s", name, got, why, c.want)
		}
	}
}
