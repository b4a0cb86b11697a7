package store

import (
	"context"
	"time"
)

// Words of AccessRequest.State.
const (
	RequestPending   = "pending"
	RequestApproved  = "approved"
	RequestDenied    = "denied"
	RequestCancelled = "cancelled" // by who asked, or because its rule is gone
	RequestExpired   = "expired"   // nobody answered in time
	RequestEnded     = "ended"     // approved, and over before its time by somebody's word
)

const (
	// RequestLife is how long a request waits for an answer: what nobody answered within
	// a day is not what was needed then.
	RequestLife = 24 * time.Hour
	// MaxPendingRequests are those of one person that wait: more would bury those of others.
	MaxPendingRequests = 10
	// MaxRequestsADay are those that one person makes within 24 hours, whatever became of
	// them: each leaves a row and an event.
	MaxRequestsADay = 50
	// MaxRequestRules of a team: all are looked at when somebody was refused.
	MaxRequestRules = 200
	// MaxPreauthorizations of one rule.
	MaxPreauthorizations = 100
)

// RequestRule says who may ask for a membership in a group, which has grants for a
// project's servers, and who may give it. A rule never changes: another one is made.
type RequestRule struct {
	ID, Project, Group string
	// Askers is the group whose members may ask; empty for everybody.
	Askers string
	// Approvers is the group whose members may answer. Administrators may, too.
	Approvers string
	Longest   time.Duration // of the membership, in whole seconds
	CreatedBy string        // id of the user
	CreatedAt time.Time
	// Names are filled by reads.
	ProjectName, GroupName, AskersName, ApproversName string
}

// AccessRequest is somebody's wish to be in the group of a rule for a time.
type AccessRequest struct {
	ID, Rule, Project, Group string
	User                     string // who asks
	Server                   string // that he named; empty if it was the project
	For                      time.Duration
	Reason                   string
	State                    string // as it was written down; see StateAt
	CreatedAt, ExpiresAt     time.Time
	AnsweredBy               string // id of the user; empty where nobody did
	AnsweredAt               time.Time
	Answer                   string // for people
	// Given is what was approved, and Until the end of the membership then; zero where he
	// was a member without an end.
	Given time.Duration
	Until time.Time
	// Preauthorization is the id of the one by which it was approved.
	Preauthorization string
	// Names are filled by reads; empty for what is gone.
	ProjectName, GroupName, UserName, ServerName, AnsweredByName string
}

// StateAt is its state at now: it is over at ExpiresAt, whether a sweep has written that
// down or not.
func (r AccessRequest) StateAt(now time.Time) string {
	if r.State == RequestPending && !now.Before(r.ExpiresAt) {
		return RequestExpired
	}
	return r.State
}

// RequestAnswer is an approver's.
type RequestAnswer struct {
	Request string // its id
	By      string // id of the user
	Approve bool
	For     time.Duration // of what is approved; zero means what was asked for
	Text    string
}

// Preauthorization is a yes in advance: a request of this user by this rule is approved
// at once while it is in force. It counts as long as who gave it could say yes himself.
type Preauthorization struct {
	ID, Rule, User string
	By             string // id of the user who gave it
	Longest        time.Duration
	Until          time.Time
	CreatedAt      time.Time
	// Names are filled by reads.
	UserName, ByName, ProjectName, GroupName string
}

// RequestFilter selects; empty fields select all.
type RequestFilter struct {
	User string // of this one
	// Approver selects what this user may answer at At: not his own.
	Approver string
	At       time.Time
	// Pending leaves those that wait at At.
	Pending bool
}

// Requests keeps access for a time that somebody asked for.
//
// An approver, here, is an active administrator or an active user whose membership in the
// rule's group of approvers is in force at m.Now, and who is not the same person as the one
// who asks. Two users are the same person (ErrSamePerson) if they are one user, or have or
// had a device with the same key, or have the same e-mail address, or if By was signed in
// to the dashboard by a browser in which the one who asks signed in, there or a device: one
// who has two accounts must not answer himself.
type Requests interface {
	// CreateRequestRule: ErrNotFound for an unknown project or group, ErrTooMany beyond
	// MaxRequestRules, ErrDenied where who is let in could let others in (the group is that
	// of the approvers), and for a group whose members a provider keeps. While one keeps them
	// nobody may ask by the rule, and nothing is approved or ended.
	CreateRequestRule(ctx context.Context, r RequestRule, m Meta) (RequestRule, error)
	RequestRule(ctx context.Context, id string) (RequestRule, error)
	// RequestRules lists all, oldest first.
	RequestRules(ctx context.Context, p Page) ([]RequestRule, string, error)
	// RequestRulesFor are those by which an active user may ask at now, oldest first: none for
	// a user of ServiceIssuer.
	RequestRulesFor(ctx context.Context, user string, now time.Time) ([]RequestRule, error)
	// DeleteRequestRule cancels the requests by it that wait, and takes its
	// preauthorizations back. Memberships that were given last to their end.
	// DeleteGroup and DeleteProject do so with every rule that names them.
	DeleteRequestRule(ctx context.Context, id, by string, m Meta) error

	// CreateRequest makes one that waits; if there is a preauthorization in force for as long
	// as is asked for, it is approved in the same transaction, with an audit event of its own.
	// ErrNotFound for an unknown rule, ErrDenied for a user who is not active, is a program, or may not
	// ask by this rule or for so long, ErrExists while another of his by this rule waits,
	// ErrTooMany beyond MaxPendingRequests and MaxRequestsADay.
	CreateRequest(ctx context.Context, r AccessRequest, m Meta) (AccessRequest, error)
	// AnswerRequest answers one that waits at m.Now, once over all instances: ErrUsed for one
	// that does not wait any more. Approved, the user becomes a member of the rule's group
	// until m.Now and the time given, or stays one for longer if he is already, and the
	// desired states follow as with PutMember. ErrNotFound for an unknown one, ErrDenied if
	// By is no approver, if the user is not active or may not ask any more, or if more is given
	// than was asked for.
	AnswerRequest(ctx context.Context, a RequestAnswer, m Meta) (AccessRequest, error)
	// CancelRequest takes back one's own: ErrNotFound for another's, ErrUsed for one that
	// does not wait any more.
	CancelRequest(ctx context.Context, id, user string, m Meta) (AccessRequest, error)
	// EndRequest ends what was given by an approved one before its time: the membership goes as
	// with RemoveMember, and Until becomes m.Now. ErrUsed where there is nothing to end: it is
	// not approved, or over, or the membership has another end by now, which is not its own.
	// ErrDenied for by who neither asked nor is an approver of the rule; himself is no matter here.
	EndRequest(ctx context.Context, id, by string, m Meta) (AccessRequest, error)
	AccessRequest(ctx context.Context, id string) (AccessRequest, error)
	// AccessRequests lists them, newest first. They are kept for 90 days.
	AccessRequests(ctx context.Context, f RequestFilter, p Page) ([]AccessRequest, string, error)
	// MayAnswer tells whether a user is an approver of a rule for whoever is not the same
	// person: what he may see. A user of ServiceIssuer never is.
	MayAnswer(ctx context.Context, rule, user string, now time.Time) (bool, error)
	// ShownAt is that of the Touch of a device for a project; zero if there is none.
	ShownAt(ctx context.Context, device, project string) (time.Time, error)

	// CreatePreauthorization: ErrDenied if By is no approver, ErrNotFound for an unknown rule
	// or user or one that was deleted, ErrExists while there is one in force for this user and
	// rule, ErrTooMany beyond MaxPreauthorizations.
	CreatePreauthorization(ctx context.Context, v Preauthorization, m Meta) (Preauthorization, error)
	Preauthorization(ctx context.Context, id string) (Preauthorization, error)
	// Preauthorizations lists those in force at f.At, oldest first; Pending means nothing here.
	Preauthorizations(ctx context.Context, f RequestFilter, p Page) ([]Preauthorization, string, error)
	// DeletePreauthorization takes one back: ErrDenied if by is no approver.
	DeletePreauthorization(ctx context.Context, id, by string, m Meta) error
}

// RequestTopic is touched by what becomes of a request.
func RequestTopic(id string) string { return "request/" + id }
