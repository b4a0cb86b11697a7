package control

import (
	"testing"

	"github.com/cardea-ssh/cardea/internal/pgtest"
)

// What must hold over any number of instances is tried where they share
// nothing but the database: two stores, two servers, one PostgreSQL.
func TestTwoInstancesOnPostgreSQL(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: starts a PostgreSQL")
	}
	database := pgtest.Start(t, false).Copies(t, tables)
	for _, c := range []struct {
		name string
		try  func(*testing.T, *stack)
	}{
		{"a proof is good once", replay},
		{"an honest repeat happens once", repeat},
		{"a session ends everywhere", endSessions},
		{"a code is good once", redeemCodes},
		{"a request is answered once", raceAnswers},
		{"a session ends with each of its tokens", endTokens},
		{"a replaced token ends its session", func(t *testing.T, s *stack) { reuseToken(t, s, false) }},
		{"the next token is used by many at once", useNextToken},
		{"a code of a second factor is good once", onceShown},
		{"wrong codes of a second factor are counted together", guessCodes},
		{"wrong passwords are counted together", wrongPasswords},
		{"a group is filled over many connections at once", fillAGroupAtOnce},
		{"a code of a device is good once", raceDeviceCode},
		{"nothing that was begun outlives an end", raceEnds},
		{"who is disabled in a storm of his own connections gets no more", disableInAStorm},
	} {
		t.Run(c.name, func(t *testing.T) { c.try(t, newStackAt(t, database(t), true)) })
	}
}
