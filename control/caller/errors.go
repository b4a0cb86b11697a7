package caller

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/store"
)

// retryBusy is when to come again after the store was busy.
const retryBusy = 2 * time.Second

// DeviceRevoked refuses a device that was revoked. It is no lack of a session, whether that has
// ended with it or not: the sign-in that would cure that is refused to such a device. A
// program has no other device.
func DeviceRevoked(u store.User) *api.Error {
	if u.Issuer == store.ServiceIssuer {
		return api.Errorf(api.Denied, "the key of this program was revoked").WithHint("ask your administrator for another one")
	}
	return api.Errorf(api.Denied, "this device was revoked or replaced, by you or by an administrator").
		WithHint("to come back as a new device type: cardea device replace")
}

// SignInHint is what to type where a session is over. A program signs in by what it has: a
// browser would sign in somebody else. url is the control plane's; empty where the client's
// own will do, which it has from its last sign-in.
func SignInHint(u store.User, url string) string {
	again := strings.TrimSpace("cardea login " + url)
	if u.Issuer == store.ServiceIssuer {
		return "as it signed in before, type: " + again + " --service-key FILE, or in a job: " + again + " --workload"
	}
	return "type: " + again
}

// Explain turns a sentinel of the store into an error that the caller may read;
// what names the thing concerned, for example "user alice". An error that is
// one already, or that is a fault of ours, comes back as it is: the HTTP layer
// shows nothing of the latter. A domain explains first what it knows better.
func Explain(err error, what string) error {
	var known *api.Error
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, store.ErrNotFound):
		return api.Errorf(api.NotFound, "there is no %s", what).WithCause(err)
	case errors.Is(err, store.ErrExists):
		return api.Errorf(api.Conflict, "%s exists already", what).WithCause(err)
	case errors.Is(err, store.ErrInUse):
		return api.Errorf(api.Conflict, "%s is in use", what).WithCause(err)
	case errors.Is(err, store.ErrUsed):
		return api.Errorf(api.Gone, "%s was used or is over", what).WithCause(err)
	case errors.Is(err, store.ErrLastAdmin):
		return api.Errorf(api.Conflict, "%s is the last active administrator", what).
			WithHint("make another user an administrator first").WithCause(err)
	case errors.Is(err, store.ErrDenied):
		return api.Errorf(api.Denied, "%s may not be changed like this", what).WithCause(err)
	case errors.Is(err, store.ErrReplayed):
		// A transport may send a request again after a broken connection. With this
		// kind an honest client makes a new proof and comes again at once; for
		// whoever replays another's proof it is a refusal like any other.
		return api.Errorf(api.UseNonce, "the proof of this call was used before").WithCause(err)
	case errors.Is(err, store.ErrTooMany):
		return api.Errorf(api.Limited, "there may be no more of these: %s", what).WithCause(err)
	case errors.Is(err, store.ErrSamePerson):
		return api.Errorf(api.Denied, "nobody does this for himself").WithCause(err)
	case errors.Is(err, store.ErrBusy):
		return api.Errorf(api.Unavailable, "the control plane has all hands full").WithRetry(retryBusy).WithCause(err)
	case errors.Is(err, store.ErrMismatch):
		return api.Errorf(api.Conflict, "the idempotency key was used for another request").
			WithHint("use a new key for each new request").WithCause(err)
	}
	return err
}
