package accounts

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// Want is what the host shall have.
type Want struct {
	Accounts []api.Account
	Groups   []api.AccountGroup
	// DefaultShell is for accounts that name none; empty means FallbackShell.
	DefaultShell string
	// Adopt are the accounts of the host's own that people may be let into, where a
	// project makes none.
	Adopt []string
	// ConfirmedRemovals lifts the brake on removals by absence.
	ConfirmedRemovals bool
}

// Logins are the logins that could be on the host, for ReadHost. Names that
// the planner will refuse are left out, so that no path is made of them.
func (w Want) Logins() (logins []string) {
	for _, a := range w.Accounts {
		if ident.Login(a.Login) == nil {
			logins = append(logins, a.Login)
		}
	}
	return logins
}

// idle adds the uids of those who are locked only when they have no process.
func (w Want) idle(uids map[int]bool) map[int]bool {
	out := maps.Clone(uids)
	for _, a := range w.Accounts {
		if a.WhenIdle && a.State == stateLocked {
			out[a.UID] = true
		}
	}
	return out
}

// account is an api.Account whose every field was checked.
type account struct {
	api.Account
	gecos, shell string
}

func (a account) home() string { return path.Join(HomeBase, a.Login) }
func (a account) locked() bool { return a.State == stateLocked }

// States on the wire.
const stateActive, stateLocked = "active", "locked"

// checkAccount trusts no field: the control plane has the same rules, and may
// have been taken over.
func checkAccount(a api.Account) error {
	if err := ident.Login(a.Login); err != nil {
		return err
	}
	if a.Existing && (a.State == stateActive || a.State == stateLocked) {
		return nil // its ids are the host's
	}
	if err := checkID(a.UID); err != nil {
		return fmt.Errorf("uid %w", err)
	}
	if a.State == stateLocked {
		return nil // whatever else a tombstone says, it must not void the lock
	}
	if err := checkID(a.GID); err != nil {
		return fmt.Errorf("gid %w", err)
	}
	if a.State != stateActive {
		return fmt.Errorf("state %s is not one this agent knows", strconv.QuoteToASCII(cut(a.State)))
	}
	return nil
}

func checkID(id int) error {
	if id < MinID || id > MaxID || id == nobodyID || id == wrapID {
		return fmt.Errorf("%d is not one that a person may have", id)
	}
	return nil
}

// checkGECOS refuses what would end the field or the line, or fool a terminal.
func checkGECOS(s string) error {
	switch {
	case len(s) > maxFullName:
		return fmt.Errorf("is longer than %d bytes", maxFullName)
	case !utf8.ValidString(s) || ident.Text(s) != s:
		return errors.New("has control characters or a backslash")
	case strings.ContainsAny(s, ":"):
		return errors.New("has a colon")
	}
	return nil
}

// pickShell gives the wanted shell if the host allows it.
func pickShell(wanted, byDefault string, allowed []string) (shell string, ok bool) {
	for _, s := range []string{wanted, byDefault} {
		if s != "" && path.IsAbs(s) && path.Clean(s) == s && slices.Contains(allowed, s) {
			return s, s == wanted || wanted == ""
		}
	}
	return FallbackShell, wanted == "" || wanted == FallbackShell
}

func cut(s string) string { return s[:min(len(s), 64)] }
