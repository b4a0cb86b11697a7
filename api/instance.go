package api

import (
	"crypto/sha256"
	"encoding/base64"
	"time"
)

// InstanceChallenge answers POST /v1/servers/enrol/challenge: what an instance of
// a cloud must have signed, together with its key, to enrol within a minute.
type InstanceChallenge struct {
	Challenge string `json:"challenge"`
	// Audience is the control plane's own URL, whatever the caller takes it for.
	Audience string `json:"audience"`
}

// InstanceEnrolment is POST /v1/servers/enrol/instance: no token at all, a proof
// by the agent's key, and what the cloud has signed.
type InstanceEnrolment struct {
	Cloud     string         `json:"cloud" enum:"aws,gcp,azure"`
	Challenge string         `json:"challenge" maxLength:"128"`
	AWS       *AWSEvidence   `json:"aws,omitempty"`
	GCP       *GCPEvidence   `json:"gcp,omitempty"`
	Azure     *AzureEvidence `json:"azure,omitempty"`
	// Address and HostLabels are as in ServerEnrolment. There is no host name: the
	// rule names the server.
	Address    string            `json:"address,omitempty"`
	HostLabels map[string]string `json:"host_labels,omitempty"`
	Version    string            `json:"version,omitempty"`
}

// AWSEvidence is the signed instance identity document, which anybody on the
// instance can read, and a call of GetCallerIdentity that the instance's role has
// signed for the control plane to make (Signature Version 4). The call is
// STSBody, posted to the region's own endpoint with the headers that
// STSSignedHeaders names; among them HeaderBinding.
type AWSEvidence struct {
	Document      string `json:"document" doc:"PKCS#7 in base64, the RSA-2048 form"`
	Date          string `json:"date" doc:"X-Amz-Date"`
	SessionToken  string `json:"session_token" doc:"X-Amz-Security-Token"`
	Authorization string `json:"authorization"`
}

// Of the call that an instance of AWS signs: nothing in it is the caller's choice.
const (
	STSBody          = "Action=GetCallerIdentity&Version=2011-06-15"
	STSContentType   = "application/x-www-form-urlencoded; charset=utf-8"
	STSSignedHeaders = "content-type;host;x-amz-date;x-amz-security-token;x-cardea-binding"
	HeaderBinding    = "X-Cardea-Binding"
)

// STSHost is the host of STS in a region.
func STSHost(region string) string {
	host := "sts." + region + ".amazonaws.com"
	if len(region) > 3 && region[:3] == "cn-" {
		host += ".cn"
	}
	return host
}

// GCPEvidence is the identity token of the instance, in full, for InstanceAudience.
type GCPEvidence struct {
	Token string `json:"token"`
}

// AzureEvidence is the attested document with AzureNonce in it. Chain are
// certificates between its signer's and a root, DER; the document has only the
// first.
type AzureEvidence struct {
	Document string   `json:"document" doc:"PKCS#7 in base64"`
	Chain    [][]byte `json:"chain,omitempty" maxItems:"4"`
}

// instanceDomain separates bindings from all other hashes.
const instanceDomain = "cardea instance enrolment v1\x00"

// Binding ties what a cloud signs to one control plane, one challenge and one key
// (its RFC 7638 thumbprint): 43 characters of base64url.
func Binding(audience, challenge, thumbprint string) string {
	sum := sha256.Sum256([]byte(instanceDomain + audience + "\x00" + challenge + "\x00" + thumbprint))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// azureNonceChars is the longest nonce that Azure takes: 192 bits of a binding.
const azureNonceChars = 32

// AzureNonce is the binding as Azure takes it.
func AzureNonce(binding string) string { return binding[:azureNonceChars] }

// InstanceAudience is the audience of a token of GCP.
func InstanceAudience(audience, binding string) string { return audience + "/enrol/" + binding }

// EnrolmentRule lets instances of one account of a cloud in that prove what they
// are. What the servers may be called, and their labels, come from the rule.
type EnrolmentRule struct {
	ID         string            `json:"id"`
	Cloud      string            `json:"cloud" enum:"aws,gcp,azure"`
	Account    string            `json:"account"`
	Regions    []string          `json:"regions,omitempty"`
	Identities []string          `json:"identities,omitempty"`
	Within     int               `json:"within,omitempty" doc:"seconds"`
	Project    string            `json:"project"`
	ServerName string            `json:"server_name"`
	Labels     map[string]string `json:"labels,omitempty"`
	CreatedAt  time.Time         `json:"created_at"`
}

// NewEnrolmentRule asks for one: POST /v1/enrolment-rules.
type NewEnrolmentRule struct {
	Cloud string `json:"cloud" enum:"aws,gcp,azure"`
	// Account is the AWS account's 12 digits, the GCP project's id or the Azure
	// subscription's.
	Account string `json:"account"`
	// Regions are names or patterns such as eu-*; none means any. Azure does not
	// sign where an instance is.
	Regions []string `json:"regions,omitempty" maxItems:"32"`
	// Identities are the roles (AWS) or service accounts (GCP) of the instances,
	// names or patterns; none means any.
	Identities []string `json:"identities,omitempty" maxItems:"32"`
	// Within is how many seconds ago the instance was started at most. An hour by
	// default; Azure does not sign when that was.
	Within  int    `json:"within,omitempty" minimum:"0"`
	Project string `json:"project"`
	// ServerName may have {instance_id}, {account}, {region} and {instance_name}
	// (GCP) in it; {instance_id} by default.
	ServerName string            `json:"server_name,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
}
