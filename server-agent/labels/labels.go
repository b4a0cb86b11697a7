// Package labels gathers what a host says of itself: labels from its configuration,
// from programs that its administrator names, and from the tags that its cloud has
// for it. People see and search them below host/. They grant nothing, so a wrong one
// is a nuisance and no danger; but the programs run as root, so only those are run
// that root alone can change.
package labels

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cardea-ssh/cardea/internal/ident"
	"github.com/cardea-ssh/cardea/server-agent/program"
)

const (
	// CommandLimit bounds one program. It should read a file or ask a local service.
	CommandLimit = 10 * time.Second
	// MaxWords bounds a program with its arguments.
	MaxWords = 32
	// MinInterval keeps what changes all the time from making a new list for
	// everybody all the time; MaxInterval is where nobody would notice a change.
	MinInterval, MaxInterval = time.Minute, 24 * time.Hour
	// DefaultInterval is for roles and tags, which people change by hand.
	DefaultInterval = 5 * time.Minute
)

// Gatherer gathers labels. One goroutine uses it. The zero value finds none.
type Gatherer struct {
	// Tags are the cloud's; nil means that there is no cloud. What does not fit the
	// grammar of labels is left out.
	Tags func(context.Context) (map[string]string, error)
	// Log hears which tags are left out; nil is nobody.
	Log *slog.Logger

	fixed    map[string]string
	commands map[string][]string

	printed, tagged map[string]string // the last ones that could be had
	left            []string          // keys of tags that are no labels
}

// New takes fixed labels, and programs by the label whose value they print on one
// line. Keys may be written with host/ before them or without. The errors name the
// options.
func New(fixed map[string]string, commands map[string][]string) (*Gatherer, error) {
	if n := len(fixed) + len(commands); n > ident.MaxLabels {
		return nil, fmt.Errorf("host-labels and label-commands: %d labels, a host has at most %d", n, ident.MaxLabels)
	}
	g := &Gatherer{fixed: make(map[string]string, len(fixed)), commands: make(map[string][]string, len(commands))}
	for key, value := range fixed {
		bare, err := bareKey(key)
		if err == nil {
			err = ident.LabelValue(value)
		}
		if err != nil {
			return nil, fmt.Errorf("host-labels: %s: %w", ident.Text(key), err)
		}
		g.fixed[bare] = value
	}
	for key, argv := range commands {
		bare, err := bareKey(key)
		if err == nil {
			err = checkCommand(argv)
		}
		if err != nil {
			return nil, fmt.Errorf("label-commands: %s: %w", ident.Text(key), err)
		}
		g.commands[bare] = argv
		delete(g.fixed, bare)
	}
	if len(g.fixed)+len(g.commands) < len(fixed)+len(commands) {
		return nil, errors.New("host-labels and label-commands: a label is given twice; leave out one")
	}
	return g, nil
}

func bareKey(key string) (string, error) {
	key = strings.TrimPrefix(key, ident.HostLabelPrefix)
	return key, ident.HostLabelKey(ident.HostLabelPrefix + key)
}

func checkCommand(argv []string) error {
	switch {
	case len(argv) == 0 || !strings.HasPrefix(argv[0], "/"):
		return errors.New("a command begins with the absolute path of a program")
	case len(argv) > MaxWords:
		return fmt.Errorf("%d words, a command has at most %d", len(argv), MaxWords)
	case slices.ContainsFunc(argv, func(s string) bool { return strings.ContainsRune(s, 0) }):
		return errors.New("a command has no NUL in it")
	}
	return nil
}

// Gather finds the labels and says what went wrong. What cannot be had now is what
// it was before: a cloud that does not answer for a minute must not make hosts
// vanish from people's searches.
func (g *Gatherer) Gather(ctx context.Context) (labels map[string]string, problems []string) {
	labels = map[string]string{}
	maps.Copy(labels, g.fixed)
	before := g.printed
	g.printed = map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(g.commands)) {
		value, err := run(ctx, g.commands[key])
		if err != nil {
			problems = append(problems, fmt.Sprintf("the command of the label %s failed: %v", key, err))
			if value = before[key]; value == "" {
				continue
			}
		}
		g.printed[key] = value
		labels[key] = value
	}
	problem := g.addTags(ctx, labels)
	if problem != "" {
		problems = append(problems, problem)
	}
	return labels, problems
}

// run has a program print the value of a label.
func run(ctx context.Context, argv []string) (string, error) {
	if err := program.Trusted(argv[0]); err != nil {
		return "", err
	}
	out, err := program.Command{Argv: argv, Limit: CommandLimit}.Run(ctx)
	if err != nil {
		return "", err
	}
	value := strings.TrimRight(string(out[:min(len(out), 4*ident.MaxLabelValue)]), " \t\r\n")
	return value, ident.LabelValue(value)
}

// addTags puts in what the cloud says, up to what there is room for. What does not fit
// is no problem of the host: tags may hold whole sentences.
func (g *Gatherer) addTags(ctx context.Context, labels map[string]string) (problem string) {
	if g.Tags == nil {
		return ""
	}
	tags, err := g.Tags(ctx)
	if err != nil {
		problem = "the cloud's tags cannot be read: " + err.Error()
		tags = g.tagged
	}
	g.tagged = tags
	var left []string
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if _, own := labels[key]; own {
			continue // the host's configuration knows better
		}
		fits := ident.HostLabelKey(ident.HostLabelPrefix+key) == nil && ident.LabelValue(tags[key]) == nil
		if !fits || len(labels) >= ident.MaxLabels {
			left = append(left, ident.Text(key))
			continue
		}
		labels[key] = tags[key]
	}
	if !slices.Equal(left, g.left) && g.Log != nil {
		g.Log.Info("tags of the cloud that are no labels, or too many", "tags", left)
	}
	g.left = left
	return problem
}
