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
	Keys      []WorkloadKey  `json:"keys,omitempty" doc:"those that were given; without any the issuer is asked for its keys"`
	KeysAt    time.Time      `json:"keys_at,omitzero" doc:"when they were given"`
}

// WorkloadKey is a key that an issuer signs with, and that an administrator gave.
type WorkloadKey struct {
	ID         string `json:"id" doc:"its kid"`
	Kind       string `json:"kind"`
	Algorithm  string `json:"algorithm,omitempty"`
	Thumbprint string `json:"thumbprint" doc:"RFC 7638, SHA-256, base64url"`
}

// WorkloadKeys puts keys in place of those that an issuer had, and it is not asked for its
// own any more: PUT /v1/workload-issuers/{workload}/keys.
type WorkloadKeys struct {
	Set string `json:"jwks" doc:"a JWK set (RFC 7517 section 5) of public keys, as text"`
}

// NewWorkloadTest asks what a token would come to: POST /v1/workload-tests. It is not used up.
type NewWorkloadTest struct {
	Token string `json:"token"`
	User  string `json:"service_user,omitempty" doc:"as the job would name it"`
}

// WorkloadTest is what it would come to.
type WorkloadTest struct {
	Allow    bool               `json:"allow"`
	Reason   string             `json:"reason,omitempty" doc:"why it does not sign in, as the audit would say"`
	Told     string             `json:"told,omitempty" doc:"what the job would be told"`
	User     string             `json:"user,omitempty" doc:"id of the service user that the job would be"`
	UserName string             `json:"user_name,omitempty"`
	Rule     string             `json:"rule,omitempty" doc:"by which it would be"`
	Seconds  int                `json:"seconds,omitempty" doc:"how long its session would last"`
	Workload string             `json:"workload,omitempty" doc:"the name of the issuer here"`
	Checks   []WorkloadCheck    `json:"checks"`
	Rules    []WorkloadRuleTest `json:"rules"`
	// Claims are those that some rule looks at, as the token has them.
	Claims map[string][]string `json:"claims,omitempty"`
}

// WorkloadCheck is one of those that a token has to stand.
type WorkloadCheck struct {
	Check string `json:"check" doc:"issuer, signature, audience, subject, time, alone, life or unused"`
	Holds bool   `json:"holds"`
	Text  string `json:"text,omitempty" doc:"why not"`
	Want  string `json:"want,omitempty"`
	Have  string `json:"have,omitempty" doc:"a stranger's text"`
}

// WorkloadRuleTest is what a rule says to a token.
type WorkloadRuleTest struct {
	Rule     string              `json:"rule"`
	UserName string              `json:"user_name"`
	Fits     bool                `json:"fits"`
	Claims   []WorkloadClaimTest `json:"claims"`
}

// WorkloadClaimTest is one pattern of a rule; what the token has is in the test's claims.
type WorkloadClaimTest struct {
	Claim   string `json:"claim"`
	Pattern string `json:"pattern"`
	Fits    bool   `json:"fits"`
	Text    string `json:"text,omitempty" doc:"why not"`
}

// NewWorkloadIssuer asks for one: POST /v1/workload-issuers.
type NewWorkloadIssuer struct {
	Name     string `json:"name"`
	Issuer   string `json:"issuer"`
	Audience string `json:"audience,omitempty" doc:"default the URL of this control plane"`
	Set      string `json:"jwks,omitempty" doc:"its public keys, a JWK set (RFC 7517 section 5) as text, where it cannot be asked for them"`
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
