package store

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const (
	// MaxScimWaiting of a client are remembered: those of a team's whole pilot.
	MaxScimWaiting = 1000
	// ScimWaits is how long one is remembered whom the client does not try to make again.
	ScimWaits = 30 * 24 * time.Hour
	// MaxScimCandidates are shown for one who waits.
	MaxScimCandidates = 10
)

// ScimWaiting is somebody whom a client wanted to make and could not: a user is in the way
// who was there before.
type ScimWaiting struct {
	Client               string
	UserName, ExternalID string
	Login                string // what UserName stands for
	FullName, Email      string
	Active               bool
	Resource             []byte
	CreatedAt, TriedAt   time.Time // first and last try; given by the store
}

// Takeover is what is known where a client wants to keep a user who was there before it.
type Takeover struct {
	Client ScimClient
	Issuer string // of the client's provider; empty if it has none
	// User is who is there; his Keeper has to be filled in.
	User       User
	ExternalID string // what the client says of whom it means
	// Said is what the provider said of User in the client's LinkClaim when he signed in
	// there; empty where he did not, or has not since that claim matters.
	Said string
	// Other: the provider said ExternalID of somebody else.
	Other bool
	// Released: an administrator took the user from this client.
	Released bool
}

// Standing is whether a client may take a user over.
type Standing string

// The standings.
const (
	TakeCertain Standing = "certain" // by itself: the provider says that it is the same person
	TakeByWord  Standing = "confirm" // by the word of an administrator
	TakeNever   Standing = "never"
)

// Judge tells it, and why: a part of a sentence about the user.
//
// Certain is who signs in at the client's provider and of whom that said, in the claim by
// which an administrator ties the two, what the client says now. Names and addresses say
// nothing. An administrator is never taken by a client's word, for its token is all that
// proves it; a local one by nobody's, for he is the way in when the provider is down.
func (v Takeover) Judge() (Standing, string) {
	u := v.User
	switch there := v.Issuer != "" && u.Issuer == v.Issuer; {
	case v.Issuer == "":
		return TakeNever, "the client is of no identity provider, so nobody could sign in"
	case u.Status == Deleted:
		return TakeNever, "deleted, and that is for ever"
	case u.Issuer == ServiceIssuer:
		return TakeNever, "a program"
	case u.Keeper == v.Client.ID:
		return TakeNever, "kept by this client already"
	case u.Keeper != "":
		return TakeNever, "kept by another SCIM client"
	case u.Issuer == LocalIssuer && u.Admin:
		return TakeNever, "a local administrator, whom no client keeps"
	case !there && u.Issuer != LocalIssuer && !strings.HasPrefix(u.Issuer, scimIssuer):
		return TakeNever, "signs in at another identity provider"
	case v.Other:
		return TakeNever, "at the identity provider somebody else is who the client means"
	case there && v.Said != "" && v.ExternalID != "" && v.Said != v.ExternalID:
		return TakeNever, fmt.Sprintf("is %s at the identity provider, and the client means %s", v.Said, v.ExternalID)
	case there && v.Said != "" && v.Said == v.ExternalID && u.Admin:
		return TakeByWord, "the same at the identity provider, and an administrator"
	case there && v.Said != "" && v.Said == v.ExternalID && v.Released:
		return TakeByWord, "the same at the identity provider, and was released by an administrator"
	case there && v.Said != "" && v.Said == v.ExternalID:
		return TakeCertain, "the same at the identity provider"
	case there:
		return TakeByWord, "signs in at the identity provider, which has not said yet whether it is the same"
	case u.Issuer == LocalIssuer:
		return TakeByWord, "made by hand, and never signed in at the identity provider"
	}
	return TakeByWord, "made by a client that keeps nobody now, and never signed in"
}

// ScimCandidate is a user who may be meant by one who waits, and by what.
type ScimCandidate struct {
	Takeover
	SameIdentity, SameLogin, SameEmail bool
}

// ScimRelease takes User from Client: the word of By, an administrator, who called from Source.
type ScimRelease struct{ Client, User, By, Source string }

// Adoption is how a client comes to keep users who were there before it.
type Adoption interface {
	// AdoptScimUser lets a client keep v.User, who stays who he is: id, uid, login, groups,
	// grants and sessions. From then on he is one of its own. One who has a password here, or
	// has never signed in, signs in at the client's provider from then on, as if the client
	// had made him.
	//
	// by is the administrator whose word it is, or empty. What Takeover.Judge says is looked
	// at again: ErrDenied for TakeNever, and for TakeByWord without a word. It enables nobody;
	// whom the client says to be inactive it disables, through the brake. ErrDenied unless the
	// client is active; ErrNotFound for an unknown user, ErrExists for a taken UserName.
	AdoptScimUser(ctx context.Context, v ScimUser, by string, m Meta) (ScimUser, error)
	// ReleaseScimUser takes a user from a client: he leaves its groups, with an audit row for
	// each, and is kept by hand. Whom it had taken over and who has not signed in at the
	// provider since has his password again. The client gets him back by an administrator's
	// word alone.
	ReleaseScimUser(ctx context.Context, r ScimRelease, m Meta) (User, error)

	// NoteScimWaiting remembers one, and forgets those who are older than ScimWaits;
	// ErrTooMany beyond MaxScimWaiting. Whoever is made or adopted waits no more.
	NoteScimWaiting(ctx context.Context, w ScimWaiting, m Meta) error
	// ScimWaitings lists those of a client, by name.
	ScimWaitings(ctx context.Context, client string, p Page) ([]ScimWaiting, string, error)
	// ScimWaiting finds one by its UserName, in any case.
	ScimWaiting(ctx context.Context, client, userName string) (ScimWaiting, error)
	// ScimCandidates are users who may be meant: of the same identity, login or address.
	ScimCandidates(ctx context.Context, w ScimWaiting) ([]ScimCandidate, error)
	// ScimTakeover is what is known of one of them.
	ScimTakeover(ctx context.Context, client, user, externalID string) (Takeover, error)
}

// scimIssuer is before the id of a client in ScimIssuer.
const scimIssuer = "scim:"
