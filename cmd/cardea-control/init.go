package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"gocloud.dev/secrets"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/ca"
	"github.com/cardea-ssh/cardea/control/directory"
	"github.com/cardea-ssh/cardea/internal/commandline"
	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/password"
	"github.com/cardea-ssh/cardea/store"
)

// initOptions are those that only init has.
type initOptions struct {
	options
	team         string
	admin        string
	adminLogin   string
	passwordFile string
	setup        bool // he chooses his password on a page, by a code
}

// ownFlags are the names of the flags that one verb alone has.
func ownFlags(f *pflag.FlagSet) map[string]bool {
	own := map[string]bool{}
	f.VisitAll(func(f *pflag.Flag) { own[f.Name] = true })
	return own
}

// givenFlags are the flags that were given and that every verb has, as they are
// typed: without them the next one would look for its database elsewhere.
func givenFlags(f *pflag.FlagSet, own map[string]bool) string {
	var b strings.Builder
	f.Visit(func(f *pflag.Flag) {
		value := commandline.Word(strings.Trim(f.Value.String(), "[]"))
		if f.Name == "database" && strings.Contains(value, "://") {
			value = "postgres://…" // it may hold a password
		}
		if !own[f.Name] {
			fmt.Fprintf(&b, " --%s=%s", f.Name, value)
		}
	})
	return b.String()
}

// The first administrator's default login cannot be his default name: no
// account on a server may be called admin, because sudoers files know a group
// of that name.
const (
	defaultAdmin      = "admin"
	defaultAdminLogin = "team-admin"
)

func newInit() *cobra.Command {
	var o initOptions
	cmd := &cobra.Command{
		Use: "init", Short: "Make the team, its keys and the first administrator",
		Long: "Make the database, the key file, the team, its certificate authorities and the\n" +
			"first administrator. What exists is never touched.",
		Example: "  cardea-control init --team example --admin alice",
	}
	f := cmd.Flags()
	f.StringVar(&o.team, "team", "team", "name of the team")
	f.StringVar(&o.admin, "admin", defaultAdmin, "name of the first administrator, to sign in with")
	f.StringVar(&o.adminLogin, "admin-login", "", "his Unix login on servers (default the name, or "+defaultAdminLogin+" for "+defaultAdmin+")")
	f.StringVar(&o.passwordFile, "admin-password-file", "", "file with his password (default one is made and printed)")
	f.BoolVar(&o.setup, "setup-code", false, "print a code, with which he chooses his password on the page /setup, in place of a password")
	return withOptions(cmd, &o.options, func(ctx context.Context) error { return o.run(ctx, cmd.OutOrStdout()) })
}

func (o *initOptions) run(ctx context.Context, out io.Writer) error {
	admin, secret, made, err := o.administrator()
	if err != nil {
		return commandline.Wrong(err)
	}
	mine := []string{o.KeyFile}
	if o.sqlite() {
		mine = append(mine, o.Database)
	}
	if err := mayMake("init --team "+commandline.Word(o.team)+o.given, mine...); err != nil {
		return err
	}
	var files traces
	defer files.remove()
	fresh, err := o.prepareDatabase(&files)
	if err != nil {
		return err
	}
	db, err := openStore(ctx, &o.options, nil)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := o.unused(ctx, db); err != nil {
		return err
	}
	if fresh {
		// Not before: until it is open here, and found empty, it may be the one of
		// another init that was faster. And not after it is closed again.
		files.file(o.Database, o.Database+"-wal", o.Database+"-shm", o.Database+".lock")
		defer files.remove()
	}
	if err := o.prepareKey(&files); err != nil {
		return err
	}
	keeper, err := openKeeper(ctx, &o.options)
	if err != nil {
		return err
	}
	defer keeper.Close()
	files.keep() // even if create fails: perhaps only its answer was lost
	if err := o.create(ctx, db, keeper, admin, secret); err != nil {
		return err
	}
	code := ""
	if o.setup {
		if code, err = invite(ctx, db, admin, "cardea-control init"); err != nil {
			return err
		}
	}
	o.tell(out, admin, made, code)
	return nil
}

// administrator checks who it is to be, and his password; made is the password
// if we chose it.
func (o *initOptions) administrator() (u store.User, secret, made string, err error) {
	login := o.adminLogin
	if login == "" {
		login = o.admin
		if o.admin == defaultAdmin {
			login = defaultAdminLogin
		}
	}
	if err := cmp.Or(directory.CheckName(o.admin), checkTeam(o.team)); err != nil {
		return u, "", "", err
	}
	if err := ident.Login(login); err != nil {
		return u, "", "", fmt.Errorf("%w; give one with --admin-login", err)
	}
	if o.setup && o.passwordFile != "" {
		return u, "", "", errors.New("both --setup-code and --admin-password-file are given; give one")
	}
	if o.passwordFile == "" {
		secret = directory.NewPassword()
		if !o.setup { // else nobody ever hears of it
			made = secret
		}
	} else if secret, err = readPassword(o.passwordFile); err != nil {
		return u, "", "", err
	}
	if err := directory.CheckPassword(secret, o.admin); err != nil {
		return u, "", "", fmt.Errorf("%w; put a longer one into %s", err, o.passwordFile)
	}
	id := ident.New(ident.User)
	return store.User{
		ID: id, Issuer: directory.LocalIssuer, Subject: id, Name: o.admin, Login: login, Status: store.Active, Admin: true,
	}, secret, made, nil
}

// maxTeam keeps the name on one line of a page.
const maxTeam = 60

func checkTeam(name string) error {
	if name == "" || len(name) > maxTeam || ident.Text(name) != name || strings.TrimSpace(name) != name {
		return fmt.Errorf("%q is no name for a team; use 1 to %d printable characters", ident.Text(name), maxTeam)
	}
	return nil
}

// maxPasswordFile is far above any password.
const maxPasswordFile = 4 << 10

func readPassword(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("admin-password-file: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxPasswordFile))
	if err != nil {
		return "", fmt.Errorf("admin-password-file: %w", err)
	}
	return strings.TrimRight(string(raw), "\r\n"), nil
}

// prepareKey makes the key file and its folder, for the owner's eyes alone. A key
// file that is there may be all that is left of a first try, or one that was put
// there on purpose; it is never replaced.
func (o *initOptions) prepareKey(files *traces) error {
	if err := files.folder(filepath.Dir(o.KeyFile)); err != nil {
		return cannotWrite(err, filepath.Dir(o.KeyFile))
	}
	err := ca.CreateKeyFile(o.KeyFile)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return cannotWrite(err, o.KeyFile)
	}
	files.file(o.KeyFile)
	return nil
}

// prepareDatabase makes an empty database file and its folder, if it is to be one,
// for the owner's eyes alone, and reports whether it did. SQLite gives its other
// files the mode of the first.
func (o *initOptions) prepareDatabase(files *traces) (fresh bool, err error) {
	if !o.sqlite() {
		return false, nil
	}
	if err := files.folder(filepath.Dir(o.Database)); err != nil {
		return false, cannotWrite(err, filepath.Dir(o.Database))
	}
	f, err := os.OpenFile(o.Database, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, cannotWrite(err, o.Database)
	}
	return true, f.Close()
}

func cannotWrite(err error, path string) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s cannot be written: permission denied; run it as the user of the service, or give --database and --key-file", path)
	}
	return err
}

func (o *initOptions) unused(ctx context.Context, db store.Store) error {
	team, err := db.Team(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("this database has the team %q already; type: cardea-control serve%s", team.Name, o.given)
}

// teamKeys are the keys that a team has from the beginning.
var teamKeys = [...]ca.Purpose{ca.HostCA, ca.GatewayCA, ca.Policy, ca.Ticket, ca.Nonce, ca.Cookie}

func (o *initOptions) create(ctx context.Context, db store.Store, keeper *secrets.Keeper, admin store.User, secret string) error {
	now := time.Now().UTC()
	team := store.Team{ID: ident.New(ident.Team), Name: o.team, Epoch: 1, CreatedAt: now}
	admin.CreatedAt = now
	begin := func(action string) audit.Event {
		return audit.Event{Time: now, Action: action, Outcome: audit.Allowed, Source: "cardea-control init"}
	}
	made := begin(audit.TeamCreate)
	made.Detail = map[string]string{"team": team.ID, "name": team.Name}
	events := []audit.Event{made}
	var keys []store.Key
	for _, purpose := range teamKeys {
		r, err := ca.Create(ctx, keeper, ca.Ref{ID: ident.New(ident.Key), Scope: ca.Team, Purpose: purpose})
		if err != nil {
			return fmt.Errorf("make the key for %s: %w", purpose, err)
		}
		keys = append(keys, store.Key{
			ID: r.ID, Scope: r.Scope, Purpose: string(r.Purpose), State: store.Active, Public: r.Public,
			Fingerprint: r.Fingerprint, Sealed: r.Sealed, CreatedAt: now,
		})
		e := begin(audit.KeyCreate)
		e.Detail = map[string]string{"key": r.ID, "purpose": string(purpose), "fingerprint": r.Fingerprint}
		events = append(events, e)
	}
	first := begin(audit.UserCreate)
	first.User, first.Detail = admin.ID, map[string]string{"name": admin.Name, "login": admin.Login, "admin": "true"}
	hash, err := password.Hash(secret)
	if err != nil {
		return err
	}
	_, err = db.CreateTeam(ctx, team, keys, admin, hash, store.Meta{Now: now, Audit: audit.EncodeAll(append(events, first)...)})
	if errors.Is(err, store.ErrExists) { // another init was quicker
		return errors.New("this database has a team already; type: cardea-control serve")
	}
	return err
}

// tell prints what there is now, and what to type next.
func (o *initOptions) tell(out io.Writer, admin store.User, made, code string) {
	fmt.Fprintf(out, "team           %s\n", o.team)
	if o.sqlite() {
		fmt.Fprintf(out, "database       %s\n", o.Database)
	}
	fmt.Fprintf(out, "key file       %s  (back it up, and not beside the database)\n", o.KeyFile)
	fmt.Fprintf(out, "administrator  %s\n", admin.Name)
	if made != "" {
		fmt.Fprintf(out, "password       %s  (told this once)\n", made)
	}
	url := cmp.Or(o.PublicURL, "http://"+o.Listen)
	if code != "" {
		tellCode(out, url, code)
	}
	serve := "cardea-control serve" + o.given
	if self, err := os.Executable(); err == nil && o.given == "" {
		serve = cmp.Or(startVerb("/", self), serve)
	}
	fmt.Fprintf(out, "\nnext:\n  %s\n  cardea login %s\n  cardea admin projects create web\n", serve, url)
}
