package accounts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/cardea-ssh/cardea/internal/ident"
)

// cleanRounds bounds how often is cleaned until nothing is found any more. Once
// is the rule: what a process of the person's did in between needs another.
const cleanRounds = 5

// clean removes what would act for a locked account: lingering, cron and at
// jobs, sudo's memory of its password. It comes after the end of the processes,
// which could make all that anew, and ends those that came of it meanwhile.
func (a *Applier) clean(ctx context.Context, login string, uid int) error {
	if err := errors.Join(ident.Login(login), checkID(uid)); err != nil {
		return err
	}
	for range cleanRounds {
		if _, err := os.Lstat(lingerDir + "/" + login); err == nil && systemdRuns() {
			a.run(ctx, loginctl, "disable-linger", login) // logind remembers it, too; the file goes below
		}
		removed, err := removeBelongings("/", login, uid)
		if err != nil {
			return err
		}
		again, err := busy("/", map[int]bool{uid: true})
		if err != nil {
			return err
		}
		if removed == 0 && !again[uid] {
			return nil
		}
		if err := a.endProcesses(ctx, login, uid); err != nil {
			return err
		}
	}
	return fmt.Errorf("jobs of %s come back again and again", login)
}

// lingerDir is where logind keeps who may run services without a session.
const lingerDir = "/var/lib/systemd/linger"

// systemdRuns is sd_booted(3).
func systemdRuns() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.Mode()&fs.ModeSymlink == 0 && info.IsDir()
}

// lookAfter tells of those who were cleaned up after what stays.
func (r *Result) lookAfter(root string) {
	people := map[int]string{}
	for _, s := range r.Done {
		if s.Op == OpClean || s.Op == OpRun && s.Argv[0] == userdel {
			people[s.UID] = s.Login
		}
	}
	if len(people) == 0 {
		return
	}
	left := findLeftovers(root, people)
	all, err := readProcesses(root)
	if err != nil {
		r.Problems = append(r.Problems, ident.Text(err.Error()))
	}
	for _, uid := range slices.Sorted(maps.Keys(people)) {
		login := people[uid]
		for _, p := range setIDProblems(login, left[uid]) {
			if !slices.Contains(r.Problems, p) {
				r.Problems = append(r.Problems, p)
			}
		}
		if text := leftBehind(root, login, left[uid], strays(root, all, uid)); text != "" {
			if before := r.left()[login]; before != "" {
				text = before + "; " + text
			}
			r.left()[login] = text
		}
	}
}
