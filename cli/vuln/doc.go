// Package vuln finds the known faults that a function's program can reach, and how.
//
// It lays out what an agent would build, generated main included, in a folder of its
// own, builds it, and runs govulncheck on it. Govulncheck and the database of faults
// are not linked: proxyCli stays small, and a newer govulncheck is of use at once. Its
// output comes back as a Report.
//
// The package must never write to the user's folder, nor report a fault as absent that
// it could not look for: each doubt is an error.
//
// Decisions:
//   - A fault counts if its code is in the linked program. The linker follows
//     reflection, through which some kinds of functions are called; a search in the
//     source does not. That search tells by which calls a fault is reached, as far as
//     it finds them. Modules whose faulty code is not in the program are left out: such
//     lists are long, and nobody reads the second one.
//   - Faults of the standard library are told apart. The agent's Go decides them, not
//     the user's source.
//   - By default the database is the Go project's own. If that cannot be reached, it is
//     fetched as a module, from where the user's modules come from, and the report
//     gives its date.
package vuln
