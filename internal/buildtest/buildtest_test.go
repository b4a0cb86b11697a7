package buildtest

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWhatIsBuiltIsNotBuiltAgain(t *testing.T) {
	built, dir := t.TempDir(), t.TempDir()
	t.Setenv(BuiltVariable, built)
	for _, name := range []string{"cardea", "buildtest"} {
		if err := os.WriteFile(filepath.Join(built, name), []byte(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := Build(dir, "../../cmd/cardea", "."); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cardea", "buildtest"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != name {
			t.Errorf("%s is %q: %v", name, got, err)
		}
	}
}
