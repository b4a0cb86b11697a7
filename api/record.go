package api

// RecordSettings are whether and how the sessions of a project are recorded.
type RecordSettings struct {
	// Recording: required ends a session that cannot be recorded; best-effort lets it
	// go on. Both need a gateway that is required, and recipients.
	Recording string `json:"recording,omitempty" enum:"off,best-effort,required" default:"off"`
	// Recipients are those who can read recordings: the control plane cannot, nor
	// can whoever keeps the bucket.
	Recipients []string `json:"recording_recipients,omitempty" doc:"age recipients (age1…), at most 16"`
	// RecordInput records what users type as well, passwords at prompts included.
	RecordInput bool `json:"recording_input,omitempty"`
	// X11Forwarding lets users forward X11, recorded or not.
	X11Forwarding bool `json:"x11_forwarding,omitempty"`
}

// RecordPatch changes them; nil leaves a field alone.
type RecordPatch struct {
	Recording *string `json:"recording,omitempty" enum:"off,best-effort,required"`
	// Recipients stand in place of those that it has. What was recorded before stays
	// readable for those of that time alone.
	Recipients    *[]string `json:"recording_recipients,omitempty" doc:"age recipients (age1…), at most 16"`
	RecordInput   *bool     `json:"recording_input,omitempty"`
	X11Forwarding *bool     `json:"x11_forwarding,omitempty"`
}

// CountedOnly names those of a project's forwardings of which a recording has the addresses
// and the numbers of bytes, and not what passed.
func CountedOnly(ports, agent, x11 bool) (out []string) {
	for _, f := range []struct {
		name string
		on   bool
	}{{"ports", ports}, {"agent", agent}, {"X11", x11}} {
		if f.on {
			out = append(out, f.name)
		}
	}
	return out
}
