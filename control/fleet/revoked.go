package fleet

import (
	"strconv"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/store"
)

// revocations are a project's, as its servers are told of them.
func revocations(f store.Revocations) api.Revocations {
	v := api.Revocations{Keys: f.Keys}
	for _, r := range f.Serials {
		v.Serials = append(v.Serials, strconv.FormatUint(r.Serial, 10))
	}
	return v
}
