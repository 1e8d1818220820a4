// Package cli is proxyCli: the verbs of transport.Interface for people and
// their scripts. Main is the whole program; cmd/proxyCli only calls it.
//
// A deploy enters as a definition file (definition.go) or as flags (deploy.go) with
// the settings that it keeps of the version that serves (keep.go); keys and flags
// follow from proto's list of settings (settings.go). It is checked here with the
// check that the agent makes (check.go), so that a wrong signature is said before
// anything is sent, and leaves through transport.Client, which packs and uploads the
// folder. Answers leave on stdout, as lines or as JSON (print.go), and nothing else
// does: errors, hints and progress (progress.go) go to stderr. What a terminal shows
// fits it (screen.go). What a call came to is one of the exit codes of exit.go. The
// command dev asks nobody; what it does is package dev's.
//
// The package must never decide what a server decides, change a file, or wait
// for input on a terminal that it did not announce.
//
// Decisions: flags are documented with one dash, as Go programs do, and cobra
// knows two dashes only, so arguments are rewritten before cobra sees them
// (args.go), by a walk that also finds every unknown flag and command and can
// thus name the nearest known one. To follow a log outlives the connection: the
// time of an agent's last line says where to go on (log.go). The sections of a
// definition file run in the order in which they stand in the file.
package cli
