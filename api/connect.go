package api

import (
	"time"

	"github.com/cardea-ssh/cardea/entitlement"
)

// Connect is POST /v1/connect: one certificate for one connection.
type Connect struct {
	// Server is an id, a name, or project/name.
	Server string `json:"server"`
	// Login is the Unix account; empty is the user's own.
	Login string `json:"login,omitempty"`
	// PublicKey is the fresh key of this connection in authorized_keys form.
	PublicKey string `json:"public_key"`
}

// Connection answers it.
type Connection struct {
	Certificate string    `json:"certificate" doc:"authorized_keys form"`
	Serial      string    `json:"serial"`
	ExpiresAt   time.Time `json:"expires_at"`
	ServerID    string    `json:"server_id"`
	ServerName  string    `json:"server_name"`
	Login       string    `json:"login"`
	// Routes are tried in order. Where the project needs no gateway the last
	// one (the first, if there are no gateways) is direct: no recipients.
	Routes []Route `json:"routes"`
	// Ticket opens the gateways of Routes for this key; empty if all are direct.
	Ticket []byte `json:"ticket,omitempty"`
	// Notice is a sentence for the user: for example that the server has not
	// yet confirmed the account.
	Notice string `json:"notice,omitempty"`
	// HostCAs are those that may have signed the server's host certificate. Who has
	// a catalog without one of them fetches it before ssh looks at the host key.
	HostCAs []string `json:"host_cas,omitempty"`
	// Recorded says that a gateway stands in the server's place and records: it shows a
	// host certificate of its own, by one of GatewayCAs.
	Recorded   bool     `json:"recorded,omitempty"`
	GatewayCAs []string `json:"gateway_cas,omitempty"`
}

// Route is one address to dial.
type Route struct {
	Address string `json:"address"`
	// Recipients are the keys of every gateway that may answer at Address;
	// empty means that this is the server's own sshd.
	Recipients []Recipient `json:"recipients,omitempty"`
	// Bastion is the id of the server from which Address is dialled, by a connection of
	// the user's own to it; only where there are no recipients.
	Bastion string `json:"bastion,omitempty"`
	// TLS is where the same is spoken inside TLS, for networks from which Address
	// cannot be reached. Who does not know it uses Address.
	TLS *TLSRoute `json:"tls,omitempty"`
}

// TLSRoute is an address at which gateways take a hello inside TLS. It may be that
// of another balancer, with other members behind it.
type TLSRoute struct {
	Address    string      `json:"address"`
	Recipients []Recipient `json:"recipients"`
}

// Recipient is a gateway and one of its sealing keys.
type Recipient struct {
	Gateway string `json:"gateway"`
	SealingKey
}

// Catalog is what a user may reach: GET /v1/catalog?version=V&wait=55, 304 when
// the version is still V after the wait.
type Catalog struct {
	Version string         `json:"version"`
	Session Session        `json:"session"`
	Servers []CatalogEntry `json:"servers"`
	// Projects are those in which a grant of the user's is in force, with servers for him or
	// without.
	Projects []CatalogProject `json:"projects,omitempty"`
	// HostCAs are authorized_keys lines of the team's host CAs.
	HostCAs []string `json:"host_cas"`
	// GatewayCAs are those of the team's gateway CAs: for the servers that are Recorded
	// gateways show certificates of these. Empty where no server is.
	GatewayCAs []string `json:"gateway_cas,omitempty"`
	// GatewayHostKeys are the gateways' own keys in authorized_keys form, by the id of the
	// project: with one of these a gateway stands in the place of a server that is Recorded,
	// for programs that check no host certificates.
	GatewayHostKeys map[string][]string `json:"gateway_host_keys,omitempty"`
}

// CatalogProject is one project in which the user has a grant.
type CatalogProject struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// CatalogEntry is one server that the user may reach.
type CatalogEntry struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	AltNames    []string          `json:"alt_names,omitempty" doc:"further names, each as unique in the project"`
	Project     string            `json:"project" doc:"id of the project"`
	ProjectName string            `json:"project_name"`
	Login       string            `json:"login"`
	Role        string            `json:"role" enum:"user,admin"`
	Labels      map[string]string `json:"labels,omitempty"`
	LastSeen    time.Time         `json:"last_seen,omitzero"`
	// Bastion is the id of the server through which this one is reached.
	Bastion string `json:"bastion,omitempty"`
	// Gateway says whether the way leads through one.
	Gateway string `json:"gateway" enum:"none,allowed,required"`
	// Recorded says that sessions there are recorded.
	Recorded bool `json:"recorded,omitempty"`
	// HostKey is the server's own ssh-ed25519 key in authorized_keys form, for programs that
	// check no host certificates. It is absent where a gateway stands in the server's place,
	// and until the server has told it.
	HostKey string `json:"host_key,omitempty"`
	// BreakGlass is set while the project is under one.
	BreakGlass *CatalogBreakGlass `json:"break_glass,omitempty"`
}

// Names are all that the entry may be called: its own name, the others, and each with
// the project before it.
func (e CatalogEntry) Names() []string {
	names := make([]string, 0, 2+2*len(e.AltNames))
	for _, n := range append([]string{e.Name}, e.AltNames...) {
		names = append(names, n, e.ProjectName+"/"+n)
	}
	return names
}

// Impostor is POST /v1/impostors: a client met something at a gateway's address
// that could not show that it is that gateway, or at a server's that did not
// show its host certificate. It sent nothing there that is of use to others;
// administrators should know.
type Impostor struct {
	Address  string   `json:"address" doc:"host:port"`
	Gateways []string `json:"gateways,omitempty" doc:"ids of those that were expected there"`
	// Server is the id of the server that was expected there; the rest is what
	// was shown, as in SessionEnd.
	Server            string `json:"server,omitempty"`
	HostKey           string `json:"host_key,omitempty" maxLength:"16384"`
	HostKeyAlgorithms string `json:"host_key_algorithms,omitempty" maxLength:"1024"`
	HostKeyHidden     bool   `json:"host_key_hidden,omitempty"`
}

// Why answers GET /v1/why?server=…&login=…[&user=…]: what connect would say. GET /v1/what-if
// answers the same for administrators, about somebody at a time to come.
type Why struct {
	Allow bool `json:"allow"`
	// Code is the stable name of why, for programs: allowed, no-grant, grant-over, … and
	// no-gateway where there is no way. no-server is for what the caller may not see, too.
	Code   string `json:"code,omitempty"`
	Reason string `json:"reason"`
	Hint   string `json:"hint,omitempty"`
	Login  string `json:"login,omitempty" doc:"the account, where it is allowed"`
	Role   string `json:"role,omitempty" enum:"user,admin"`
	// At is the time that it is about; none in a control plane that is older.
	At time.Time `json:"at,omitzero"`
	// Chain is what the decision rests on, in the order in which it is looked at: it is
	// allowed exactly when each of these holds. Empty for who may not see the server.
	Chain []WhyFact `json:"chain,omitempty"`
	// Recorded says that the session would be recorded, and Input that what is typed is, too.
	Recorded bool `json:"recorded,omitempty"`
	Input    bool `json:"input,omitempty"`
	// CountedOnly names what may be forwarded through a recorded session: of that the
	// addresses and the numbers of bytes alone are recorded.
	CountedOnly []string `json:"counted_only,omitempty" doc:"ports, agent, X11"`
	// Sudo is set where Allow is.
	Sudo *Sudo `json:"sudo,omitempty" doc:"what may be run by sudo there"`
}

// WhyFact is one thing that a decision rests on, and what that rests on itself.
type WhyFact struct {
	Kind  string    `json:"kind" doc:"user, device, session, access, grant, membership, selector, break-glass, server, login, device-approval, device-posture, device-rule, reauth, project, gateway"`
	ID    string    `json:"id,omitempty"`
	Name  string    `json:"name,omitempty"`
	Holds bool      `json:"holds"`
	Text  string    `json:"text"`
	Until time.Time `json:"until,omitzero"`
	Under []WhyFact `json:"under,omitempty"`
}

// Sudo is what one person may run by sudo on one server; its zero value is nothing.
type Sudo struct {
	Everything bool                  `json:"everything,omitempty" doc:"every command as everybody"`
	Commands   []entitlement.Command `json:"commands,omitempty"`
	LeftOut    int                   `json:"left_out,omitempty" doc:"how many commands the server does not get, because there are too many"`
}

// AuditEvent is one row of GET /v1/audit, newest last.
type AuditEvent struct {
	Seq      int64             `json:"seq"`
	Instance string            `json:"instance"`
	At       time.Time         `json:"at"`
	Action   string            `json:"action" doc:"for example connect, session.start, user.create"`
	Outcome  string            `json:"outcome" enum:"allowed,denied,failed"`
	Reason   string            `json:"reason,omitempty"`
	Actor    string            `json:"actor,omitempty" doc:"id of the user, server or gateway"`
	Session  string            `json:"session,omitempty"`
	Source   string            `json:"source,omitempty" doc:"address of the peer"`
	User     string            `json:"user,omitempty"`
	Server   string            `json:"server,omitempty"`
	Project  string            `json:"project,omitempty"`
	Gateway  string            `json:"gateway,omitempty"`
	Detail   map[string]string `json:"detail,omitempty"`
}
