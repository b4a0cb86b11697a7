package api

import (
	"testing"

	"github.com/cardea-ssh/cardea/entitlement"
)

func TestAnAccountGetsTheCommandsOfItsListAndOfNoOther(t *testing.T) {
	d := DesiredState{
		SudoLists: [][]entitlement.Command{{entitlement.Parse("/bin/a")}, {entitlement.Parse("/bin/b"), entitlement.Parse("/bin/c")}},
		Accounts:  []Account{{SudoList: 0}, {SudoList: 1}, {SudoList: 2}, {SudoList: 3}, {SudoList: -1}},
	}
	d.ResolveSudo()
	for i, want := range []int{0, 1, 2, 0, 0} {
		if got := len(d.Accounts[i].Sudo); got != want {
			t.Errorf("list %d: %d commands, want %d", d.Accounts[i].SudoList, got, want)
		}
	}
	if d.Accounts[1].Sudo[0].Path != "/bin/a" {
		t.Errorf("got %v", d.Accounts[1].Sudo)
	}
}
