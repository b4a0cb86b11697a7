package cli

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
)

func gatewayColumns(a *app) []column[api.Gateway] {
	return []column[api.Gateway]{
		{"name", func(g api.Gateway) string { return g.Name }},
		{"address", func(g api.Gateway) string { return g.Address }},
		{"tls address", func(g api.Gateway) string { return g.TLSAddress }},
		{"state", func(g api.Gateway) string { return g.State }},
		{"health", func(g api.Gateway) string { return healthOf(g, a.now()) }},
		{"sessions", func(g api.Gateway) string {
			if silent(g, a.now()) {
				return "" // nobody knows
			}
			return strconv.Itoa(g.Sessions)
		}},
		{"reported", func(g api.Gateway) string { return a.ago(g.ReportedAt) }},
		{"egress", func(g api.Gateway) string { return strings.Join(g.Egress, ",") }},
		{"labels", func(g api.Gateway) string { return labels(g.Labels) }},
		{"id", func(g api.Gateway) string { return g.ID }},
	}
}

// silent says that what a gateway told last may not hold any more.
func silent(g api.Gateway, now time.Time) bool { return now.Sub(g.ReportedAt) >= api.FreshReport }

func healthOf(g api.Gateway, now time.Time) string {
	switch {
	case g.ReportedAt.IsZero():
		return "unknown"
	case silent(g, now) && g.Draining:
		return "stopped"
	case silent(g, now):
		return "silent"
	case g.RefuseConnections:
		return "refuses connections"
	case g.Draining:
		return "draining"
	case g.Healthy && g.Records:
		return "healthy, records"
	case g.Healthy:
		return "healthy"
	case g.Health != "":
		return g.Health
	}
	return "unhealthy"
}

func adminGateways(a *app) *cobra.Command {
	disabled, active := "disabled", "active"
	return noun("gateways", "Members of the pools that carry connections",
		listVerb(a, "/v1/gateways", "List gateways", gatewayColumns(a), nil),
		showVerb(a, "gateways", "GATEWAY", gatewayColumns(a)),
		gatewayUpdate(a),
		onOff(a, "disable", "GATEWAY", "End a gateway's sessions, and give it no more", "gateways", api.GatewayPatch{State: &disabled}),
		onOff(a, "enable", "GATEWAY", "Give a disabled gateway sessions again", "gateways", api.GatewayPatch{State: &active}),
		gatewayHandOver(a),
		deleteVerb(a, "gateways", "GATEWAY", "Forget a gateway; it must enrol again"),
	)
}

func gatewayUpdate(a *app) *cobra.Command {
	var name, address, inside string
	var refuse bool
	var label map[string]string
	var egress []string
	cmd := &cobra.Command{
		Use: "update GATEWAY", Aliases: []string{"set"}, Short: "Change a gateway", Args: cobra.ExactArgs(1),
		Example: "  cardea admin gateways update gw-1 --address gw.example.com:7234 --egress 10.0.9.1",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := anyChanged(cmd, "name", "address", "tls-address", "label", "egress", "refuse-connections"); err != nil {
				return err
			}
			path, err := pathOf("gateways", args[0])
			if err != nil {
				return err
			}
			g, err := call[api.Gateway](cmd.Context(), a, "PATCH", path, api.GatewayPatch{
				Name: changed(cmd, "name", &name), Address: changed(cmd, "address", &address),
				Labels: changed(cmd, "label", &label), Egress: changed(cmd, "egress", &egress),
				TLSAddress: changed(cmd, "tls-address", &inside), RefuseConnections: changed(cmd, "refuse-connections", &refuse),
			})
			if err != nil {
				return err
			}
			return showOne(a, g, gatewayColumns(a))
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "new name")
	f.StringVar(&address, "address", "", "host:port that clients dial")
	f.StringVar(&inside, "tls-address", "", "host:port that clients dial where --address cannot be reached, such as gw.example.com:443; \"\" for none")
	f.BoolVar(&refuse, "refuse-connections", false, "take no new sessions and let the live ones run on; =false to take them again")
	pairsVar(f, &label, "label", "labels in place of all that it has; once for each")
	f.StringSliceVar(&egress, "egress", nil, "addresses or prefixes from which it reaches servers")
	return cmd
}

func gatewayHandOver(a *app) *cobra.Command {
	var in api.HandOver
	var back bool
	cmd := &cobra.Command{
		Use: "hand-over GATEWAY", Short: "Let another gateway store the recordings of one that is gone", Args: cobra.ExactArgs(1),
		Long: `Let another gateway store the recordings of one that is gone, for a week. The one that is
gone must be disabled, deleted or silent for some minutes. Then, on the other, type
cardea-gateway import-spool DIR, where DIR is on the disk of the one that is gone.`,
		Example: "  cardea admin gateways hand-over gw-1 --to gw-2\n  cardea admin gateways hand-over gw-1 --back",
		RunE: func(cmd *cobra.Command, args []string) error {
			if back == (in.To != "") {
				return &usageError{"say to which gateway, or that it is taken back", "for example: --to gw-2, or --back"}
			}
			path, err := pathOf("gateways", args[0], "hand-over")
			if err != nil {
				return err
			}
			h, err := call[api.HandedOver](cmd.Context(), a, "POST", path, in)
			if err != nil {
				return err
			}
			return showOne(a, h, handOverColumns())
		},
	}
	cmd.Flags().StringVar(&in.To, "to", "", "the gateway that has its spool, by name or id")
	cmd.Flags().BoolVar(&back, "back", false, "take it back: no gateway may")
	return cmd
}

func handOverColumns() []column[api.HandedOver] {
	return []column[api.HandedOver]{
		{"gateway", func(h api.HandedOver) string { return cmp.Or(h.GatewayName, h.Gateway) }},
		{"recordings told by", func(h api.HandedOver) string { return cmp.Or(h.ToName, "itself alone") }},
		{"until", func(h api.HandedOver) string { return stamp(h.Until) }},
	}
}
