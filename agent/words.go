package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cardea-ssh/cardea/agent/offer"
	"github.com/cardea-ssh/cardea/api"
)

// maxTyped bounds what stands behind a Tab, bytes: a selector with all that it may have is
// shorter.
const maxTyped = 4 << 10

// Words are what a Tab offers.
type Words struct {
	Words []string `json:"words,omitempty"`
	// User and Device are whose list they are from; Age is that list's.
	User   string        `json:"user"`
	Device string        `json:"device"`
	Age    time.Duration `json:"age,omitempty"`
}

// sortedNames are what servers are called, in order: a Tab that had to look through the list
// of ten thousand would be waited for.
type sortedNames struct {
	plain  []string // as offer.Names has them
	dotted []string
}

func namesOf(servers []api.CatalogEntry) sortedNames {
	n := sortedNames{plain: offer.Names(servers)}
	n.dotted = make([]string, len(n.plain))
	for i, name := range n.plain {
		n.dotted[i] = offer.Dotted(name)
	}
	slices.Sort(n.plain)
	slices.Sort(n.dotted)
	return n
}

// words answers a Tab. It is no use of a key: a locked agent answers as it gives its list.
func (a *Agent) words(req request) (*Words, error) {
	c, names, age, err := a.catalog.named()
	if err != nil {
		return nil, err
	}
	out := &Words{User: c.Session.User, Device: c.Session.Device, Age: age}
	switch {
	case req.Verb == verbLabels:
		out.Words = offer.Selectors(c.Servers, req.Typed, req.Most)
	case req.Dotted:
		out.Words = offer.Beginning(names.dotted, req.Typed, req.Most)
	default:
		out.Words = offer.Beginning(names.plain, req.Typed, req.Most)
	}
	return out, nil
}

// Names asks for the names of servers that begin with what was typed, most of them at the
// most; see offer.Beginning. dotted is for name.project in place of project/name. An older
// agent does not know the question, which is an error of kind api.Foreign.
func (c *Control) Names(ctx context.Context, typed string, dotted bool, most int) (Words, error) {
	return c.words(ctx, request{Verb: verbNames, Typed: typed, Dotted: dotted, Most: most})
}

// Selectors asks for how a selector of labels may go on; see offer.Selectors.
func (c *Control) Selectors(ctx context.Context, typed string, most int) (Words, error) {
	return c.words(ctx, request{Verb: verbLabels, Typed: typed, Most: most})
}

func (c *Control) words(ctx context.Context, req request) (Words, error) {
	if len(req.Typed) > maxTyped {
		return Words{}, api.Errorf(api.Invalid, "more than %d characters are no name", maxTyped).WithHint("type less")
	}
	out, err := c.ask(ctx, req)
	if err == nil && out.Words == nil {
		err = errors.New("the agent offered nothing")
	}
	if err != nil {
		return Words{}, err
	}
	return *out.Words, nil
}
