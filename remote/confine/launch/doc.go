// Package launch is the launcher of package confine: a process that is told by an
// Order what to give up, gives it up, and becomes a program by execve.
//
// It is part of the agent, and its source is also embedded in the agent, which
// builds a program of it: one of 2 MB starts in a third of the time that the agent
// takes. So it imports little and nothing from outside the standard library, and
// does as it is told: package confine decides what, and has made the Landlock
// ruleset and the filter of system calls before. It must never run a program
// after anything has failed.
package launch
