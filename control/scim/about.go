package scim

// What the service provider says of itself (RFC 7643 sections 5 to 7). It is the same for all,
// but for where it lies.

// MaxBulk bounds a bulk request, in operations, and MaxBody any request, in bytes.
const (
	MaxBulk = 100
	MaxBody = 1 << 20
)

// Config is GET /ServiceProviderConfig.
func Config(base string) Tree {
	yes, no := Tree{"supported": true}, Tree{"supported": false}
	return Tree{
		"schemas":        []string{"urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"},
		"patch":          yes,
		"bulk":           Tree{"supported": true, "maxOperations": MaxBulk, "maxPayloadSize": MaxBody},
		"filter":         Tree{"supported": true, "maxResults": PageSize},
		"changePassword": no, "sort": no, "etag": yes,
		"authenticationSchemes": []Tree{{
			"type": "oauthbearertoken", "name": "Bearer token", "primary": true,
			"description": "a token that `cardea admin scim create` shows once, good for these calls and no others",
		}},
		"meta": Tree{"resourceType": "ServiceProviderConfig", "location": base + "/ServiceProviderConfig"},
	}
}

// ResourceTypes is GET /ResourceTypes.
func ResourceTypes(base string) []Tree {
	one := func(name, endpoint, schema string, extensions ...Tree) Tree {
		t := Tree{
			"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:ResourceType"},
			"id":      name, "name": name, "endpoint": endpoint, "schema": schema,
			"meta": Tree{"resourceType": "ResourceType", "location": base + "/ResourceTypes/" + name},
		}
		if len(extensions) > 0 {
			t["schemaExtensions"] = extensions
		}
		return t
	}
	return []Tree{
		one("User", "/Users", UserURN, Tree{"schema": EnterpriseURN, "required": false}),
		one("Group", "/Groups", GroupURN),
	}
}

// Schemas is GET /Schemas: what counts here. Everything else that the core schemas have is
// kept and given back.
func Schemas(base string) []Tree {
	attr := func(name, kind, what string, more Tree) Tree {
		t := Tree{
			"name": name, "type": kind, "description": what, "multiValued": false, "required": false, "caseExact": false,
			"mutability": "readWrite", "returned": "default", "uniqueness": "none",
		}
		for k, v := range more {
			t[k] = v
		}
		return t
	}
	schema := func(urn, name, what string, attributes ...Tree) Tree {
		return Tree{
			"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:Schema"},
			"id":      urn, "name": name, "description": what, "attributes": attributes,
			"meta": Tree{"resourceType": "Schema", "location": base + "/Schemas/" + urn},
		}
	}
	value := attr("value", "string", "the value", nil)
	return []Tree{
		schema(UserURN, "User", "A person",
			attr("userName", "string", "what the provider calls the person; the login on servers is made from it once", Tree{"required": true, "uniqueness": "server"}),
			attr("externalId", "string", "the provider's id", Tree{"caseExact": true}),
			attr("displayName", "string", "the full name", nil),
			attr("name", "complex", "the name's parts", Tree{"subAttributes": []Tree{
				attr("formatted", "string", "all of it", nil), attr("givenName", "string", "first name", nil), attr("familyName", "string", "last name", nil),
			}}),
			attr("emails", "complex", "addresses", Tree{"multiValued": true, "subAttributes": []Tree{
				value, attr("type", "string", "such as work", nil), attr("primary", "boolean", "the one to use", nil),
			}}),
			attr("active", "boolean", "whether the person may sign in and connect", nil),
			attr("groups", "complex", "the groups that the person is in", Tree{"multiValued": true, "mutability": "readOnly", "subAttributes": []Tree{value}}),
		),
		schema(GroupURN, "Group", "People who get the same access",
			attr("displayName", "string", "its name", Tree{"required": true, "uniqueness": "server"}),
			attr("externalId", "string", "the provider's id", Tree{"caseExact": true}),
			attr("members", "complex", "who is in it", Tree{"multiValued": true, "subAttributes": []Tree{value}}),
		),
	}
}
