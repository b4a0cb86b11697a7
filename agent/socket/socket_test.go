package socket

import (
	"regexp"
	"strings"
	"testing"
)

func TestThePipeOfAFolderIsOfThatAlone(t *testing.T) {
	const folder = `C:\Users\Ali Ce\AppData\Local\cardea\run`
	ssh, control := pipePath(folder, "agent.sock"), pipePath(folder, "control.sock")
	for path, name := range map[string]string{ssh: "agent", control: "control"} {
		if !regexp.MustCompile(`^\\\\\.\\pipe\\cardea-` + name + `-[0-9a-f]{16}$`).MatchString(path) {
			t.Errorf("the pipe is %q", path)
		}
	}
	if again := pipePath(strings.ToUpper(folder), "agent.sock"); again != ssh {
		t.Errorf("the same folder has %q and %q", ssh, again)
	}
	if other := pipePath(`C:\Users\Bert\AppData\Local\cardea\run`, "agent.sock"); other == ssh {
		t.Errorf("two users have %q", ssh)
	}
}

func TestADescriptorLetsInItsOwnerAlone(t *testing.T) {
	const sid = "S-1-5-21-1-2-3-1001"
	if got, want := ownerOnly(sid), "O:"+sid+"D:P(A;;GA;;;"+sid+")"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
