package serveragent

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

const (
	// beatFile holds the word of the newest answer to a report.
	beatFile = "beat.json"
	// soonAgain is when to report again where the control plane asks for it: two
	// hosts with one credential are found by that within seconds.
	soonAgain = 3 * time.Second
)

// beats are this process's part of the sequence by which the control plane
// notices that two hosts use one credential. One goroutine owns it.
type beats struct {
	run     string
	number  int64
	word    string
	machine string
}

type beatRecord struct {
	Word string `json:"word"`
}

// openBeats reads the word that an earlier process has left. A file that is lost
// or damaged is no word: the control plane knows how to go on without.
func (a *Agent) openBeats() beats {
	b := beats{run: rand.Text(), machine: machineID(a.opt.machineFile)}
	raw, err := readSmall(a.path(beatFile), maxSmallFile)
	var rec beatRecord
	if err == nil {
		err = decodeOne(raw, &rec)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Warn("the last answer to a report cannot be read", "err", err)
	}
	b.word = rec.Word
	return b
}

// next is the beat of one try to report. Each try has its own number, also where
// the one before may not have arrived.
func (b *beats) next() *api.AgentBeat {
	b.number++
	return &api.AgentBeat{Run: b.run, Number: b.number, Last: b.word, Machine: b.machine}
}

// take writes an answer down before it is used: a word that only the memory knows
// would be lost with the process, and the one on disk would then be too old.
func (r *reconciler) take(out api.AgentReportAnswer) {
	if out.Soon {
		r.reportAt = time.Now().Add(soonAgain)
	}
	if out.Word == "" || out.Word == r.beats.word {
		return
	}
	if err := writeJSON(r.path(beatFile), beatRecord{Word: out.Word}); err != nil {
		r.log.Warn("the answer to a report cannot be kept", "err", err)
		return
	}
	r.beats.word = out.Word
}
