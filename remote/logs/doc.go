// Package logs keeps what functions print, line by line: over crashes, redeploys
// and restarts of the agent, within bounds of size and age, until a function is
// removed.
//
// Data enters as raw files. Each process appends to two of its own, one a stream,
// which it is started with; nothing lies between it and the disk. The Store reads
// them as they grow (ingest.go), cuts them into lines, and appends those to the
// function's journal (journal.go), from which Lines, Tail and Last answer:
//
//	raw/<function>.<version>.<pid>.<id>.<1|2>   what a process printed and is not yet read
//	lines/<path>/<time>                         the journal: segments of blocks of lines
//
// The package must never hold up a process, never start or signal one, and never
// keep a line in memory that is on the disk.
//
// Decisions:
//
//   - A pipe would end or block a function with its reader. A file does neither;
//     what was read is punched out of it, so that it takes no room. On ext4 a file
//     ends at 16 TiB, after which that process prints into the void. While no agent
//     runs, the holder of package process punches out what is too much.
//   - The journal says with each block how far its raw file had been read, in one
//     checksummed write: lines and position cannot disagree. Killed at any moment,
//     the next agent goes on behind the last whole block, and no line is lost or
//     doubled. There is no fsync: a loss of power may cost the last seconds.
//   - Lines have no gaps in their numbers and strictly rising times: a query can
//     tell what was lost to it. Times are those of reading, some 10 ms after
//     printing.
//   - Between the two streams of a process lines are in the order in which the kernel
//     tells of writes (order.go): 20 runs of 200 lines that alternate without a pause
//     came out exactly. It does not tell how many writes follow each other in one
//     stream, nor of writes before the first reading or past its queue; what it
//     leaves open is put right again with the first pause.
//   - Whether a raw file is still written to, the kernel tells: it grants a lease
//     for reading on files that nobody has open for writing. So this package needs
//     no word of processes that end, also of those that an earlier agent started.
//   - A flood is read at a bounded rate. What could not be kept anyway, because more
//     than a journal's size waits behind it, is skipped unread: its bytes are
//     counted, its lines estimated from those that are read.
//   - A follower reads the journal like everybody else and is only woken by it. There
//     is no queue: one that is too slow finds that segments are gone, and is told
//     how many lines they had.
//   - When the disk is full, what was read gives its room to what it became. If that
//     is not enough the lines are dropped and counted, and what the process could
//     not write is lost without being known.
//   - Nothing is open and no goroutine runs for a function that prints nothing: one
//     inotify watch covers all raw files. On other systems than Linux Run is not had.
package logs
