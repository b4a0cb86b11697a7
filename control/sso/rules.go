package sso

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

const (
	// MaxGroups is how many groups a provider may count somebody to, and maxGroup the
	// length of each name, in bytes.
	MaxGroups, maxGroup = 2000, 256
	// maxFullName and maxEmail are what the directory takes.
	maxFullName, maxEmail = 100, 254
	// emailClaim is the one whose truth a second claim tells.
	emailClaim = "email"
)

// Rules are what a provider's claims mean here.
type Rules struct {
	// LoginClaim and LoginRule give the Unix login of a new user.
	LoginClaim, LoginRule string
	// Domains are those whose addresses the rule store.LoginLocalPart takes.
	Domains []string
	// GroupsClaim lists the groups; empty: the provider says nothing of groups.
	GroupsClaim string
	// Require are claims that everybody must have.
	Require map[string]string
}

// Want are the claims that the rules look at, and those with which a user is described.
func (r Rules) Want() []string {
	want := []string{"name", emailClaim, r.LoginClaim}
	if r.GroupsClaim != "" {
		want = append(want, r.GroupsClaim)
	}
	for name := range r.Require {
		want = append(want, name)
	}
	return want
}

// Admit says whether somebody with these claims may come in at all.
func (r Rules) Admit(c Claims) error {
	for name, value := range r.Require {
		if !c.has(name, value) {
			return fmt.Errorf("the identity provider does not say %s=%s of you, which is required here", ident.Text(name), ident.Text(value))
		}
	}
	return nil
}

// Login derives the Unix login of a new user. Nothing is cut off and no number is added,
// for two people must never be made one, and who has which login must be foreseen:
//
//	whole       the claim as it is
//	local-part  what stands before the @, if what stands behind it is one of Domains
//
// Both make capital letters small and each dot a hyphen. What is then no login by
// ident.Login is refused.
func (r Rules) Login(c Claims) (string, error) {
	said, ok := c.Text(r.LoginClaim)
	if !ok {
		return "", fmt.Errorf("the identity provider does not tell the claim %s", ident.Text(r.LoginClaim))
	}
	if sameClaim(r.LoginClaim, emailClaim) && !c.has("email_verified", "true") {
		return "", errors.New("the identity provider has not verified your e-mail address")
	}
	if len(said) > maxEmail {
		return "", fmt.Errorf("the claim %s is longer than %d bytes", ident.Text(r.LoginClaim), maxEmail)
	}
	said = lowered(said)
	switch r.LoginRule {
	case store.LoginWhole:
	case store.LoginLocalPart:
		local, domain, ok := strings.Cut(said, "@")
		if !ok || !slices.Contains(r.Domains, domain) {
			return "", fmt.Errorf("%s is no address of a domain that may have accounts here", ident.Text(said))
		}
		said = local
	default:
		return "", fmt.Errorf("%q is no rule for logins", r.LoginRule)
	}
	login := strings.ReplaceAll(said, ".", "-")
	return login, ident.Login(login)
}

// lowered makes ASCII letters small, and no others: a letter that only looks like one of
// ours must not become it.
func lowered(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

// Groups are all that the provider counts somebody to. A claim that is not there is a
// person without groups: most providers leave out an empty list. said is false where the
// provider is not asked for groups.
func (r Rules) Groups(c Claims) (groups []string, said bool, err error) {
	if r.GroupsClaim == "" {
		return nil, false, nil
	}
	// Where there are too many for a token, some providers name a place to ask instead
	// (section 5.6.2 of Core). Who is taken for one without groups would be locked out,
	// and who keeps those of yesterday let in.
	elsewhere, _ := c["_claim_names"].(map[string]any)
	if _, ok := elsewhere[r.GroupsClaim]; ok || c["hasgroups"] == true {
		return nil, false, errors.New("the identity provider counts you to more groups than it writes into a token")
	}
	v, has := c.at(r.GroupsClaim)
	list, ok := c.List(r.GroupsClaim)
	switch {
	case !has || v == nil:
		return []string{}, true, nil
	case !ok:
		return nil, false, fmt.Errorf("the claim %s is no list of names", ident.Text(r.GroupsClaim))
	case len(list) > MaxGroups:
		return nil, false, fmt.Errorf("the identity provider counts you to more than %d groups", MaxGroups)
	}
	return slices.DeleteFunc(list, func(g string) bool { return g == "" || len(g) > maxGroup }), true, nil
}

// Attributes are the full name and e-mail address, nil for what the provider does not tell
// or what could not stand in a file of a server.
func Attributes(c Claims) (fullName, email *string) {
	name, ok := c.Text("name")
	if !ok {
		given, _ := c.Text("given_name")
		family, _ := c.Text("family_name")
		name = strings.TrimSpace(given + " " + family)
	}
	if name = strings.TrimSpace(name); plain(name, maxFullName) && !strings.Contains(name, ":") {
		fullName = &name
	}
	address, _ := c.Text(emailClaim)
	local, domain, _ := strings.Cut(address, "@")
	if plain(address, maxEmail) && local != "" && domain != "" && !strings.ContainsAny(address, " \t<>\"'(),;:") && !c.has("email_verified", "false") {
		email = &address
	}
	return fullName, email
}

// plain is text that needs no escape anywhere.
func plain(s string, most int) bool { return s != "" && len(s) <= most && ident.Text(s) == s }
