#!/bin/sh
# Brings what funcfw embeds up to date: framework.mod is tidied as the go.mod of
# the runtime half, framework.graph says what the modules in it require, and
# framework.sum gets the checksums of all of these. std.txt lists the import paths
# of the standard library.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp -r boot serve "$dir"
rm -f "$dir"/*/*_test.go
cp framework.mod "$dir/go.mod"
(cd "$dir" && GOFLAGS= GOWORK=off go mod tidy)
cp "$dir/go.mod" framework.mod
(
	cd "$dir"
	export GOFLAGS= GOWORK=off
	modules=$(awk '/^\t/ {print $1 "@" $2} /^require [^(]/ {print $2 "@" $3}' go.mod)
	go mod graph | grep -v ' \(go\|toolchain\)@' | while read -r from to; do
		if echo "$modules" | grep -qxF "$from"; then echo "$from $to"; fi
	done >graph
	{
		cat go.sum
		go mod download -json $(cut -d' ' -f2 graph | sort -u) | awk -F'"' '
			$2 == "Path" {path = $4} $2 == "Version" {version = $4}
			$2 == "Sum" {print path, version, $4} $2 == "GoModSum" {print path, version "/go.mod", $4}'
	} | sort -u >sum
)
cp "$dir/graph" framework.graph
cp "$dir/sum" framework.sum
CGO_ENABLED=1 go list std | grep -Ev '(^|/)(internal|vendor)(/|$)' > std.txt
