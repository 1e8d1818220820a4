package store

import (
	"context"
	"io"
	"time"
)

// Store is what outlives proxies. Its methods may be called from several goroutines.
// Errors are of proto's kinds: besides those that methods name, ErrUnavailable says that
// nothing can be stored or read now, ErrExhausted that there is no room for it, and
// ErrTooLarge that a value is over a limit. After an ErrTimeout or a canceled context it
// is not known whether a change was made: read again before you decide.
type Store interface {
	// Registry returns the records of a kind.
	Registry(kind Kind) Registry
	// Blobs returns what is too large for a record.
	Blobs() Blobs
	// Queue returns the messages that wait to be handled.
	Queue() Queue
	// Lead waits until this process holds the lease of a name, which no other then
	// holds, and calls lead. The context of lead is done when the lease is lost, or when
	// lead has to end for another reason; the lease is given up when lead returns. Then
	// Lead begins anew, until ctx is done. Terms grow from one holder to the next. A lease
	// alone does not keep two holders from writing: changes are fenced by revisions.
	Lead(ctx context.Context, name string, lead func(ctx context.Context, term uint64)) error
	// Epoch names the store's content: a store that was lost and begun anew has another
	// one. What agents run under another epoch is theirs to tell, not the store's to stop.
	Epoch() string
	// Err says why nothing is stored now; nil: all is well.
	Err() error
}

// Kind is a kind of records.
type Kind string

// The kinds of records.
const (
	Functions Kind = "functions" // what is wished: path → wish
	Versions  Kind = "versions"  // path/number → a version's settings and digests
	Rollouts  Kind = "rollouts"  // path → a change that is under way
	Agents    Kind = "agents"    // id → an agent, as proxies last knew it
	Calls     Kind = "calls"     // id → what became of a call that waits or waited; a day long
	Dead      Kind = "dead"      // path/id → a call that nobody will try again; a week long
	Schedules Kind = "schedules" // path/name → a clock's state
	Audit     Kind = "audit"     // time-ordered id → an entry; the oldest go first
	Loads     Kind = "loads"     // id of a proxy → the calls that are under way there; seconds long
	Settings  Kind = "settings"  // what proxies share: tokens, authority, certificates
)

// Entry is a record.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64    // grows with each change of the registry, and is never 0
	Time     time.Time // of the last change
}

// Registry is the records of a kind. A key is segments separated by "/", each of 1 to 200
// bytes of any kind but "/". A value has up to MaxValue bytes.
//
// A read may be older than another process's last change; so a decision stands only once
// an Update with the revision that it was made on has succeeded.
type Registry interface {
	// Get returns the record of a key, an ErrNotFound where there is none.
	Get(ctx context.Context, key string) (Entry, error)
	// List returns the records whose keys begin with the segments of prefix, in the order
	// of their keys; "" stands for all.
	List(ctx context.Context, prefix string) ([]Entry, error)
	// Create stores a record, and returns its revision. One that is there is an ErrConflict.
	Create(ctx context.Context, key string, value []byte) (uint64, error)
	// Update replaces a record that has a revision. Another revision, or none, is an
	// ErrConflict.
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	// Delete removes a record that has a revision. Another revision is an ErrConflict; no
	// record is not an error.
	Delete(ctx context.Context, key string, revision uint64) error
	// Watch calls changed, from one goroutine, after records below prefix may have
	// changed, and once at the beginning, until ctx is done. It is a hint to look sooner:
	// some changes may go unnoticed for a while. It returns ctx's error.
	Watch(ctx context.Context, prefix string, changed func()) error
}

// The limits of what is stored.
const (
	MaxValue   = 512 << 10 // bytes of a record: a version with settings of all sizes
	MaxPayload = 256 << 10 // bytes of a message; more is a blob's
	MaxHeader  = 32 << 10  // bytes of a message's id, and the names and values of its header
)

// Blob says what a blob is.
type Blob struct {
	Name string
	Size int64
	Time time.Time // when it was stored
}

// Blobs are bytes with a name, which follows the rules of a registry's key.
type Blobs interface {
	// Put stores all of r, or nothing. A blob of that name is replaced.
	Put(ctx context.Context, name string, r io.Reader) (Blob, error)
	// Open returns a blob's bytes, an ErrNotFound where there is none. A reader that ends
	// without an error has returned what was stored. Close it.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// Stat returns what a blob is, an ErrNotFound where there is none.
	Stat(ctx context.Context, name string) (Blob, error)
	// Delete removes a blob, if there is one.
	Delete(ctx context.Context, name string) error
	// List returns the blobs whose names begin with the segments of prefix, ordered by name.
	List(ctx context.Context, prefix string) ([]Blob, error)
}

// Message waits in a queue.
type Message struct {
	// Topic says whom it waits for, in the form of a registry's key. Topics have a
	// limit each, and do not wait for one another.
	Topic string
	// ID names it. A second one with the same id and topic within the ten minutes after
	// the first is not stored. Of those that were handled, ids are forgotten when the
	// store is opened anew. "": it has no name.
	ID     string
	Header map[string]string
	Data   []byte // up to MaxPayload
	// NotBefore is when it is handed out at the earliest. Zero: at once. Delays are exact
	// to two seconds.
	NotBefore time.Time

	// Sequence names it within its topic while it waits; set by the queue. Waiting for
	// its next attempt it has none, and afterwards another one.
	Sequence uint64
	// Time is when it was stored; set by the queue.
	Time time.Time
}

// Receipt says that a message is stored.
type Receipt struct {
	Sequence  uint64 // 0: the message waits for its time, and has none yet
	Duplicate bool   // it was there already: Sequence is that of the first
}

// Verdict is what becomes of a message that was handled.
type Verdict struct {
	// Again says that it is to be handled again, After that time. Meanwhile it takes no
	// place of its topic.
	Again bool
	After time.Duration
}

// Queue keeps messages until they were handled. Each is handled at least once: again
// within a minute if the process that handles it is gone.
type Queue interface {
	// Publish stores a message durably. If the topic has MaxBacklog messages already, or
	// all topics have no room, it is an ErrExhausted.
	Publish(ctx context.Context, m Message) (Receipt, error)
	// Consume hands out the messages of a topic, in the order in which they came, until
	// ctx is done; then it waits for those that are handled. All processes together handle
	// up to limit at the same time; the limit of the last one that began holds. handle is
	// called with the number of the attempt, from 1; the same one may come twice if a process
	// was killed. Its context is done when ctx is.
	Consume(ctx context.Context, topic string, limit int, handle func(ctx context.Context, m Message, attempt int) Verdict) error
	// Get returns a message that waits, or is being handled: an ErrNotFound otherwise.
	Get(ctx context.Context, topic string, sequence uint64) (Message, error)
	// List returns up to limit of a topic's messages, after a sequence.
	List(ctx context.Context, topic string, after uint64, limit int) ([]Message, error)
	// Delete removes a message that waits. One that is being handled is not stopped, and
	// may be handled again if the verdict says so.
	Delete(ctx context.Context, topic string, sequence uint64) error
	// Withdraw removes a message that waits for its time, by its id.
	Withdraw(ctx context.Context, topic, id string) error
	// Pending counts a topic's messages, those that are being handled too, and those
	// that wait for their time not.
	Pending(ctx context.Context, topic string) (int, error)
	// Topics returns the topics below a prefix that have messages.
	Topics(ctx context.Context, prefix string) ([]string, error)
	// Purge removes the messages of a topic, those too that wait for their time, and
	// returns how many there were. Those that are being handled are not stopped; whether
	// they count is not said.
	Purge(ctx context.Context, topic string) (int, error)
}

// MaxBacklog is how many messages of a topic wait at most.
const MaxBacklog = 100_000
