//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "demo: the servers of the demonstration are Linux namespaces; run it on Linux")
	os.Exit(1)
}
