package api

import "time"

// The bounds of a break-glass: shorter ends before anybody is in, and what should last
// longer is a change of the project.
const (
	MinBreakGlass = time.Minute
	MaxBreakGlass = 72 * time.Hour
	// MaxBreakGlassReason is in bytes: it is shown on one line at every connection.
	MaxBreakGlassReason = 200
)

// BreakGlass is a time in which one group alone may enter a project's servers, without
// gateways and without recording; all other grants of the project are suspended.
type BreakGlass struct {
	ID          string    `json:"id"`
	Project     string    `json:"project"`
	Group       string    `json:"group"`
	GroupName   string    `json:"group_name,omitempty" doc:"empty for a group that is gone"`
	Role        string    `json:"role" enum:"user,admin"`
	Reason      string    `json:"reason"`
	BeganBy     string    `json:"began_by" doc:"id of the administrator"`
	BeganAt     time.Time `json:"began_at"`
	Until       time.Time `json:"until"`
	InForce     bool      `json:"in_force"`
	EndedBy     string    `json:"ended_by,omitempty" doc:"id of the administrator; empty where its time was over"`
	EndedAt     time.Time `json:"ended_at,omitzero"`
	ProjectName string    `json:"project_name,omitempty"`
}

// NewBreakGlass begins one: POST /v1/projects/{project}/break-glass.
type NewBreakGlass struct {
	Group string `json:"group" doc:"id or name"`
	Role  string `json:"role,omitempty" enum:"user,admin" default:"user" doc:"admin may use sudo"`
	// Seconds from now.
	Seconds int    `json:"seconds" minimum:"60" maximum:"259200"`
	Reason  string `json:"reason" minLength:"1" maxLength:"200" doc:"one line, for everybody whom it concerns"`
}

// CatalogBreakGlass is what a user is told of the break-glass of a server's project.
type CatalogBreakGlass struct {
	ID     string    `json:"id"`
	Reason string    `json:"reason"`
	Until  time.Time `json:"until"`
	// Suspended says that the user may not enter while it lasts. Then the server is listed
	// because a grant allows it again afterwards.
	Suspended bool `json:"suspended,omitempty"`
}
