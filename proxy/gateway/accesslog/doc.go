// Package accesslog writes the lines of an access log: to a file that it rotates, or to
// any other writer. What a line says is the business of the gateway.
//
// Lines enter at the end of calls (Add), which copies them to memory and never waits. One
// goroutine (Run) writes them, a second later at most. The package must never hold up a
// call, fill the memory or fill the disk.
//
// Decisions:
//
//   - While the disk is slower than the calls, lines wait in memory up to a limit. What is
//     more is dropped and counted (Dropped): no call waits, and a gap shows in a metric.
//     So are lines that cannot be written, such as on a full disk.
//   - There is no fsync. A loss of power costs the last seconds, a killed process the last
//     one.
//   - The file is rotated by size: NAME becomes NAME.1, and the oldest is removed. If that
//     fails, nothing is written, so that the disk stays bounded.
//   - If something else renames or removes the file, as logrotate does, a new one is begun
//     within a second. No signal is needed. A file that is truncated is appended to.
//   - A line is written whole or not at all: what a full disk has cut is taken back.
package accesslog
