package store

import "time"

// Beat is the part of a server's report by which a copied credential is
// noticed. With each report the agent brings back the word that the last answer
// gave it, and gets the next one. Two hosts with one credential cannot both do
// that: whoever comes second brings a word that is over.
type Beat struct {
	// Run is drawn by the agent's process when it starts.
	Run string
	// Number counts the reports of that process, from 1. Each try has its own.
	Number int64
	// Last is the word of the newest answer that the agent has written down; ""
	// for none.
	Last string
	// Next is the word that an answer to this report may give.
	Next string
	// Machine tells hosts apart by what the agent knows of its own: a hash.
	Machine string
	// Where is the address from which the report came, for people.
	Where string
	// Epoch is the team's; the store fills it in.
	Epoch int64
}

// Rhythm is what is remembered of a server's beats. The zero value is that of a
// server that has not reported yet.
type Rhythm struct {
	// Word is the one that the next report should bring; Before is the one
	// before it, which a report brings whose answer was lost.
	Word   string `json:"word,omitempty"`
	Before string `json:"before,omitempty"`
	// Run and Number are of the newest report, Where and Machine too.
	Run     string `json:"run,omitempty"`
	Number  int64  `json:"number,omitempty"`
	Where   string `json:"where,omitempty"`
	Machine string `json:"machine,omitempty"`
	// Epoch is the team's at the newest report.
	Epoch int64 `json:"epoch,omitempty"`
	// Ended is the process that reported before Run, and where it was.
	Ended      string `json:"ended,omitempty"`
	EndedWhere string `json:"ended_where,omitempty"`
	// Doubt is a report that came too late or from a process that had ended. One
	// may have been on its way for long; a second one was not.
	Doubt       string    `json:"doubt,omitempty"`
	DoubtNumber int64     `json:"doubt_number,omitempty"`
	DoubtAt     time.Time `json:"doubt_at,omitzero"`
}

// DoubtLife is how long one odd report is remembered: three times what lies
// between two reports, so that a copy that is alive comes twice within it.
const DoubtLife = 15 * time.Minute

// Verdict is what a beat means.
type Verdict int

// The verdicts.
const (
	// Goes: the sequence goes on, or its last answer is given again.
	Goes Verdict = iota
	// Doubtful: the report is not taken, and another one is wanted soon.
	Doubtful
	// Copied: two hosts use the credential, or one was put back to an older state
	// of its disk; from here the two look the same.
	Copied
)

// Judge says what b means, and what is to be remembered from then on.
//
// A process that reports after another one has reported as its successor shows
// that both live. So does a process whose reports are not numbered upwards: its
// memory was copied while it ran. A word that is neither the awaited one nor the
// one before comes from a disk that was copied or put back. A lost answer, an
// agent that was killed before it wrote the word down, a restart and a report
// that is delivered twice or late give none of these.
//
// Nor does a store that has forgotten: after a failover that lost the last commits
// all hosts bring words that are not known, and to hold them all would lock
// everybody out of everything. So a process that goes on, with a higher number, is
// believed: of two with one memory the other has a lower number soon. And after a
// backup was restored, which raises the epoch, all begin anew.
func (r Rhythm) Judge(b Beat, now time.Time) (Rhythm, Verdict) {
	if r.Run == "" || r.Epoch != b.Epoch {
		return Rhythm{Word: b.Next, Run: b.Run, Number: b.Number, Where: b.Where, Machine: b.Machine, Epoch: b.Epoch}, Goes
	}
	late := b.Run == r.Run && b.Number <= r.Number
	if late || b.Run == r.Ended {
		return r.odd(b, now)
	}
	// A host that has lost the file has no word. It is not held for that: if there
	// is another one, that one's process comes back.
	known := b.Last == r.Word || b.Last == r.Before || b.Last == ""
	if !known && b.Run == r.Run {
		known, r.Before, r.Word = true, "", b.Next
	}
	if !known || r.Machine != "" && b.Machine != "" && b.Machine != r.Machine {
		return r, Copied
	}
	if b.Run != r.Run {
		r.Ended, r.EndedWhere = r.Run, r.Where
	}
	if b.Last == r.Word {
		r.Before, r.Word = r.Word, b.Next
	}
	r.Run, r.Number, r.Where = b.Run, b.Number, b.Where
	if b.Machine != "" {
		r.Machine = b.Machine
	}
	return r, Goes
}

// odd is for a report that an honest host sends once at most.
func (r Rhythm) odd(b Beat, now time.Time) (Rhythm, Verdict) {
	if r.Doubt == b.Run && b.Number > r.DoubtNumber && now.Before(r.DoubtAt.Add(DoubtLife)) {
		return r, Copied
	}
	r.Doubt, r.DoubtNumber, r.DoubtAt = b.Run, b.Number, now
	return r, Doubtful
}

// Other is the address of the host that is not the one of b, as far as that is
// known.
func (r Rhythm) Other(b Beat) string {
	if b.Run == r.Ended || r.Where != b.Where || r.EndedWhere == "" {
		return r.Where
	}
	return r.EndedWhere
}

// Pulse is what the store answers to a report.
type Pulse struct {
	// Word is for the agent to keep; "" leaves the one it has.
	Word string
	// Soon asks for another report at once.
	Soon bool
	// Held is why the server is held since this very report.
	Held string
}
