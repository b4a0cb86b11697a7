package entitlement

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Rules are what one login may run on one server. The zero value is nothing.
type Rules struct {
	// Everything is every command as everybody, which is what an administrator of a project has.
	Everything bool
	// Commands is without meaning where Everything is.
	Commands []Command
}

// Empty reports whether nothing may be run.
func (r Rules) Empty() bool { return !r.Everything && len(r.Commands) == 0 }

// Check says what is wrong with the rules of login, which is as strict as a Unix login.
func (r Rules) Check(login string) error {
	_, err := r.specs(login)
	return err
}

// Sudoers returns the rules as lines of a sudoers file, one for each command. Each line says
// all tags, so that no Defaults of the host changes what it means; lines are sorted and unique,
// so that equal rights are equal text.
func (r Rules) Sudoers(login string) (string, error) {
	specs, err := r.specs(login)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, s := range specs {
		b.WriteString(s.text)
	}
	return b.String(), nil
}

// spec is one line: a rule in the form in which sudo keeps it.
type spec struct {
	as       string // user and, with everything, group
	group    string
	password bool
	noexec   *bool
	setenv   *bool
	command  string
	text     string // the line
}

func (s spec) line(login string) string {
	as, tags := s.as, "NOPASSWD:"
	if s.group != "" {
		as += ":" + s.group
	}
	if s.password {
		tags = "PASSWD:"
	}
	return login + " ALL=(" + as + ") " + tags + tag(s.noexec, " NOEXEC:", " EXEC:") + tag(s.setenv, " SETENV:", " NOSETENV:") + " " + s.command + "\n"
}

func tag(set *bool, yes, no string) string {
	switch {
	case set == nil:
		return ""
	case *set:
		return yes
	}
	return no
}

func (r Rules) specs(login string) ([]spec, error) {
	if !user.MatchString(login) || login == "root" {
		return nil, fmt.Errorf("%.40q is not a login", login)
	}
	if r.Everything {
		s := spec{as: "ALL", group: "ALL", command: "ALL"}
		s.text = s.line(login)
		return []spec{s}, nil
	}
	if len(r.Commands) > MaxRules {
		return nil, fmt.Errorf("%s has %d commands, and %d are the most", login, len(r.Commands), MaxRules)
	}
	specs := make([]spec, 0, len(r.Commands))
	for _, c := range r.Commands {
		p, err := c.parse()
		if err != nil {
			return nil, err
		}
		s := p.spec()
		s.text = s.line(login)
		specs = append(specs, s)
	}
	slices.SortFunc(specs, func(a, b spec) int { return strings.Compare(a.text, b.text) })
	return slices.CompactFunc(specs, func(a, b spec) bool { return a.text == b.text }), nil
}

func (p parsed) spec() spec {
	command := p.path
	switch p.args {
	case NoArguments:
		command += ` ""`
	case ExactArguments:
		command += " " + strings.Join(p.list, " ")
	}
	return spec{as: p.as, password: p.tags.Password, noexec: &p.tags.NoExec, setenv: &p.tags.SetEnv, command: command}
}

// CheckMeaning compares what sudo understood, which is the output of cvtsudoers -f json, with
// what the rules of login mean: exactly these, for exactly this login.
func (r Rules) CheckMeaning(login string, cvtsudoers []byte) error {
	return CheckMeaning([]Holder{{login, r}}, cvtsudoers)
}

// Holder is a login and what it may run.
type Holder struct {
	Login string
	Rules Rules
}

// CheckMeaning is Rules.CheckMeaning for the texts of several, one behind the other: exactly
// these rules, in this order, each for exactly its login.
func CheckMeaning(holders []Holder, cvtsudoers []byte) error {
	var got any
	if err := json.Unmarshal(cvtsudoers, &got); err != nil {
		return fmt.Errorf("cvtsudoers did not answer in JSON: %w", err)
	}
	// Newer versions add that ALL implies SETENV.
	for _, implied := range []bool{false, true} {
		var all []any
		for _, h := range holders {
			specs, err := h.Rules.specs(h.Login)
			if err != nil {
				return err
			}
			all = append(all, meaning(h.Login, specs, implied)...)
		}
		want := map[string]any{}
		if len(all) > 0 {
			want["User_Specs"] = all
		}
		if reflect.DeepEqual(got, any(want)) {
			return nil
		}
	}
	if len(holders) == 1 {
		return errors.New("sudo reads the rules of " + holders[0].Login + " as something else than was meant")
	}
	return fmt.Errorf("sudo reads the rules of %d people as something else than was meant", len(holders))
}

// meaning is these specs in the JSON of cvtsudoers.
func meaning(login string, specs []spec, implied bool) []any {
	type object = map[string]any
	type list = []any
	var all list
	for _, s := range specs {
		options := list{object{"authenticate": s.password}}
		if s.noexec != nil {
			options = append(options, object{"noexec": *s.noexec})
		}
		if s.setenv != nil {
			options = append(options, object{"setenv": *s.setenv})
		} else if implied {
			options = append(options, object{"setenv": true})
		}
		one := object{"runasusers": list{object{"username": s.as}}, "Options": options, "Commands": list{object{"command": s.command}}}
		if s.group != "" {
			one["runasgroups"] = list{object{"usergroup": s.group}}
		}
		all = append(all, object{
			"User_List": list{object{"username": login}}, "Host_List": list{object{"hostname": "ALL"}}, "Cmnd_Specs": list{one},
		})
	}
	return all
}
