package audit

// Actions. A name is forever: what it meant when a row was written it means
// when the row is read, years later.
const (
	// Issuing.
	Connect     = "connect" // a user asked for a certificate for one connection
	IssueHost   = "issue.host"
	IssueCanary = "issue.canary"

	// Signing in.
	SignIn         = "signin" // a device got its session
	SignInPassword = "signin.password"
	SignInFailed   = "signin.failed"
	SignInApprove  = "signin.approve" // a person confirmed the device
	SignInRefuse   = "signin.refuse"
	SignInReuse    = "signin.reuse" // a code came twice
	SignInLimited  = "signin.limited"
	SignOut        = "signout"
	SessionRevoke  = "session.revoke"
	DeviceCreate   = "device.create"
	DeviceApprove  = "device.approve"
	DeviceRevoke   = "device.revoke"
	DeviceReplace  = "device.replace" // a new one came in the place of an old one, which is revoked
	ProofRefused   = "proof.refused"  // a proof of possession that is wrong or replayed
	AccessDenied   = "access.denied"  // a call that the caller may not make

	// Identity providers.
	SignInFederated = "signin.federated" // a provider said who somebody is
	SignInDashboard = "signin.dashboard" // a person opened the dashboard in his browser
	ProviderCreate  = "provider.create"
	ProviderUpdate  = "provider.update"
	ProviderDelete  = "provider.delete"
	GroupUpdate     = "group.update" // who keeps its members

	// Programs.
	SignInService    = "signin.service" // by a key of a service user
	ServiceKeyAdd    = "service-key.add"
	ServiceKeyRemove = "service-key.remove"
	ServiceKeyNext   = "service-key.next"   // a program registered the key that takes the place of its own
	ServiceKeyRetire = "service-key.retire" // it did, and the one before signs in no more
	ServiceKeyReuse  = "service-key.reuse"  // an alarm: somebody came with a key whose place another one had taken
	ServiceKeyAge    = "service-key.age"    // after which time the keys of a service user are old

	// Jobs that come with a token of their platform.
	SignInWorkload       = "signin.workload"
	WorkloadReplay       = "workload.replay" // an alarm: a token came with a second key
	WorkloadTest         = "workload.test"   // an administrator looked what a token would come to
	WorkloadIssuerCreate = "workload-issuer.create"
	WorkloadIssuerUpdate = "workload-issuer.update"
	WorkloadIssuerDelete = "workload-issuer.delete"
	WorkloadRuleCreate   = "workload-rule.create"
	WorkloadRuleDelete   = "workload-rule.delete"

	// Users and groups that an identity provider keeps.
	ScimClientCreate = "scim-client.create"
	ScimClientUpdate = "scim-client.update"
	ScimClientRotate = "scim-client.rotate" // it has a new token
	ScimClientResume = "scim-client.resume" // an administrator released the brake
	ScimClientDelete = "scim-client.delete"
	ScimBrake        = "scim.brake" // an alarm: too many people would have lost access at once

	// Team and directory.
	TeamCreate    = "team.create"
	KeyCreate     = "key.create"
	KeyRetire     = "key.retire"
	KeyRevoke     = "key.revoke" // by hand
	KeyUnrevoke   = "key.unrevoke"
	CARotate      = "ca.rotate" // the next key was published
	CASwitch      = "ca.switch" // it signs
	CARetire      = "ca.retire" // the key before it is gone
	CAAbort       = "ca.abort"
	UserCreate    = "user.create"
	UserUpdate    = "user.update"
	UserPassword  = "user.password"
	UserDisable   = "user.disable"
	UserEnable    = "user.enable"
	UserDelete    = "user.delete"
	UserLink      = "user.link"    // whom a SCIM client made signs in for the first time
	UserAdopt     = "user.adopt"   // a SCIM client keeps from now on who was there before it
	UserRelease   = "user.release" // an administrator took him from it
	GroupCreate   = "group.create"
	GroupDelete   = "group.delete"
	MemberPut     = "member.put"
	MemberRemove  = "member.remove"
	MemberEnd     = "member.end" // its time was over
	AccountDemand = "account.demand"
	AccountEnd    = "account.end" // its time was over
	ProjectCreate = "project.create"
	ProjectUpdate = "project.update"
	ProjectDelete = "project.delete"
	GrantCreate   = "grant.create"
	GrantUpdate   = "grant.update"
	GrantDelete   = "grant.delete"
	GrantEnd      = "grant.end" // its time was over

	BreakGlassBegin = "break-glass.begin"
	BreakGlassEnd   = "break-glass.end" // by an actor, or without one because its time was over

	// Access that people ask for. The actor answered, the user is who asked.
	RequestRuleCreate      = "request-rule.create"
	RequestRuleDelete      = "request-rule.delete"
	RequestCreate          = "request.create"
	RequestApprove         = "request.approve" // without an actor by a preauthorization
	RequestDeny            = "request.deny"
	RequestCancel          = "request.cancel"
	RequestExpire          = "request.expire" // its time was over
	RequestEnd             = "request.end"    // what was given is over before its time
	PreauthorizationCreate = "preauthorization.create"
	PreauthorizationDelete = "preauthorization.delete"

	EntitlementCreate = "entitlement.create"
	EntitlementUpdate = "entitlement.update"
	EntitlementDelete = "entitlement.delete"

	// Fleet.
	TokenCreate         = "enrolment-token.create"
	TokenDelete         = "enrolment-token.delete"
	ServerEnrol         = "server.enrol"
	ServerUpdate        = "server.update"
	RuleCreate          = "enrolment-rule.create"
	RuleDelete          = "enrolment-rule.delete"
	ServerClone         = "server.clone" // two hosts use one credential: the server is held
	ServerRelease       = "server.release"
	ServerDelete        = "server.delete"
	ServerReport        = "server.report" // only where it tells of problems
	GatewayEnrol        = "gateway.enrol"
	GatewayUpdate       = "gateway.update"
	GatewayDelete       = "gateway.delete"
	GatewayHandOver     = "gateway.hand-over" // which other one may tell of its recordings
	GatewayReport       = "gateway.report"    // only where its fitness or its host key changes
	GatewayClaim        = "gateway.claim"     // a hello was claimed: a session begins
	GatewaySessionEnd   = "gateway.session.end"
	GatewaySessionOrder = "gateway.session.order" // its end was ordered
	GatewayMisuse       = "gateway.misuse"        // a claim that an honest gateway never makes
	GatewayImpostor     = "gateway.impostor"      // a client met something else at a gateway's address
	HostImpostor        = "host.impostor"         // something at a server's address did not show that server's host certificate

	// Recorded sessions.
	RecordingState   = "recording.state"   // it is finished, stored or damaged
	RecordingImport  = "recording.import"  // another gateway tells of it, which was given the spool
	RecordingOverdue = "recording.overdue" // nobody stores it
	RecordingRead    = "recording.read"    // somebody reads what is stored, or tried to
	SessionRefused   = "session.refused"   // a gateway refused a channel or a request within a session

	// What a server agent tells of its host.
	HostLogin   = "host.login"
	HostLogout  = "host.logout"
	HostRefused = "host.refused" // its sshd refused a certificate
	HostSudo    = "host.sudo"
	HostAlarm   = "host.alarm"
	HostAccount = "host.account"

	// Sessions, second factors and who must have one.
	TeamUpdate    = "team.update"
	UserInvite    = "user.invite"    // a code with which he chooses his password
	SessionReuse  = "session.reuse"  // a token was shown that had been replaced long ago: the session is ended
	SessionCopied = "session.copied" // a token was shown by who has not its device's key
	FactorUse     = "signin.factor"  // a second factor was shown
	RecoveryUse   = "signin.recovery"
	FactorAdd     = "factor.add"
	FactorRemove  = "factor.remove"
	FactorReset   = "factor.reset"          // by an administrator
	RecoveryCodes = "factor.recovery-codes" // new ones were made
	Touch         = "signin.touch"          // a person showed once more who he is, for one project

	// The control plane itself.
	InstanceStart = "instance.start"
	InstanceStop  = "instance.stop"
)
