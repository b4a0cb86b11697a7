package api

// AgentBeat is the part of a report by which two hosts with one credential are
// noticed: a copied disk, or an image of an enrolled machine.
type AgentBeat struct {
	// Run is drawn when the agent's process starts.
	Run string `json:"run" maxLength:"64"`
	// Number counts the tries of this process to report, from 1.
	Number int64 `json:"number" minimum:"1"`
	// Last is the word of the newest answer that is safely on disk.
	Last string `json:"last,omitempty" maxLength:"64"`
	// Machine is a hash of what the host knows itself by.
	Machine string `json:"machine,omitempty" maxLength:"64"`
}

// AgentReportAnswer answers POST /v1/agent/report.
type AgentReportAnswer struct {
	// Word is to be written down and sent with the next report; an empty one
	// changes nothing.
	Word string `json:"word,omitempty"`
	// Soon asks for another report within seconds: this one seemed to come from
	// the past.
	Soon bool `json:"soon,omitempty"`
}
