// Package state is a program's folder on disk: one process at a time holds it, which may
// lend it to the next one with its lock, and what is written there is whole or absent,
// also after a loss of power.
//
// It imports proto and the standard library only and may be used by every
// program.
package state
