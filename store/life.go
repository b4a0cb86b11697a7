package store

import (
	"context"
	"time"
)

// Words of AccountRules. The empty string of a field means its first word.
const (
	AccountsCreate, AccountsExisting, AccountsOnDemand = "create", "existing", "on-demand"
	RemovalLock, RemovalRemove                         = "lock", "remove"
)

// AccountRules are how the accounts of a project's servers come and go.
type AccountRules struct {
	Accounts string // create, existing, on-demand
	// AccountSeconds is the life of an account on demand after the last certificate.
	AccountSeconds int
	// Removal is what becomes of an account whose person's access is over: lock,
	// or remove RemovalSeconds after that, with RemovalHome: keep, archive, delete.
	Removal, RemovalHome string
	RemovalSeconds       int
	// SharedAccount is the one account of all who have a grant as user,
	// SharedAdminAccount that of those who have one as administrator; empty means
	// that each has his own.
	SharedAccount, SharedAdminAccount string
}

// AccountRulesChange changes what is not nil.
type AccountRulesChange struct {
	Accounts, Removal, RemovalHome    *string
	AccountSeconds, RemovalSeconds    *int
	SharedAccount, SharedAdminAccount *string
}

// Shared is a shared account and its uid, which no other name ever gets.
type Shared struct {
	Name string
	UID  int
}

// Leaver is somebody whose access to a project's servers (Server is "") or to
// one of them may have ended. Who has access again is told by the grants. The
// commands that end access write leavers: those on users, memberships, groups,
// grants, and on a server's labels, a project's account rules and demands.
type Leaver struct {
	User, Server string
	// Over: accounts that he left behind are to be removed now.
	Over bool
}

// Demand is an account on demand. It ends at Until, and the sweep then says so.
type Demand struct {
	User  string
	Until time.Time
	Over  bool
	// Revision is the server's when the demand began.
	Revision int64
}

// ServerFacts are a server and what is demanded of it, read at one instant.
type ServerFacts struct {
	Server  Server
	Demands []Demand // over or not
}

// Life keeps accounts on demand.
type Life interface {
	// DemandAccount has the user's account on the server live until then at least,
	// and returns the demand. Only one that begins, or begins anew, raises the
	// server's revision and touches its StateTopic. ErrNotFound for an unknown
	// server, ErrDenied for a user who is not active.
	DemandAccount(ctx context.Context, server, user string, until time.Time, m Meta) (Demand, error)
	// Demand reads one; ErrNotFound if there is none.
	Demand(ctx context.Context, server, user string) (Demand, error)
	ServerFacts(ctx context.Context, id string) (ServerFacts, error)
	// SharedAccount finds one by name.
	SharedAccount(ctx context.Context, name string) (Shared, error)
}

// StateTopic is touched by changes of one server's desired state alone.
func StateTopic(server string) string { return "state/" + server }
