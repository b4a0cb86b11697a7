package api

import "time"

// The bounds of access that people ask for.
const (
	// MinRequest is the shortest: less is over before the server's account is there.
	MinRequest = time.Minute
	// MaxRequest is the longest that a rule may allow; what is needed for longer is a
	// membership that an administrator gives.
	MaxRequest = 30 * 24 * time.Hour
	// MaxRequestReason is in bytes, of the reason and of the answer: each is shown on one line.
	MaxRequestReason = 300
	// MaxPreauthorization is for how long somebody may say yes in advance.
	MaxPreauthorization = 90 * 24 * time.Hour
)

// RequestRule says who may ask for a membership in a group for a time, and who may give it.
type RequestRule struct {
	ID          string `json:"id"`
	Project     string `json:"project"`
	ProjectName string `json:"project_name"`
	Group       string `json:"group" doc:"to be in it is what is asked for"`
	GroupName   string `json:"group_name"`
	// Askers is the group whose members may ask; empty for everybody.
	Askers        string    `json:"askers,omitempty"`
	AskersName    string    `json:"askers_name,omitempty"`
	Approvers     string    `json:"approvers" doc:"the group whose members may answer; administrators may, too"`
	ApproversName string    `json:"approvers_name"`
	Seconds       int       `json:"seconds" doc:"the longest time"`
	CreatedAt     time.Time `json:"created_at"`
	// MayAsk and MayAnswer are about the caller.
	MayAsk    bool `json:"may_ask"`
	MayAnswer bool `json:"may_answer"`
}

// NewRequestRule makes one: POST /v1/projects/{project}/request-rules.
type NewRequestRule struct {
	Group     string `json:"group" doc:"id or name"`
	Askers    string `json:"askers,omitempty" doc:"id or name of a group; everybody if empty"`
	Approvers string `json:"approvers" doc:"id or name of a group"`
	Seconds   int    `json:"seconds" minimum:"60" maximum:"2592000" doc:"the longest time that may be asked for"`
}

// NewAccessRequest asks: POST /v1/requests.
type NewAccessRequest struct {
	Target  string `json:"target" doc:"a server or a project: id or name, or project/name of a server"`
	Group   string `json:"group,omitempty" doc:"id or name; needed where more than one rule fits"`
	Seconds int    `json:"seconds" minimum:"60" maximum:"2592000"`
	Reason  string `json:"reason" minLength:"1" maxLength:"300" doc:"one line, for who answers"`
}

// AccessRequest is somebody's wish to be let in for a time.
type AccessRequest struct {
	ID          string    `json:"id"`
	State       string    `json:"state" enum:"pending,approved,denied,cancelled,expired,ended"`
	User        string    `json:"user" doc:"who asks"`
	UserName    string    `json:"user_name"`
	Rule        string    `json:"rule"`
	Project     string    `json:"project"`
	ProjectName string    `json:"project_name,omitempty"`
	Group       string    `json:"group"`
	GroupName   string    `json:"group_name,omitempty" doc:"empty for a group that is gone"`
	Server      string    `json:"server,omitempty" doc:"that was named; empty if it was the project"`
	ServerName  string    `json:"server_name,omitempty"`
	Seconds     int       `json:"seconds" doc:"asked for"`
	Reason      string    `json:"reason"`
	CreatedAt   time.Time `json:"created_at"`
	ExpiresAt   time.Time `json:"expires_at" doc:"it waits no longer for an answer"`

	AnsweredBy     string    `json:"answered_by,omitempty"`
	AnsweredByName string    `json:"answered_by_name,omitempty"`
	AnsweredAt     time.Time `json:"answered_at,omitzero"`
	Answer         string    `json:"answer,omitempty" doc:"one line, for who asked"`
	// Given is in seconds; Until is the end of the membership. Both are for approved ones.
	Given int       `json:"given,omitempty"`
	Until time.Time `json:"until,omitzero" doc:"none for who is a member without an end; for an ended one when it ended"`
	// Preauthorization is the id of the one by which it was approved at once.
	Preauthorization string `json:"preauthorization,omitempty"`
}

// Words of AccessRequest.State that a client looks for.
const (
	RequestPending  = "pending"
	RequestApproved = "approved"
)

// NewRequestAnswer answers one: POST /v1/requests/{request}/approve and …/deny.
type NewRequestAnswer struct {
	Seconds int    `json:"seconds,omitempty" minimum:"0" maximum:"2592000" doc:"to approve less than was asked for"`
	Reason  string `json:"reason,omitempty" maxLength:"300" doc:"one line, for who asked; needed to deny"`
}

// NewPreauthorization says yes in advance: POST /v1/preauthorizations.
type NewPreauthorization struct {
	Rule    string    `json:"rule"`
	User    string    `json:"user" doc:"id or name"`
	Seconds int       `json:"seconds" minimum:"60" maximum:"2592000" doc:"the longest request that is approved at once"`
	Until   time.Time `json:"until" doc:"at most 90 days from now"`
}

// Preauthorization is a yes in advance: requests of this user by this rule are approved
// at once, as long as who gave it could approve them himself.
type Preauthorization struct {
	ID          string    `json:"id"`
	Rule        string    `json:"rule"`
	ProjectName string    `json:"project_name"`
	GroupName   string    `json:"group_name"`
	User        string    `json:"user"`
	UserName    string    `json:"user_name"`
	By          string    `json:"by" doc:"who gave it"`
	ByName      string    `json:"by_name"`
	Seconds     int       `json:"seconds"`
	Until       time.Time `json:"until"`
	CreatedAt   time.Time `json:"created_at"`
}
