// Command proxy offers the functions of many agents at one address.
package main

import (
	"os"

	"github.com/Ishan27g/ryo-faas/proxy"
)

func main() { os.Exit(proxy.Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
