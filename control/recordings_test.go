package control

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"gocloud.dev/blob/memblob"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/control/recordings"
	"github.com/cardea-ssh/cardea/recording"
	"github.com/cardea-ssh/cardea/store"
)

// recordedSession is a session of alice's at the gateway, being recorded.
func (s *scene) recordedSession() string {
	s.t.Helper()
	f := newFresh(s.t)
	c := must[api.Connection](s.t, s.alice, "POST", "/v1/connect", f.connect("web-1", ""))
	claim, _ := s.claimOf(s.gateway, f, c)
	return must[api.Claimed](s.t, s.gateway.device, "POST", "/v1/gateway/sessions", claim).Session
}

func (s *scene) place(session string) string { return s.project.ID + "/2026/11/21/" + session }

func (s *scene) recordings(d *device, query string) []api.Recording {
	s.t.Helper()
	return must[api.List[api.Recording]](s.t, d, "GET", "/v1/recordings"+query, nil).Items
}

const head = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

// The whole life of a recording, as its gateway tells it, up to an administrator who fetches it.
func TestARecordingIsToldListedAndFetched(t *testing.T) {
	t.Parallel()
	s := recordedScene(t)
	k, _ := newRecordingKey(t)
	s.records(s.gateway, true, k)
	session := s.recordedSession()
	path := "/v1/gateway/sessions/" + session + "/recording"
	tell := func(r api.RecordingReport) { must[api.Named](t, s.gateway.device, "POST", path, r) }
	running := api.RecordingReport{State: "recording", Segments: 1, Bytes: 5, Place: s.place(session)}
	stored := api.RecordingReport{State: "stored", Segments: 2, Bytes: 9, Place: s.place(session), Head: head, Key: k.ID, Seconds: 60, Cause: "client"}
	tell(running)
	if n := len(s.events(audit.RecordingState)); n != 0 {
		t.Errorf("%d events for a segment", n)
	}
	tell(stored)
	tell(stored)
	tell(running) // was under way for long
	if all := s.events(audit.RecordingState); len(all) != 1 || all[0].Detail["state"] != "stored" || all[0].Detail["head"] != head || all[0].User != s.alice.session.User {
		t.Errorf("audited %+v", all)
	}
	for name, change := range map[string]func(*api.RecordingReport){
		"another head":  func(r *api.RecordingReport) { r.Head = strings.Repeat("ff", 32) },
		"less of it":    func(r *api.RecordingReport) { r.Segments = 1 },
		"another place": func(r *api.RecordingReport) { r.Place = s.project.ID + "/2026/11/22/" + session },
		"damage":        func(r *api.RecordingReport) { r.State = "damaged" },
	} {
		r := stored
		change(&r)
		denied(t, s.gateway.device, api.Conflict, "POST", path, r)
		if e := s.audited(audit.RecordingState); e.Outcome != audit.Denied {
			t.Errorf("%s: audited %+v", name, e)
		}
	}
	want := api.Recording{
		UserName: "alice", ServerName: "web-1", ProjectName: "web", GatewayName: "gw-1", Session: session, Gateway: s.gateway.id, Keeper: s.gateway.id, User: s.alice.session.User, Server: s.server.id, Project: s.project.ID, Login: "alice",
		State: "stored", Segments: 2, Bytes: 9, Place: s.place(session), Head: head, Key: k.ID, Seconds: 60, Cause: "client", Required: true,
	}
	for name, got := range map[string]api.Recording{
		"the list": s.recordings(s.admin, "")[0], "of a user": s.recordings(s.admin, "?user=alice")[0], "her own": s.recordings(s.alice, "?mine=true")[0],
		"of a server": s.recordings(s.admin, "?server="+s.server.id)[0], "her own on a server": s.recordings(s.alice, "?server="+s.server.id)[0],
		"one": must[api.Recording](t, s.admin, "GET", "/v1/recordings/"+session, nil), "her own one": must[api.Recording](t, s.alice, "GET", "/v1/recordings/"+session, nil),
	} {
		got.StartedAt, got.ChangedAt, got.Source = time.Time{}, time.Time{}, ""
		if got != want {
			t.Errorf("%s: got %+v", name, got)
		}
	}

	// What is stored comes from the bucket, to administrators alone, and each time is on record.
	objects := "/v1/recordings/" + session
	if _, err := s.admin.api(0).Open(t.Context(), objects+"/segments/1"); api.KindOf(err) != api.Unavailable || !strings.Contains(err.Error(), "`recordings`") {
		t.Errorf("without a bucket: %v", err)
	}
	mem := memblob.OpenBucket(nil)
	defer mem.Close()
	big := bytes.Repeat([]byte("sealed "), 1<<19) // more than an answer of the API may have
	for name, content := range map[string][]byte{recording.SegmentName(1): big, "manifest.json": []byte("{}")} {
		if err := mem.WriteAll(t.Context(), s.place(session)+"/"+name, content, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, server := range s.servers {
		server.recordings.Bucket = mem
	}
	read := len(s.events(audit.RecordingRead))
	for path, content := range map[string][]byte{"/segments/1": big, "/manifest": []byte("{}")} {
		body, err := s.admin.api(1).Open(t.Context(), objects+path)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		got, err := io.ReadAll(body)
		if body.Close(); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes, %v", path, len(got), err)
		}
		if e := s.audited(audit.RecordingRead); e.Actor != s.admin.session.User || e.Detail["gateway_session"] != session || e.Outcome != audit.Allowed {
			t.Errorf("%s: audited %+v", path, e)
		}
	}
	if n := len(s.events(audit.RecordingRead)); n != read+2 {
		t.Errorf("%d reads on record", n-read)
	}
	for _, path := range []string{"/segments/2", "/segments/0", "/segments/-1", "/segments/x", "/segments/100001"} {
		if _, err := s.admin.api(0).Open(t.Context(), objects+path); api.KindOf(err) != api.NotFound {
			t.Errorf("%s: %v", path, err)
		}
	}
	for name, c := range map[string]struct {
		who  *device
		kind api.Kind
	}{"alice herself": {s.alice, api.Denied}, "bob": {s.bob, api.NotFound}} {
		_, err := c.who.api(0).Open(t.Context(), objects+"/segments/1")
		if api.KindOf(err) != c.kind || !strings.Contains(err.Error(), session) {
			t.Errorf("%s: %v", name, err)
		}
		if e := s.audited(audit.RecordingRead); e.Outcome != audit.Denied || e.Actor != c.who.session.User {
			t.Errorf("%s: audited %+v", name, e)
		}
	}
	none := denied(t, s.bob, api.NotFound, "GET", "/v1/recordings/gse_aaaaaaaaaaaaaaaaaaaa", nil)
	hidden := denied(t, s.bob, api.NotFound, "GET", "/v1/recordings/"+session, nil)
	if none.Hint != hidden.Hint || strings.ReplaceAll(none.Detail, "gse_aaaaaaaaaaaaaaaaaaaa", session) != hidden.Detail {
		t.Errorf("bob can tell %q from %q", hidden, none)
	}
	denied(t, s.bob, api.Denied, "GET", "/v1/recordings?user=alice", nil)
	for _, query := range []string{"", "?mine=true", "?server=" + s.server.id} {
		if rows := s.recordings(s.bob, query); len(rows) != 0 {
			t.Errorf("bob sees %+v with %q", rows, query)
		}
	}
	if rows := s.recordings(s.admin, "?server=srv_aaaaaaaaaaaaaaaaaaaa"); len(rows) != 0 {
		t.Errorf("of a server that there is not: %+v", rows)
	}
	denied(t, s.admin, api.Invalid, "GET", "/v1/recordings?server=web-1", nil)
}

// What a gateway says of a recording is bounded by what the control plane knows itself.
func TestReportsThatCannotBeAreRefused(t *testing.T) {
	t.Parallel()
	s := recordedScene(t)
	theirs, _ := newRecordingKey(t)
	other := s.newGateway("gw-2")
	s.records(other, true, theirs)
	session, second := s.recordedSession(), s.recordedSession()
	path := "/v1/gateway/sessions/" + session + "/recording"
	good := api.RecordingReport{State: "finished", Place: s.place(session), Head: head, Cause: "client"}
	for name, change := range map[string]func(*api.RecordingReport){
		"the place of another session": func(r *api.RecordingReport) { r.Place = s.place(second) },
		"the place of another project": func(r *api.RecordingReport) { r.Place = "prj_x/2026/11/21/" + session },
		"a place outside":              func(r *api.RecordingReport) { r.Place = "../" + r.Place },
		"a place with more behind it":  func(r *api.RecordingReport) { r.Place += "/../x" },
		"a head that is none":          func(r *api.RecordingReport) { r.Head = "xx" },
		"a short head":                 func(r *api.RecordingReport) { r.Head = head[:62] },
		"a key that nobody has":        func(r *api.RecordingReport) { r.Key = "0123456789abcdef" },
		"another gateway's key":        func(r *api.RecordingReport) { r.Key = theirs.ID },
		"a negative number":            func(r *api.RecordingReport) { r.Bytes = -1 },
		"a cause with a line end":      func(r *api.RecordingReport) { r.Cause = "a\nb" },
		"a state that is none":         func(r *api.RecordingReport) { r.State = "lost" },
	} {
		r := good
		change(&r)
		if _, err := try[api.Named](t, s.gateway.device, "POST", path, r); api.KindOf(err) != api.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	denied(t, s.gateway.device, api.NotFound, "POST", "/v1/gateway/sessions/gse_aaaaaaaaaaaaaaaaaaaa/recording", good)
	must[api.Named](t, s.gateway.device, "POST", path, good)
}

// A gateway speaks for another by an administrator's word alone, and only while that one
// cannot speak for itself.
func TestTheSpoolOfADeadGatewayIsToldOfByItsHeir(t *testing.T) {
	t.Parallel()
	s := recordedScene(t)
	dead, _ := newRecordingKey(t)
	s.records(s.gateway, true, dead)
	session := s.recordedSession()
	heir, mallory := s.newGateway("gw-2"), s.newGateway("gw-3")
	k, _ := newRecordingKey(t)
	s.records(heir, true, k)
	path := "/v1/gateway/sessions/" + session + "/recording"
	report := api.RecordingReport{State: "stored", Segments: 1, Place: s.place(session), Head: head, Key: k.ID, Cause: "interrupted"}
	over := func(to string) (api.HandedOver, error) {
		return try[api.HandedOver](t, s.admin, "POST", "/v1/gateways/gw-1/hand-over", api.HandOver{To: to})
	}

	if e := denied(t, s.admin, api.Conflict, "POST", "/v1/gateways/gw-1/hand-over", api.HandOver{To: "gw-2"}); !strings.Contains(e.Hint, "cardea admin gateways disable gw-1") {
		t.Errorf("of a gateway that is alive: %v", e)
	}
	denied(t, heir.device, api.Conflict, "POST", path, report)
	s.wait(5*time.Minute - time.Second)
	denied(t, heir.device, api.Conflict, "POST", path, report)
	s.wait(time.Second)
	// Silence is no word of an administrator: a gateway that was taken over settles nothing.
	if e := denied(t, mallory.device, api.Denied, "POST", path, report); !strings.Contains(e.Hint, "cardea admin gateways hand-over gw-1 --to gw-3") {
		t.Errorf("got %v", e)
	}
	if e := s.audited(audit.GatewayMisuse); e.Actor != mallory.id || e.Outcome != audit.Denied {
		t.Errorf("audited %+v", e)
	}
	denied(t, mallory.device, api.Denied, "GET", path, nil)
	denied(t, mallory.device, api.NotFound, "GET", "/v1/gateway/sessions/gse_aaaaaaaaaaaaaaaaaaaa/recording", nil)
	if got := s.recordings(s.admin, "")[0]; got.State != "recording" || got.Keeper != s.gateway.id || !got.EndedAt.IsZero() {
		t.Errorf("got %+v", got)
	}

	for name, to := range map[string]string{"itself": "gw-1", "one that is not there": "gw-9"} {
		if _, err := over(to); err == nil {
			t.Errorf("handed over to %s", name)
		}
	}
	denied(t, s.admin, api.NotFound, "POST", "/v1/gateways/gw_aaaaaaaaaaaaaaaaaaaa/hand-over", api.HandOver{To: "gw-2"})
	got, err := over("gw-2")
	if err != nil || got.To != heir.id || got.Gateway != s.gateway.id || !got.Until.Equal(s.now().Add(recordings.HandOverLife)) {
		t.Fatalf("got %+v, %v", got, err)
	}
	if e := s.audited(audit.GatewayHandOver); e.Actor != s.admin.session.User || e.Gateway != s.gateway.id || e.Detail["to"] != heir.id {
		t.Errorf("audited %+v", e)
	}
	denied(t, mallory.device, api.Denied, "POST", path, report)
	if held := must[api.HeldRecording](t, heir.device, "GET", path, nil); held != (api.HeldRecording{Session: session, Gateway: s.gateway.id, Project: s.project.ID, State: "recording"}) {
		t.Errorf("got %+v", held)
	}
	must[api.Named](t, heir.device, "POST", path, report)
	if e := s.audited(audit.RecordingImport); e.Actor != heir.id || e.Detail["of_gateway"] != s.gateway.id || e.Outcome != audit.Allowed {
		t.Errorf("audited %+v", e)
	}
	if got := s.recordings(s.admin, "")[0]; got.State != "stored" || got.Keeper != heir.id || got.Gateway != s.gateway.id || got.Key != k.ID || got.EndedAt.IsZero() {
		t.Errorf("got %+v", got)
	}
	// It comes back, and tells what it knows.
	s.records(s.gateway, true, dead)
	must[api.Named](t, s.gateway.device, "POST", path, api.RecordingReport{State: "finished", Place: s.place(session), Head: head})
	if again := s.recordings(s.admin, "")[0]; again.State != "stored" || again.Keeper != heir.id {
		t.Errorf("got %+v", again)
	}
	second, third, fourth := s.recordedSession(), s.recordedSession(), s.recordedSession()
	tell := func(session string) error {
		report.Place = s.place(session)
		_, err := try[api.Named](t, heir.device, "POST", "/v1/gateway/sessions/"+session+"/recording", report)
		return err
	}
	if err := tell(second); api.KindOf(err) != api.Conflict {
		t.Errorf("of a gateway that came back: %v", err)
	}
	must[api.Gateway](t, s.admin, "PATCH", "/v1/gateways/gw-1", api.GatewayPatch{State: ptr("disabled")})
	if err := tell(second); err != nil {
		t.Error(err)
	}
	if _, err := over(""); err != nil {
		t.Error(err)
	}
	if err := tell(third); api.KindOf(err) != api.Denied {
		t.Errorf("after it was taken back: %v", err)
	}
	must[api.Named](t, s.admin, "DELETE", "/v1/gateways/gw-1", nil)
	if err := tell(third); api.KindOf(err) != api.Denied {
		t.Errorf("of one that is deleted: %v", err)
	}
	must[api.HandedOver](t, s.admin, "POST", "/v1/gateways/"+s.gateway.id+"/hand-over", api.HandOver{To: heir.id})
	s.wait(recordings.HandOverLife - time.Second)
	if err := tell(third); err != nil {
		t.Error(err)
	}
	s.wait(time.Second)
	if err := tell(fourth); api.KindOf(err) != api.Denied {
		t.Errorf("after its time: %v", err)
	}
}

// What was refused within a session is in the audit log, as often as is good for it.
func TestRefusalsWithinASession(t *testing.T) {
	t.Parallel()
	s := recordedScene(t)
	session, other := s.recordedSession(), s.newGateway("gw-2")
	path := "/v1/gateway/sessions/" + session + "/refusals"
	one := api.SessionRefusal{Time: s.now(), Type: "x11-req", Sentence: "X11 forwarding is not allowed here"}
	must[api.Named](t, s.gateway.device, "POST", path, api.SessionRefusals{Refusals: []api.SessionRefusal{one}})
	if e := s.audited(audit.SessionRefused); e.Outcome != audit.Denied || e.Reason != one.Sentence || e.Detail["type"] != "x11-req" || e.User != s.alice.session.User || e.Gateway != s.gateway.id {
		t.Errorf("audited %+v", e)
	}
	denied(t, other.device, api.NotFound, "POST", path, api.SessionRefusals{Refusals: []api.SessionRefusal{one}})
	many := api.SessionRefusals{Unsaid: 7}
	for range 64 {
		many.Refusals = append(many.Refusals, one)
	}
	for range 5 {
		must[api.Named](t, s.gateway.device, "POST", path, many)
	}
	all := s.events(audit.SessionRefused)
	if n := len(all); n > 220 || n < 200 {
		t.Errorf("%d rows for 321 refusals and 35 that are not told", n)
	}
	if last := all[len(all)-1]; last.Detail["not_recorded"] != "71" {
		t.Errorf("the last row is %+v", last)
	}
	many.Refusals = append(many.Refusals, one)
	denied(t, s.gateway.device, api.Invalid, "POST", path, many)
}

// A recording that was begun and that nobody stores is told of, once.
func TestARecordingThatNobodyStoresIsNoted(t *testing.T) {
	t.Parallel()
	s := recordedScene(t)
	session := s.recordedSession()
	look := func() int {
		t.Helper()
		if err := s.servers[0].recordings.NoteLate(t.Context()); err != nil {
			t.Fatal(err)
		}
		return len(s.events(audit.RecordingOverdue))
	}
	must[api.Named](t, s.gateway.device, "POST", "/v1/gateway/sessions/"+session+"/end", api.SessionEnd{Cause: "client"})
	s.wait(recordings.Late)
	if n := look(); n != 0 {
		t.Errorf("%d noted after an hour", n)
	}
	s.wait(time.Second)
	if n := look(); n != 1 {
		t.Errorf("%d noted after more than an hour", n)
	}
	if n := look(); n != 1 {
		t.Errorf("%d noted after a second look", n)
	}
	if e := s.audited(audit.RecordingOverdue); e.User != s.alice.session.User || e.Detail["gateway_session"] != session || e.Outcome != audit.Failed {
		t.Errorf("audited %+v", e)
	}
	if r := s.recordings(s.admin, "")[0]; !r.Overdue || r.State != store.RecordingRunning {
		t.Errorf("got %+v", r)
	}
	must[api.Named](t, s.gateway.device, "POST", "/v1/gateway/sessions/"+session+"/recording", api.RecordingReport{State: "stored", Place: s.place(session)})
	if r := s.recordings(s.admin, "")[0]; r.Overdue {
		t.Error("overdue, though it is stored")
	}
}
