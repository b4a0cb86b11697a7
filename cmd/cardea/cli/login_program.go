package cli

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/dpop"
	"github.com/cardea-ssh/cardea/internal/version"
	"github.com/cardea-ssh/cardea/login"
)

// newServiceKey makes a key where it will be used: nothing secret is carried about.
func newServiceKey(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "service-key FILE", GroupID: groupAccount,
		Short: "Make the key of a service user, and print its thumbprint",
		Long: `Make the key of a service user in a file that only you may read, and print its thumbprint, by
which an administrator registers it. A file that is there already stays as it is.`,
		Example: "  cardea service-key /etc/deploy/cardea.pem\n  cardea admin service-users add-key deploy THUMBPRINT --name build-1",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			key, err := dpop.LoadOrCreate(filepath.Clean(args[0]))
			if err != nil {
				return err
			}
			if strings.HasPrefix(key.Thumbprint(), "-") { // of before such keys were drawn anew
				a.say("note: it begins with a hyphen, and so goes behind --: cardea admin service-users add-key --name NAME -- SERVICE-USER THUMBPRINT")
			}
			return showOne(a, thumbprint{key.Thumbprint()}, []column[thumbprint]{{"thumbprint", func(t thumbprint) string { return t.Thumbprint }}})
		},
	}
}

// thumbprint is what may be told of a key.
type thumbprint struct {
	Thumbprint string `json:"thumbprint"`
}

// loginService signs in the service user who has a key.
func (a *app) loginService(ctx context.Context, o loginOptions) error {
	file, err := filepath.Abs(o.serviceKey) // the agent that reads it later stands in another folder
	if err != nil {
		return err
	}
	key, err := dpop.Load(file)
	if errors.Is(err, fs.ErrNotExist) {
		return api.Errorf(api.Invalid, "there is no key in %s", file).WithHint("to make one type: cardea service-key %s", o.serviceKey).WithCause(err)
	}
	if err != nil {
		return err
	}
	return a.loginProgram(ctx, o, file, key, func(f login.Flow) (login.Saved, error) {
		if o.rotate {
			return a.changeKey(ctx, f, file)
		}
		return f.Program(ctx, login.ServiceKeyForm())
	})
}

// changeKey signs in with a new key, and tells what became of the old one.
func (a *app) changeKey(ctx context.Context, f login.Flow, file string) (login.Saved, error) {
	changed, err := f.ChangeKey(ctx, file)
	if err != nil {
		return changed.Saved, err
	}
	switch changed.By {
	case login.ChangedMeanwhile:
		a.say("Another program has just changed the key in %s.", file)
	case login.ChangedBefore:
		a.say("The key in %s was new already; the one before is retired now.", file)
	default:
		a.say("The key in %s is a new one.", file)
	}
	if changed.Late != nil {
		a.say("note: the old key still signs in: %v; to retire it type the same again", changed.Late)
	}
	return changed.Saved, nil
}

// jobOptions are those of a job that signs in with a token of its platform.
type jobOptions struct {
	on                  bool
	file, audience, who string
}

func (o *jobOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.on, "workload", false, "sign in with the token that the platform gives to this job")
	f.StringVar(&o.file, "token-file", "", "the file with that token (default: where platforms leave it)")
	f.StringVar(&o.audience, "audience", "", "for whom the platform makes the token, where it is asked (default the control plane's URL)")
	f.StringVar(&o.who, "as", "", "which service user, where the job may be several")
}

func (o *jobOptions) given() bool { return o.file != "" || o.audience != "" || o.who != "" }

// loginWorkload signs in a job, with a key that is made for its token.
func (a *app) loginWorkload(ctx context.Context, o loginOptions) error {
	old, _ := a.home.Load()
	where, _, err := a.where(o, old)
	if err != nil {
		return err
	}
	token, err := login.Workload{File: o.job.file, Audience: cmp.Or(o.job.audience, where), Lookup: a.lookup}.Token(ctx)
	if err != nil {
		return err
	}
	file, key, err := a.home.JobKey(token)
	if err != nil {
		return err
	}
	form := url.Values{"grant_type": {api.GrantWorkload}, "client_id": {api.ClientID}, "assertion": {token}}
	if o.job.who != "" {
		form.Set("service_user", o.job.who)
	}
	return a.loginProgram(ctx, o, file, key, func(f login.Flow) (login.Saved, error) { return f.Program(ctx, form) })
}

// loginProgram signs in a program with the key in file.
func (a *app) loginProgram(ctx context.Context, o loginOptions, file string, key *dpop.Key, enter func(login.Flow) (login.Saved, error)) error {
	old, _ := a.home.Load() // what is damaged is replaced; what is unsafe Check tells
	where, caFile, err := a.where(o, old)
	if err != nil {
		return err
	}
	if err := a.home.Check(); err != nil {
		return err
	}
	hc, err := login.HTTP(caFile)
	if err != nil {
		return err
	}
	saved, err := enter(login.Flow{URL: where, Key: key, HTTP: hc, UserAgent: version.UserAgent("cardea")})
	if err != nil {
		return err
	}
	saved.CAFile, saved.KeyFile = caFile, file
	return a.enter(ctx, old, saved)
}
