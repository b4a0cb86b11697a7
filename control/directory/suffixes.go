package directory

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cardea-ssh/cardea/internal/ident"
)

// MaxSuffixes bounds the domains of a project.
const MaxSuffixes = 16

// privateDomains are the domains of one label that networks use within and nobody can
// register. Of all others a single label would be everybody's: with "com" a server could
// be called github.com.
const privateDomains = " internal intranet private corp home lan local test "

// checkSuffixes gives the suffixes as they are kept: without a dot before them, each once.
func checkSuffixes(suffixes []string) ([]string, error) {
	if len(suffixes) > MaxSuffixes {
		return nil, fmt.Errorf("%d name suffixes, a project has at most %d", len(suffixes), MaxSuffixes)
	}
	out := make([]string, 0, len(suffixes))
	for _, s := range suffixes {
		s = strings.TrimPrefix(s, ".")
		// What is below it must be a name of a server.
		if err := ident.ServerName("a." + s); err != nil {
			return nil, fmt.Errorf("%q is no domain, such as prod.example.com", s[:min(len(s), ident.MaxServerName)])
		}
		if !strings.Contains(s, ".") && !strings.Contains(privateDomains, " "+s+" ") {
			return nil, fmt.Errorf("%s is a whole top-level domain; give one of yours below it, such as example.%s", s, s)
		}
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out, nil
}
