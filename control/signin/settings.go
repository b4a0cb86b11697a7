package signin

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/store"
)

// Bounds of what a team may set. Who may go on is asked anew at each connection;
// the life of a session is about how long a lost laptop is good.
const (
	MinSession, MaxSession = time.Hour, 25 * time.Hour
	// MinIdle leaves room for how coarsely the last use is kept.
	MinIdle = 15 * time.Minute
)

// NextTokenEvery is how often a session is given a token. Clients ask each half hour
// or so; a broken one must not fill the tables.
const NextTokenEvery = time.Minute

// life is that of a session that begins now.
func (s *Service) life(demands store.TeamSettings) time.Duration {
	if demands.SessionSeconds == 0 {
		return s.SessionLife
	}
	return time.Duration(demands.SessionSeconds) * time.Second
}

// NextToken gives the caller's session its next token. The one that he has stays good
// until he has used the new one: so who is killed before he could write it down, or
// has no room to, has lost nothing. What his device says of itself is renewed with it, so
// that what projects demand of devices is judged by what is as young as the token.
func (s *Service) NextToken(ctx context.Context, by caller.Caller, in api.NextToken) (*api.Token, error) {
	newer := api.Errorf(api.Conflict, "this session has a newer token").WithHint("try again")
	if by.Token != store.TokenCurrent {
		return nil, newer
	}
	token, now := tokenPrefix+NewSecret(), s.now()
	m := by.Meta(now)
	m.Idempotency = nil // it could not be told a second time
	o := store.TokenOffer{Session: by.Session.ID, Current: by.Session.TokenHash, Next: hashOf(token), Every: NextTokenEvery}
	if in.DeviceReport != "" {
		text := report(in.DeviceReport)
		o.Report = &text
	}
	err := s.Store.OfferToken(ctx, o, m)
	switch {
	case errors.Is(err, store.ErrInUse):
		return nil, api.Errorf(api.Limited, "this session was given a token a moment ago").WithRetry(NextTokenEvery).WithCause(err)
	case errors.Is(err, store.ErrDenied):
		return nil, newer.WithCause(err)
	case err != nil:
		return nil, caller.Explain(err, "session")
	}
	return &api.Token{AccessToken: token, TokenType: "DPoP", ExpiresIn: int(by.Session.ExpiresAt.Sub(now) / time.Second)}, nil
}

// Settings are what the team demands.
func (s *Service) Settings(ctx context.Context) (*api.TeamSettings, error) {
	v, err := s.Store.TeamSettings(ctx)
	return s.settings(v), err
}

func (s *Service) settings(v store.TeamSettings) *api.TeamSettings {
	if v.SessionSeconds == 0 {
		v.SessionSeconds = int(s.SessionLife / time.Second)
	}
	return &api.TeamSettings{SessionSeconds: v.SessionSeconds, IdleSeconds: v.IdleSeconds, SecondFactor: factorWord(v.SecondFactor), DeviceCode: v.DeviceCode, DeviceApproval: v.DeviceApproval}
}

// factorWord is how the wire calls who must have a second factor.
func factorWord(who string) string {
	if who == store.FactorNobody {
		return api.FactorNobody
	}
	return who
}

// UpdateSettings changes what the patch names.
func (s *Service) UpdateSettings(ctx context.Context, by caller.Caller, in api.TeamPatch) (*api.TeamSettings, error) {
	e := by.Event(s.now(), audit.TeamUpdate)
	e.Detail = map[string]string{}
	for _, c := range []struct {
		name  string
		value *int
		least time.Duration
		never bool // 0 is allowed
	}{{"session_seconds", in.SessionSeconds, MinSession, false}, {"idle_seconds", in.IdleSeconds, MinIdle, true}} {
		if c.value == nil {
			continue
		}
		d := time.Duration(*c.value) * time.Second
		if (d < c.least || d > MaxSession) && !(c.never && d == 0) {
			return nil, api.Errorf(api.Invalid, "%s is %s to %s, not %s", c.name, c.least, MaxSession, d).WithHint("%s", hintOf(c.least, c.never))
		}
		e.Detail[c.name] = strconv.Itoa(*c.value)
	}
	if w := in.SecondFactor; w != nil {
		e.Detail["second_factor"] = *w
		switch *w {
		case api.FactorNobody:
			in.SecondFactor = new(string)
		case store.FactorAdmins, store.FactorAll:
		default:
			return nil, api.Errorf(api.Invalid, "second_factor is %s, %s or %s", api.FactorNobody, store.FactorAdmins, store.FactorAll)
		}
	}
	for name, on := range map[string]*bool{"device_code": in.DeviceCode, "device_approval": in.DeviceApproval} {
		if on != nil {
			e.Detail[name] = strconv.FormatBool(*on)
		}
	}
	if len(e.Detail) == 0 {
		return nil, api.Errorf(api.Invalid, "nothing to change")
	}
	v, err := s.Store.UpdateTeam(ctx, store.TeamChange{SessionSeconds: in.SessionSeconds, IdleSeconds: in.IdleSeconds, SecondFactor: in.SecondFactor,
		DeviceCode: in.DeviceCode, DeviceApproval: in.DeviceApproval}, by.MetaFor(e.Time, "team", audit.Encode(e)))
	if repeated(err) == nil && err != nil {
		return s.Settings(ctx)
	}
	return s.settings(v), caller.Explain(err, "team")
}

func hintOf(least time.Duration, never bool) string {
	if never {
		return fmt.Sprintf("give at least %s, or 0 for no limit", least)
	}
	return fmt.Sprintf("give at least %s", least)
}
