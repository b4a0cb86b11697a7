// Package offer says which words a Tab offers: names of servers, and labels to select them by.
// It is pure: servers and what was typed in, words out.
package offer

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/cardea-ssh/cardea/api"
	"github.com/cardea-ssh/cardea/internal/ident"
)

// Names are the shortest names that mean one server each, in the order of the servers.
func Names(servers []api.CatalogEntry) []string {
	const several = -1
	owner := make(map[string]int, len(servers))
	own := func(name string, i int) {
		if other, taken := owner[name]; taken && other != i {
			i = several
		}
		owner[name] = i
	}
	for i := range servers {
		own(servers[i].Name, i)
		for _, n := range servers[i].AltNames {
			own(n, i)
		}
	}
	names := make([]string, len(servers))
	for i := range servers {
		if names[i] = servers[i].Name; owner[names[i]] == several {
			names[i] = servers[i].ProjectName + "/" + servers[i].Name
		}
	}
	return names
}

// Dotted is a name without a slash: name.project for project/name. A file can be called so,
// and ssh takes it.
func Dotted(name string) string {
	if project, server, two := strings.Cut(name, "/"); two {
		return server + "." + project
	}
	return name
}

// Beginning are those of sorted words that begin with what was typed: most of them at the
// most. The last one is always among them, so that a shell that writes what all have in common
// writes no more than that.
func Beginning(sorted []string, typed string, most int) []string {
	from, _ := slices.BinarySearch(sorted, typed)
	to, _ := slices.BinarySearchFunc(sorted[from:], typed, func(word, typed string) int {
		if strings.HasPrefix(word, typed) {
			return -1
		}
		return cmp.Compare(word, typed)
	})
	fit := sorted[from : from+to]
	if most < 1 || len(fit) <= most {
		return fit
	}
	return append(slices.Clone(fit[:most-1]), fit[len(fit)-1])
}

// Projects are the names of the servers' projects that begin with what was typed, in order.
func Projects(servers []api.CatalogEntry, typed string, most int) []string {
	names := map[string]bool{}
	for i := range servers {
		if ident.ProjectName(servers[i].ProjectName) == nil { // what a shell prints is read by a terminal
			names[servers[i].ProjectName] = true
		}
	}
	return Beginning(slices.Sorted(maps.Keys(names)), typed, most)
}

// Selectors go on with a selector of labels: with keys, and once one is typed with its values.
// What stands before the last comma is kept, and a key that has its value there is not offered
// again. Labels that break their grammar are left out: what a shell prints is read by a terminal.
func Selectors(servers []api.CatalogEntry, typed string, most int) []string {
	before, last := typed[:strings.LastIndexByte(typed, ',')+1], typed[strings.LastIndexByte(typed, ',')+1:]
	key, _, values := strings.Cut(last, "=")
	has := valued(before)
	offered := map[string]bool{}
	for i := range servers {
		for k, v := range servers[i].Labels {
			word := k + "="
			if values {
				word = key + "=" + v
			}
			if values && k != strings.TrimSuffix(key, "!") || !values && has[k] || offered[word] || !strings.HasPrefix(word, last) || !plain(k, v) {
				continue
			}
			offered[word] = true
		}
	}
	words := Beginning(slices.Sorted(maps.Keys(offered)), last, most)
	for i := range words {
		words[i] = before + words[i]
	}
	return words
}

// valued are the keys of which a selector names the one value that fits. Of those with != it
// may name more.
func valued(selector string) map[string]bool {
	keys := map[string]bool{}
	for term := range strings.SplitSeq(selector, ",") {
		if key, _, is := strings.Cut(term, "="); is && !strings.HasSuffix(key, "!") {
			keys[key] = true
		}
	}
	return keys
}

// plain reports whether key and value are as they have to be.
func plain(key, value string) bool {
	check := ident.LabelKey
	if strings.HasPrefix(key, ident.HostLabelPrefix) {
		check = ident.HostLabelKey
	}
	return check(key) == nil && ident.LabelValue(value) == nil
}
