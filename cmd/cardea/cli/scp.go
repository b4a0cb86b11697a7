package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// copier is one of OpenSSH's programs that copy files over ssh.
type copier struct {
	name string
	// valued are its options that take a value.
	valued string
}

// The options are those of scp(1) and sftp(1), 10.0.
var (
	scp  = copier{"scp", "cDFiJloPSX"}
	sftp = copier{"sftp", "BbcDFiJloPRSsX"}
)

func newSCP(a *app) *cobra.Command {
	return newCopier(a, scp, &cobra.Command{
		Use:   "scp [scp options] SOURCE... TARGET",
		Short: "Copy files to or from a server",
		Long: `Copy files to or from a server, by this machine's scp, with its options. A file on the
server is SERVER:PATH or LOGIN@SERVER:PATH. It asks you to sign in first where that is
needed, and ends with scp's code; with 4 if there is no session and 5 if you may not.`,
		Example: "  cardea scp notes web-1:notes\n  cardea scp -r web-1:/var/log/nginx logs",
	})
}

func newSFTP(a *app) *cobra.Command {
	return newCopier(a, sftp, &cobra.Command{
		Use:   "sftp [sftp options] SERVER[:PATH]",
		Short: "Look at a server's files, and copy them",
		Long: `Look at a server's files, and copy them, by this machine's sftp, with its options. It
asks you to sign in first where that is needed, and ends with sftp's code; with 4 if there
is no session and 5 if you may not.`,
		Example: "  cardea sftp web-1\n  cardea sftp -b commands alice@web-1:/srv",
	})
}

// newCopier makes the verb. Its options are not ours to parse: only servers are looked for.
func newCopier(a *app, c copier, cmd *cobra.Command) *cobra.Command {
	cmd.GroupID, cmd.DisableFlagParsing, cmd.DisableFlagsInUseLine = groupAccess, true, true
	cmd.Args = cobra.MinimumNArgs(1)
	cmd.ValidArgsFunction = a.completeFiles
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] == "--help" || args[0] == "-h" {
			return cmd.Help()
		}
		return a.copy(cmd.Context(), c, args)
	}
	return cmd
}

// copyOptions is one command line of a copier, taken apart.
type copyOptions struct {
	options []string
	words   []string // files here, and files there with the server's name as it was typed
	there   []int    // indices of words that are on the server
	host    string
	login   string
}

// read takes the command line apart, as the program will.
func (c copier) read(args []string) (o copyOptions, err error) {
	i := 0
	for ; i < len(args) && len(args[i]) > 1 && args[i][0] == '-'; i++ {
		if args[i] == "--" {
			i++
			break
		}
		o.options = append(o.options, args[i])
		at := strings.IndexAny(args[i][1:], c.valued) + 1
		if at > 0 && at == len(args[i])-1 && i+1 < len(args) {
			i++
			o.options = append(o.options, args[i])
		}
	}
	o.words = args[i:]
	for i, word := range o.words {
		if strings.Contains(word, "://") {
			return o, &usageError{fmt.Sprintf("%.100q is a URL", word), "write it as SERVER:PATH"}
		}
		at := colon(word)
		if at < 0 && c.name == sftp.name && i == 0 {
			at = len(word)
		}
		if at < 0 {
			continue
		}
		if err := o.meet(word[:at]); err != nil {
			return o, err
		}
		o.there = append(o.there, i)
	}
	if len(o.there) == 0 {
		return o, &usageError{"no file is on a server", fmt.Sprintf("write it as SERVER:PATH; type: cardea %s --help", c.name)}
	}
	return o, nil
}

// colon is where the name of a host ends, as scp finds it (scp.c, colon): a name that begins
// with one, or has a slash before it, is of a file here.
func colon(word string) int {
	at := strings.IndexByte(word, ':')
	if slash := strings.IndexByte(word, '/'); at <= 0 || slash >= 0 && slash < at {
		return -1
	}
	return at
}

// meet takes the name of a server, which must be the same each time: one set of options of
// ssh is for one host.
func (o *copyOptions) meet(name string) error {
	login, host, both := cutLast(name, "@")
	if !both {
		login, host = "", name
	}
	if err := checkServer(host); err != nil {
		return err
	}
	if both {
		if err := checkLogin(login, "leave "+login+"@ away to enter it as yourself"); err != nil {
			return err
		}
	}
	if o.host != "" && (o.host != host || o.login != login) {
		return &usageError{"the files are on two servers, or of two logins", "type: cardea ssh-config --install; then plain scp copies between servers"}
	}
	o.host, o.login = host, login
	return nil
}

// copy makes sure that the connection will be allowed, and becomes the program.
func (a *app) copy(ctx context.Context, c copier, args []string) error {
	o, err := c.read(args)
	if err != nil {
		return err
	}
	program, err := openSSH(c.name)
	if err != nil {
		return err
	}
	control, err := a.agent()
	if err != nil {
		return err
	}
	s := sshOptions{host: o.host, login: o.login, options: o.options}
	to, err := a.prepare(ctx, control, s)
	if err != nil {
		return err
	}
	if err := a.trusted(ctx, control); err != nil {
		return err
	}
	name, options, err := a.sshOptionsFor(s, to)
	if err != nil {
		return err
	}
	argv := []string{c.name}
	for _, option := range options {
		argv = append(argv, "-o", option)
	}
	argv = append(append(argv, o.options...), "--")
	for _, i := range o.there {
		_, path, there := strings.Cut(o.words[i], ":")
		if o.words[i] = name; there {
			o.words[i] += ":" + path
		}
	}
	return become(ctx, program, append(argv, o.words...))
}
