package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
)

// recordFlagNames are those of recordFlags, for anyChanged.
var recordFlagNames = [...]string{"recording", "recording-recipient", "recording-input", "x11-forwarding"}

// recordFlags are whether and how a project's sessions are recorded, as flags.
func recordFlags(cmd *cobra.Command, s *api.RecordSettings) {
	f := cmd.Flags()
	oneOf(cmd, f, &s.Recording, "recording", "", []string{"off", "best-effort", "required"},
		"record sessions, on gateways: off, best-effort, or required, which ends a session that cannot be recorded")
	f.StringSliceVar(&s.Recipients, "recording-recipient", nil, "who can read recordings: recipients of age (age1…), in place of those before; keep their keys elsewhere")
	f.BoolVar(&s.RecordInput, "recording-input", false, "record what is typed, too, passwords at prompts included")
	f.BoolVar(&s.X11Forwarding, "x11-forwarding", false, "certificates allow to forward X11")
}

// recordPatch is what the flags that were given change.
func recordPatch(cmd *cobra.Command, s *api.RecordSettings) api.RecordPatch {
	return api.RecordPatch{
		Recording: changed(cmd, "recording", &s.Recording), Recipients: changed(cmd, "recording-recipient", &s.Recipients),
		RecordInput: changed(cmd, "recording-input", &s.RecordInput), X11Forwarding: changed(cmd, "x11-forwarding", &s.X11Forwarding),
	}
}

func recordColumns() []column[api.Project] {
	return []column[api.Project]{
		{"recordings readable by", func(p api.Project) string { return strings.Join(p.Recipients, " ") }},
		{"records what is typed", func(p api.Project) string { return yesNo(p.RecordInput) }},
		{"X11 forwarding", func(p api.Project) string { return yesNo(p.X11Forwarding) }},
	}
}

// noteForwarding tells who sets that a project is recorded what of it is not.
func (a *app) noteForwarding(p api.Project) {
	counted := api.CountedOnly(p.PortForwarding, p.AgentForwarding, p.X11Forwarding)
	if p.Recording == "" || p.Recording == "off" || len(counted) == 0 {
		return
	}
	flags := ""
	for _, name := range counted {
		flags += map[string]string{"ports": " --port-forwarding=false", "agent": " --agent-forwarding=false", "X11": " --x11-forwarding=false"}[name]
	}
	a.say("what is forwarded (%s) is not recorded, but where to and how many bytes; to forbid it type: cardea admin projects update %s%s", strings.Join(counted, ", "), p.Name, flags)
}
