// Package store keeps what must outlive a proxy: what is wished, versions and their
// packages, calls that wait, clocks, and what proxies share.
//
// # Decisions
//
// The store keeps facts; what follows from them is found by comparing again, on a timer and
// on any hint, never by events alone. Every change of a record is made on the revision that
// was read, so of two people, or two proxies, one is told. Agents keep their own truth and
// never talk to the store: without it functions go on running and calls go on reaching
// them.
//
// The engine is NATS JetStream in this process: one dependency gives records with revisions,
// what is large, and messages that wait, and a group of servers speaks the same words later.
// etcd takes the same room for records alone; SQLite and bbolt would need a second engine
// for several machines. Nobody else imports it, and no port is open: agents and proxyCli
// do not link it. As it ships it loses data in ways that this package excludes:
//
//   - It syncs the disk every two minutes. Here each change is on the disk before it is
//     acknowledged, a few thousand a second.
//
//   - Two servers on one folder overwrite each other. Here the folder is locked, by the
//     kernel, and the second is told the first one's pid.
//
//   - Without limits it takes most of the memory and the disk. Here each stream has a limit,
//     and what is new is refused there (kinds.go).
//
//   - After a damaged file it starts as if what follows there had never been. Here a file
//     says how far each stream was acknowledged, a second late, and all records are read
//     once after the start. What lacks something is read only, until a person restores an
//     export, or accepts it.
//
//   - When the disk is full a stream freezes, and callers see a timeout. Here what is new is
//     refused before, and a server that could not write is opened anew when there is room.
//
// Values are sealed with a digest of their key and content, so that what comes back is what
// was stored. Keys may have any bytes, and the engine's few: the others are encoded.
//
// Delayed messages, and those that wait for their next attempt, lie in the queue's stream
// under subjects that no consumer reads, and each process stores those whose time has come
// anew. The engine's own delay of a message (NakWithDelay) counts against the limit of its
// topic, and its schedules cannot be in a stream that refuses what is new when it is full.
//
// A blob is a record and pieces, not the engine's object store: that one keeps something of
// each object that was deleted, and a failed write can leave a name without its content.
//
// The leases of an engine of one process are in its memory: nobody else has the folder. A
// term is written once, and an idle proxy writes nothing.
//
// # Several machines
//
// The engine may be elsewhere (Config.Cluster): three nodes, on machines of their own, which several
// proxies use. A node is this program's, too (StartNode), and knows its callers and the
// other nodes by one secret: whoever lacks it does not get past the first bytes of TLS, on
// loopback either. What differs from an engine in this process is decided in ask.go:
//
//   - A change is made once a majority of the nodes has it. While there is no leader, for up
//     to nine seconds, it is tried again; it carries a mark of its own, by which it is told
//     whether an earlier try was made after all. One that has no answer in the end is an
//     ErrUnavailable if it was certainly not made, and an ErrTimeout if that is not known.
//
//   - A machine may be behind, and one that was stopped answers as the leader until it hears
//     of another one. So records are asked of the leader, what this process has written
//     itself is never answered with something older, and what is not there is asked for twice
//     after a loss. Without a leader any machine is asked: the last state can be read.
//
//   - Leases are records that go by themselves after ten seconds. Their holder writes them
//     anew in time, or gives up earlier than another one begins.
//
//   - Nodes sync the disk before they acknowledge. With several machines the engine (2.15) does
//     so for the log that they agree by, with each change, on each of the majority; it syncs
//     the streams themselves only when that log is cut off, which by then they replace. So what
//     was acknowledged is on the disks of a majority. Of other NATS servers it cannot be seen
//     whether they do that, and is said so.
//
// A limit of a topic that is lowered while messages are on their way keeps those from
// being handed out until redelivery: the engine drops them then.
package store
