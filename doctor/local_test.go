package doctor

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// expect compares findings with "state check: words of text | words of cure".
func expect(t *testing.T, name string, got []Finding, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d findings %v, want %d", name, len(got), got, len(want))
		return
	}
	for i, w := range want {
		head, rest, _ := strings.Cut(w, ": ")
		text, cure, _ := strings.Cut(rest, " | ")
		f := got[i]
		if fmt.Sprintf("%s %s", f.State, f.Check) != head || !strings.Contains(f.Text, text) || !strings.Contains(f.Cure, cure) {
			t.Errorf("%s: finding %d is %+v, want %q", name, i, f, w)
		}
		if (f.State == Failed || f.State == Warning) && f.Cure == "" {
			t.Errorf("%s: %q has no cure", name, f.Text)
		}
	}
}

func TestTheConfigurationIsJudged(t *testing.T) {
	expect(t, "none", Config(ConfigFacts{Dir: "/c"}), "ok configuration: none is needed", "ok files: /c is yours alone")
	expect(t, "a good one", Config(ConfigFacts{File: "/c/config.yaml", Dir: "/c"}), "ok configuration: /c/config.yaml is read", "ok files: ")
	expect(t, "a key too many, and a file that others read", Config(ConfigFacts{File: "/c/config.yaml", Dir: "/c",
		Err: errors.New(`unknown key "uri"`), Unsafe: errors.New("not safe to use: /c is open to other users; type: chmod 700 /c")}),
		`failed configuration: unknown key "uri" | cat /c/config.yaml`, "failed files: open to other users | type: chmod 700 /c")
}

func TestWhatSSHReadsIsJudged(t *testing.T) {
	good := SSHFacts{Own: "/h/.ssh/config", Included: "/h/.ssh/cardea/config", First: true, Binary: "/usr/bin/cardea", Missing: func(p string) bool { return p == "/gone/cardea" },
		Text: []byte("Host web-1\n  HostKeyAlias srv_a.cardea\n  ProxyCommand \"/usr/bin/cardea\" proxycommand %h %p\n"), Servers: []string{"srv_a"}}
	for name, tc := range map[string]struct {
		change func(*SSHFacts)
		want   []string
	}{
		"as it should be":  {func(*SSHFacts) {}, []string{"ok ssh-include: ", "ok ssh-generated: is fresh"}},
		"not first":        {func(f *SSHFacts) { f.First, f.Somewhere = false, true }, []string{"failed ssh-include: does not stand first | cardea ssh-config --install", "ok ssh-generated: "}},
		"not at all":       {func(f *SSHFacts) { f.First = false }, []string{"warning ssh-include: plain ssh does not know | cardea ssh-config --install", "ok ssh-generated: "}},
		"no file":          {func(f *SSHFacts) { f.OwnErr = errors.New("is a folder") }, []string{"failed ssh-include: is a folder", "ok ssh-generated: "}},
		"others may write": {func(f *SSHFacts) { f.Open = f.Own }, []string{"ok ssh-include: ", "failed ssh-files: others may write | chmod go-w /h/.ssh/config", "ok ssh-generated: "}},
		"nothing written":  {func(f *SSHFacts) { f.Err, f.Text = errors.New("not there"), nil }, []string{"ok ssh-include: ", "warning ssh-generated: not there | cardea login"}},
		"a server too few": {func(f *SSHFacts) { f.Servers = append(f.Servers, "srv_b") }, []string{"ok ssh-include: ", "warning ssh-generated: 1 of your 2 servers | cardea agent refresh"}},
		"another program":  {func(f *SSHFacts) { f.Binary = "/opt/cardea" }, []string{"ok ssh-include: ", "warning ssh-generated: runs /usr/bin/cardea, and this is /opt/cardea | cardea agent stop"}},
		"a program that is gone": {func(f *SSHFacts) { f.Text = []byte(strings.ReplaceAll(string(f.Text), "/usr/bin", "/gone")) },
			[]string{"ok ssh-include: ", "failed ssh-generated: /gone/cardea | cardea ssh-config --install"}},
		"a name that is the user's own": {func(f *SSHFacts) { f.Servers, f.Skipped = append(f.Servers, "srv_b"), []string{"db-1"} },
			[]string{"ok ssh-include: ", "warning ssh-generated: db-1 | ssh db-1.PROJECT"}},
	} {
		f := good
		tc.change(&f)
		expect(t, name, SSH(f), tc.want...)
	}
}

func TestSSHsOwnViewIsJudged(t *testing.T) {
	good := ViewFacts{Path: "/usr/bin/ssh", Version: "OpenSSH_9.2p1 Debian-2", Server: "web-1.web", Alias: "srv_a.cardea", Socket: "/r/agent.sock", KnownHosts: "/h/kh", Included: true, Took: time.Millisecond,
		Options: map[string]string{"hostkeyalias": "srv_a.cardea", "identityagent": "/r/agent.sock", "userknownhostsfile": "/h/kh"}}
	for name, tc := range map[string]struct {
		change func(*ViewFacts)
		want   []string
	}{
		"as it should be": {func(*ViewFacts) {}, []string{"ok ssh: OpenSSH 9.2", "ok ssh-view: "}},
		"no ssh":          {func(f *ViewFacts) { f.Path = "" }, []string{"failed ssh: there is no ssh | install OpenSSH"}},
		"another ssh":     {func(f *ViewFacts) { f.Version = "plink: Release 0.78" }, []string{"failed ssh: is no OpenSSH | install", "ok ssh-view: "}},
		"an old one":      {func(f *ViewFacts) { f.Version = "OpenSSH_7.4p1" }, []string{"failed ssh: OpenSSH 7.4, which is too old | ", "ok ssh-view: "}},
		"one on Windows":  {func(f *ViewFacts) { f.Version = "OpenSSH_for_Windows_9.5p1, LibreSSL" }, []string{"ok ssh: OpenSSH 9.5", "ok ssh-view: "}},
		"overruled": {func(f *ViewFacts) {
			f.Options = map[string]string{"identityagent": "SSH_AUTH_SOCK", "hostkeyalias": "srv_a.cardea"}
		}, []string{"ok ssh: ", "failed ssh-view: SSH_AUTH_SOCK for identityagent | ssh -v -G"}},
		"slow":            {func(f *ViewFacts) { f.Took = 2 * time.Second }, []string{"ok ssh: ", "warning ssh-view: 2000 ms | Match exec"}},
		"a mistake in it": {func(f *ViewFacts) { f.Err = errors.New("line 3: Bad configuration option: foo") }, []string{"ok ssh: ", "failed ssh-view: line 3 | ssh -G"}},
		"not included":    {func(f *ViewFacts) { f.Included = false }, []string{"ok ssh: ", "skipped ssh-view: does not include"}},
		"no server":       {func(f *ViewFacts) { f.Server = "" }, []string{"ok ssh: ", "skipped ssh-view: no server"}},
	} {
		f := good
		tc.change(&f)
		expect(t, name, View(f), tc.want...)
	}
}

func TestTheAgentIsJudged(t *testing.T) {
	good := AgentFacts{Running: true, Version: "1.2", Socket: "/r/control.sock", SSHConfig: "/h/config", Now: now, Status: AgentStatus{PID: 7, Version: "1.2", SSHConfig: "/h/config", SeenAt: now.Add(-time.Second), Servers: 3}}
	for name, tc := range map[string]struct {
		change func(*AgentFacts)
		want   []string
	}{
		"as it should be":                {func(*AgentFacts) {}, []string{"ok agent-socket: ", "ok agent: process 7", "ok catalog: 3 servers"}},
		"not running":                    {func(f *AgentFacts) { *f = AgentFacts{Socket: f.Socket} }, []string{"ok agent: not running"}},
		"somebody else's":                {func(f *AgentFacts) { f.Foreign = true }, []string{"failed agent-socket: belongs to somebody else | ls -ld /r /r/control.sock"}},
		"open to others":                 {func(f *AgentFacts) { f.Loose = true }, []string{"failed agent-socket: others may reach | chmod 700 /r", "ok agent: ", "ok catalog: "}},
		"another HOME":                   {func(f *AgentFacts) { f.Status.SSHConfig = "/other/config" }, []string{"ok agent-socket: ", "failed agent: another HOME and writes /other/config | cardea agent stop"}},
		"an older version":               {func(f *AgentFacts) { f.Status.Version = "1.1" }, []string{"ok agent-socket: ", "warning agent: version 1.1, and this program is 1.2 | cardea agent stop"}},
		"silent":                         {func(f *AgentFacts) { f.Running, f.Err = false, errors.New("timeout") }, []string{"failed agent: timeout | cardea agent stop"}},
		"locked":                         {func(f *AgentFacts) { f.Status.Locked = true }, []string{"ok agent-socket: ", "failed agent: locked | cardea agent unlock", "ok catalog: "}},
		"a problem":                      {func(f *AgentFacts) { f.Status.Problem = "disk full" }, []string{"ok agent-socket: ", "ok agent: ", "warning catalog: disk full | refresh"}},
		"a problem that says what to do": {func(f *AgentFacts) { f.Status.Problem = "the session is over; type: cardea login" }, []string{"ok agent-socket: ", "ok agent: ", "warning catalog: the session is over | type: cardea login"}},
		"an old list":                    {func(f *AgentFacts) { f.Status.SeenAt = now.Add(-time.Hour) }, []string{"ok agent-socket: ", "ok agent: ", "warning catalog: 1h0m0s old | refresh"}},
		"no list":                        {func(f *AgentFacts) { f.Status.SeenAt = time.Time{} }, []string{"ok agent-socket: ", "ok agent: ", "warning catalog: no list | refresh"}},
	} {
		f := good
		tc.change(&f)
		expect(t, name, Agent(f), tc.want...)
	}
}

func TestSessionAndDeviceAreJudged(t *testing.T) {
	live := api.Session{ID: "ses_a", UserName: "alice", DeviceTag: "laptop", Device: "dev_a", DeviceState: "active", ExpiresAt: now.Add(8 * time.Hour), SeenAt: now.Add(-3 * time.Minute)}
	good := SessionFacts{URL: "https://x", Saved: live, Asked: true, Live: live, Now: now}
	for name, tc := range map[string]struct {
		change func(*SessionFacts)
		want   []string
	}{
		"as it should be":  {func(*SessionFacts) {}, []string{"ok session: as alice until", "ok device: laptop, active"}},
		"nobody signed in": {func(f *SessionFacts) { f.SavedAs = api.Errorf(api.SignIn, "not signed in") }, []string{"failed session: not signed in | type: cardea login"}},
		"never signed in":  {func(f *SessionFacts) { f.URL, f.SavedAs = "", api.Errorf(api.SignIn, "not signed in") }, []string{"failed session: not signed in | https://YOUR-CONTROL-PLANE"}},
		"over":             {func(f *SessionFacts) { f.Live.ExpiresAt = now }, []string{"failed session: over since | cardea login"}},
		"soon over":        {func(f *SessionFacts) { f.Live.ExpiresAt = now.Add(20 * time.Minute) }, []string{"warning session: and over at | cardea login", "ok device: "}},
		"idle for too long": {func(f *SessionFacts) {
			f.Err = api.Errorf(api.SignIn, "this session has not been used for 1h").WithHint("type: cardea login")
		}, []string{"failed session: not been used for 1h | cardea login"}},
		"nobody could be asked": {func(f *SessionFacts) { f.Err = api.Errorf(api.Unavailable, "down") }, []string{"ok session: if nobody ended it", "skipped device: could not be asked"}},
		"a device that waits":   {func(f *SessionFacts) { f.Live.DeviceState = "pending" }, []string{"ok session: ", "failed device: waits for approval | cardea admin devices approve dev_a"}},
		"a device that is out":  {func(f *SessionFacts) { f.Live.DeviceState = "revoked" }, []string{"ok session: ", "failed device: revoked | cardea device replace"}},
		"denied, as when locked": {func(f *SessionFacts) {
			f.Err = api.Errorf(api.Denied, "this device is revoked").WithHint("ask your administrator")
		}, []string{"failed session: this device is revoked | ask your administrator"}},
	} {
		f := good
		tc.change(&f)
		expect(t, name, Session(f), tc.want...)
	}
	expect(t, "keys", []Finding{
		Key(KeyFacts{}), Key(KeyFacts{There: true, Kind: "tpm"}), Key(KeyFacts{There: true, Kind: "file", Path: "/c/device.pem"}),
		Key(KeyFacts{There: true, Err: api.Errorf(api.SignIn, "the device key (keyring) cannot be used: locked").WithHint("unlock the keyring")}),
	}, "skipped device-key: none yet", "ok device-key: in the tpm", "ok device-key: /c/device.pem", "failed device-key: locked | unlock the keyring")
}

func TestTheWayToAServerIsJudged(t *testing.T) {
	good := ServerFacts{Name: "web-1", Now: now, Tried: true, Address: "gw:7234", Gateway: true, Banner: "SSH-2.0-OpenSSH_9.2", Why: api.Why{Allow: true, Reason: "a grant allows it"},
		Entry: api.CatalogEntry{ID: "srv_a", Name: "web-1", ProjectName: "web", Login: "alice", LastSeen: now.Add(-10 * time.Second)}}
	for name, tc := range map[string]struct {
		change func(*ServerFacts)
		want   []string
	}{
		"as it should be": {func(*ServerFacts) {}, []string{"ok server: web/web-1 (srv_a)", "ok access: a grant", "ok server-agent: 10s ago", "ok connection: through the gateway at gw:7234", "ok sshd: OpenSSH_9.2"}},
		"directly":        {func(f *ServerFacts) { f.Gateway, f.Address = false, "s:22" }, []string{"ok server: ", "ok access: ", "ok server-agent: ", "ok connection: directly to s:22", "ok sshd: "}},
		"no such server": {func(f *ServerFacts) {
			f.Err = api.Errorf(api.NotFound, "there is no server").WithHint("did you mean web-2?")
		}, []string{"failed server: there is no server | web-2"}},
		"denied": {func(f *ServerFacts) {
			f.Why = api.Why{Reason: "no grant", Hint: "ask for one"}
			f.TryErr, f.Address, f.Banner = api.Errorf(api.Denied, "no grant"), "", ""
		}, []string{"ok server: ", "failed access: no grant | ask for one", "ok server-agent: ", "failed connection: no grant | try again", "skipped sshd: "}},
		"an agent that is gone": {func(f *ServerFacts) { f.Entry.LastSeen = now.Add(-3 * time.Hour) }, []string{"ok server: ", "ok access: ", "warning server-agent: 3h0m0s ago | administrator", "ok connection: ", "ok sshd: "}},
		"no agent ever":         {func(f *ServerFacts) { f.Entry.LastSeen = time.Time{} }, []string{"ok server: ", "ok access: ", "warning server-agent: never | administrator", "ok connection: ", "ok sshd: "}},
		"no sshd behind it":     {func(f *ServerFacts) { f.Banner, f.TryErr = "", errors.New("what answers there does not speak SSH") }, []string{"ok server: ", "ok access: ", "ok server-agent: ", "ok connection: ", "failed sshd: does not speak SSH | administrator"}},
		"nobody could be asked": {func(f *ServerFacts) { f.WhyErr = api.Errorf(api.Unavailable, "down") }, []string{"ok server: ", "skipped access: ", "ok server-agent: ", "ok connection: ", "ok sshd: "}},
	} {
		f := good
		tc.change(&f)
		expect(t, name, Server(f), tc.want...)
	}
}
