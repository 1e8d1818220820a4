// Package cli is proxyCli: the verbs of transport.Interface for people and
// their scripts. Main is the whole program; cmd/proxyCli only calls it.
//
// A deploy enters as a definition file (definition.go) or as flags (deploy.go) with
// the settings that it keeps of the version that serves (keep.go). Keys and flags
// follow from proto's list of settings (settings.go). The agent's check runs here
// first (check.go), so that users see a wrong signature before anything is sent. Then
// transport.Client packs and uploads the folder. Only answers go to stdout, as lines
// or as JSON (print.go); errors, hints and progress (progress.go) go to stderr. What
// a terminal shows fits its width (screen.go). exit.go has the exit codes. The command
// dev sends no request; package dev does its work, and package vuln that of check -vuln
// and of the setting gate.
//
// The package must never decide what a server decides, change a file, or wait
// for input on a terminal that it did not announce.
//
// Decisions: flags are documented with one dash, as Go programs do, and cobra
// knows two dashes only, so arguments are rewritten before cobra sees them
// (args.go), by a walk that also finds every unknown flag and command and can
// thus name the nearest known one. Following a log outlives the connection: the
// time of an agent's last line says where to go on (log.go). The sections of a
// definition file run in the order of the file.
package cli

//go:generate go test -count=1 -run ^TestTheDocsListTheErrors$ . -write
