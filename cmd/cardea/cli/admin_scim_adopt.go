package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cardea-ssh/cardea/api"
)

// pair is who waits, and the user who he is.
type pair struct{ userName, user string }

// guess is one line of the list: who waits, and one user who may be meant.
type guess struct {
	api.ScimWaiting
	is api.ScimCandidate // the zero value where there is none
}

func guesses(all []api.ScimWaiting) (out []guess) {
	for _, w := range all {
		if len(w.Candidates) == 0 {
			out = append(out, guess{ScimWaiting: w})
		}
		for _, c := range w.Candidates {
			out = append(out, guess{w, c})
		}
	}
	return out
}

func guessColumns() []column[guess] {
	return []column[guess]{
		{"user name", func(g guess) string { return g.UserName }},
		{"full name", func(g guess) string { return g.ScimWaiting.FullName }},
		{"candidate", func(g guess) string {
			if g.is.Name == "" {
				return "nobody: login " + g.ScimWaiting.Login + " is not free"
			}
			return g.is.Name
		}},
		{"same", func(g guess) string { return strings.Join(g.is.Same, ",") }},
		{"adopt", func(g guess) string {
			return map[string]string{api.StandingCertain: "by itself", api.StandingConfirm: "you say so", api.StandingNever: "no"}[g.is.Standing]
		}},
		{"candidate is", func(g guess) string { return g.is.Why }},
		{"tried", func(g guess) string { return stamp(g.TriedAt) }},
	}
}

func scimWaiting(a *app) *cobra.Command {
	pairs := false
	cmd := &cobra.Command{
		Use: "waiting CLIENT", Short: "List whom one could not make, and who they may be", Args: cobra.ExactArgs(1),
		Long: `List whom a client could not make because somebody is in the way, with the users who they
may be. Whom the identity provider says to be the same person it keeps without being asked. For
all others you say so, with adopt: the same login or address proves nothing.

With --pairs it prints a file for adopt --file, to be looked through: lines of one candidate each,
and as comments what is not clear.`,
		Example: "  cardea admin scim waiting okta\n  cardea admin scim waiting okta --pairs >pairs",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("scim-clients", args[0], "waiting")
			if err != nil {
				return err
			}
			client, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			all, err := api.All[api.ScimWaiting](cmd.Context(), client, path, nil)
			if err != nil {
				return err
			}
			if pairs {
				return printLines(a.out, pairLines(all))
			}
			if len(all) == 0 && a.output != asJSON {
				a.say("%s", nothing(path, nil))
				return nil
			}
			if a.output == asJSON {
				return show(a, all, []column[api.ScimWaiting](nil))
			}
			return show(a, guesses(all), guessColumns())
		},
	}
	cmd.Flags().BoolVar(&pairs, "pairs", false, "print a file for adopt --file")
	return cmd
}

// pairLines are the lines of a file for adopt.
func pairLines(all []api.ScimWaiting) []string {
	lines := []string{"# userName user"}
	for _, w := range all {
		may := slices.DeleteFunc(slices.Clone(w.Candidates), func(c api.ScimCandidate) bool { return c.Standing == api.StandingNever })
		clear := len(may) == 1 && (slices.Contains(may[0].Same, "login") || slices.Contains(may[0].Same, "identity"))
		for _, c := range may {
			line := fmt.Sprintf("%s %s  # same %s; %s", w.UserName, c.Name, strings.Join(c.Same, ", "), c.Why)
			if !clear || strings.ContainsAny(w.UserName, " \t#") {
				line = "# " + line
			}
			lines = append(lines, line)
		}
		if len(may) == 0 {
			lines = append(lines, fmt.Sprintf("# %s: nobody who could be meant", w.UserName))
		}
	}
	return lines
}

// maxPairs bounds a file, in lines: more do not wait.
const maxPairs = 10_000

// readPairs reads such a file.
func readPairs(name string) (pairs []pair, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		switch {
		case len(words) == 0:
		case len(words) != 2:
			return nil, &usageError{text: fmt.Sprintf("%s:%d: a line is a userName and a user, apart by a space", name, n)}
		case len(pairs) == maxPairs:
			return nil, &usageError{text: fmt.Sprintf("%s has more than %d lines", name, maxPairs)}
		default:
			pairs = append(pairs, pair{words[0], words[1]})
		}
	}
	return pairs, lines.Err()
}

func scimAdopt(a *app) *cobra.Command {
	file, dry := "", false
	cmd := &cobra.Command{
		Use: "adopt CLIENT [USERNAME USER]", Short: "Say that somebody who waits is a user who is there", Args: cobra.RangeArgs(1, 3),
		Long: `Have a client keep a user who was there before it: you say that the person whom the client
calls USERNAME is USER. He keeps his id, login, groups, grants and sessions; from then on the client
says whether he is active. A local account signs in at the identity provider then, and no more with a
password. Local administrators and whom another client keeps are refused. Release is the way back.

With --file it does so for each line of a file; first it asks about all, and does nothing if one is
refused. With --dry-run it tells what would happen, and does nothing.`,
		Example: "  cardea admin scim adopt okta alice.jones@example.com alice --dry-run\n  cardea admin scim adopt okta --file pairs",
		RunE: func(cmd *cobra.Command, args []string) error {
			var pairs []pair
			var err error
			switch {
			case len(args) == 3 && file == "":
				pairs = []pair{{args[1], args[2]}}
			case len(args) == 1 && file != "":
				pairs, err = readPairs(file)
			default:
				err = usageErrorf(cmd, "give a USERNAME and a USER, or --file")
			}
			if err != nil {
				return err
			}
			return a.adopt(cmd.Context(), args[0], pairs, dry)
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "lines of a userName and a user each; text from # on is left out")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "tell what would happen, and do nothing")
	return cmd
}

// adopt asks about all pairs, then does them one by one.
func (a *app) adopt(ctx context.Context, client string, pairs []pair, dry bool) error {
	path, err := pathOf("scim-clients", client, "adopt")
	if err != nil {
		return err
	}
	ask := func(dry bool) (out []api.ScimAdoption, err error) {
		for _, p := range pairs {
			v, err := call[api.ScimAdoption](ctx, a, "POST", path, api.ScimAdopt{UserName: p.userName, User: p.user, DryRun: dry})
			if err != nil && len(pairs) > 1 {
				a.say("%s %s:", p.userName, p.user)
			}
			if err != nil {
				return out, err
			}
			out = append(out, v)
		}
		return out, nil
	}
	out, err := ask(true)
	if err == nil && !dry {
		out, err = ask(false)
	}
	if len(out) == 0 || err != nil && dry {
		return err
	}
	return errors.Join(show(a, out, []column[api.ScimAdoption]{
		{"user name", func(v api.ScimAdoption) string { return v.UserName }},
		{"user", func(v api.ScimAdoption) string { return v.Name }},
		{"done", func(v api.ScimAdoption) string { return yesNo(v.Done) }},
		{"what follows", func(v api.ScimAdoption) string { return v.Text }},
	}), err)
}

func scimRelease(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "release CLIENT USER", Short: "Take a user from one; he stays, and is kept by hand", Args: cobra.ExactArgs(2),
		Long: `Take a user from a client: he leaves the client's groups, and else stays as he is. Whom it had
adopted and who has not signed in at the identity provider since has his password again. The client gets
him back by adopt alone.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf("scim-clients", args[0], "release")
			if err != nil {
				return err
			}
			return a.act(cmd.Context(), "POST", path, api.ScimRelease{User: args[1]}, "released "+args[1])
		},
	}
}
