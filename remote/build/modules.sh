#!/bin/sh
# Gathers the modules that every program needs, as a module proxy serves them, in
# the folder $1. The go command checks each against framework.sum; one that this
# machine has is not fetched again.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp "$here/../funcfw/framework.mod" "$dir/go.mod"
cp "$here/../funcfw/framework.sum" "$dir/go.sum"
cd "$dir"
known=$(go env GOMODCACHE)/cache/download
GOPROXY=file://$known,$(go env GOPROXY)
export GOPROXY GOMODCACHE="$dir/mod" GOFLAGS=-modcacherw GOWORK=off
go mod download
rm -rf "${out:?}"/*
cd mod/cache/download
find . -name '*.info' -o -name '*.mod' -o -name '*.zip' | while read -r file; do
	mkdir -p "$out/${file%/*}"
	case $file in
	# Module proxies add to it what they like. The version is what the go command reads, and
	# an agent is the same from wherever its modules come.
	*.info) sed 's/.*"Version":"\([^"]*\)".*/{"Version":"\1"}/' "$file" >"$out/$file" ;;
	*) cp "$file" "$out/$file" ;;
	esac
done
