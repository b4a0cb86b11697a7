// Command cardea opens your servers to you: it signs in, keeps ssh configured,
// and connects.
package main

import (
	"os"

	"github.com/cardea-ssh/cardea/cmd/cardea/cli"
)

func main() { os.Exit(int(cli.Main(os.Args[1:]))) }
