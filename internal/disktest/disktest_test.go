package disktest

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAForgetfulFolderIsOnesOwnAndGoesWithTheTest(t *testing.T) {
	var dirs []string
	t.Run("a test", func(t *testing.T) {
		dirs = append(dirs, Forgetful(t), Forgetful(t))
		if dirs[0] == dirs[1] {
			t.Errorf("two of %s", dirs[0])
		}
		for _, dir := range dirs {
			if err := os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600); err != nil {
				t.Error(err)
			}
		}
	})
	for _, dir := range dirs {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", dir, err)
		}
	}
}
