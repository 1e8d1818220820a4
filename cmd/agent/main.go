// Command agent builds and runs Go functions on the machine where it is started.
package main

import (
	"os"

	"github.com/Ishan27g/ryo-faas/remote"
)

func main() { os.Exit(remote.Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
