package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// everywhere is where a release is for. Agent and proxy are for Linux alone.
const everywhere = "linux/amd64,linux/arm64,darwin/amd64,darwin/arm64,windows/amd64,windows/arm64"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	set := flag.NewFlagSet("release", flag.ContinueOnError)
	set.SetOutput(stderr)
	out := set.String("out", "bin/release", "`folder` of what is made; what it had is removed")
	tags := set.String("tags", "", "build `tags`")
	nfpm := set.String("nfpm", "", "`program` that makes packages for deb and rpm; without it there are none")
	platforms := set.String("platforms", everywhere, "`list` of systems and processors")
	if err := set.Parse(args); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := release(ctx, stdout, *out, *tags, *nfpm, strings.Split(*platforms, ",")); err != nil {
		fmt.Fprintln(stderr, "release:", err)
		return 1
	}
	return 0
}
