package e2e

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
)

// jobToken is: job-token FILE CLAIM=VALUE...
func jobToken(c *call, args []string) (int, error) {
	if len(args) < 2 || c.platform == nil {
		return 0, errUsage
	}
	c.platform.Claims(func(claims map[string]any) {
		delete(claims, "nonce")
		claims["jti"] = rand.Text()
		for _, word := range args[1:] {
			name, value, _ := strings.Cut(word, "=")
			claims[name] = value
		}
	})
	file := args[0]
	if !filepath.IsAbs(file) {
		file = filepath.Join(c.dir, file)
	}
	return 0, os.WriteFile(file, []byte(c.platform.Token("")+"\n"), 0o600)
}
