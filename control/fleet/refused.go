package fleet

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/control/caller"
	"github.com/cardea-ssh/cardea/store"
)

// explainRefusal says of a certificate that a host's sshd refused what we know
// of it. It names a person only where our record of the serial agrees in every
// field that the host's sshd has read: key id, key and CA. Else whoever makes a
// certificate of his own could have it bear another's number. Even so it is
// shown and no more: a certificate is no secret, and the line says nothing of
// its private key.
func (s *Service) explainRefusal(ctx context.Context, by caller.Caller, v api.AgentEvent, e *audit.Event) error {
	e.Outcome = audit.Denied
	e.Detail["verified"] = "false"
	if v.More > 0 {
		e.Detail["more"] = strconv.FormatInt(v.More, 10)
	}
	serial, err := strconv.ParseUint(v.Serial, 10, 63)
	switch {
	case v.Key == "" && v.Serial == "":
		e.Reason = fmt.Sprintf("%s refused %d more certificates, which are not told one by one", by.Server.Name, v.More)
		return nil
	case err != nil || serial == 0:
		e.Reason = "a certificate that was not issued here was shown to " + by.Server.Name
		return nil
	}
	issued, err := s.Store.Issued(ctx, serial)
	if errors.Is(err, store.ErrNotFound) {
		e.Reason = "a certificate with a serial that was never issued was shown to " + by.Server.Name
		return nil
	}
	if err != nil {
		return err
	}
	signer, err := s.Store.Key(ctx, issued.CA)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if issued.KeyID != v.KeyID || issued.PublicKey != v.Key || signer.Fingerprint == "" || signer.Fingerprint != v.CA {
		e.Reason = fmt.Sprintf("a certificate that is not the one issued with serial %d was shown to %s", serial, by.Server.Name)
		return nil
	}
	e.Detail["verified"], e.Detail["issued_for"] = "true", issued.Server
	e.User, e.Session = issued.User, issued.Session
	if signer.Purpose == string(ca.GatewayCA) {
		e.Reason = fmt.Sprintf("a certificate for recording gateways (serial %d) was shown to %s itself, which trusts none of these", issued.Serial, by.Server.Name)
		return nil
	}
	if signer.State == store.KeyRetired {
		e.Reason = fmt.Sprintf("a certificate of a retired CA (serial %d) was shown to %s", issued.Serial, by.Server.Name)
		return nil
	}
	e.Reason, err = s.misplaced(ctx, by, v, issued)
	return err
}

// misplaced says why a certificate of ours was refused, as far as it shows.
func (s *Service) misplaced(ctx context.Context, by caller.Caller, v api.AgentEvent, issued store.Issued) (string, error) {
	switch {
	case issued.Server != by.Server.ID:
		name := issued.Server
		other, err := s.Store.Server(ctx, issued.Server)
		if err == nil {
			name = other.Name
		} else if !errors.Is(err, store.ErrNotFound) {
			return "", err
		}
		return fmt.Sprintf("a certificate for %s (serial %d) was shown to %s", name, issued.Serial, by.Server.Name), nil
	case issued.Login != v.Login:
		return fmt.Sprintf("a certificate for %s (serial %d) was shown for %s", issued.Login, issued.Serial, bounded(v.Login, maxEventText)), nil
	}
	return fmt.Sprintf("%s refused its own certificate (serial %d): %s", by.Server.Name, issued.Serial, orUnknown(bounded(v.Detail, maxEventText))), nil
}

func orUnknown(why string) string {
	if why == "" {
		return "its sshd does not say why"
	}
	return why
}
