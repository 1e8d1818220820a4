//go:build !race

package testkit

// Race says that this is a program with the race detector.
const Race = false
