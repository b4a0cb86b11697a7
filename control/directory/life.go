package directory

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

const (
	// An account on demand outlives the connection that it was made for; what still
	// runs after that is waited for.
	minAccount, maxAccount, defaultAccount = 10, 365 * 24 * 3600, 24 * 3600
	// maxRemoval is ten years: whoever wants more wants to keep.
	maxRemoval, defaultRemoval = 10 * 365 * 24 * 3600, 30 * 24 * 3600
)

// What may become of a home; the agent has the same words.
const homeArchive = "archive"

var homes = []string{"keep", homeArchive, "delete"}

// accountRules are the rules of a new project, with their defaults.
func accountRules(in api.AccountSettings) (store.AccountRules, error) {
	r := store.AccountRules{
		Accounts: cmp.Or(in.Accounts, store.AccountsCreate), AccountSeconds: cmp.Or(in.AccountSeconds, defaultAccount),
		Removal: cmp.Or(in.Removal, store.RemovalLock), RemovalHome: cmp.Or(in.RemovalHome, homeArchive), RemovalSeconds: defaultRemoval,
		SharedAccount: in.SharedAccount, SharedAdminAccount: in.SharedAdminAccount,
	}
	if in.RemovalSeconds != nil {
		r.RemovalSeconds = *in.RemovalSeconds
	}
	return r, checkRules(r)
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

func checkRules(r store.AccountRules) error {
	switch {
	case !slices.Contains([]string{store.AccountsCreate, store.AccountsExisting, store.AccountsOnDemand}, r.Accounts):
		return fmt.Errorf("accounts is %s, %s or %s", store.AccountsCreate, store.AccountsExisting, store.AccountsOnDemand)
	case r.AccountSeconds < minAccount || r.AccountSeconds > maxAccount:
		return fmt.Errorf("an account on demand lives %s to %s after the last certificate, not %s", seconds(minAccount), seconds(maxAccount), seconds(r.AccountSeconds))
	case r.Removal != store.RemovalLock && r.Removal != store.RemovalRemove:
		return fmt.Errorf("removal is %s or %s", store.RemovalLock, store.RemovalRemove)
	case !slices.Contains(homes, r.RemovalHome):
		return errors.New("the home of a removed account is kept, archived or deleted: use keep, archive or delete")
	case r.RemovalSeconds < 0 || r.RemovalSeconds > maxRemoval:
		return fmt.Errorf("accounts are removed 0s to %s after the end of access, not %s", seconds(maxRemoval), seconds(r.RemovalSeconds))
	case r.SharedAccount != "" && r.SharedAccount == r.SharedAdminAccount:
		return errors.New("administrators cannot share the account of users, who could then use sudo too")
	}
	for _, name := range []string{r.SharedAccount, r.SharedAdminAccount} {
		if name != "" && ident.Login(name) != nil {
			return fmt.Errorf("shared account: %w", ident.Login(name))
		}
	}
	return nil
}

// ruleChange is what a patch changes, after a look at the whole of it.
func ruleChange(old store.AccountRules, in api.AccountPatch) (store.AccountRulesChange, error) {
	next := withDefaults(old)
	for to, from := range map[*string]*string{
		&next.Accounts: in.Accounts, &next.Removal: in.Removal, &next.RemovalHome: in.RemovalHome,
		&next.SharedAccount: in.SharedAccount, &next.SharedAdminAccount: in.SharedAdminAccount,
	} {
		if from != nil {
			*to = *from
		}
	}
	for to, from := range map[*int]*int{&next.AccountSeconds: in.AccountSeconds, &next.RemovalSeconds: in.RemovalSeconds} {
		if from != nil {
			*to = *from
		}
	}
	c := store.AccountRulesChange{
		Accounts: in.Accounts, AccountSeconds: in.AccountSeconds, Removal: in.Removal, RemovalHome: in.RemovalHome,
		RemovalSeconds: in.RemovalSeconds, SharedAccount: in.SharedAccount, SharedAdminAccount: in.SharedAdminAccount,
	}
	if old.AccountSeconds == 0 {
		c.AccountSeconds = &next.AccountSeconds // a project from before there was one
	}
	return c, checkRules(next)
}

// withDefaults are the rules of a row from before there were any.
func withDefaults(r store.AccountRules) store.AccountRules {
	r.Accounts, r.Removal = cmp.Or(r.Accounts, store.AccountsCreate), cmp.Or(r.Removal, store.RemovalLock)
	r.RemovalHome, r.AccountSeconds = cmp.Or(r.RemovalHome, homeArchive), cmp.Or(r.AccountSeconds, defaultAccount)
	return r
}

func accountSettings(r store.AccountRules) api.AccountSettings {
	r = withDefaults(r)
	return api.AccountSettings{
		Accounts: r.Accounts, AccountSeconds: r.AccountSeconds, Removal: r.Removal, RemovalHome: r.RemovalHome,
		RemovalSeconds: &r.RemovalSeconds, SharedAccount: r.SharedAccount, SharedAdminAccount: r.SharedAdminAccount,
	}
}

// tellRules adds what a patch changes to the detail of an audit event.
func tellRules(d map[string]string, in api.AccountPatch) {
	for name, v := range map[string]*string{
		"accounts": in.Accounts, "removal": in.Removal, "removal_home": in.RemovalHome,
		"shared_account": in.SharedAccount, "shared_admin_account": in.SharedAdminAccount,
	} {
		if v != nil {
			d[name] = *v
		}
	}
	for name, v := range map[string]*int{"account_seconds": in.AccountSeconds, "removal_seconds": in.RemovalSeconds} {
		if v != nil {
			d[name] = strconv.Itoa(*v)
		}
	}
}

// sharedTaken explains a shared account's name that is somebody's login or a
// group's, where the store says that something exists.
func sharedTaken(name string, rules ...string) *api.Error {
	rules = slices.DeleteFunc(rules, func(s string) bool { return s == "" })
	return api.Errorf(api.Conflict, "the name %s is taken, or %s is the login of a user or the name of a group", name, strings.Join(rules, " or ")).
		WithHint("choose another name for the shared account")
}
