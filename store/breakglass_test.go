package store

import (
	"testing"
	"time"
)

func TestAProjectUnderBreakGlassDemandsNeitherGatewayNorRecording(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	p := Project{ID: "prj_web", Gateway: "required", RecordRules: RecordRules{Recording: RecordingRequired}}
	b := BreakGlass{ID: "brg_1", Project: p.ID, Until: now.Add(time.Hour)}
	for _, c := range []struct {
		name  string
		b     BreakGlass
		at    time.Time
		holds bool
	}{
		{"in its last microsecond", b, b.Until.Add(-time.Microsecond), true},
		{"at its end", b, b.Until, false},
		{"ended early", BreakGlass{ID: b.ID, Until: b.Until, EndedAt: now}, now, false},
		{"none", BreakGlass{Until: b.Until}, now, false},
	} {
		got := p.During(c.b, c.at)
		if (got.Gateway == "none" && !got.Records()) != c.holds || (got.Gateway == "required" && got.Records()) == c.holds {
			t.Errorf("%s: gateway %s, recording %s", c.name, got.Gateway, got.Recording)
		}
	}
	if got := LatestBreakGlass([]BreakGlass{{ID: "brg_2", Project: "prj_db"}, b}, p.ID); got != b {
		t.Errorf("of the project: %+v", got)
	}
}
