package store

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// mib is a mebibyte, in bytes.
const mib = 1 << 20

// keeping is how the records of a kind are kept.
type keeping struct {
	kind Kind
	room int64         // bytes, at most
	age  time.Duration // after which a record goes; 0: never
	// oldestFirst says that where there is no room the oldest record goes. Otherwise a
	// change that needs room is refused.
	oldestFirst bool
}

// kept is all kinds. The limits are far above what a fleet of 1,000 functions needs, so
// that only a fault meets them, and low enough that such a fault fills no disk.
var kept = []keeping{
	{kind: Functions, room: 128 * mib},
	{kind: Versions, room: 512 * mib},
	{kind: Rollouts, room: 64 * mib},
	{kind: Agents, room: 32 * mib},
	{kind: Calls, room: 512 * mib, age: 24 * time.Hour},
	{kind: Dead, room: 512 * mib, age: 7 * 24 * time.Hour},
	{kind: Schedules, room: 64 * mib},
	{kind: Audit, room: 64 * mib, oldestFirst: true},
	{kind: Loads, room: 16 * mib, age: time.Minute, oldestFirst: true},
	{kind: Settings, room: 32 * mib},
	{kind: blobNames, room: 128 * mib},
	{kind: meta, room: 4 * mib},
	{kind: leases, room: 4 * mib, age: leaseLimit},
}

// The kinds that the store has for itself.
const (
	blobNames Kind = "blobs"
	meta      Kind = "meta"
	leases    Kind = "leases"
)

const (
	blobRoom  = 8 << 30 // bytes of all blobs: packages, and the bodies of calls
	queueRoom = 2 << 30 // bytes of all messages that wait
	// remembered is how long the ids of messages are known. Longer costs memory.
	remembered = 10 * time.Minute
	// tombstone is how long a deleted record is told to those who watch.
	tombstone = time.Minute
)

// room is what all of it may have, in bytes.
func room() int64 {
	sum := int64(blobRoom + queueRoom)
	for _, k := range kept {
		sum += k.room
	}
	return sum
}

// bucket is the name of a kind's bucket.
func bucket(kind Kind) string { return "ryo_" + string(kind) }

// config is the stream of a bucket. It is made here and not by the client's library, which
// refuses changes in each bucket that is full.
func (k keeping) config(replicas int) jetstream.StreamConfig {
	discard := jetstream.DiscardNew
	if k.oldestFirst {
		discard = jetstream.DiscardOld
	}
	name := bucket(k.kind)
	return jetstream.StreamConfig{
		Name: "KV_" + name, Subjects: []string{"$KV." + name + ".>"}, Storage: jetstream.FileStorage, Replicas: replicas,
		MaxMsgsPerSubject: 1, MaxBytes: k.room, MaxAge: k.age, MaxMsgSize: MaxValue + maxKey + 4096, MaxConsumers: -1,
		Discard: discard, AllowRollup: true, DenyDelete: true, AllowDirect: true, AllowMsgTTL: true,
		// Of records, changes are told apart by revisions.
		Duplicates: duplicates(k.age),
	}
}

// duplicates is the shortest time for which ids are remembered where nobody gives any.
func duplicates(age time.Duration) time.Duration {
	if age > 0 {
		return min(age, time.Second)
	}
	return time.Second
}

// The streams that are no buckets, and the beginnings of their subjects.
const (
	queueStream   = "RYO_QUEUE"
	waitingPrefix = "ryo.queue."
	laterPrefix   = "ryo.later."
	blobsStream   = "RYO_BLOBS"
	piecePrefix   = "ryo.piece."
)

func blobsConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: blobsStream, Subjects: []string{piecePrefix + "*"}, Storage: jetstream.FileStorage, Replicas: replicas,
		MaxBytes: blobRoom, MaxMsgSize: piece + 4096, Discard: jetstream.DiscardNew, AllowDirect: true, Duplicates: time.Second,
	}
}

func queueConfig(replicas, backlog int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: queueStream, Subjects: []string{waitingPrefix + ">", laterPrefix + ">"},
		Storage: jetstream.FileStorage, Replicas: replicas, Retention: jetstream.WorkQueuePolicy,
		MaxBytes: queueRoom, MaxMsgsPerSubject: int64(backlog), MaxMsgSize: MaxPayload + 4*MaxHeader + 4096,
		Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, AllowDirect: true, AllowAtomicPublish: true, Duplicates: remembered,
	}
}
