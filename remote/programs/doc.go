// Package programs turns packages into programs: it unpacks, checks and completes
// the source by funcfw, has it compiled by build, and keeps what came of it.
//
// Data enters as a function whose package is stored, and leaves as the folder of a
// version, which holds the unpacked source and the program. Programs that other
// agents have built enter and leave as bytes with a digest.
//
// A program is built once: callers who want the same one at the same time share a
// build (builds.go), and the store, which programs of versions are linked to, has it
// for later callers. The key of a program says all that entered its build.
//
// The package starts no function and knows none by name.
package programs
