package login

import (
	"context"
	"encoding/json"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/login/posture"
)

// Report is what the device says of itself now.
func (d Device) Report(ctx context.Context) api.DeviceReport {
	p := posture.Read(ctx)
	return api.DeviceReport{Key: d.Kind, OS: p.OS, System: p.System, Version: p.Version, DiskEncryption: p.DiskEncryption, ScreenLock: p.ScreenLock}
}

// report is what goes with the next token: what the device says of itself then, so that
// nothing is judged by words that are older than the token. A program says nothing.
func (a *Account) report(ctx context.Context, saved Saved) (api.NextToken, error) {
	var in api.NextToken
	if saved.KeyFile != "" {
		return in, nil
	}
	d, err := a.Home.Look()
	if err != nil {
		return in, err
	}
	read := a.Report
	if read == nil {
		read = func(ctx context.Context, d Device) api.DeviceReport { return d.Report(ctx) }
	}
	text, err := json.Marshal(read(ctx, d))
	if err == nil {
		err = ctx.Err() // what was not waited for must not pass for unknown
	}
	in.DeviceReport = string(text)
	return in, err
}
