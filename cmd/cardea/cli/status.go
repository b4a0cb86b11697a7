package cli

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/agent"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/doctor"
	"github.com/cardea-ssh/cardea/internal/version"
	"github.com/cardea-ssh/cardea/login"
	"github.com/cardea-ssh/cardea/proxycmd"
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
	Servers  int `json:"servers,omitempty"`
	Recorded int `json:"recorded_servers,omitempty"`
	// SeenAt is when that was last known to be current, and Problem why it is not, or what
	// else is wrong with the agent.
	SeenAt       time.Time `json:"servers_seen_at,omitzero"`
	Problem      string    `json:"agent_problem,omitempty"`
	AgentVersion string    `json:"agent_version,omitempty"`
	DeviceKey    string    `json:"device_key_kept_in,omitempty"` // tpm, enclave, keyring or file
	// Gateways are those to which the last connections were led, as they were reached now.
	Gateways []wayThere `json:"gateways,omitempty"`
	// Waiting are requests for access; nil if that is not known now.
	Waiting *waiting `json:"requests,omitempty"`
	Version string   `json:"version"`
}

// wayThere is how a gateway was reached.
type wayThere struct {
	Address string  `json:"address"`
	Millis  float64 `json:"ms,omitempty"`
	Error   string  `json:"error,omitempty"`
}

// waiting are the requests that somebody waits for.
type waiting struct {
	ToAnswer int `json:"to_answer"` // by the caller
	Own      int `json:"own"`       // that nobody has answered yet
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
	saved, err := a.saved(ctx)
	s := status{
		URL: saved.URL, Team: saved.Team, SignedIn: err == nil, Session: saved.Session, Keyring: saved.Keyring,
		Agent: "not running (it starts when it is needed)", SSHConfig: a.sshConfigState(), Version: version.Get().Version,
	}
	var meanwhile sync.WaitGroup
	meanwhile.Go(func() { s.local(ctx, a) })
	if err == nil {
		meanwhile.Go(func() { s.Waiting = a.waiting(ctx) })
		s.Session, err = a.ask(ctx, saved)
		s.SignedIn = api.KindOf(err) != api.SignIn
		if s.Server = "ok"; err != nil {
			s.Server = err.Error()
		}
	} else {
		err = a.whereToSignIn(saved, err)
	}
	meanwhile.Wait()
	if saved.URL != "" { // a first look does not make a key
		if key, kerr := a.home.KeyOf(saved); kerr == nil {
			s.Device = key.Thumbprint()
			if d, derr := a.home.Device(); derr == nil && saved.KeyFile == "" {
				s.DeviceKey = d.Kind
			}
		}
	}
	if s.AgentPID != 0 {
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

// saved is the session at rest. It is not asked for a second time where the token cannot be
// read, and says all that is known nevertheless.
func (a *app) saved(ctx context.Context) (login.Saved, error) {
	saved, err := a.acct.Saved(ctx)
	if err != nil {
		if peeked, perr := a.home.Peek(); perr == nil {
			saved = peeked
		}
	}
	return saved, err
}

// local is what this machine knows by itself: its agent, and how the gateways are reached.
func (s *status) local(ctx context.Context, a *app) {
	st, err := (&agent.Control{Paths: a.paths}).Status(ctx)
	if err != nil {
		return
	}
	state := "running"
	if st.Locked {
		state = "locked"
	}
	s.Agent, s.AgentPID, s.AgentVersion, s.SeenAt, s.Problem = state, st.PID, st.Version, st.SeenAt, st.Problem
	ctx, cancel := context.WithTimeout(ctx, brief)
	defer cancel()
	for _, g := range doctor.LookAtGateways(ctx, known(st), proxycmd.Dial, doctor.Environment()) {
		way := wayThere{Address: g.Address}
		if g.Err != nil {
			way.Error = doctor.Plain(g.Err)
		} else {
			way.Millis = math.Round(millis(g.Took)*10) / 10
		}
		s.Gateways = append(s.Gateways, way)
	}
}

// waiting asks for requests, and nobody waits long for that.
func (a *app) waiting(ctx context.Context) *waiting {
	ctx, cancel := context.WithTimeout(ctx, brief)
	defer cancel()
	client, err := a.acct.Client(ctx)
	if err != nil {
		return nil
	}
	answer, err := api.All[api.AccessRequest](ctx, client, "/v1/requests/pending", nil)
	if err != nil {
		return nil
	}
	w := &waiting{ToAnswer: len(answer)}
	var own api.List[api.AccessRequest]
	if _, err := client.Get(ctx, "/v1/requests", nil, &own); err == nil { // the newest
		for _, r := range own.Items {
			if r.State == api.RequestPending {
				w.Own++
			}
		}
	}
	return w
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
			if s.Session.DeviceTag == "" || s.Device == "" {
				return cmp.Or(s.Session.DeviceTag, s.Device)
			}
			return s.Session.DeviceTag + " (" + s.Device + ")"
		}},
		{"Device key", func(s status) string {
			switch s.DeviceKey {
			case "":
				return ""
			case login.KeyInFile:
				return "in a file"
			}
			return "in the " + s.DeviceKey
		}},
		{"Device state", func(s status) string {
			if s.Session.DeviceState == devicePending {
				return "waits for approval; an administrator can type: cardea admin devices approve " + s.Session.Device
			}
			return s.Session.DeviceState
		}},
		{"Agent", func(s status) string {
			if s.AgentPID != 0 {
				text := fmt.Sprintf("%s, process %d", s.Agent, s.AgentPID)
				if s.AgentVersion != s.Version {
					text += fmt.Sprintf(", of version %s; type: cardea agent stop", s.AgentVersion)
				}
				return text
			}
			return s.Agent
		}},
		{"Problem", func(s status) string { return s.Problem }},
		{"Servers", func(s status) string {
			if s.Servers == 0 {
				return ""
			}
			text := strconv.Itoa(s.Servers)
			if s.Recorded > 0 {
				text = fmt.Sprintf("%d, and sessions on %d of them are recorded", s.Servers, s.Recorded)
			}
			if age := a.now().Sub(s.SeenAt); !s.SeenAt.IsZero() && age > staleAfter {
				text += "; as of " + roughly(age) + " ago"
			}
			return text
		}},
		{"Gateways", func(s status) string {
			var ways []string
			for _, g := range s.Gateways {
				if g.Error != "" {
					ways = append(ways, g.Address+" ("+g.Error+")")
				} else {
					ways = append(ways, fmt.Sprintf("%s (%.1f ms)", g.Address, g.Millis))
				}
			}
			return commas(ways)
		}},
		{"Requests", func(s status) string {
			switch {
			case s.Waiting == nil, *s.Waiting == waiting{}:
				return ""
			case s.Waiting.ToAnswer == 0:
				return fmt.Sprintf("%d of your own wait for an answer; to see them type: cardea requests list", s.Waiting.Own)
			}
			return fmt.Sprintf("%d wait for your answer; to see them type: cardea requests pending", s.Waiting.ToAnswer)
		}},
		{"ssh", func(s status) string { return s.SSHConfig }},
		{"Version", func(s status) string { return s.Version }},
	}
}
