package control

import (
	"context"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/recordings"
)

func recordingRoutes(t *table, s *recordings.Service) {
	handle(t, route{Method: "GET", Path: "/v1/recording-keys", Access: User, Doc: "Public halves of all keys that ever signed recordings, oldest first"},
		func(ctx context.Context, _ caller.Caller, in *api.Page) (*api.List[api.RecordingKey], error) {
			return s.Keys(ctx, *in)
		})
}
