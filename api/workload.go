package api

import "time"

// GrantWorkload is the grant type of POST /oauth/token by which a job signs in with a token
// of its platform (RFC 7523 section 2.1). The proof's key is the job's own: the token is
// tied to the first one that came with it.
const GrantWorkload = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// WorkloadIssuer makes tokens for jobs: a platform such as GitHub, GitLab or Kubernetes.
type WorkloadIssuer struct {
	ID        string         `json:"id"`
	Name      string         `json:"name" doc:"unique"`
	Issuer    string         `json:"issuer" doc:"its URL, as it writes it into tokens (iss)"`
	Audience  string         `json:"audience" doc:"for which alone a token must be made (aud)"`
	State     string         `json:"state" enum:"active,disabled"`
	CreatedAt time.Time      `json:"created_at"`
	Rules     []WorkloadRule `json:"rules" doc:"oldest first; the oldest that fits counts"`
}

// NewWorkloadIssuer asks for one: POST /v1/workload-issuers.
type NewWorkloadIssuer struct {
	Name     string `json:"name"`
	Issuer   string `json:"issuer"`
	Audience string `json:"audience,omitempty" doc:"default the URL of this control plane"`
}

// WorkloadIssuerPatch changes one: PATCH /v1/workload-issuers/{workload}.
type WorkloadIssuerPatch struct {
	State string `json:"state" enum:"active,disabled" doc:"disabled ends the sessions that its tokens brought"`
}

// WorkloadRule says which jobs of an issuer are which service user.
type WorkloadRule struct {
	ID       string `json:"id"`
	User     string `json:"user" doc:"id of the service user"`
	UserName string `json:"user_name"`
	// Claims are patterns: * is any run of characters without / and :, ** any run.
	Claims    map[string]string `json:"claims" doc:"a pattern for each claim; all must fit, and sub is among them"`
	Seconds   int               `json:"seconds" doc:"how long a session lasts"`
	CreatedAt time.Time         `json:"created_at"`
}

// NewWorkloadRule asks for one: POST /v1/workload-issuers/{workload}/rules.
type NewWorkloadRule struct {
	User    string            `json:"user" doc:"id or name of the service user"`
	Claims  map[string]string `json:"claims"`
	Seconds int               `json:"seconds,omitempty" doc:"60 to 3600, which is the default"`
}
