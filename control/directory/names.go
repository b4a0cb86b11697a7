package directory

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
)

const (
	// MaxName bounds the name that a person signs in with; e-mail addresses are
	// common, and few are longer.
	MaxName = 64
	// MaxFullName and MaxEmail bound what is only shown. The full name goes into
	// the GECOS field of /etc/passwd, where more is of no use.
	MaxFullName, MaxEmail = 100, 254
	// MinPassword is what NIST SP 800-63B section 5.1.1.2 asks for where a
	// password is the only factor; MaxPassword keeps hashing cheap.
	MinPassword, MaxPassword = 12, 128
)

// CheckName says whether name may be signed in with: lower case, digits and a
// few signs, so that it needs no quoting anywhere and no two look alike.
func CheckName(name string) error {
	const edge = "abcdefghijklmnopqrstuvwxyz0123456789"
	ok := name != "" && len(name) <= MaxName && strings.Trim(name, edge+"._@+-") == "" &&
		strings.Contains(edge+"_", name[:1]) && strings.Contains(edge+"_-", name[len(name)-1:])
	if !ok {
		return fmt.Errorf("%q is no user name: use 1 to %d of a-z 0-9 . _ @ + -, beginning with a letter or digit", lookup.Shown(ident.Text(name)), MaxName)
	}
	if ident.Check(name, ident.User) == nil {
		return fmt.Errorf("%q is no user name: it has the form of an id", name)
	}
	return nil
}

// loginOf derives the Unix login: what was asked for, else the name itself. It
// never cuts or replaces anything, because two people must never be made one.
func loginOf(name, asked string) (string, error) {
	if asked != "" {
		return asked, ident.Login(asked)
	}
	if err := ident.Login(name); err != nil {
		return "", fmt.Errorf("the name does not serve as a Unix login (%w); give one with --login", err)
	}
	return name, nil
}

// checkText refuses what could move a cursor, forge a line or end a field of
// /etc/passwd: people's names have no control characters and no colon.
func checkText(what, s string, limit int) error {
	if err := checkLine(what, s, limit); err != nil {
		return err
	}
	if strings.Contains(s, ":") {
		return fmt.Errorf("the %s has a colon", what)
	}
	return nil
}

// checkLine is checkText for what no file of a server will hold.
func checkLine(what, s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("the %s is longer than %d bytes", what, limit)
	}
	if !utf8.ValidString(s) || ident.Text(s) != s {
		return fmt.Errorf("the %s has a control character or a backslash", what)
	}
	return nil
}

func checkEmail(s string) error {
	if s == "" {
		return nil
	}
	if err := checkText("e-mail address", s, MaxEmail); err != nil {
		return err
	}
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || domain == "" || strings.ContainsAny(s, " \t<>\"'(),;") {
		return errors.New("that is no e-mail address")
	}
	return nil
}

// CheckPassword applies to passwords that people choose.
func CheckPassword(password, name string) error {
	switch {
	case len(password) < MinPassword:
		return fmt.Errorf("the password is shorter than %d characters", MinPassword)
	case len(password) > MaxPassword:
		return fmt.Errorf("the password is longer than %d bytes", MaxPassword)
	case strings.EqualFold(password, name):
		return errors.New("the password is the name")
	}
	return nil
}

// NewPassword makes one of 100 bits, in groups that a person can copy by hand.
func NewPassword() string {
	var b [13]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	s := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
	return s[:5] + "-" + s[5:10] + "-" + s[10:15] + "-" + s[15:20]
}
