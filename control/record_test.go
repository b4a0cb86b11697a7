package control

import (
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/google/go-cmp/cmp"
)

// auditor is a recipient of recordings.
func auditor(t testing.TB) string {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id.Recipient().String()
}

func hybrid(t testing.TB) string {
	t.Helper()
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id.Recipient().String()
}

// A project is recorded only where somebody does it, and somebody can read it.
func TestSettingsOfRecording(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if s.project.Recording != "off" {
		t.Errorf("a project that says nothing is recorded: %q", s.project.Recording)
	}
	one, two := auditor(t), auditor(t)
	full := func(p api.RecordPatch, gateway string) api.ProjectPatch {
		return api.ProjectPatch{Gateway: &gateway, RecordPatch: p}
	}
	many := make([]string, maxRecipientsForTest+1)
	for i := range many {
		many[i] = auditor(t)
	}
	for name, c := range map[string]struct {
		patch api.ProjectPatch
		says  string
	}{
		"without a required gateway nobody records":    {full(api.RecordPatch{Recording: ptr("required"), Recipients: &[]string{one}}, "allowed"), "--gateway required"},
		"without recipients nobody could read it":      {full(api.RecordPatch{Recording: ptr("best-effort")}, "required"), "--recording-recipient"},
		"another word is none":                         {full(api.RecordPatch{Recording: ptr("always")}, "required"), "best-effort"},
		"text that is no recipient":                    {full(api.RecordPatch{Recipients: &[]string{"ssh-ed25519 AAAA"}}, "required"), "age"},
		"a recipient that is cut short":                {full(api.RecordPatch{Recipients: &[]string{one[:40]}}, "required"), "age"},
		"two recipients in one text":                   {full(api.RecordPatch{Recipients: &[]string{one + "\n" + two}}, "required"), "age"},
		"one recipient twice":                          {full(api.RecordPatch{Recipients: &[]string{one, one}}, "required"), "twice"},
		"kinds of recipients that cannot be mixed":     {full(api.RecordPatch{Recipients: &[]string{one, hybrid(t)}}, "required"), "together"},
		"a recipient more than there may be":           {full(api.RecordPatch{Recipients: &many}, "required"), "16"},
		"the secret key in place of its recipient":     {full(api.RecordPatch{Recipients: &[]string{"AGE-SECRET-KEY-1QQQQ"}}, "required"), "secret key"},
		"the secret key in lower case is not repeated": {full(api.RecordPatch{Recipients: &[]string{"age-secret-key-1qqqq"}}, "required"), "secret key"},
		"an escape sequence is not repeated":           {full(api.RecordPatch{Recipients: &[]string{"\x1b[2J"}}, "required"), "age"},
		"a recipient longer than any":                  {full(api.RecordPatch{Recipients: &[]string{"age1" + strings.Repeat("z", 4096)}}, "required"), "age"},
		"a recipient with a post-quantum key, cut":     {full(api.RecordPatch{Recipients: &[]string{hybrid(t)[:1000]}}, "required"), "age"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := try[api.Project](t, s.admin, "PATCH", "/v1/projects/web", c.patch)
			if api.KindOf(err) != api.Invalid || !strings.Contains(err.Error(), c.says) || strings.ContainsAny(err.Error(), "\x1b\n") || strings.Contains(strings.ToLower(err.Error()), "qqqq") {
				t.Errorf("got %v, want it to say %q", err, c.says)
			}
		})
	}
	on := full(api.RecordPatch{Recording: ptr("required"), Recipients: &[]string{one, two}, RecordInput: ptr(true), X11Forwarding: ptr(true)}, "required")
	p := must[api.Project](t, s.admin, "PATCH", "/v1/projects/web", on)
	want := api.RecordSettings{Recording: "required", Recipients: []string{one, two}, RecordInput: true, X11Forwarding: true}
	if diff := cmp.Diff(want, p.RecordSettings); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if e := s.audited(audit.ProjectUpdate); e.Detail["recording"] != "required" || e.Detail["recording_recipients"] != one+","+two || e.Detail["recording_input"] != "true" {
		t.Errorf("audited %+v", e.Detail)
	}
	sixteen := many[:maxRecipientsForTest]
	must[api.Project](t, s.admin, "PATCH", "/v1/projects/web", api.ProjectPatch{RecordPatch: api.RecordPatch{Recipients: &sixteen}})
	must[api.Project](t, s.admin, "PATCH", "/v1/projects/web", api.ProjectPatch{RecordPatch: api.RecordPatch{Recipients: &[]string{hybrid(t), hybrid(t)}}})
	// Neither the gateway nor the last recipient can be taken away from under it.
	denied(t, s.admin, api.Invalid, "PATCH", "/v1/projects/web", api.ProjectPatch{Gateway: ptr("none")})
	denied(t, s.admin, api.Invalid, "PATCH", "/v1/projects/web", api.ProjectPatch{RecordPatch: api.RecordPatch{Recipients: &[]string{}}})
	must[api.Project](t, s.admin, "PATCH", "/v1/projects/web", api.ProjectPatch{Gateway: ptr("none"), RecordPatch: api.RecordPatch{Recording: ptr("off")}})

	denied(t, s.admin, api.Invalid, "POST", "/v1/projects", api.NewProject{Name: "pay", ProjectSettings: api.ProjectSettings{CertificateSeconds: 180, Gateway: "required", RecordSettings: api.RecordSettings{Recording: "required"}}})
	got := must[api.Project](t, s.admin, "POST", "/v1/projects", api.NewProject{Name: "pay", ProjectSettings: api.ProjectSettings{CertificateSeconds: 180, Gateway: "required", RecordSettings: want}})
	if diff := cmp.Diff(want, got.RecordSettings); diff != "" {
		t.Errorf("settings of a new project (-want +got):\n%s", diff)
	}
}

// maxRecipientsForTest is what the documentation of the API promises.
const maxRecipientsForTest = 16
