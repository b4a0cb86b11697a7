package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/store"
)

// mayBeCalled checks that servers of a project may have these names. A name with a
// dot is one of a domain, and people type such names for hosts all over the world: it
// counts only where the administrator said that the domain is his.
func mayBeCalled(p store.Project, names ...string) error {
	for _, name := range names {
		if err := ident.ServerName(name); err != nil {
			return err
		}
		if strings.Contains(name, ".") && !owns(p, name) {
			return fmt.Errorf("%s is in no domain that project %s owns; to own one type: cardea admin projects update %s --name-suffix %s",
				name, p.Name, p.Name, strings.SplitN(name, ".", 2)[1])
		}
	}
	return nil
}

// owns reports whether a name is below one of the project's suffixes.
func owns(p store.Project, name string) bool {
	return slices.ContainsFunc(p.NameSuffixes, func(suffix string) bool {
		return suffix != "" && strings.HasSuffix(name, "."+suffix)
	})
}

// checkGivenNames checks a token's own name and others.
func checkGivenNames(t store.EnrolmentToken, p store.Project) error {
	if err := ident.AltNames(t.AltNames); err != nil {
		return err
	}
	switch {
	case len(t.AltNames) > 0 && t.UsesLeft > 1:
		return fmt.Errorf("a token with alternative names is good for one machine, not %d: two cannot have one name", t.UsesLeft)
	case t.Name != "" && slices.Contains(t.AltNames, t.Name):
		return fmt.Errorf("%s is the name already, and no alternative name", t.Name)
	case t.Name == "":
		return mayBeCalled(p, t.AltNames...)
	}
	return mayBeCalled(p, append([]string{t.Name}, t.AltNames...)...)
}

// takeNames gives a new server its names. Those of the host itself count only if the
// token says so, and then only where any administrator could have given them: what
// remains is a proposal.
func takeNames(row *store.Server, p store.Project, t store.EnrolmentToken, in api.ServerEnrolment) error {
	row.Name, row.AltNames = t.Name, slices.Clone(t.AltNames)
	proposed, err := proposalOf(in.Hostname, in.Address, in.AltNames, in.Bastion)
	if err != nil {
		return fmt.Errorf("what the machine proposes does not serve: %w", err)
	}
	row.Proposed = proposed
	if row.Name == "" {
		row.Name = proposed.Name
		if !t.HostNames || mayBeCalled(p, row.Name) != nil {
			row.Name, err = proposedName(in.Hostname)
		}
	}
	if t.HostNames {
		for _, name := range proposed.AltNames {
			taken := name == row.Name || slices.Contains(row.AltNames, name) || len(row.AltNames) >= ident.MaxAltNames
			if !taken && mayBeCalled(p, name) == nil {
				row.AltNames = append(row.AltNames, name)
			}
		}
	}
	return err
}

// proposalOf checks what a host says of its names and its place. Left out is an address
// that it may not propose, because it means nothing from outside and hosts on one machine
// have no other, and a host name that is none of ours, because nobody chose it for this.
func proposalOf(hostname, address string, altNames []string, bastion string) (p store.Proposal, err error) {
	if err := ident.AltNames(altNames); err != nil {
		return p, err
	}
	if bastion != "" {
		if err := ident.ServerRef(bastion); err != nil {
			return p, err
		}
	}
	p = store.Proposal{AltNames: altNames, Bastion: bastion}
	if ident.ServerName(hostname) == nil {
		p.Name = hostname
	}
	if canonical, err := checkProposal(address); err == nil {
		p.Address = canonical
	}
	return p, nil
}

// takeProposal is takeHostLabels for the names and the place of a host.
func takeProposal(r *store.ServerReport, in api.AgentReport) {
	p, err := proposalOf(in.Hostname, in.Address, in.AltNames, in.Bastion)
	if err != nil {
		refuseWord(r, "the names that the host proposes are refused: "+err.Error())
		return
	}
	r.Proposed = &p
}

// refuseWord adds to a report that something in it is not taken.
func refuseWord(r *store.ServerReport, problem string) {
	r.Problems = append(r.Problems[:min(len(r.Problems), MaxProblems-1)], bounded(problem, maxProblem))
}

// openProposal is what a host proposes and is not so.
func openProposal(s store.Server) *api.ServerProposal {
	p := api.ServerProposal{}
	names := append([]string{s.Name}, s.AltNames...)
	if n := s.Proposed.Name; n != "" && !slices.Contains(names, n) {
		p.Name = n
	}
	if a := s.Proposed.Address; a != s.Address {
		p.Address = a
	}
	for _, n := range s.Proposed.AltNames {
		if !slices.Contains(names, n) {
			p.AltNames = append(p.AltNames, n)
		}
	}
	if s.Bastion == "" {
		p.Bastion = s.Proposed.Bastion
	}
	if p.Name == "" && p.Address == "" && len(p.AltNames) == 0 && p.Bastion == "" {
		return nil
	}
	return &p
}

// renamed checks the names and the bastion of a patch, adds to the audit row what they
// become, and gives the bastion's id.
func (s *Service) renamed(ctx context.Context, row store.Server, in api.ServerPatch, detail map[string]string) (bastion *string, err error) {
	if in.Name != nil || in.AltNames != nil {
		p, err := s.Store.Project(ctx, row.Project)
		if err != nil {
			return nil, caller.Explain(err, "project "+row.Project)
		}
		if err := checkRenaming(p, row, in); err != nil {
			return nil, lookup.Invalid(err)
		}
	}
	if in.AltNames != nil {
		detail["alt_names"] = strings.Join(*in.AltNames, ",")
	}
	if in.Bastion == nil {
		return nil, nil
	}
	id := ""
	if *in.Bastion != "" {
		through, err := s.server(ctx, *in.Bastion)
		if err != nil {
			return nil, err
		}
		if id = through.ID; id == row.ID {
			return nil, lookup.Invalid(errors.New("a server is not its own bastion"))
		}
		if err := s.mayBeBastion(ctx, row, through); err != nil {
			return nil, err
		}
	}
	detail["bastion"] = id
	return &id, nil
}

// checkRenaming checks what is new; a name that the server has may stay.
func checkRenaming(p store.Project, row store.Server, in api.ServerPatch) error {
	has := append([]string{row.Name}, row.AltNames...)
	name, alt := row.Name, row.AltNames
	if in.Name != nil {
		name = *in.Name
	}
	if in.AltNames != nil {
		alt = *in.AltNames
		if err := ident.AltNames(alt); err != nil {
			return err
		}
	}
	if slices.Contains(alt, name) {
		return fmt.Errorf("%s is the name and an alternative name; leave out one", name)
	}
	for _, n := range append([]string{name}, alt...) {
		if !slices.Contains(has, n) {
			if err := mayBeCalled(p, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// mayBeBastion refuses what could never work. Both settings may change later: then a
// connection fails where it is made.
func (s *Service) mayBeBastion(ctx context.Context, row, through store.Server) error {
	p, err := s.Store.Project(ctx, row.Project)
	if err != nil {
		return caller.Explain(err, "project "+row.Project)
	}
	if p.Gateway == store.GatewayRequired {
		return api.Errorf(api.Invalid, "project %s requires a gateway, and gateways dial its servers themselves", p.Name).
			WithHint("leave the bastion out, or type: cardea admin projects update %s --gateway allowed", p.Name)
	}
	if p, err = s.Store.Project(ctx, through.Project); err != nil {
		return caller.Explain(err, "project "+through.Project)
	}
	if !p.PortForwarding {
		return api.Errorf(api.Invalid, "certificates of project %s, in which %s is, allow to forward no ports, and a bastion forwards one", p.Name, through.Name).
			WithHint("to allow it type: cardea admin projects update %s --port-forwarding", p.Name)
	}
	return nil
}
