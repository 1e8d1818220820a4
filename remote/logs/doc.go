// Package logs keeps what functions print, line by line: over crashes, redeploys
// and restarts of the agent, within bounds of size and age, until a function is
// removed.
//
// Data enters as raw files. Each process appends to two of its own, one a stream,
// which it is started with; nothing lies between it and the disk. The Store reads
// them as they grow (ingest.go), cuts them into lines, and appends those to the
// function's journal (journal.go), from which Lines, Tail and Last answer:
//
//	raw/<function>.<version>.<pid>.<id>.<1|2>   what a process printed, until it is read
//	lines/<path>/<time>                         the journal: segments of blocks of lines
//
// The package must never hold up a process, never start or signal one, and never
// keep a line in memory that is on the disk.
//
// Decisions:
//
//   - With a pipe a function would fail or block when its reader does. With a file it
//     does neither; what was read is punched out of it, so that it takes no room. On
//     ext4 a file has at most 16 TiB; what that process prints later is lost. While no
//     agent runs, the holder of package process punches out what is too much.
//   - Each block of the journal also says how far its raw file was read, in one
//     checksummed write: lines and position cannot disagree. When an agent is killed,
//     the next one goes on behind the last whole block, and no line is lost or
//     doubled. There is no fsync: a loss of power may cost the last seconds.
//   - The numbers of lines have no gaps and their times rise strictly, so that a query
//     knows what it has missed. Times are those of reading, some 10 ms after printing.
//   - Between the two streams of a process lines are in the order in which the kernel
//     tells of writes (order.go): 20 runs of 200 lines that alternate without a pause
//     came out exactly. It does not tell how many writes follow each other in one
//     stream, nor of writes before the first reading or past its queue; after the next
//     pause the order is right again.
//   - The kernel tells whether a raw file may still be written to: it grants a lease
//     for reading on files that no process has open for writing. So this package need
//     not be told when processes exit, not even those that an earlier agent started.
//   - A flood is read at a bounded rate. When more than a journal's size waits, what
//     could not be kept anyway is skipped unread: its bytes are counted, its lines
//     estimated from those that are read.
//   - A follower reads the journal as every query does, and the journal only wakes it.
//     There is no queue: a slow follower finds segments removed, and is told how many
//     lines they had.
//   - When the disk is full, raw files are freed up to where they were read, and the
//     lines are written again. If that fails, they are lost and counted; what the
//     process could not write is lost and not known.
//   - Nothing is open and no goroutine runs for a function that prints nothing: one
//     inotify watch covers all raw files. Run fails on systems other than Linux.
package logs
