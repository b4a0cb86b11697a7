package login

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// Bounds of what the control plane says of a sign-in by a typed code. The waits are in
// seconds, as on the wire.
const (
	// usualWait is RFC 8628's own (section 3.5) where the server says none; maxWait keeps
	// a person from waiting long after he has said yes.
	minWait, usualWait, maxWait = 1, 5, 60
	// slowDown is what it adds each time (section 3.5).
	slowDown = 5
	// maxCodeLife bounds how long a program waits for somebody who does not come.
	maxCodeLife = 30 * time.Minute
)

// RunByCode signs in by a code that the person types in a browser on another machine
// (RFC 8628). show is told the code and where. The session is not yet saved.
func (f Flow) RunByCode(ctx context.Context, show func(api.DeviceCode)) (Saved, error) {
	client := &api.Client{URL: f.URL, Prover: f.Key, HTTP: f.HTTP, UserAgent: f.UserAgent, Slow: f.Slow}
	team, err := f.team(ctx, client)
	if err != nil {
		return Saved{}, err
	}
	form := url.Values{"client_id": {api.ClientID}, "device_name": {f.deviceName()}}
	if f.Before != "" {
		form.Set("session", f.Before)
	}
	asked, err := client.AskDeviceCode(ctx, f.replacing(form))
	if err != nil {
		return Saved{}, err
	}
	// The person goes where this says, and types his password there.
	if asked.VerificationURI != f.URL+"/device" {
		return Saved{}, api.Errorf(api.Foreign, "%s sends people to another address to sign in", f.URL).WithHint("check the URL")
	}
	show(asked)
	in, err := f.await(ctx, client, asked)
	if err != nil {
		return Saved{}, err
	}
	return Saved{URL: f.URL, Team: team.Name, Token: in.AccessToken, Session: in.Session}, nil
}

// await asks until somebody has decided. What keeps the control plane from answering may
// be over before the code is.
func (f Flow) await(ctx context.Context, client *api.Client, asked api.DeviceCode) (api.SignedIn, error) {
	life := min(time.Duration(asked.ExpiresIn)*time.Second, maxCodeLife)
	ctx, late := context.WithTimeoutCause(ctx, life, errLate)
	defer late()
	form := f.enrolled(url.Values{"grant_type": {api.DeviceGrantType}, "client_id": {api.ClientID}, "device_code": {asked.DeviceCode}})
	wait := cmp.Or(asked.Interval, usualWait)
	for {
		wait = min(max(wait, minWait), maxWait)
		select {
		case <-ctx.Done():
		case <-f.after(time.Duration(wait) * time.Second):
		}
		var in api.SignedIn
		err := context.Cause(ctx)
		if err == nil {
			in, err = client.Redeem(ctx, form)
		}
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		var e *api.Error
		switch {
		case err == nil:
			return in, nil
		case errors.Is(err, errLate):
			return in, needed("nobody typed the code within %s", life)
		case !errors.As(err, &e) || e.Kind != api.Unavailable:
			return in, err
		case e.OAuth == api.AuthorizationPending:
		case e.OAuth == api.SlowDown:
			wait += slowDown
		default: // section 3.5 has it asked ever more seldom
			wait *= 2
		}
	}
}

func (f Flow) after(d time.Duration) <-chan time.Time {
	if f.pause != nil {
		return f.pause(d)
	}
	return time.After(d)
}
