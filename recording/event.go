package recording

import "time"

// Event is one thing that happened in a session.
type Event struct {
	// At is the time since the session began, by the gateway's monotonic clock. It
	// never goes back within a recording.
	At time.Duration
	// Channel numbers the SSH channels of the session from 1, in the order in which
	// they were opened; 0 is the connection itself. Numbers are not used again.
	Channel uint32
	Kind    Kind
	// Data are the bytes of Output, Errput and Input as they passed, at most
	// MaxData, and else the JSON of what the kind names; nil where it names nothing.
	Data []byte
}

// MaxData bounds the data of one event, in bytes: a packet of SSH has at most 32 KiB.
const MaxData = 64 << 10

// Kind says what an event is. The numbers are part of the format.
type Kind uint8

// The kinds, and what their Data is.
const (
	Open    Kind = 1  // a channel was opened: Opened
	Request Kind = 2  // a request was granted: Requested
	Refusal Kind = 3  // a channel or a request was refused: Refused
	Output  Kind = 4  // bytes to the user
	Errput  Kind = 5  // bytes to the user, of extended data (stderr)
	Input   Kind = 6  // bytes from the user; only where the project records them
	Resize  Kind = 7  // the terminal has another size: Size
	File    Kind = 8  // a file was transferred or changed: FileAction
	Forward Kind = 9  // a forwarded connection ended: Forwarded
	Exit    Kind = 10 // the program ended: Exited
	Close   Kind = 11 // a channel was closed; no data
	Gap     Kind = 12 // something is missing here: Missing
	End     Kind = 13 // the session is over, and this is the last event: Ended
)

// Opened tells of a channel.
type Opened struct {
	Type string `json:"type"` // as SSH calls it: session, direct-tcpip, forwarded-tcpip, …
	// To and From are host:port, or the path of a socket, of a forward.
	To   string `json:"to,omitempty"`
	From string `json:"from,omitempty"`
}

// Requested tells what runs in a channel.
type Requested struct {
	Type string `json:"type"` // pty-req, shell, exec, subsystem, env, auth-agent-req@openssh.com, …
	// Command is that of exec, the name of a subsystem, or NAME=VALUE of env.
	Command string `json:"command,omitempty"`
	// Term and Size are those of pty-req.
	Term string `json:"term,omitempty"`
	Size *Size  `json:"size,omitempty"`
}

// Size is that of a terminal, in characters.
type Size struct {
	Columns uint32 `json:"columns"`
	Rows    uint32 `json:"rows"`
}

// Refused tells what was not allowed.
type Refused struct {
	Type     string `json:"type"` // of the channel or the request
	Sentence string `json:"sentence"`
}

// FileAction is one line of the list of files. Size and SHA256 (hex) are of the
// bytes that passed; Whole is false where they are not the file from its first
// byte to its last, in order. Of a list they are those of the names with all that
// came with them, and Entries is how many. Answers are all else that the server said.
type FileAction struct {
	Action string `json:"action"` // upload, download, remove, rename, mkdir, rmdir, symlink, link, setstat, list, answers, …
	Path   string `json:"path"`
	To     string `json:"to,omitempty"` // of rename, symlink, link
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
	Whole  bool   `json:"whole,omitempty"`
	Error  string `json:"error,omitempty"` // what the server answered
	// Entries counts the names of a list.
	Entries int64 `json:"entries,omitempty"`
	// Said is what the server put into words although all was well.
	Said string `json:"said,omitempty"`
}

// Forwarded is the end of a forwarded connection.
type Forwarded struct {
	To   string `json:"to"`
	From string `json:"from,omitempty"`
	Up   int64  `json:"up"`
	Down int64  `json:"down"`
}

// Exited is how a program ended: by a code, or by a signal.
type Exited struct {
	Code   uint32 `json:"code"`
	Signal string `json:"signal,omitempty"` // without SIG, as RFC 4254 section 6.10 has it
	Core   bool   `json:"core,omitempty"`
}

// Missing is why something is not here.
type Missing struct {
	Why string `json:"why"`
	// Bytes of the spool that are lost, if that is known.
	Bytes int64 `json:"bytes,omitempty"`
}

// Ended is why the session is over. Causes are those of the end of a session:
// client, server, revoked, drained, error, and interrupted, where the gateway died
// and another process finished the recording.
type Ended struct {
	Cause    string `json:"cause"`
	Sentence string `json:"sentence,omitempty"`
}
