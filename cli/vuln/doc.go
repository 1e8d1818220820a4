// Package vuln finds the known faults that a function's program can reach, and how.
//
// It lays out what an agent would build, generated main included, in a folder of its
// own, builds it, and runs govulncheck on it. Govulncheck and the database of faults
// are not linked: proxyCli stays small, and a newer govulncheck is of use at once. What
// it says comes back as a Report.
//
// The package must never write to the user's folder, nor call a fault absent that it
// could not look for: each doubt is an error.
//
// Decisions:
//   - A fault counts if the linker leaves what is faulty in the program. The linker
//     follows reflection, which kinds of functions are called through; a search in the
//     source does not. That search says by which calls a fault is reached, as far as
//     it finds them. Modules whose faulty code is not in the program are left out: such
//     lists are long, and nobody reads the second one.
//   - Faults of the standard library are told apart. The agent's Go decides them, not
//     the user's source.
//   - Without another choice the database is the Go project's own. Where that cannot be
//     reached it is fetched as a module, from where the user's modules come from, and
//     the report says of which day it is.
package vuln
