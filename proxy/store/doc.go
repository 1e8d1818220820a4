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
package store
