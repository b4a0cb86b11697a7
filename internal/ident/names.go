package ident

import (
	"fmt"
	"slices"
	"strings"
)

// Longest allowed names, in bytes. All grammars are ASCII.
const (
	// MaxLogin is what utmp, useradd and sudo agree on.
	MaxLogin = 32
	// MaxHostLabel and MaxServerName are those of DNS (RFC 1035, section
	// 2.3.4; 253 is 255 on the wire without the length and root octets).
	MaxHostLabel  = 63
	MaxServerName = 253
	// MaxProject keeps a project's name on one line of a table.
	MaxProject = 40
	// MaxLabelKey and MaxLabelValue are those of Kubernetes, from whose
	// labels ours are often copied.
	MaxLabelKey   = 63
	MaxLabelValue = 63
	// MaxLabels is how many labels a machine has at the most from each of those who
	// give it some: it keeps the evaluation of selectors and the lists of servers short.
	MaxLabels = 32
	// MaxAltNames is how many names a server has besides its own: each is a word in
	// everybody's ssh configuration.
	MaxAltNames = 16
)

// HostLabelPrefix marks the labels that a server says about itself. They never
// grant anything, so nobody else may use the prefix and they may use no other.
const HostLabelPrefix = "host/"

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
)

// Login checks the name of a Unix account: ^[a-z_][a-z0-9_-]{0,31}$, and not
// that of an account or privileged group that operating systems come with.
func Login(s string) error { return account("login", s) }

// Group checks the name of a Unix group: the same grammar and the same
// refusals as Login, because an account brings a group of its own name.
func Group(s string) error { return account("group", s) }

func account(kind, s string) error {
	if s == "" || len(s) > MaxLogin || !only(s[:1], lower+"_") || !only(s, lower+digits+"_-") {
		return fmt.Errorf("%s is no %s name: use 1 to %d of a-z 0-9 _ -, beginning with a letter or _", quote(s), kind, MaxLogin)
	}
	if Reserved(s) {
		return fmt.Errorf("%s cannot be a %s name: the operating system or Cardea uses it; choose another", quote(s), kind)
	}
	return nil
}

// ServerName checks what a server or gateway is called: a lower-case host
// label, with or without a dotted suffix. A name that could be read as an
// address, an option or more than one word is refused, and so is localhost.
func ServerName(s string) error {
	labels := strings.Split(s, ".")
	bad := len(s) > MaxServerName || s == "localhost" || strings.HasSuffix(s, ".localhost")
	for _, l := range labels {
		bad = bad || !hostLabel(l)
	}
	// All digits at either end: "1" is an address to inet_aton, and so is
	// anything whose last label is a number (WHATWG URL, "ends in a number").
	bad = bad || only(labels[0], digits) || only(labels[len(labels)-1], digits) || hexNumber(labels[len(labels)-1])
	if bad {
		return fmt.Errorf("%s is no server name: use a-z 0-9 and - (not first or last, not digits alone), up to %d characters between dots",
			quote(s), MaxHostLabel)
	}
	return nil
}

// AltNames checks the names that a server has besides its own.
func AltNames(names []string) error {
	if len(names) > MaxAltNames {
		return fmt.Errorf("%d alternative names, a server has at most %d", len(names), MaxAltNames)
	}
	for i, name := range names {
		if err := ServerName(name); err != nil {
			return err
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("the alternative name %s is given twice", name)
		}
	}
	return nil
}

// ServerRef checks what may stand for a server: a name, project/name, or an id.
func ServerRef(s string) error {
	if Check(s, Server) == nil {
		return nil
	}
	project, name, qualified := strings.Cut(s, "/")
	if !qualified {
		return ServerName(s)
	}
	if err := ProjectName(project); err != nil {
		return err
	}
	return ServerName(name)
}

func hostLabel(s string) bool {
	return s != "" && len(s) <= MaxHostLabel && only(s, lower+digits+"-") && s[0] != '-' && s[len(s)-1] != '-'
}

// hexNumber reports whether s is a number such as 0x7f000001 in inet_aton.
func hexNumber(s string) bool {
	hex, ok := strings.CutPrefix(s, "0x")
	return ok && only(hex, digits+"abcdef")
}

// ProjectName checks a project's name: ^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$.
func ProjectName(s string) error { return word("project", s) }

// EntitlementName checks what a list of commands is called: like a project.
func EntitlementName(s string) error { return word("entitlement", s) }

// ProviderName checks what an identity provider is called: like a project.
func ProviderName(s string) error { return word("provider", s) }

// ScimName checks what a client of SCIM is called: like a project.
func ScimName(s string) error { return word("SCIM client", s) }

// WorkloadName checks the name of an issuer of tokens for jobs.
func WorkloadName(s string) error { return word("workload issuer", s) }

func word(kind, s string) error {
	if s == "" || len(s) > MaxProject || !only(s[:1], lower) || !only(s, lower+digits+"-") || s[len(s)-1] == '-' {
		return fmt.Errorf("%s is no %s name: use 1 to %d of a-z 0-9 -, beginning with a letter and not ending in -", quote(s), kind, MaxProject)
	}
	return nil
}

// LabelKey checks the key of a label that an administrator or an enrolment
// token gives, and that grants may select by.
func LabelKey(s string) error {
	if strings.HasPrefix(s, HostLabelPrefix) {
		return fmt.Errorf("label key %s: the prefix %s is kept for what a server says about itself", quote(s), HostLabelPrefix)
	}
	return labelKey(s, s)
}

// HostLabelKey checks the key of a label that a server gives to itself:
// host/ and a key. Such a label is for people to read and grants nothing.
func HostLabelKey(s string) error {
	key, ok := strings.CutPrefix(s, HostLabelPrefix)
	if !ok {
		return fmt.Errorf("label key %s: what a server says about itself begins with %s", quote(s), HostLabelPrefix)
	}
	return labelKey(key, s)
}

func labelKey(key, shown string) error {
	if key == "" || len(key) > MaxLabelKey || !only(key, lower+digits+"._-") || !only(key[:1], lower) || !only(key[len(key)-1:], lower+digits) {
		return fmt.Errorf("%s is no label key: use 1 to %d of a-z 0-9 . _ -, beginning with a letter and ending with a letter or digit", quote(shown), MaxLabelKey)
	}
	return nil
}

// LabelValue checks the value of a label; it may not be empty.
func LabelValue(s string) error {
	const edge = lower + upper + digits
	if s == "" || len(s) > MaxLabelValue || !only(s, edge+"._-") || !only(s[:1], edge) || !only(s[len(s)-1:], edge) {
		return fmt.Errorf("%s is no label value: use 1 to %d of A-Z a-z 0-9 . _ -, beginning and ending with a letter or digit", quote(s), MaxLabelValue)
	}
	return nil
}

// only reports whether every byte of s is in set. An empty s is.
func only(s, set string) bool { return strings.Trim(s, set) == "" }
