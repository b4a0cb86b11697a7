package cli

import (
	"net/url"
	"strings"

	"github.com/cardea-ssh/cardea/api"
)

// toGetAccess is what whoever may reach nothing does about it.
func (a *app) toGetAccess(who api.Session) string {
	saved, err := a.home.Peek()
	switch {
	case who.Admin:
		return "a grant gives access, to you as to others; type: cardea admin grants create PROJECT GROUP"
	case err == nil && saved.KeyFile != "": // a program, which asks nobody
		return "a grant in a project gives access: an administrator types: cardea admin grants create PROJECT GROUP"
	}
	return "a grant in a project gives access: ask an administrator; to see what you may ask for yourself type: cardea requests rules"
}

// nothing tells a person who asked for a list that is empty what would put something
// there. path is where the list came from.
func nothing(path string, query url.Values) string {
	if len(query) > 0 {
		return "none fits; to see more leave out flags"
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	of := "" // the object whose list it is, as it is typed
	if len(parts) > 3 {
		of, _ = url.PathUnescape(parts[len(parts)-2])
	}
	switch parts[len(parts)-1] {
	case "groups":
		return "no group yet; to make one type: cardea admin groups create NAME"
	case "providers":
		return "people sign in with passwords alone; to add an identity provider type: cardea admin providers add --help"
	case "scim-clients":
		return "no identity provider keeps users here; to let one do so type: cardea admin scim create --help"
	case "waiting":
		return "nobody waits: " + of + " has made or taken over whom it tried"
	case "service-users":
		return "no service user yet; to make one type: cardea admin service-users create NAME"
	case "workload-issuers":
		return "no job may sign in with a token of its platform; to let some type: cardea admin workloads add --help"
	case "members":
		return "nobody is in this group; to add somebody type: cardea admin groups members add " + of + " USER"
	case "projects":
		return "no project yet; to make one type: cardea admin projects create NAME"
	case "grants":
		return "no group has access to this project; to give one access type: cardea admin grants create " + of + " GROUP"
	case "entitlements":
		return "no entitlement yet; to make one type: cardea admin entitlements create --help"
	case "servers":
		return "no server yet; to make a token that lets one in type: cardea admin tokens create --kind server --project PROJECT"
	case "gateways":
		return "no gateway yet; to make a token that lets one in type: cardea admin tokens create --kind gateway --name NAME --address HOST:PORT"
	case "enrolment-tokens":
		return "no token; to make one type: cardea admin tokens create --help"
	case "enrolment-rules":
		return "no rule yet; to let instances of a cloud in without tokens type: cardea admin enrolment-rules create --help"
	case "requests":
		return "you have asked for nothing; to see what you may ask for type: cardea requests rules"
	case "pending":
		return "nothing waits for your answer"
	case "request-rules":
		return "no rule lets you ask for access, or answer; administrators make one: type: cardea admin request-rules create --help"
	case "preauthorizations":
		return "there is none; to give one type: cardea requests preauthorizations create --help"
	case "break-glass":
		return "there never was one; to begin one type: cardea admin break-glass begin --help"
	case "recordings":
		return "no session was recorded; for administrators, to have those of a project recorded type: cardea admin projects update PROJECT --help"
	case "gateway-sessions":
		return "no connection went through a gateway yet; to see the gateways type: cardea admin gateways list"
	case "revoked-keys":
		return "no key was revoked by hand; to revoke one type: cardea admin ca revoke --help"
	}
	return "there is none"
}
