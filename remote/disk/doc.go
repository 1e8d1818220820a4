// Package disk stores what an agent must keep: what should run.
//
// A function has a record (record.go), which is stored before it is acted on, and a
// folder for each version that is kept. A version (version.go) is a package with its
// settings, numbered from 1 and never changed. Records have the values of secrets
// sealed (secrets.go), to be opened when a process is started. The key lies beside
// them: it protects copies of records and what is logged, but not against a reader of
// the whole folder.
//
// The package knows files alone: it starts nothing, and does not decide what should
// run.
package disk
