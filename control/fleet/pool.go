package fleet

import (
	"context"
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/control/lookup"
	"github.com/cardea-ssh/cardea/hello"
	"github.com/cardea-ssh/cardea/store"
)

const (
	// MaxSealingKeys is today's, yesterday's, and room for restarts.
	MaxSealingKeys = 4
	sealingKeySize = 32 // X25519 (RFC 7748)
	maxSessions    = 1 << 20
)

// ReportGateway stores what a gateway tells of itself, with our time, and
// acknowledges its sealing keys: from now on clients seal at the newest.
func (s *Service) ReportGateway(ctx context.Context, by caller.Caller, in api.GatewayReport) (*api.GatewayReportAnswer, error) {
	r := store.GatewayReport{
		Healthy: in.Healthy, Draining: in.Draining, Health: bounded(in.Health, maxHealthText),
		Sessions: min(max(in.Sessions, 0), maxSessions), Version: bounded(in.Version, maxVersion),
	}
	answer := &api.GatewayReportAnswer{Acknowledged: [][]byte{}}
	if len(in.SealingKeys) > MaxSealingKeys {
		return nil, api.Errorf(api.Invalid, "%d sealing keys, at most %d are kept", len(in.SealingKeys), MaxSealingKeys)
	}
	for _, k := range in.SealingKeys {
		id := hello.KeyIDOf(k.Public)
		if len(k.Public) != sealingKeySize || string(k.ID) != string(id[:]) {
			return nil, api.Errorf(api.Invalid, "a sealing key is %d bytes, with the start of its hash as id", sealingKeySize)
		}
		r.SealingKeys = append(r.SealingKeys, store.SealingKey{ID: k.ID, Public: k.Public})
		answer.Acknowledged = append(answer.Acknowledged, k.ID)
	}
	m := by.Meta(s.now(), s.healthEvents(by, r)...)
	m.Idempotency = nil // a repeat only makes the report younger, as it should
	defer s.roster.forget()
	if err := s.Store.ReportGateway(ctx, by.Gateway.ID, r, m); err != nil {
		return nil, caller.Explain(err, "gateway "+by.Gateway.Name)
	}
	var err error
	answer.GatewayKeys, err = s.gatewayKeys(ctx)
	return answer, err
}

// healthEvents tells when a gateway's fitness changes, and not with each report.
func (s *Service) healthEvents(by caller.Caller, r store.GatewayReport) [][]byte {
	was := by.Gateway
	if was.Healthy == r.Healthy && was.Draining == r.Draining {
		return nil
	}
	e := by.Event(s.now(), audit.GatewayReport)
	e.Detail = map[string]string{"healthy": fmt.Sprint(r.Healthy), "draining": fmt.Sprint(r.Draining)}
	if !r.Healthy {
		e.Outcome, e.Reason = audit.Failed, r.Health
	}
	return audit.EncodeAll(e)
}

// Watch waits for orders to a gateway that are newer than after: sessions to
// end, or other ticket keys. Without news it answers after wait all the same,
// with the keys, so that a gateway which missed a change catches up.
func (s *Service) Watch(ctx context.Context, by caller.Caller, after int64, wait time.Duration) (*api.GatewayWatch, error) {
	id := by.Gateway.ID
	first, err := s.gatewayKeys(ctx)
	if err != nil {
		return nil, err
	}
	topics := []string{store.GatewayTopic(id)}
	found, err := lookup.Await(ctx, s.Store, wait, topics, func(ctx context.Context) (*api.GatewayWatch, []string, error) {
		end, newest, err := s.Store.EndOrders(ctx, id, after)
		if err != nil {
			return nil, topics, err
		}
		keys, err := s.gatewayKeys(ctx)
		if err != nil || newest <= after && sameKeys(keys, first) {
			return nil, topics, err
		}
		return &api.GatewayWatch{After: max(newest, after), End: end, GatewayKeys: keys}, topics, nil
	})
	if err != nil || found != nil {
		return found, err
	}
	return &api.GatewayWatch{After: after, GatewayKeys: first}, nil
}

func sameKeys(a, b api.GatewayKeys) bool {
	if len(a.TicketKeys) != len(b.TicketKeys) {
		return false
	}
	for id := range a.TicketKeys {
		if _, ok := b.TicketKeys[id]; !ok {
			return false
		}
	}
	return true
}
