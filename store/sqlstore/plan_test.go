package sqlstore

import (
	"strings"
	"testing"

	"github.com/cardea-ssh/cardea/internal/disktest"
)

// What runs for every connection must find its rows by an index: a scan that
// nobody notices with ten servers takes seconds with ten thousand.
func TestStatementsOfEveryConnectionScanNoTable(t *testing.T) {
	s := mustOpen(t, file(t, disktest.Forgetful(t)), "a")
	for name, q := range map[string]string{
		"Authenticate":           authenticateUser,
		"Authenticate (machine)": authenticateMachine,
		"Authenticate (other)":   authenticateOther,
		"Facts":                  factsQuery,
		"FactsByName":            factsByNameQuery,
		"FactsByName (project)":  factsInProjectQuery,
		"RecordIssuance":         insertIssued + forUser,
		"RecordIssuance (host)":  insertIssued + forServer,
		"ClaimHello":             insertGatewaySession,
		"AuditRows":              auditForward,
		"LastAuditRows":          auditBackward,
	} {
		params := make([]any, strings.Count(q, "?"))
		for i := range params {
			params[i] = ""
		}
		type step struct {
			id, parent, unused int
			detail             string
		}
		steps, err := all(s.reader(t.Context()), func(v *step) []any { return []any{&v.id, &v.parent, &v.unused, &v.detail} },
			"EXPLAIN QUERY PLAN "+q, params...)
		if err != nil {
			t.Fatal(name, err)
		}
		if len(steps) == 0 {
			t.Errorf("%s has no plan", name)
		}
		for _, v := range steps {
			// The team has one row.
			if strings.HasPrefix(v.detail, "SCAN") && v.detail != "SCAN t" {
				t.Errorf("%s: %s", name, v.detail)
			}
			t.Logf("%s: %s", name, v.detail)
		}
	}
}
