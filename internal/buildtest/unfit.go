package buildtest

import (
	"debug/elf"
	"fmt"
	"os"
)

// maxReleased is how many bytes a program may have that lies on every server.
const maxReleased = 20_000_000

// Unfit says what keeps a program for Linux from running on any host: that it needs a
// library there, or is larger than it has to be.
func Unfit(path string) (complaints []string) {
	info, err := os.Stat(path)
	if err != nil {
		return []string{err.Error()}
	}
	if info.Size() >= maxReleased {
		complaints = append(complaints, fmt.Sprintf("%s has %d bytes, %d are the limit", path, info.Size(), maxReleased))
	}
	f, err := elf.Open(path)
	if err != nil {
		return append(complaints, err.Error())
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			complaints = append(complaints, fmt.Sprintf("%s is not static: it has %v", path, p.Type))
		}
	}
	if f.Section(".symtab") != nil {
		complaints = append(complaints, path+" is not stripped")
	}
	return complaints
}
