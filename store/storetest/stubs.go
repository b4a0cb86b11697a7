package storetest

var (
	enrolCases, serverCases, gatewayCases, signInCases, sessionCases, issuanceCases, claimCases []testCase
	auditCases, watchCases, sweepCases, pageCases, raceCases                                    []testCase
)
