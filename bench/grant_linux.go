package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/demo/stage"
)

// grantTime bounds how long somebody who was granted access tries to come in.
const grantTime = time.Minute

// grant measures how soon somebody can work who was just granted access, with the real control
// plane and through the gateway: from the call that grants to the end of `cardea ssh web-1 true`,
// which is tried until it succeeds.
func (b *bench) grant(ctx context.Context) error {
	if err := b.stand(ctx); err != nil {
		return err
	}
	rounds := max(1, b.opt.rounds/3)
	var called, all []float64
	for i := range rounds {
		p, err := b.ground.newcomer(ctx, "newcomer"+strconv.Itoa(i))
		if err != nil {
			return err
		}
		began := time.Now()
		if err := b.ground.Client().Send(ctx, http.MethodPost, "/v1/projects/"+project+"/grants", api.NewGrant{Group: teamOf(p.Name), Role: "user"}, nil); err != nil {
			return err
		}
		called = append(called, milliseconds(time.Since(began)))
		for {
			r := p.Run(ctx, "cardea", "ssh", server, "true")
			if r.Code == 0 {
				break
			}
			if time.Since(began) > grantTime {
				return fmt.Errorf("%s cannot come in: %s", p.Name, r.Stderr)
			}
		}
		all = append(all, milliseconds(time.Since(began)))
	}
	t := &table{
		Name: "grant", Title: "from a grant to a shell", Columns: []column{{"call_ms", "the call, ms", 0}, {"p50_ms", "p50 ms", 0}, {"most_ms", "most ms", 0}},
		Note: fmt.Sprintf("%d people, one after the other, who had signed in before; the server makes the account meanwhile", rounds),
	}
	t.add(grantRow, map[string]float64{"call_ms": median(called), "p50_ms": median(all), "most_ms": quantile(all, 1)})
	b.report(t)
	return nil
}

func teamOf(name string) string { return "team-of-" + name }

// newcomer is somebody who has signed in and may enter nothing yet: in a group that has no grant.
func (g *ground) newcomer(ctx context.Context, name string) (*stage.Person, error) {
	p, err := g.AddUser(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := g.Client().Send(ctx, http.MethodPost, "/v1/groups", api.NewGroup{Name: teamOf(name)}, nil); err != nil {
		return nil, err
	}
	if err := g.Client().Send(ctx, http.MethodPut, "/v1/groups/"+teamOf(name)+"/members/"+name, api.NewMember{}, nil); err != nil {
		return nil, err
	}
	if err := p.SignIn(ctx); err != nil {
		return nil, err
	}
	if r := p.Run(ctx, "cardea", "ssh", server, "true"); r.Code == 0 {
		return nil, fmt.Errorf("%s came in without a grant", name)
	}
	return p, nil
}
