package agent

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cardea-ssh/cardea/api"
)

// compactMark begins an answer that is a catalog as gob, in a line with its age in
// nanoseconds; JSON never begins so. 10,000 servers are read from it in a fifth of the time
// that JSON takes, and that is most of what a person waits for at "cardea ls".
const compactMark = "\x00gob "

// encodeCatalog makes of a catalog what stands behind the line.
func encodeCatalog(cat api.Catalog) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(cat)
	return b.Bytes(), err
}

// compactAnswer is a whole answer.
func compactAnswer(encoded []byte, age time.Duration) []byte {
	out := make([]byte, 0, len(encoded)+64)
	return append(fmt.Appendf(out, "%s%d\n", compactMark, age), encoded...)
}

// decodeAnswer reads an answer in either form: an older agent gives JSON alone.
func decodeAnswer(text []byte) (out answer, err error) {
	rest, compact := bytes.CutPrefix(text, []byte(compactMark))
	if !compact {
		err = json.Unmarshal(text, &out)
		return out, err
	}
	age, encoded, _ := bytes.Cut(rest, []byte("\n"))
	if err := json.Unmarshal(age, &out.Age); err != nil {
		return answer{}, err
	}
	out.Catalog = &api.Catalog{}
	if err := gob.NewDecoder(bytes.NewReader(encoded)).Decode(out.Catalog); err != nil {
		return answer{}, err
	}
	// gob knows no empty lists, and programs that read our JSON expect one.
	if out.Catalog.Servers == nil {
		out.Catalog.Servers = []api.CatalogEntry{}
	}
	if out.Catalog.HostCAs == nil {
		out.Catalog.HostCAs = []string{}
	}
	return out, nil
}
