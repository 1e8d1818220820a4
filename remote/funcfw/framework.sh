#!/bin/sh
# Brings what funcfw embeds up to date: framework.mod is tidied as the go.mod of
# the runtime half, framework.sum gets the checksums of what it requires, and
# std.txt lists the import paths of the standard library.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp -r boot serve "$dir"
rm -f "$dir"/*/*_test.go
cp framework.mod "$dir/go.mod"
(cd "$dir" && GOFLAGS= GOWORK=off go mod tidy)
cp "$dir/go.mod" framework.mod
cp "$dir/go.sum" framework.sum
go list std | grep -Ev '(^|/)(internal|vendor)(/|$)' > std.txt
