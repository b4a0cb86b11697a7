package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
)

// adminCAs are the certificate authorities over time: the verbs of a rotation in
// their order, and the list of revoked keys.
func adminCAs(a *app) *cobra.Command {
	return noun("ca", "Certificate authorities: rotate them, and revoke keys",
		caList(a), caStatus(a), caRotate(a),
		caStep(a, "switch", "Let the next key sign"),
		caStep(a, "retire", "End the trust in the old key and destroy it"),
		caStep(a, "abort", "Go one step back: to the old key, or to no next key"),
		caRevoke(a), caUnrevoke(a), caRevoked(a),
	)
}

// whichCA is what the verbs of a rotation take.
const whichCA = "CA"

// caHelp is the help of a verb, and what it takes.
func caHelp(what string) string {
	return what + "\n\nCA is host (of servers), gateway, or user/PROJECT (of the people of a project)."
}

func caList(a *app) *cobra.Command {
	return listVerb(a, api.PathPrefix+"/cas", "List the keys of all CAs, retired ones too", []column[api.CA]{
		{"ca", func(c api.CA) string { return c.CA }},
		{"state", func(c api.CA) string { return c.State }},
		{"fingerprint", func(c api.CA) string { return c.Fingerprint }},
		{"made", func(c api.CA) string { return a.ago(c.CreatedAt) }},
		{"changed", func(c api.CA) string { return a.ago(c.ChangedAt) }},
		{"id", func(c api.CA) string { return c.ID }},
	}, nil)
}

func caStatus(a *app) *cobra.Command {
	wait := false
	cmd := &cobra.Command{
		Use: "status " + whichCA, Short: "Show how far a rotation has come, and which servers it waits for", Args: cobra.ExactArgs(1), Long: caHelp("Show how far a rotation has come, and which servers it waits for."),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("cas", args[0])
			if err != nil {
				return err
			}
			for {
				v, err := call[api.Rotation](cmd.Context(), a, "GET", path, nil)
				if err != nil {
					return err
				}
				if !wait || readyAt(v, a.now()) {
					return a.showRotation(v)
				}
				if err := pause(cmd.Context(), statusEvery); err != nil {
					return err
				}
			}
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "until the next step can be taken")
	return cmd
}

// statusEvery is how often status --wait asks.
const statusEvery = time.Second

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readyAt is true if nothing keeps the next step from being taken.
func readyAt(v api.Rotation, now time.Time) bool {
	return v.Done == v.Servers && !now.Before(v.NotBefore)
}

func caRotate(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "rotate " + whichCA, Short: "Begin a rotation: make the next key and publish it", Args: cobra.ExactArgs(1),
		Long: caHelp("Begin a rotation: make the next key and publish it.") + `

A rotation has three steps. Each waits for all servers, and nobody notices any:
  cardea admin ca rotate user/web     servers and people learn the next key
  cardea admin ca switch user/web     it signs; the old one is trusted as well
  cardea admin ca retire user/web     the old one is destroyed`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.stepCA(cmd.Context(), args[0], "rotate", nil)
		},
	}
}

func caStep(a *app, verb, short string) *cobra.Command {
	var in api.RotationStep
	cmd := &cobra.Command{
		Use: verb + " " + whichCA, Short: short, Args: cobra.ExactArgs(1), Long: caHelp(short + "."),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.stepCA(cmd.Context(), args[0], verb, in)
		},
	}
	cmd.Flags().StringSliceVar(&in.Without, "without", nil, "do not wait for these servers; people are locked out of them until their agents are back")
	cmd.Flags().BoolVar(&in.Force, "force", false, "wait for no server")
	return cmd
}

func (a *app) stepCA(ctx context.Context, ca, verb string, in any) error {
	path, err := pathOf("cas", ca, verb)
	if err != nil {
		return err
	}
	v, err := call[api.Rotation](ctx, a, "POST", path, in)
	if err != nil {
		return err
	}
	return a.showRotation(v)
}

// showRotation prints what is done and what follows. The servers that are waited
// for are a list of their own.
func (a *app) showRotation(v api.Rotation) error {
	if a.output == asJSON {
		return printJSON(a.out, v)
	}
	key := func(c *api.CA) string {
		if c == nil {
			return ""
		}
		return c.Fingerprint
	}
	err := showOne(a, v, []column[api.Rotation]{
		{"ca", func(v api.Rotation) string { return v.CA }},
		{"phase", func(v api.Rotation) string { return v.Phase }},
		{"active", func(v api.Rotation) string { return v.Active.Fingerprint }},
		{"next", func(v api.Rotation) string { return key(v.Next) }},
		{"previous", func(v api.Rotation) string { return key(v.Previous) }},
		{"ready", func(v api.Rotation) string {
			if v.Phase == api.PhaseIdle {
				return ""
			}
			return fmt.Sprintf("%d of %d servers", v.Done, v.Servers)
		}},
		{"then", func(v api.Rotation) string { return nextStep(v, a.now()) }},
	})
	if err != nil || len(v.Blocking) == 0 {
		return err
	}
	fmt.Fprintln(a.out)
	return show(a, v.Blocking, []column[api.BlockingServer]{
		{"server", func(b api.BlockingServer) string { return b.Name }},
		{"seen", func(b api.BlockingServer) string { return a.ago(b.LastSeen) }},
		{"away", func(b api.BlockingServer) string {
			if b.Absent {
				return "yes"
			}
			return ""
		}},
		{"why", func(b api.BlockingServer) string { return b.Why }},
		{"id", func(b api.BlockingServer) string { return b.ID }},
	})
}

// nextStep is what an administrator does next.
func nextStep(v api.Rotation, now time.Time) string {
	verb := map[string]string{api.PhasePublished: "switch", api.PhaseSwitched: "retire"}[v.Phase]
	switch {
	case verb == "":
		return ""
	case v.Done < v.Servers:
		return fmt.Sprintf("wait for the servers below, then type: cardea admin ca %s %s", verb, v.CA)
	case now.Before(v.NotBefore):
		return fmt.Sprintf("wait until %s, then type: cardea admin ca %s %s", v.NotBefore.Local().Format(time.TimeOnly), verb, v.CA)
	}
	return fmt.Sprintf("type: cardea admin ca %s %s", verb, v.CA)
}

func caRevoke(a *app) *cobra.Command {
	reason := ""
	cmd := &cobra.Command{
		Use: "revoke FINGERPRINT", Short: "Have all servers refuse a key, or what a foreign CA has signed", Args: cobra.ExactArgs(1),
		Example: "  cardea admin ca revoke SHA256:… --reason 'laptop stolen'",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := call[api.RevokedKey](cmd.Context(), a, "POST", api.PathPrefix+"/revoked-keys", api.NewRevokedKey{Fingerprint: args[0], Reason: reason})
			if err == nil {
				a.say("revoked %s", args[0])
			}
			return err
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the log")
	return cmd
}

func caUnrevoke(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "unrevoke FINGERPRINT", Short: "Take a revocation back", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("revoked-keys", args[0])
			if err != nil {
				return err
			}
			return a.act(cmd.Context(), "DELETE", path, nil, "took back the revocation of "+args[0])
		},
	}
}

func caRevoked(a *app) *cobra.Command {
	cmd := listVerb(a, api.PathPrefix+"/revoked-keys", "List the keys that were revoked by hand", []column[api.RevokedKey]{
		{"fingerprint", func(k api.RevokedKey) string { return k.Fingerprint }},
		{"revoked", func(k api.RevokedKey) string { return a.ago(k.CreatedAt) }},
		{"reason", func(k api.RevokedKey) string { return k.Reason }},
	}, nil)
	cmd.Use, cmd.Aliases = "revoked", nil
	return cmd
}
