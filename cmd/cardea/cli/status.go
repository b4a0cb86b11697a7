package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/version"
	"github.com/cardea-ssh/cardea/login"
)

// status is what `cardea status -o json` prints. Its names are for ever.
type status struct {
	URL      string `json:"url,omitempty"`
	Team     string `json:"team,omitempty"`
	SignedIn bool   `json:"signed_in"`
	// Server is "ok", or why the control plane did not answer.
	Server    string      `json:"server,omitempty"`
	Session   api.Session `json:"session,omitzero"`
	Keyring   bool        `json:"keyring"`
	Device    string      `json:"device_thumbprint,omitempty"`
	Agent     string      `json:"agent"`
	AgentPID  int         `json:"agent_pid,omitempty"`
	SSHConfig string      `json:"ssh_config"`
	// Servers is how many may be reached, as far as the agent knows, and Recorded on how
	// many of them sessions are recorded.
	Servers  int    `json:"servers,omitempty"`
	Recorded int    `json:"recorded_servers,omitempty"`
	Version  string `json:"version"`
}

func newStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "status", GroupID: groupAccount,
		Short: "Show who you are, where, for how long, and what runs",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.status(cmd.Context()) },
	}
}

// status prints all it can find out, and ends with the code of the first thing
// that stands in the way of a connection.
func (a *app) status(ctx context.Context) error {
	saved, err := a.acct.Saved(ctx)
	s := status{
		URL: saved.URL, Team: saved.Team, SignedIn: err == nil, Session: saved.Session, Keyring: saved.Keyring,
		Agent: "not running (it starts when it is needed)", SSHConfig: a.sshConfigState(), Version: version.Get().Version,
	}
	if err == nil {
		s.Session, err = a.ask(ctx, saved)
		s.SignedIn = api.KindOf(err) != api.SignIn
		if s.Server = "ok"; err != nil {
			s.Server = err.Error()
		}
	} else {
		err = a.whereToSignIn(saved, err)
	}
	if saved.URL != "" { // a first look does not make a key
		if key, kerr := a.home.KeyOf(saved); kerr == nil {
			s.Device = key.Thumbprint()
		}
	}
	if pid, ok := a.local.Running(ctx); ok {
		s.Agent, s.AgentPID = "running", pid
		s.count(ctx, a.local)
	}
	if perr := showOne(a, s, a.statusLines()); perr != nil {
		return perr
	}
	if s.SignedIn && s.AgentPID != 0 {
		if c, _, cerr := a.catalog(ctx); cerr == nil { // what the agent has is at hand
			a.noteBreakGlass(c.Servers)
		}
	}
	return err
}

// count asks the agent alone: nobody who asks for the status waits for a list.
func (s *status) count(ctx context.Context, local localAgent) {
	c, _, err := local.Catalog(ctx)
	if err != nil || c.Session.User != s.Session.User {
		return
	}
	s.Servers = len(c.Servers)
	for _, e := range c.Servers {
		if e.Recorded {
			s.Recorded++
		}
	}
}

// ask has the control plane confirm the session: it may have been ended there.
func (a *app) ask(ctx context.Context, saved login.Saved) (api.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	client, err := a.client(ctx)
	if err != nil {
		return saved.Session, err
	}
	session := saved.Session
	_, err = client.Get(ctx, "/v1/session", nil, &session)
	return session, err
}

func (a *app) statusLines() []column[status] {
	onlyIn := func(text func(status) string) func(status) string {
		return func(s status) string {
			if s.Session.ID == "" {
				return ""
			}
			return text(s)
		}
	}
	return []column[status]{
		{"Control plane", func(s status) string { return s.URL }},
		{"Team", func(s status) string { return s.Team }},
		{"Answers", func(s status) string { return s.Server }},
		{"User", onlyIn(func(s status) string { return s.Session.UserName })},
		{"Login on servers", onlyIn(func(s status) string { return s.Session.Login })},
		{"Administrator", onlyIn(func(s status) string { return yesNo(s.Session.Admin) })},
		{"Session", func(s status) string {
			if !s.SignedIn {
				return "none"
			}
			return fmt.Sprintf("%s, until %s (%s)", s.Session.ID, stamp(s.Session.ExpiresAt), a.left(s.Session.ExpiresAt))
		}},
		{"Kept in", onlyIn(func(s status) string {
			if s.Keyring {
				return "the keyring"
			}
			return a.home.Path()
		})},
		{"Device", func(s status) string {
			if s.Session.DeviceTag == "" {
				return s.Device
			}
			return s.Session.DeviceTag + " (" + s.Device + ")"
		}},
		{"Agent", func(s status) string {
			if s.AgentPID != 0 {
				return fmt.Sprintf("%s, process %d", s.Agent, s.AgentPID)
			}
			return s.Agent
		}},
		{"Servers", func(s status) string {
			switch {
			case s.Servers == 0:
				return ""
			case s.Recorded == 0:
				return strconv.Itoa(s.Servers)
			}
			return fmt.Sprintf("%d, and sessions on %d of them are recorded", s.Servers, s.Recorded)
		}},
		{"ssh", func(s status) string { return s.SSHConfig }},
		{"Version", func(s status) string { return s.Version }},
	}
}
