// Package entitlement is the one grammar of what a person may run by sudo: structured
// commands in, sudoers text out, and beside the text what sudo must understand by it.
//
// sudoers(5) is a language in which a comma, a colon or a newline begins something new, and
// visudo accepts nearly all of it. So no text of a stranger is ever written into a rule:
// a command is taken apart here, each part is of a small alphabet in which nothing is special
// to sudoers, and the rule is put together from the parts. The control plane checks with it
// what an administrator types, the server agent checks again what the control plane says, and
// compares what cvtsudoers(1) reads out of the finished file with Meaning.
package entitlement

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
)

// Kind says what Command.Path is.
type Kind string

// The kinds.
const (
	// Executable is one program.
	Executable Kind = "executable"
	// Directory is every program that lies in it, and not below it.
	Directory Kind = "directory"
	// Raw is a whole command as one would type it: a program, and the arguments that it must
	// have. It is taken apart like the others, so that nothing hides in it.
	Raw Kind = "raw"
)

// Arguments says which arguments a program may have.
type Arguments string

// The choices.
const (
	AnyArguments Arguments = "any"
	NoArguments  Arguments = "none"
	// ExactArguments are those of Command.Exact, in this order. sudo compares what it is given
	// joined by blanks: one argument of two words passes for two.
	ExactArguments Arguments = "exact"
)

// Limits. A rule is read by sudo at every call, and a file of ours is read by the server agent
// at every look.
const (
	// MaxPath bounds a path, bytes. PATH_MAX is 4096; nobody types such a thing.
	MaxPath = 512
	// MaxArguments and MaxArgument bound the exact arguments, and one of them in bytes.
	MaxArguments = 32
	MaxArgument  = 256
	// MaxCommands bounds one entitlement, and MaxRules what one person has on one server, of
	// all his grants.
	MaxCommands = 128
	MaxRules    = 1024
)

// Command is one thing that may be run. Its zero value is of no use: Check says what is missing.
type Command struct {
	Kind Kind `json:"kind" enum:"executable,directory,raw"`
	// Path is absolute: of the program, of the directory with a slash at its end, or the raw
	// command with its arguments.
	Path      string    `json:"path" maxLength:"512"`
	Arguments Arguments `json:"arguments,omitempty" enum:"any,none,exact" doc:"which arguments the program may have; a directory takes any, a raw command has its own"`
	Exact     []string  `json:"exact,omitempty" maxItems:"32" doc:"the arguments, with exact"`
	// RunAs is the user as whom it runs; empty means root.
	RunAs string `json:"run_as,omitempty" doc:"as whom it runs; root if empty"`
	// Password demands one. Accounts that Cardea makes have none, so such a rule is of use only
	// where PAM asks for something else.
	Password bool `json:"password,omitempty" doc:"ask for a password: accounts made by Cardea have none, so this is for hosts whose PAM asks for something else"`
	// NoExec keeps the program from starting others (where it is linked dynamically).
	NoExec bool `json:"noexec,omitempty" doc:"the program may not start others"`
	// SetEnv lets the person set its environment. That is as good as any command for most programs.
	SetEnv bool `json:"setenv,omitempty" doc:"the person may set its environment"`
}

var (
	// user is what sudo may run as: the grammar of logins, system accounts among them.
	user = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	// element is one name of a path, and word one argument. What is special to sudoers
	// (, : = \ # ! " ' and blanks), to its patterns (* ? [ ]) and its regular expressions
	// (^ $ and so on) is in neither.
	element = regexp.MustCompile(`^[A-Za-z0-9._+@-]+$`)
	word    = regexp.MustCompile(`^[A-Za-z0-9._+@%/-]+$`)
)

// Check says what is wrong with the command, in words for the administrator.
func (c Command) Check() error {
	_, err := c.parse()
	return err
}

// String is the command as a person reads it: the path, its arguments or that there may be
// none, as whom it runs where that is not root, and what else is special about it.
func (c Command) String() string {
	s := c.Path
	switch c.Arguments {
	case NoArguments:
		s += ` ""`
	case ExactArguments:
		s += " " + strings.Join(c.Exact, " ")
	}
	if c.RunAs != "" && c.RunAs != "root" {
		s += " as " + c.RunAs
	}
	var special []string
	for _, f := range []struct {
		set  bool
		name string
	}{{c.Password, "password"}, {c.NoExec, "noexec"}, {c.SetEnv, "setenv"}} {
		if f.set {
			special = append(special, f.name)
		}
	}
	if len(special) > 0 {
		s += " (" + strings.Join(special, ", ") + ")"
	}
	return s
}

// parsed is a command that was found good.
type parsed struct {
	path string
	args Arguments
	list []string
	as   string
	tags Command
}

func (c Command) parse() (parsed, error) {
	p := parsed{path: c.Path, args: c.Arguments, list: c.Exact, as: c.RunAs, tags: c}
	if p.as == "" {
		p.as = "root"
	}
	if !user.MatchString(p.as) {
		return p, fmt.Errorf("%.40q is not a user to run as", p.as)
	}
	if p.args == "" {
		p.args = AnyArguments
	}
	switch c.Kind {
	case Executable:
	case Directory:
		if p.args != AnyArguments {
			return p, errors.New("a directory takes any arguments; name the executable to say which")
		}
		return p, checkDirectory(p.path)
	case Raw:
		if c.Arguments != "" || len(c.Exact) > 0 {
			return p, errors.New("a raw command has its arguments in its path")
		}
		words := strings.Split(c.Path, " ")
		p.path, p.args, p.list = words[0], ExactArguments, words[1:]
		if len(p.list) == 0 {
			p.args = NoArguments
		}
	default:
		return p, fmt.Errorf("%.20q is not a kind of command; there are executable, directory and raw", string(c.Kind))
	}
	return p, errors.Join(checkExecutable(p.path), checkArguments(p.args, p.list))
}

func checkDirectory(dir string) error {
	clean, ok := strings.CutSuffix(dir, "/")
	if !ok {
		return fmt.Errorf("the directory %.80q must end with a slash", dir)
	}
	return checkPath(clean)
}

func checkExecutable(file string) error {
	if path.Base(file) == "sudoedit" {
		return errors.New("sudoedit is a word of its own to sudo and cannot be an executable")
	}
	return checkPath(file)
}

// checkPath accepts what is absolute and its own shortest form: sudo compares text, so
// /usr/bin/../bin/su would be another command than it looks.
func checkPath(p string) error {
	if len(p) > MaxPath {
		return fmt.Errorf("a path has at most %d bytes", MaxPath)
	}
	if !strings.HasPrefix(p, "/") || path.Clean(p) != p || p == "/" {
		return fmt.Errorf("an absolute path without . and .. is needed, and %.80q is none", p)
	}
	for name := range strings.SplitSeq(p[1:], "/") {
		if !element.MatchString(name) {
			return fmt.Errorf("a path is made of letters, digits and . _ + @ - alone; %.80q is not", p)
		}
	}
	return nil
}

func checkArguments(a Arguments, list []string) error {
	switch {
	case a != AnyArguments && a != NoArguments && a != ExactArguments:
		return fmt.Errorf("%.20q is not a choice of arguments; there are any, none and exact", string(a))
	case a != ExactArguments && len(list) > 0:
		return errors.New("arguments are listed with exact alone")
	case a == ExactArguments && len(list) == 0:
		return errors.New("exact needs the arguments; say none if there are to be none")
	case len(list) > MaxArguments:
		return fmt.Errorf("a command has at most %d arguments", MaxArguments)
	}
	for _, w := range list {
		if len(w) > MaxArgument || !word.MatchString(w) {
			return fmt.Errorf("an argument is made of at most %d letters, digits and . _ + @ %% / - alone; %.80q is not", MaxArgument, w)
		}
	}
	return nil
}
