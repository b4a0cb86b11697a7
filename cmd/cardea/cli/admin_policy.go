package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
)

const (
	// maxPolicyFile bounds what is read, in bytes: somebody might name a device.
	maxPolicyFile = 1 << 20
	// maxPolicyTests of a file: each is a call.
	maxPolicyTests = 1000
)

// policyCase is one sentence about who may enter what.
type policyCase struct {
	Name   string `yaml:"name"`
	User   string `yaml:"user"`
	Server string `yaml:"server"`
	Login  string `yaml:"login"`
	// Without is what the device lacks on which the user is signed in: disk-encryption,
	// screen-lock, hardware-key, approval; nothing if empty.
	Without []string `yaml:"without"`
	At      string   `yaml:"at"`     // 2h from now, a date or a time; now if empty
	Expect  string   `yaml:"expect"` // allow or deny
	Reason  string   `yaml:"reason"` // the code, for example no-grant; any if empty
	Role    string   `yaml:"role"`   // user or admin, where it is allowed; any if empty

	at time.Time
}

// policyResult is what a case came to.
type policyResult struct {
	Name   string    `json:"name"`
	User   string    `json:"user"`
	Server string    `json:"server"`
	Login  string    `json:"login,omitempty"`
	At     time.Time `json:"at,omitzero"`
	Passed bool      `json:"passed"`
	Want   string    `json:"want"`
	Got    string    `json:"got"`
	Reason string    `json:"reason"`
}

func adminPolicy(a *app) *cobra.Command {
	test := &cobra.Command{
		Use: "test FILE", Short: "Check a file of sentences about who may enter what", Args: cobra.ExactArgs(1),
		Long: `Check a file of sentences about who may enter what against the users, groups and grants that
there are. It prints those that do not hold, and ends with code 1 if there are any.`,
		Example: "  cardea admin policy test access.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			cases, err := readPolicy(args[0], a.now)
			if err != nil {
				return err
			}
			return a.testPolicy(cmd.Context(), cases)
		},
	}
	return noun("policy", "Tests of who may enter what", test)
}

// readPolicy reads a file, and refuses what it does not understand: a test that is not
// made is not passed.
func readPolicy(file string, now func() time.Time) ([]policyCase, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxPolicyFile+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxPolicyFile {
		return nil, &usageError{text: fmt.Sprintf("%s is longer than %d bytes", file, maxPolicyFile)}
	}
	return parsePolicy(file, raw, now)
}

func parsePolicy(file string, raw []byte, now func() time.Time) ([]policyCase, error) {
	var in struct {
		Tests []policyCase `yaml:"tests"`
	}
	if err := yaml.NewDecoder(bytes.NewReader(raw), yaml.Strict()).Decode(&in); err != nil && !errors.Is(err, io.EOF) {
		return nil, &usageError{fmt.Sprintf("%s: %s", file, yaml.FormatError(err, false, false)), "correct it and try again"}
	}
	if len(in.Tests) == 0 || len(in.Tests) > maxPolicyTests {
		return nil, &usageError{fmt.Sprintf("%s has %d tests", file, len(in.Tests)), fmt.Sprintf("write 1 to %d below tests:", maxPolicyTests)}
	}
	for i := range in.Tests {
		if err := in.Tests[i].check(now); err != nil {
			return nil, &usageError{fmt.Sprintf("%s: test %d: %v", file, i+1, err), "correct it and try again"}
		}
	}
	return in.Tests, nil
}

// check completes a case.
func (c *policyCase) check(now func() time.Time) error {
	if c.User == "" || c.Server == "" {
		return errors.New("it has no user or no server")
	}
	if c.Expect != "allow" && c.Expect != "deny" {
		return fmt.Errorf("expect is %q; give allow or deny", c.Expect)
	}
	if c.Role != "" && (c.Expect == "deny" || c.Role != "user" && c.Role != "admin") {
		return fmt.Errorf("role is %q; give user or admin, with expect: allow", c.Role)
	}
	if c.Name == "" {
		c.Name = c.User + " on " + c.Server
	}
	if _, err := (whyOptions{server: c.Server, login: c.Login}).query(); err != nil {
		return err
	}
	if c.At == "" {
		return nil
	}
	at := untilFlag{now: now}
	err := at.Set(c.At)
	c.at = at.time
	return err
}

func (a *app) testPolicy(ctx context.Context, cases []policyCase) error {
	var all, failed []policyResult
	for _, c := range cases {
		r, err := a.testCase(ctx, c)
		if err != nil {
			return err
		}
		if all = append(all, r); !r.Passed {
			failed = append(failed, r)
		}
	}
	shown := failed
	if a.output == asJSON {
		shown = all
	}
	if len(shown) > 0 {
		if err := show(a, shown, policyColumns()); err != nil {
			return err
		}
	}
	if len(failed) > 0 {
		a.say("tests that failed: %d of %d", len(failed), len(cases))
		return silentError{ExitFailed}
	}
	a.say("tests that passed: %d, all of them", len(cases))
	return nil
}

func policyColumns() []column[policyResult] {
	return []column[policyResult]{
		{"test", func(r policyResult) string { return r.Name }},
		{"user", func(r policyResult) string { return r.User }},
		{"server", func(r policyResult) string { return r.Server }},
		{"at", func(r policyResult) string { return stamp(r.At) }},
		{"want", func(r policyResult) string { return r.Want }},
		{"got", func(r policyResult) string { return r.Got }},
		{"because", func(r policyResult) string { return r.Reason }},
	}
}

// testCase asks what would be. Only that nothing can be asked is an error; a name that
// nothing has fails its test.
func (a *app) testCase(ctx context.Context, c policyCase) (policyResult, error) {
	r := policyResult{Name: c.Name, User: c.User, Server: c.Server, Login: c.Login, At: c.at, Want: verdict(c.Expect == "allow", c.Reason, c.Role)}
	w, err := a.whatIf(ctx, whyOptions{server: c.Server, login: c.Login, user: c.User, without: c.Without}, c.at)
	switch kind := api.KindOf(err); {
	case kind == api.NotFound, kind == api.Ambiguous, kind == api.Invalid:
		r.Got, r.Reason = "error", err.Error()
		return r, nil
	case err != nil:
		return r, err
	}
	code, role := "", ""
	if c.Reason != "" || !w.Allow {
		code = w.Code
	}
	if c.Role != "" {
		role = w.Role
	}
	r.Got, r.Reason = verdict(w.Allow, code, role), w.Reason
	// A server that is not there is refused to everybody: that says nothing, unless it is meant.
	missing := w.Code == "no-server" && c.Reason != w.Code
	r.Passed = !missing && w.Allow == (c.Expect == "allow") && (c.Reason == "" || c.Reason == w.Code) && (c.Role == "" || c.Role == w.Role)
	return r, nil
}

func verdict(allow bool, details ...string) string {
	text := "deny"
	if allow {
		text = "allow"
	}
	for _, d := range details {
		if d != "" {
			text += " " + d
		}
	}
	return text
}
