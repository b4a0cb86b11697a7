package accounts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cardea-ssh/cardea/entitlement"
	"github.com/cardea-ssh/cardea/internal/atomicfile"
	"github.com/cardea-ssh/cardea/internal/ident"
)

const (
	// sudoBatch is how many files of rules go in between two checks of the whole.
	// Such a check reads all that are there, so that one for each file would be a
	// square; but what a check refuses is taken back, all of it, and a lock waits.
	sudoBatch = 256
	// checkRules and checkBytes bound what is checked in one go before it goes in.
	// One file may be more, and is then checked alone. cvtsudoers makes some 700
	// bytes of a rule, which must stay below program.MaxOutput.
	checkRules, checkBytes = 1000, 512 << 10
	// checkName is the file in which rules are checked, in the agent's own folder.
	checkName = "sudoers.check"
)

// sudoRule is one file that is to be installed.
type sudoRule struct {
	step Step
	text string
	err  *error // where the caller looks for it
}

func (r sudoRule) fail(err error) { *r.err = err }

// installSudo puts the rules of many in place, and returns what went wrong of
// each. There are three checks of the very text: visudo says that it parses,
// cvtsudoers that it means what is meant and nothing else, and, once it is
// there, visudo that the whole is still valid. Each is made of many at once,
// and of fewer where it fails, until it is known whose rule it is. Where the new rules
// cannot be put in place, old ones that give more do not stay.
func (a *Applier) installSudo(ctx context.Context, steps []Step) []error {
	errs := make([]error, len(steps))
	var rules []sudoRule
	for i, s := range steps {
		r := sudoRule{step: s, err: &errs[i]}
		var err error
		if err = ident.Login(s.Login); err == nil {
			r.text, err = sudoFile(s.Login, s.Sudo)
		}
		if err != nil {
			r.fail(err)
			continue
		}
		rules = append(rules, r)
	}
	defer os.Remove(a.checkFile())
	// What the host has is looked at first: there is nothing to check for one
	// that is broken, and nobody is to be blamed for it.
	if a.wholeIsValid(ctx, rules) {
		a.putSudo(ctx, a.checkedSudo(ctx, rules))
	}
	for _, r := range rules {
		if *r.err != nil {
			r.fail(errors.Join(*r.err, withdraw(a.sudoFile(r.step.UID), r.text)))
		}
	}
	return errs
}

// wholeIsValid asks visudo, unless it has just said so. A configuration that is
// broken already is not ours to mend, nor to add to.
func (a *Applier) wholeIsValid(ctx context.Context, rules []sudoRule) bool {
	if a.sudoValid {
		return true
	}
	_, err := a.run(ctx, visudo, "-c")
	if a.sudoValid = err == nil; a.sudoValid {
		return true
	}
	for _, r := range rules {
		r.fail(fmt.Errorf("the sudo configuration of the host is broken, mend it with visudo: %w", err))
	}
	return false
}

// checkedSudo are those of the rules that sudo reads as they are meant.
func (a *Applier) checkedSudo(ctx context.Context, rules []sudoRule) (good []sudoRule) {
	for len(rules) > 0 {
		n, lines, size := 0, 0, 0
		for _, r := range rules {
			lines, size = lines+max(1, len(r.step.Sudo.Commands)), size+len(r.text)
			if n > 0 && (lines > checkRules || size > checkBytes) {
				break
			}
			n++
		}
		good = append(good, a.checkedTogether(ctx, rules[:n])...)
		rules = rules[n:]
	}
	return good
}

// checkedTogether halves what is refused.
func (a *Applier) checkedTogether(ctx context.Context, rules []sudoRule) []sudoRule {
	var text strings.Builder
	var holders []entitlement.Holder
	for _, r := range rules {
		text.WriteString(r.text)
		holders = append(holders, entitlement.Holder{Login: r.step.Login, Rules: r.step.Sudo})
	}
	err := a.checkSudo(ctx, text.String(), holders)
	switch half := len(rules) / 2; {
	case err == nil:
		return rules
	case half == 0:
		rules[0].fail(err)
		return nil
	default:
		return append(a.checkedTogether(ctx, rules[:half]), a.checkedTogether(ctx, rules[half:])...)
	}
}

// checkSudo has sudo's own programs read the texts of some files, one behind
// the other. Each begins with a comment and ends with the end of a line, so that
// together they mean what they mean one by one.
func (a *Applier) checkSudo(ctx context.Context, text string, holders []entitlement.Holder) error {
	file := a.checkFile()
	if _, err := atomicfile.Write(file, []byte(text), atomicfile.Options{Mode: sudoMode}); err != nil {
		return err
	}
	if _, err := a.run(ctx, visudo, "-c", "-f", file); err != nil {
		return err
	}
	meaning, err := a.run(ctx, cvtsudoers, "-c", "/dev/null", "-f", "json", file)
	if err != nil {
		return err
	}
	return entitlement.CheckMeaning(holders, meaning)
}

func (a *Applier) sudoFile(uid int) string {
	if a.sudoers != "" {
		return filepath.Join(a.sudoers, filepath.Base(sudoersPath(uid)))
	}
	return sudoersPath(uid)
}

func (a *Applier) checkFile() string { return filepath.Join(filepath.Dir(a.Register), checkName) }

// putSudo installs rules that were checked, and takes them back if the whole
// is not valid with them.
func (a *Applier) putSudo(ctx context.Context, rules []sudoRule) {
	if len(rules) == 0 || !a.wholeIsValid(ctx, rules) {
		return
	}
	errs := a.each(len(rules), func(i int) { a.begin(rules[i].step) }, func(i int) error {
		opt := atomicfile.Options{Mode: sudoMode, Owner: &atomicfile.Owner{}}
		_, err := atomicfile.Write(a.sudoFile(rules[i].step.UID), []byte(rules[i].text), opt)
		return err
	})
	var there []sudoRule
	for i, r := range rules {
		if errs[i] != nil {
			r.fail(errs[i])
			continue
		}
		there = append(there, r)
	}
	_, err := a.run(ctx, visudo, "-c")
	if err == nil {
		return
	}
	a.sudoValid = false
	for _, r := range there {
		_, undo := atomicfile.Remove(a.sudoFile(r.step.UID))
		r.fail(errors.Join(fmt.Errorf("the sudo rule was taken back: %w", err), undo))
	}
	if half := len(there) / 2; half > 0 {
		for _, r := range there {
			r.fail(nil)
		}
		a.putSudo(ctx, there[:half])
		a.putSudo(ctx, there[half:])
	}
}

// sweepSudo removes what a killed run left.
func (a *Applier) sweepSudo() error {
	err := atomicfile.Sweep(sudoersDir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // no sudo on this host
	}
	if gone := os.Remove(a.checkFile()); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}
