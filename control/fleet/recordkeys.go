package fleet

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/recording"
	"github.com/cardea-ssh/cardea/store"
)

// MaxRecordingKeys of one report are today's, yesterday's, and room for restarts. All that
// were ever reported are kept.
const MaxRecordingKeys = 4

func recordingKeys(reported []api.RecordingKey) ([]store.RecordingKey, error) {
	if len(reported) > MaxRecordingKeys {
		return nil, api.Errorf(api.Invalid, "%d recording keys, at most %d are told at a time", len(reported), MaxRecordingKeys)
	}
	var out []store.RecordingKey
	for _, k := range reported {
		if len(k.Public) != ed25519.PublicKeySize || k.ID != recording.KeyID(k.Public) {
			return nil, api.Errorf(api.Invalid, "a recording key is %d bytes, with the start of its hash as id", ed25519.PublicKeySize)
		}
		out = append(out, store.RecordingKey{ID: k.ID, Public: k.Public})
	}
	return out, nil
}

// stolenKey refuses a report with a recording key that is another gateway's: whoever had
// it under his name could say of that gateway's recordings that they are his.
func (s *Service) stolenKey(ctx context.Context, by caller.Caller, keys []store.RecordingKey, cause error) error {
	e := by.Event(s.now(), audit.GatewayMisuse)
	e.Outcome, e.Reason, e.Detail = audit.Denied, "a recording key that is another's", map[string]string{}
	for _, k := range keys {
		e.Detail["key "+k.ID] = hex.EncodeToString(k.Public)
	}
	if err := s.Store.AppendAudit(ctx, store.Meta{Now: e.Time, Audit: audit.EncodeAll(e)}); err != nil {
		return err
	}
	return api.Errorf(api.Conflict, "a recording key of this report is another gateway's").WithHint("make a new one").WithCause(cause)
}
