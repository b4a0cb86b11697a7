package scim

import (
	"strings"
	"unicode/utf8"
)

// User is what Cardea goes by of a provider's user.
type User struct {
	UserName   string
	ExternalID string
	FullName   string
	Email      string
	Active     bool
}

// UserOf reads it. A user without a word on it is active (RFC 7643 section 4.1.1 leaves that to
// the service provider, and providers create before they say).
func UserOf(t Tree) (User, error) {
	u := User{UserName: t.text("userName"), ExternalID: t.text("externalId"), FullName: fullName(t), Email: email(t), Active: true}
	if v, there := t["active"]; there {
		yes, ok := truth(v)
		if !ok {
			return u, bad(InvalidValue, "active is neither true nor false")
		}
		u.Active = yes
	}
	if strings.TrimSpace(u.UserName) == "" {
		return u, bad(InvalidValue, "userName is missing")
	}
	for name, v := range map[string]string{"userName": u.UserName, "externalId": u.ExternalID, "emails": u.Email, "displayName": u.FullName} {
		if len(v) > maxWord {
			return u, bad(InvalidValue, "%s is longer than %d bytes", name, maxWord)
		}
	}
	return u, nil
}

// maxWord bounds a name, an address or an id, in bytes: that of an e-mail address.
const maxWord = 254

func fullName(t Tree) string {
	name, _ := t["name"].(Tree)
	parts := strings.TrimSpace(name.text("givenName") + " " + name.text("familyName"))
	for _, s := range []string{t.text("displayName"), name.text("formatted"), parts} {
		if s = strings.TrimSpace(s); s != "" {
			return s
		}
	}
	return ""
}

// email is the primary address, else the first of work, else the first.
func email(t Tree) string {
	best, rank := "", 0
	for _, v := range many(t["emails"]) {
		inner, _ := v.(Tree)
		r := 1
		if yes, _ := truth(inner["primary"]); yes {
			r = 3
		} else if strings.EqualFold(inner.text("type"), "work") {
			r = 2
		}
		if address := inner.text("value"); address != "" && r > rank {
			best, rank = address, r
		}
	}
	return best
}

// Group is what Cardea goes by of a provider's group.
type Group struct {
	DisplayName string
	ExternalID  string
	Members     []string // ids of users, each once
}

// GroupOf reads it.
func GroupOf(t Tree) (Group, error) {
	g := Group{DisplayName: strings.TrimSpace(t.text("displayName")), ExternalID: t.text("externalId")}
	switch {
	case g.DisplayName == "":
		return g, bad(InvalidValue, "displayName is missing")
	case len(g.DisplayName) > maxWord || len(g.ExternalID) > maxWord || !utf8.ValidString(g.DisplayName):
		return g, bad(InvalidValue, "displayName or externalId is longer than %d bytes", maxWord)
	}
	seen := map[string]bool{}
	for _, v := range many(t["members"]) {
		id := ""
		switch v := v.(type) {
		case Tree:
			id = v.text("value")
		case string:
			id = v
		}
		if id == "" || len(id) > maxWord {
			return g, bad(InvalidValue, "a member has no value")
		}
		if !seen[id] {
			seen[id] = true
			g.Members = append(g.Members, id)
		}
	}
	return g, nil
}
