package control

import (
	"context"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
)

// teamRoutes are what anybody may know about the deployment.
func teamRoutes(t *table) {
	s := t.server
	handle(t, route{Method: "GET", Path: "/v1/team", Access: Public, Doc: "What anybody may know: name, URL and version"},
		func(ctx context.Context, _ caller.Caller, _ *none) (*api.Team, error) {
			team, err := s.options.Store.Team(ctx)
			if err != nil {
				return nil, err
			}
			return &api.Team{Name: team.Name, URL: s.options.PublicURL, Version: s.options.Version}, nil
		})
}
