// Package scim is the wire of SCIM 2.0 (RFC 7643 and 7644), by which an identity provider
// keeps users and groups: resources, filters, patches, lists and errors. Values in, values
// out: it knows no store and no HTTP.
//
// A resource is kept as the tree of JSON that the provider sent, because providers read back
// what they wrote and send it again where it differs. What Cardea itself goes by is read out
// of the tree (UserOf, GroupOf). Names of attributes are the same in any case, as section 2.1
// of RFC 7643 has it.
//
// Both large providers stray from the letter, and are taken as they are meant: operations
// called "Add" and "Replace", truth values as text, a value without a path whose keys are
// paths, and values where the schema wants a list.
package scim

// URNs of schemas and messages (RFC 7643 section 8.7, RFC 7644 section 8.2).
const (
	UserURN       = "urn:ietf:params:scim:schemas:core:2.0:User"
	GroupURN      = "urn:ietf:params:scim:schemas:core:2.0:Group"
	EnterpriseURN = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
	ListURN       = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
	PatchURN      = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
	BulkURN       = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
	BulkAnswerURN = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"
	ErrorURN      = "urn:ietf:params:scim:api:messages:2.0:Error"
)

// MediaType is that of all of it.
const MediaType = "application/scim+json"

// Limits of what one request may hold. A provider's user has some fifty attributes and 4 KiB;
// a group of ten thousand members has 1 MiB, and comes in many requests.
const (
	maxDepth      = 6 // resource, list, value, sub-attribute, and room for an extension's
	maxKeys       = 256
	maxText       = 4096
	maxFilter     = 1024
	maxFilterDeep = 8
	// MaxOperations bounds a patch, and MaxMembers the members that one request names.
	MaxOperations = 1000
	MaxMembers    = 10_000
)
