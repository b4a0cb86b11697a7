package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/internal/term"
	"github.com/cardea-ssh/cardea/internal/version"
	"github.com/cardea-ssh/cardea/login"
)

type loginOptions struct {
	url        string
	deviceName string
	project    string
	deviceCode bool
	serviceKey string
	rotate     bool
	job        jobOptions
	replace    *replacement // of another device; nil for this one's sign-in
	before     string       // id of the session that this device had
	begun      string       // what was typed, where that is another verb
}

// typed is what a person typed to begin this. What he gave of the flags that every verb has
// is added where errors are told.
func (o loginOptions) typed() string {
	switch {
	case o.begun != "":
		return o.begun
	case o.project != "":
		return "cardea login --project " + o.project
	}
	return strings.TrimSpace("cardea login " + o.url)
}

func newLogin(a *app) *cobra.Command {
	var o loginOptions
	cmd := &cobra.Command{
		Use: "login [URL]", GroupID: groupAccount,
		Short: "Sign in: through your browser, or as a program",
		Long: `Sign in through your browser. The URL of the control plane is remembered, so the
next time a plain "cardea login" is enough.

Some projects ask from time to time once more who you are. With --project you show it,
for all that you do there from this machine in the time that the project allows.

The page asks to confirm this device, and shows the same code as the terminal.

On a machine that you reached by ssh, open the page where you sit. The browser then ends
at an address of this machine that it cannot reach: copy that address into the terminal.

With --device-code nothing has to come back: you type a code on a page, with any browser.
Your team has to allow that, and it is not for administrators.

A program has no browser. With --service-key it signs in as the service user who has the key
in that file (see: cardea service-key), for an hour at the most; with --rotate it first puts a
new key in that one's place, which nobody else has to do anything for. With --workload a job signs in
with the token that its platform (GitHub, GitLab, Kubernetes or another) gives to jobs: in
--token-file, in CARDEA_ID_TOKEN, asked for as on GitHub, or in the place for pods. Nothing
secret is stored.`,
		Example: "  cardea login https://access.example.com\n  cardea login\n  cardea login --device-code\n  cardea login https://access.example.com --service-key /etc/deploy/cardea.pem\n  cardea login https://access.example.com --workload",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.url = args[0]
			}
			if o.project != "" && o.deviceCode {
				return usageErrorf(cmd, "--project and --device-code exclude each other")
			}
			if o.project != "" {
				return a.touch(cmd.Context(), o)
			}
			if !o.job.on && o.job.given() {
				return usageErrorf(cmd, "--token-file, --audience and --as go with --workload")
			}
			if o.rotate && o.serviceKey == "" {
				return usageErrorf(cmd, "--rotate goes with --service-key")
			}
			switch {
			case o.serviceKey != "":
				return a.loginService(cmd.Context(), o)
			case o.job.on:
				return a.loginWorkload(cmd.Context(), o)
			}
			return a.login(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.project, "project", "", "show once more who you are, to go on in this project")
	cmd.RegisterFlagCompletionFunc("project", a.completeProjects)
	cmd.Flags().BoolVar(&o.deviceCode, "device-code", false, "show a code that you type in a browser on another machine")
	cmd.Flags().StringVar(&o.serviceKey, "service-key", "", "sign in as the service user who has the key in this file")
	cmd.Flags().BoolVar(&o.rotate, "rotate", false, "put a new key in place of the one in the file of --service-key")
	cmd.Flags().StringVar(&o.deviceName, "device-name", "", "what this device is called (default the host's name)")
	o.job.flags(cmd)
	for _, person := range []string{"project", "device-code", "device-name"} {
		cmd.MarkFlagsMutuallyExclusive("service-key", person)
		cmd.MarkFlagsMutuallyExclusive("workload", person)
	}
	cmd.MarkFlagsMutuallyExclusive("service-key", "workload")
	return cmd
}

// devicePending is the state of a device that nobody has approved yet.
const devicePending = "pending"

// login signs in and replaces the session, if there is one.
func (a *app) login(ctx context.Context, o loginOptions) error {
	old, _ := a.home.Load() // what is damaged is replaced; what is unsafe Check tells
	if err := forPeople(old, o.typed()); err != nil {
		return err
	}
	url, caFile, err := a.where(o, old)
	if err != nil {
		return err
	}
	if url == old.URL {
		o.before = old.Session.ID
	}
	saved, err := a.signIn(ctx, url, caFile, o)
	if err != nil {
		return err
	}
	saved.CAFile = caFile
	return a.enter(ctx, old, saved)
}

// enter puts a new session in place of the old one.
func (a *app) enter(ctx context.Context, old, saved login.Saved) error {
	if err := a.home.Save(saved); err != nil {
		a.revoke(ctx, saved, "", quick)
		return err
	}
	return a.entered(ctx, old, saved)
}

// forPeople refuses to have a person sign in where a program is signed in: its session would
// be gone, and the program act as him.
func forPeople(old login.Saved, typed string) error {
	if !old.SignedIn() || old.KeyFile == "" {
		return nil
	}
	return &usageError{"the program " + ident.Text(old.Session.UserName) + " is signed in here, by a key of its own",
		"to sign it in somewhere else give --service-key or --workload; to sign in yourself type first: cardea logout, and then: " + typed}
}

// entered follows on a session that was put in place of the old one.
func (a *app) entered(ctx context.Context, old, saved login.Saved) error {
	again := old.URL == saved.URL && old.Session.User == saved.Session.User
	if old.Token != "" && old.Token != saved.Token && !renews(old, saved) {
		next := ""
		if again {
			next = saved.Session.ID // what is open goes on
		}
		a.revoke(ctx, old, next, brief) // if that can be: it dies by itself
	}
	if err := a.home.Outlived(old, saved); err != nil {
		a.say("note: the key of the job before could not be removed: %v", err)
	}
	a.local.SignInChanged(ctx, again)
	if saved.Session.DeviceState != devicePending {
		a.settle(ctx)
	}
	if a.output == asJSON {
		return printJSON(a.out, saved.Session)
	}
	a.say("Signed in to %s as %s until %s.", saved.Team, saved.Session.UserName, stamp(saved.Session.ExpiresAt))
	if saved.Session.DeviceState == devicePending {
		a.say("This device may do nothing yet: it waits for approval. Ask an administrator to type: cardea admin devices approve %s", saved.Session.Device)
	}
	if state := a.sshConfigState(); old.URL == "" && state != configured {
		a.say("To have plain ssh, scp and editors know your servers type: cardea ssh-config --install")
	}
	return nil
}

// renews tells whether a program has signed in again with the same key. The session before
// dies by itself within the hour: its end would be that of the connections that it began.
func renews(old, saved login.Saved) bool {
	return saved.KeyFile != "" && old.KeyFile == saved.KeyFile && old.URL == saved.URL && old.Session.User == saved.Session.User
}

// signIn goes through a browser here, or one elsewhere.
func (a *app) signIn(ctx context.Context, url, caFile string, o loginOptions) (login.Saved, error) {
	if o.deviceCode {
		flow, err := a.anyFlow(ctx, url, caFile, o)
		if err != nil {
			return login.Saved{}, err
		}
		return flow.RunByCode(ctx, a.showCode)
	}
	flow, err := a.flow(ctx, url, caFile, o, "To sign in")
	if err != nil {
		return login.Saved{}, err
	}
	return flow.Run(ctx)
}

// showCode tells a person what to type where. The QR code holds the address alone: a code
// that came along would be typed by nobody.
func (a *app) showCode(c api.DeviceCode) {
	if picture, err := qrBlocks(c.VerificationURI); err == nil && a.person && a.env("TERM") != "dumb" {
		fmt.Fprint(a.err, "\n"+picture+"\n")
	}
	a.say("To sign in, open this page in any browser and type the code:\n\n  %s\n  %s\n", c.VerificationURI, c.UserCode)
}

// anyFlow is one of this device, wherever the browser is.
func (a *app) anyFlow(ctx context.Context, url, caFile string, o loginOptions) (login.Flow, error) {
	if err := a.home.Check(); err != nil {
		return login.Flow{}, err
	}
	flow := login.Flow{URL: url, DeviceName: o.deviceName, Project: o.project, Before: o.before, UserAgent: version.UserAgent("cardea"), Slow: a.saySlow}
	device, err := o.replace.prepare(&flow, a.home.Device)
	if err != nil {
		return login.Flow{}, err
	}
	if want := a.opt.DeviceKey; want != "" && want != device.Kind {
		a.say("note: the device key is in the %s and not in the %s: a key stays where it was made; to make another one type: cardea device replace --device-key %s",
			device.Kind, want, want)
	}
	flow.Key, flow.Report = device.Key, device.Report(ctx)
	if flow.HTTP, err = login.HTTP(caFile); err != nil {
		return login.Flow{}, err
	}
	flow.Enrolment, err = a.enrolment()
	return flow, err
}

// Where who sets up the machines of a fleet puts the token, and how long it can be, in
// bytes: a secret of ours has 63.
const (
	enrolmentFile = "/etc/cardea/device-enrollment.token"
	maxEnrolment  = 256
)

// enrolment is the token of the fleet; empty if there is none. A file that was asked for
// has to be there.
func (a *app) enrolment() (string, error) {
	path := cmp.Or(a.opt.EnrolmentFile, enrolmentFile)
	f, err := os.Open(path)
	if err != nil {
		if a.opt.EnrolmentFile == "" {
			return "", nil
		}
		return "", api.Errorf(api.Invalid, "read the enrolment token: %s", err).WithHint("check --device-enrolment-file").WithCause(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxEnrolment+1))
	token := strings.TrimSpace(string(text))
	if err != nil || len(text) > maxEnrolment || strings.ContainsFunc(token, unicode.IsSpace) {
		return "", api.Errorf(api.Invalid, "%s holds no enrolment token", path).WithHint("move it away, or put there what this printed: cardea admin tokens create --kind device")
	}
	return token, nil
}

// overSSH tells whether the person sits at another machine, with no screen from there and
// no program (as editors bring one) that shows pages there.
func (a *app) overSSH() bool {
	return a.env("SSH_CONNECTION") != "" && a.env("DISPLAY") == "" && a.env("WAYLAND_DISPLAY") == "" && a.env("BROWSER") == ""
}

// pasted asks for the address at which the browser of another machine ended.
func (a *app) pasted(ctx context.Context) (string, error) {
	t, err := term.Open()
	if err != nil {
		return "", err
	}
	defer t.Close()
	return t.Prompt(ctx, "When the browser cannot reach 127.0.0.1, copy its address here: ")
}

// flow is one through the browser of this person.
func (a *app) flow(ctx context.Context, url, caFile string, o loginOptions, why string) (login.Flow, error) {
	browser := a.env(login.BrowserVariable)
	if browser == "" && !a.person {
		return login.Flow{}, api.Errorf(api.SignIn, "nobody is here to sign in").WithHint("type in a terminal: %s", o.typed())
	}
	flow, err := a.anyFlow(ctx, url, caFile, o)
	if err != nil {
		return login.Flow{}, err
	}
	flow.Open = func(u string) error { return login.OpenBrowser(browser, u) }
	should := " (it should open by itself)"
	if browser == "" && a.overSSH() {
		should = " on the machine at which you sit"
		flow.Open = func(string) error { return nil }
		flow.Paste = a.pasted
	}
	flow.Tell = func(u, code string) {
		a.say("%s, open this page%s:\n\n  %s\n\nIt must show the code %s\n", why, should, u, code)
	}
	if a.person {
		flow.Unopened = func(err error) { a.say("note: %v; open the page above by hand", err) }
	}
	return flow, nil
}

// touch has the person show once more who he is, for one project.
func (a *app) touch(ctx context.Context, o loginOptions) error {
	if o.url != "" || o.deviceName != "" {
		return &usageError{"--project is for who is signed in", "type: cardea login --project " + o.project}
	}
	if err := ident.ProjectName(o.project); err != nil {
		return &usageError{text: err.Error()}
	}
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	saved, err := a.acct.Saved(ctx)
	if err != nil {
		return err
	}
	if err := forPeople(saved, o.typed()); err != nil {
		return err
	}
	// A typing error must not cost a password and a second factor.
	path, err := pathOf("touch", o.project)
	if err != nil {
		return err
	}
	if err := client.Send(ctx, http.MethodGet, path, nil, nil); err != nil {
		return err
	}
	flow, err := a.flow(ctx, saved.URL, saved.CAFile, o, "To go on in project "+o.project)
	if err != nil {
		return err
	}
	t, err := flow.Touch(ctx, client)
	if err != nil {
		return err
	}
	switch {
	case a.output == asJSON:
		return printJSON(a.out, t)
	case t.Until.IsZero():
		a.say("Project %s does not ask who you are.", t.Project)
	default:
		a.say("You may go on in project %s until %s.", t.Project, stamp(t.Until))
	}
	return nil
}

// settle waits until a running agent has put the new session's servers and
// host CAs into effect, so that the ssh that comes next finds them.
func (a *app) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	a.local.Refresh(ctx) // it goes on trying by itself
}

// where is the control plane to sign in at: what was typed, else configured,
// else used before.
func (a *app) where(o loginOptions, old login.Saved) (url, caFile string, err error) {
	raw := o.url
	if raw == "" {
		raw = a.opt.URL
	}
	if raw == "" {
		raw = old.URL
	}
	if raw == "" {
		hint := "type: cardea login https://YOUR-CONTROL-PLANE"
		if o.begun != "" { // a plain sign-in would make one more device, and the lost one stays
			hint = "type: " + o.begun + " --url https://YOUR-CONTROL-PLANE"
		}
		return "", "", &usageError{"no control plane is known here", hint}
	}
	if url, err = login.CleanURL(raw); err != nil {
		return "", "", &usageError{text: err.Error()}
	}
	if caFile = a.opt.CAFile; caFile == "" && url == old.URL {
		caFile = old.CAFile
	}
	if caFile != "" {
		// The agent that reads it later stands in another folder.
		if caFile, err = filepath.Abs(caFile); err != nil {
			return "", "", err
		}
	}
	return url, caFile, nil
}

// revoke ends a session at its control plane, if that can be reached. next is the one that has
// come in its place, and with which its connections go on; empty if they are to end.
func (a *app) revoke(ctx context.Context, s login.Saved, next string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	key, err := a.home.KeyOf(s)
	if err != nil {
		return err
	}
	return revokeBy(ctx, key, s, next)
}

func revokeBy(ctx context.Context, key *dpop.Key, s login.Saved, next string) error {
	hc, err := login.HTTP(s.CAFile)
	if err != nil {
		return err
	}
	c := &api.Client{URL: s.URL, Prover: key, Token: s.Token, HTTP: hc, UserAgent: version.UserAgent("cardea")}
	path := "/v1/logout"
	if next != "" {
		path += "?next=" + next
	}
	err = c.Send(ctx, "POST", path, nil, nil)
	if api.KindOf(err) == api.SignIn {
		return nil // it was over already
	}
	return err
}

// left is how long a session still lasts, as people say it.
func (a *app) left(until time.Time) string {
	if d := until.Sub(a.now()); d > 0 {
		return roughly(d) + " left"
	}
	return "over"
}
