package doctor

import (
	"cmp"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// ServerFacts are about the way to one server.
type ServerFacts struct {
	Name string // as it was typed
	// Entry is what it means; Err why it means nothing.
	Entry api.CatalogEntry
	Err   error
	// Why is what the control plane would say.
	Why    api.Why
	WhyErr error
	// The rest is what a connection has come to, that hung up when the server had said its name.
	Tried   bool
	Address string
	Gateway bool
	Bastion string
	Banner  string
	TryErr  error
	Took    time.Duration
	Now     time.Time
}

// silentAgent is from when on a server agent is worth a word: it asks each minute.
const silentAgent = 5 * time.Minute

// Server judges them.
func Server(f ServerFacts) []Finding {
	const check = "server"
	if f.Err != nil {
		text, cure := Told(f.Err)
		return []Finding{failed(check, cmp.Or(cure, "to see what there is type: cardea ls"), "%s", text)}
	}
	e := f.Entry
	out := []Finding{ok(check, "%s is %s/%s (%s), where your login is %s", f.Name, e.ProjectName, e.Name, e.ID, e.Login)}
	out = append(out, f.access(), f.agent(), f.connection())
	switch {
	case f.Banner != "":
		return append(out, ok("sshd", "it says that it is %s", f.Banner))
	case f.Tried && f.Address != "":
		return append(out, failed("sshd", "ask your administrator whether sshd runs there", "%v", f.TryErr))
	}
	return append(out, Skip("sshd", "the connection did not come so far"))
}

func (f ServerFacts) access() Finding {
	const check = "access"
	switch {
	case api.KindOf(f.WhyErr) == api.Unavailable:
		return Skip(check, "the control plane does not answer")
	case f.WhyErr != nil:
		text, cure := Told(f.WhyErr)
		return failed(check, cmp.Or(cure, "type: cardea why "+f.Name), "%s", text)
	case !f.Why.Allow:
		return failed(check, cmp.Or(f.Why.Hint, "type: cardea why "+f.Name), "%s", f.Why.Reason)
	}
	return ok(check, "%s", f.Why.Reason)
}

func (f ServerFacts) agent() Finding {
	const check = "server-agent"
	const cure = "if you cannot enter tell an administrator; he sees more with: cardea admin servers list"
	seen := f.Entry.LastSeen
	if seen.IsZero() {
		return warning(check, cure, "the agent on the server was never heard of")
	}
	age := max(0, f.Now.Sub(seen))
	if age > silentAgent {
		return warning(check, cure, "the agent on the server was last heard of %s ago", age.Round(time.Minute))
	}
	return ok(check, "the agent on the server was heard of %s ago", age.Round(time.Second))
}

func (f ServerFacts) connection() Finding {
	const check = "connection"
	where := "directly to " + f.Address
	switch {
	case f.Gateway:
		where = "through the gateway at " + f.Address
	case f.Bastion != "":
		where = "through the server " + f.Bastion
	}
	switch {
	case !f.Tried:
		return Skip(check, "there is no session")
	case f.Address == "" && f.TryErr != nil:
		text, cure := Told(f.TryErr)
		return failed(check, cmp.Or(cure, "try again"), "%s", text)
	}
	return ok(check, "%s, within %s", where, millis(f.Took))
}
