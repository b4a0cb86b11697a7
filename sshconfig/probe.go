package sshconfig

import (
	"context"
	"os/exec"
	"strings"
)

// SafeLogin asks an ssh whether it refuses a login with shell characters, as OpenSSH does
// since 9.6 and the versions of distributions do that were repaired (CVE-2023-51385). Only
// then may such a login reach a ProxyCommand. It takes a few milliseconds; an ssh that does
// not answer is not safe.
func SafeLogin(ctx context.Context, ssh string) bool {
	out, err := exec.CommandContext(ctx, ssh, "-F", "none", "-G", "-l", "a'b", "localhost").CombinedOutput()
	return err != nil && strings.Contains(string(out), "invalid characters")
}
