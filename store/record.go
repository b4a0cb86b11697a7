package store

// Words of RecordRules.Recording. The empty string means off.
const (
	RecordingOff        = "off"
	RecordingBestEffort = "best-effort"
	RecordingRequired   = "required"
)

// RecordRules are whether and how a project's sessions are recorded.
type RecordRules struct {
	Recording string // off, best-effort, required
	// Recipients are those who can read recordings, as age writes them. The store
	// keeps them as text.
	Recipients []string
	// RecordInput records what users type, too.
	RecordInput bool
	// X11Forwarding lets users forward X11, recorded or not.
	X11Forwarding bool
}

// Records says whether sessions are recorded.
func (r RecordRules) Records() bool { return r.Recording != "" && r.Recording != RecordingOff }

// RecordRulesChange changes what is not nil.
type RecordRulesChange struct {
	Recording                  *string
	Recipients                 *[]string
	RecordInput, X11Forwarding *bool
}
