package cli

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"path/filepath"

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
	return a.loginProgram(ctx, o, file, key, url.Values{"grant_type": {api.GrantServiceKey}, "client_id": {api.ClientID}})
}

// loginProgram signs in a program, by a form that stands for it and with the key in file.
func (a *app) loginProgram(ctx context.Context, o loginOptions, file string, key *dpop.Key, form url.Values) error {
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
	saved, err := login.Flow{URL: where, Key: key, HTTP: hc, UserAgent: version.UserAgent("cardea")}.Program(ctx, form)
	if err != nil {
		return err
	}
	saved.CAFile, saved.KeyFile = caFile, file
	return a.enter(ctx, old, saved)
}
