package provision

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/cardea-ssh/cardea/control/scim"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// maxFullName and maxEmail are what the directory takes, in bytes.
const maxFullName, maxEmail = 100, 254

// loginOf makes the Unix login of a new user: what stands before the @ of userName, with small
// letters and hyphens for dots. Nothing is cut off and no number is added, for two people must
// never be made one.
func loginOf(userName string) (string, error) {
	local, _, _ := strings.Cut(userName, "@")
	login := strings.ReplaceAll(small(local), ".", "-")
	if err := ident.Login(login); err != nil {
		return "", invalid("no Unix login can be made of the userName: " + err.Error())
	}
	return login, nil
}

// groupName makes the name of a Unix group: displayName with small letters, and hyphens for
// spaces and dots.
func groupName(displayName string) (string, error) {
	name := strings.NewReplacer(" ", "-", ".", "-").Replace(small(displayName))
	if err := ident.Group(name); err != nil {
		return "", invalid("no Unix group can be made of the displayName: " + err.Error())
	}
	return name, nil
}

// small makes ASCII letters small and no others: one that only looks like ours must not become it.
func small(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

// fullName and email are what stands in files of servers and in lists; what could not stand
// there is left out, and kept in the resource alone.
func fullName(s string) string {
	if len(s) > maxFullName || ident.Text(s) != s || strings.Contains(s, ":") {
		return ""
	}
	return s
}

func email(s string) string {
	local, domain, _ := strings.Cut(s, "@")
	if len(s) > maxEmail || ident.Text(s) != s || local == "" || domain == "" || strings.ContainsAny(s, " \t<>\"'(),;:") {
		return ""
	}
	return s
}

func invalid(detail string) *scim.Error {
	return &scim.Error{Status: http.StatusBadRequest, Type: scim.InvalidValue, Detail: detail}
}

// kept is a resource as it is written down: as small as that, and so that it can be read again.
func kept(t scim.Tree) ([]byte, error) {
	raw, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	if len(raw) > store.MaxScimResource {
		return nil, &scim.Error{Status: http.StatusRequestEntityTooLarge, Detail: "the resource is larger than 64 KiB"}
	}
	if _, err := scim.Parse(raw); err != nil {
		return nil, err
	}
	return raw, nil
}

// schemas are the core one and those of the extensions that a resource has.
func schemas(core string, t scim.Tree) []string {
	out := []string{core}
	for key := range t {
		if strings.HasPrefix(strings.ToLower(key), "urn:") {
			out = append(out, key)
		}
	}
	return out
}
