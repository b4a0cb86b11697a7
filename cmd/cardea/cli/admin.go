package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/span"
)

func newAdmin(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "admin", GroupID: groupAdmin,
		Short: "Administer users, groups, projects, grants, entitlements, servers and gateways",
		Example: `  cardea admin users create alice
  cardea admin groups create ops
  cardea admin groups members add ops alice
  cardea admin projects create web
  cardea admin grants create web ops
  cardea admin tokens create --kind server --project web`,
	}
	cmd.AddCommand(
		adminTeam(a), adminUsers(a), adminServiceUsers(a), adminWorkloads(a), adminGroups(a), adminProjects(a), adminGrants(a), adminRequestRules(a), adminBreakGlass(a), adminEntitlements(a),
		adminServers(a), adminGateways(a), adminTokens(a), adminRules(a),
		adminProviders(a), adminScim(a), adminSessions(a), adminDevices(a), adminConnections(a), adminCAs(a), adminAudit(a), adminWhatIf(a), adminPolicy(a),
	)
	return cmd
}

// noun groups the verbs of one kind of object.
func noun(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	cmd.AddCommand(verbs...)
	return cmd
}

// listVerb is a verb that prints every row at a path.
func listVerb[T any](a *app, path, short string, columns []column[T], query url.Values) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return listRows(cmd.Context(), a, path, query, columns)
		},
	}
}

// showVerb is a verb that prints one object by id or name.
func showVerb[T any](a *app, collection, what string, columns []column[T]) *cobra.Command {
	return &cobra.Command{
		Use: "show " + what, Short: "Show one by id or name", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf(collection, args[0])
			if err != nil {
				return err
			}
			v, err := call[T](cmd.Context(), a, "GET", path, nil)
			if err != nil {
				return err
			}
			return showNamed(cmd.Context(), a, v, columns)
		},
	}
}

// showWith is a verb that prints one object by id or name, and the rows that belong to it.
func showWith[T any](a *app, collection, what, short string, columns []column[T], rows ...func(T) error) *cobra.Command {
	return &cobra.Command{
		Use: "show " + what, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf(collection, args[0])
			if err != nil {
				return err
			}
			v, err := call[T](cmd.Context(), a, "GET", path, nil)
			if err == nil {
				err = showOne(a, v, columns)
			}
			for _, show := range rows {
				if err == nil && a.output != asJSON { // there the object holds them
					err = show(v)
				}
			}
			return err
		},
	}
}

// showNamed is showOne with the names of what v refers to by id. What was done is
// shown in any case: a secret in it is told once.
func showNamed[T any](ctx context.Context, a *app, v T, columns []column[T]) error {
	if client, err := a.client(ctx); err == nil {
		columns = named(ctx, a, client, []T{v}, columns)
	}
	return showOne(a, v, columns)
}

// deleteVerb is a verb that removes one object by id or name.
func deleteVerb(a *app, collection, what, short string) *cobra.Command {
	return &cobra.Command{
		Use: "delete " + what, Aliases: []string{"rm", "remove"}, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf(collection, args[0])
			if err != nil {
				return err
			}
			return a.act(cmd.Context(), "DELETE", path, nil, "deleted "+args[0])
		},
	}
}

func listRows[T any](ctx context.Context, a *app, path string, query url.Values, columns []column[T]) error {
	return listFitting(ctx, a, path, query, columns, func(T) bool { return true })
}

// listFitting is listRows of those that fit a query which an older control plane may not know.
func listFitting[T any](ctx context.Context, a *app, path string, query url.Values, columns []column[T], fits func(T) bool) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	rows, err := api.All[T](ctx, client, path, query)
	if err != nil {
		return err
	}
	rows = slices.DeleteFunc(rows, func(r T) bool { return !fits(r) })
	if len(rows) == 0 && a.output != asJSON {
		a.say("%s", nothing(path, query))
		return nil
	}
	return show(a, rows, named(ctx, a, client, rows, columns))
}

// call speaks to the control plane and returns its answer.
func call[T any](ctx context.Context, a *app, method, path string, in any) (T, error) {
	var out T
	client, err := a.client(ctx)
	if err != nil {
		return out, err
	}
	if method == "GET" {
		_, err = client.Get(ctx, path, nil, &out)
	} else {
		err = client.Send(ctx, method, path, in, &out)
	}
	return out, err
}

// act is call for changes whose answer holds nothing worth printing.
func (a *app) act(ctx context.Context, method, path string, in any, done string) error {
	v, err := call[api.Named](ctx, a, method, path, in)
	if err != nil {
		return err
	}
	if a.output == asJSON {
		return printJSON(a.out, v)
	}
	a.say("%s", done)
	return nil
}

// pathOf is the path of a collection and what is in it; names are escaped, so
// that project/name stays one segment.
func pathOf(segments ...string) (string, error) {
	path := api.PathPrefix
	for _, s := range segments {
		if s == "" || s == "." || s == ".." {
			return "", &usageError{text: fmt.Sprintf("%q is neither an id nor a name", s)}
		}
		path += "/" + url.PathEscape(s)
	}
	return path, nil
}

// changed returns a pointer to a flag's value if the flag was given: a patch
// leaves alone what nobody mentioned.
func changed[T any](cmd *cobra.Command, flag string, value *T) *T {
	if cmd.Flags().Changed(flag) {
		return value
	}
	return nil
}

// anyChanged refuses an update that would change nothing.
func anyChanged(cmd *cobra.Command, flags ...string) error {
	for _, f := range flags {
		if cmd.Flags().Changed(f) {
			return nil
		}
	}
	return usageErrorf(cmd, "nothing to change")
}

// maxPasswordLine bounds what is read from stdin, in bytes.
const maxPasswordLine = 4096

// passwordFrom reads a user's new password.
func passwordFrom(in io.Reader) (string, error) {
	return secretFrom(in, "password", "write it there as one line, or leave --password-stdin out to have one made")
}

// secretFrom reads one line: a secret in the arguments would be in the history and in
// everybody's process list.
func secretFrom(in io.Reader, what, hint string) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(in, maxPasswordLine)).ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		if err == nil || err == io.EOF {
			err = fmt.Errorf("stdin holds no %s", what)
		}
		return "", &usageError{err.Error(), hint}
	}
	return line, nil
}

// untilFlag is a moment: a date, a time, or a duration from now.
type untilFlag struct {
	now  func() time.Time
	time time.Time
}

func (u *untilFlag) Type() string { return "time" }

func (u *untilFlag) String() string {
	if u.time.IsZero() {
		return ""
	}
	return u.time.Format(time.RFC3339)
}

func (u *untilFlag) Set(s string) error {
	if d, err := span.Parse(s); err == nil && d > 0 {
		u.time = u.now().Add(d).UTC().Truncate(time.Second)
		return nil
	}
	t, err := moment(s)
	u.time = t
	return err
}

// moment reads a date or a time, here if it does not say where.
func moment(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time such as 8h, 2026-12-31 or 2026-12-31T18:00:00Z", s)
}

// onOff is a verb that patches the state of one object.
func onOff(a *app, verb, what, short, collection string, patch any) *cobra.Command {
	return &cobra.Command{
		Use: verb + " " + what, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf(collection, args[0])
			if err != nil {
				return err
			}
			return a.act(cmd.Context(), "PATCH", path, patch, verb+"d "+args[0])
		},
	}
}
