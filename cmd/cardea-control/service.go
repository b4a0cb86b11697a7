package main

import (
	"cmp"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// startVerb is what starts this program as a service where a package brought both, and
// "" elsewhere. root is "/" outside tests.
func startVerb(root, program string) string {
	if program != "/usr/bin/cardea-control" {
		return ""
	}
	for file, verb := range map[string]string{
		"usr/lib/systemd/system/cardea-control.service": "systemctl enable --now cardea-control",
		"etc/init.d/cardea-control":                     "rc-update add cardea-control && rc-service cardea-control start",
	} {
		if _, err := os.Stat(filepath.Join(root, file)); err == nil {
			return verb
		}
	}
	return ""
}

// mayMake refuses root the folder of somebody else: the service runs as that user, and
// could not write the files that root makes there.
func mayMake(verb string, files ...string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, file := range files {
		dir := filepath.Dir(file)
		info, err := os.Stat(dir)
		if err != nil {
			continue // what is not there yet will be root's own
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok || stat.Uid == 0 {
			continue
		}
		owner := strconv.Itoa(int(stat.Uid))
		if u, err := user.LookupId(owner); err == nil {
			owner = cmp.Or(u.Username, owner)
		}
		return fmt.Errorf("%s is the folder of %s, who could not write what root makes there; type: runuser -u %s -- cardea-control %s", dir, owner, owner, verb)
	}
	return nil
}
