// The command proxyCli deploys functions and asks about them; see package cli.
package main

import (
	"os"

	"github.com/Ishan27g/ryo-faas/cli"
)

func main() { os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
