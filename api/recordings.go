package api

import "time"

// Recording is what is known of one recorded session: GET /v1/recordings and
// /v1/recordings/{session}. Whether it is true and whole shows who verifies it.
type Recording struct {
	Session string `json:"session"`
	Gateway string `json:"gateway"`
	// Keeper is the gateway that told of it last: another one, where the spool of a
	// gateway that is gone was imported.
	Keeper string `json:"keeper"`
	User   string `json:"user"`
	Server string `json:"server"`
	// These are what they are called now; empty if they are gone.
	UserName    string    `json:"user_name,omitempty"`
	ServerName  string    `json:"server_name,omitempty"`
	ProjectName string    `json:"project_name,omitempty"`
	GatewayName string    `json:"gateway_name,omitempty"`
	Project     string    `json:"project"`
	Login       string    `json:"login"`
	Source      string    `json:"source"`
	StartedAt   time.Time `json:"started_at"`
	EndedAt     time.Time `json:"ended_at,omitzero" doc:"of the session"`
	Required    bool      `json:"required"`
	State       string    `json:"state" enum:"recording,finished,stored,damaged"`
	// Overdue says that the session is over, and that nobody stores its recording.
	Overdue   bool      `json:"overdue,omitempty"`
	ChangedAt time.Time `json:"changed_at"`
	// What its gateway told, as in RecordingReport.
	Segments int    `json:"segments"`
	Bytes    int64  `json:"bytes"`
	Place    string `json:"place,omitempty"`
	Head     string `json:"head,omitempty"`
	Key      string `json:"key,omitempty"`
	Seconds  int64  `json:"seconds,omitempty"`
	Cause    string `json:"cause,omitempty"`
	Fault    string `json:"fault,omitempty"`
}
