package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	// movedFile says where a store is that was in a folder.
	movedFile = "moved.json"
	// compareLimit is how long nodes may take to get what one of them was given.
	compareLimit = time.Minute
)

// Moved is what Migrate has moved of a kind.
type Moved struct {
	What     string
	Messages uint64 // records, pieces of blobs, and what says for a while that one was removed
}

// moved is the content of movedFile.
type moved struct {
	To   string    `json:"to"`
	Time time.Time `json:"time"`
}

// staysHere says that a store was moved, and is not to be opened: its calls would be made twice.
func (s *session) staysHere() error {
	var is moved
	if found, err := s.dir.Read(movedFile, &is); !found || err != nil {
		return err
	}
	return proto.Errorf(proto.ErrConflict, "the store in %s was moved to %s on %s", s.dir.Path(), is.To, is.Time.Format(time.DateTime)).
		WithHint("start the proxy with -engine; if that engine is not used, remove " + s.dir.Path(movedFile) + " and go on here")
}

// Migrate moves all that a store in a folder has, which no process has open, to an engine
// elsewhere: records with their revisions, blobs, calls that wait with their numbers, and the
// epoch. Ids of messages are forgotten. An engine that has something is an ErrConflict. All of it is compared before the store in the
// folder is closed for good; after an error it is as it was, and Migrate can be tried again.
func Migrate(ctx context.Context, from, to Config) (list []Moved, err error) {
	return list, with(from, func(source *session) error {
		if err := source.verify(ctx); err != nil {
			return err
		}
		if err := source.mended(); err != nil {
			return err
		}
		target, n, err := New(to).dial(ctx)
		if err != nil {
			return err
		}
		if err := target.vacate(ctx); err != nil {
			return errors.Join(err, target.end())
		}
		list, err = source.moveTo(ctx, target, n, from)
		if err == nil {
			err = source.dir.Write(movedFile, moved{target.place, time.Now().UTC()})
		}
		return errors.Join(err, target.end())
	})
}

// streams are all that a store has, but leases. The one by which a store is known comes last: without it what
// is there is what an interrupted Migrate has left.
func streams(n, backlog int) (list []jetstream.StreamConfig) {
	list = append(list, queueConfig(n, backlog), blobsConfig(n))
	for _, k := range kept {
		if k.kind != meta && k.kind != leases {
			list = append(list, k.config(n))
		}
	}
	i := slices.IndexFunc(kept, func(k keeping) bool { return k.kind == meta })
	return append(list, kept[i].config(n))
}

// vacate removes the streams of an engine that nobody has used, or refuses one that has
// something.
func (s *session) vacate(ctx context.Context) error {
	begun := false
	var has []string
	all := append(streams(1, 0), jetstream.StreamConfig{Name: "KV_" + bucket(leases)})
	for _, cfg := range all {
		is, err := s.js.Stream(ctx, cfg.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		n := is.CachedInfo().State.Msgs
		if kind := what(cfg.Name); kind == string(meta) {
			begun = n > 0
		} else if n > 0 && kind != string(leases) {
			has = append(has, fmt.Sprintf("%d of %s", n, kind))
		}
	}
	if begun && len(has) > 0 {
		return proto.Errorf(proto.ErrConflict, "%s has something already: %s", s.place, strings.Join(has, ", ")).
			WithHint("a store is moved to an engine that nobody has used; proxy engine export and import add records to one that is used")
	}
	for _, cfg := range all {
		if err := s.js.DeleteStream(ctx, cfg.Name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
	}
	return nil
}

// moveTo restores each stream elsewhere from a snapshot, and compares them.
func (s *session) moveTo(ctx context.Context, target *session, n int, cfg Config) (list []Moved, err error) {
	backlog := cfg.Backlog
	if backlog == 0 {
		backlog = MaxBacklog
	}
	for _, cfg := range streams(n, backlog) {
		is, err := s.js.Stream(ctx, cfg.Name)
		if err != nil {
			return nil, err
		}
		if err := s.restoreAt(ctx, target, cfg, is.CachedInfo().State); err != nil {
			return nil, fmt.Errorf("move %s: %w", what(cfg.Name), err)
		}
		if err := s.compareWith(ctx, target, cfg.Name); err != nil {
			return nil, err
		}
		list = append(list, Moved{what(cfg.Name), is.CachedInfo().State.Msgs})
	}
	return list, nil
}

// answer is what the engine says to a request of a snapshot or a restore.
type answer struct {
	Error   *jetstream.APIError `json:"error"`
	Deliver string              `json:"deliver_subject"`
}

// api asks the engine for something that its library does not know.
func (s *session) api(ctx context.Context, subject string, req any) (a answer, err error) {
	data, ok := req.([]byte)
	if !ok {
		if data, err = json.Marshal(req); err != nil {
			return a, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, compareLimit)
	defer cancel()
	m, err := s.conn.RequestWithContext(ctx, subject, data)
	for errors.Is(err, nats.ErrNoResponders) && again(ctx, firstPause) { // nobody leads for a moment, and nobody has got it
		m, err = s.conn.RequestWithContext(ctx, subject, data)
	}
	if err == nil && len(m.Data) > 0 {
		err = json.Unmarshal(m.Data, &a)
	}
	if err == nil && a.Error != nil {
		err = a.Error
	}
	return a, err
}

// restoreAt makes a stream elsewhere of a snapshot of this one. A piece is asked for when the one
// before has arrived there.
func (s *session) restoreAt(ctx context.Context, target *session, cfg jetstream.StreamConfig, state jetstream.StreamState) error {
	pieces, err := s.conn.SubscribeSync(s.conn.NewInbox())
	if err != nil {
		return err
	}
	defer func() { _ = pieces.Unsubscribe() }()
	to, err := target.api(ctx, "$JS.API.STREAM.RESTORE."+cfg.Name, map[string]any{"config": cfg, "state": state})
	if err != nil {
		return err
	}
	if _, err := s.api(ctx, "$JS.API.STREAM.SNAPSHOT."+cfg.Name, map[string]any{"deliver_subject": pieces.Subject, "no_consumers": true, "jsck": true}); err != nil {
		return err
	}
	for {
		limited, cancel := context.WithTimeout(ctx, openLimit)
		m, err := pieces.NextMsgWithContext(limited)
		cancel()
		if err != nil {
			return err
		}
		if status := first(m.Header, "Status"); status != "" && status != "204" {
			return fmt.Errorf("the store says %s %s", status, first(m.Header, "Description"))
		}
		if _, err := target.api(ctx, to.Deliver, m.Data); err != nil {
			return err
		}
		if len(m.Data) == 0 {
			return nil
		}
		if m.Reply != "" {
			if err := m.Respond(nil); err != nil {
				return err
			}
		}
	}
}

// compareWith asserts that a stream elsewhere has each message that this one has. Those that go by
// themselves may have gone.
func (s *session) compareWith(ctx context.Context, target *session, stream string) error {
	ctx, cancel := context.WithTimeout(ctx, compareLimit)
	defer cancel()
	for {
		want, err := s.digests(ctx, stream)
		if err != nil {
			return err
		}
		got, err := target.digests(ctx, stream)
		if silent, _ := silence(err); err != nil && !silent {
			return err
		}
		maps.DeleteFunc(want, func(sequence uint64, sum [16]byte) bool { return got[sequence] == sum })
		if len(want) == 0 {
			return nil
		}
		if !again(ctx, firstPause) { // the nodes may not have it yet
			return proto.Errorf(proto.ErrInternal, "%s lacks %d messages of %s, or has others", target.place, len(want), what(stream))
		}
	}
}

// digests returns those of a stream's messages, by sequence.
func (s *session) digests(ctx context.Context, stream string) (map[uint64][16]byte, error) {
	sums := map[uint64][16]byte{}
	for next := uint64(1); ; {
		page, _, err := s.some(ctx, stream, getRequest{Next: ">", Sequence: next, Batch: batch, MaxBytes: batchBytes})
		if err != nil && !errors.Is(err, errMore) {
			return nil, err
		}
		for _, m := range page {
			var text bytes.Buffer
			fmt.Fprintf(&text, "%d %q %d %q ", m.Sequence, m.Subject, m.Time.UnixNano(), m.Data)
			for _, name := range slices.Sorted(maps.Keys(m.Header)) {
				if !slices.Contains(added, name) {
					fmt.Fprintf(&text, "%q %q ", name, m.Header[name])
				}
			}
			sum := sha256.Sum256(text.Bytes())
			sums[m.Sequence] = [16]byte(sum[:16])
			next = m.Sequence + 1
		}
		if err == nil {
			return sums, nil
		}
	}
}

// added are the headers that the engine adds to a message that it sends.
var added = []string{
	jetstream.StreamHeader, jetstream.SubjectHeader, jetstream.SequenceHeader, jetstream.TimeStampHeaer, "Nats-Num-Pending", "Nats-Last-Sequence",
}
