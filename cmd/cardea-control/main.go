// Command cardea-control is the control plane: it knows who may go where, and
// signs for it.
package main

import "os"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }
