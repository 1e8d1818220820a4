// Package disk is what an agent must not lose: what should run, on its disk.
//
// A function has a record (record.go), which is stored before it is acted on, and a
// folder for each version that is kept. A version (version.go) is a package with its
// settings, numbered from 1 and never changed. Values of secrets lie in records
// sealed (secrets.go) and are opened when a process is started. The key beside them
// keeps nobody out who can read the whole folder; it keeps secrets out of copies of
// records, and out of what is said.
//
// The package knows files alone: it starts nothing, and what a record means for what
// runs is its caller's business.
package disk
