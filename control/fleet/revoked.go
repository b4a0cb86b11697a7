package fleet

import (
	"strconv"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/store"
)

// revoked is what a project's servers must refuse.
type revoked struct {
	keys    []string
	serials map[string][]string // by server: a certificate is worthless on any other
}

func newRevoked(f store.Revocations) revoked {
	v := revoked{keys: f.Keys, serials: map[string][]string{}}
	for _, r := range f.Serials {
		v.serials[r.Server] = append(v.serials[r.Server], strconv.FormatUint(r.Serial, 10))
	}
	return v
}

// of is what one server is told.
func (v revoked) of(server string) api.Revocations {
	return api.Revocations{Keys: v.keys, Serials: v.serials[server]}
}
