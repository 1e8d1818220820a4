package store

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// WithAckWait returns a Config for engines that hand messages out again sooner.
func (c Config) WithAckWait(d time.Duration) Config {
	c.ackWait = d
	return c
}

// WithRoom returns a Config for engines that do not look at the disk for its room.
func (c Config) WithRoom(room func() error) Config {
	c.room = room
	return c
}

// Sweep removes pieces of no blob that are older than an age.
func (e *Engine) Sweep(ctx context.Context, age time.Duration) error {
	s, err := e.session(ctx)
	if err != nil {
		return err
	}
	return s.sweep(ctx, age)
}

// Pieces counts the pieces of all blobs.
func (e *Engine) Pieces(ctx context.Context) (uint64, error) {
	s, err := e.session(ctx)
	if err != nil {
		return 0, err
	}
	info, err := s.blobs.Info(ctx)
	if err != nil {
		return 0, err
	}
	return info.State.Msgs, nil
}

// The parsers of what others may have written.
var (
	Encode = encode
	Decode = decode
)

// ReadExport returns how many records an export has.
func ReadExport(r io.Reader) (int, error) {
	records, err := readExport(r)
	return len(records), err
}

// Empty removes all that an engine elsewhere has, but the epoch.
func Empty(ctx context.Context, cfg Config) error {
	conn, err := cfg.Cluster.connect(new(links), hclog.NewNullLogger())
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	for _, k := range kept {
		if k.kind == meta {
			continue
		}
		if err := purge(ctx, js, "KV_"+bucket(k.kind)); err != nil {
			return err
		}
	}
	// Ids of messages outlive their purge.
	if err = js.DeleteStream(ctx, queueStream); errors.Is(err, jetstream.ErrStreamNotFound) {
		err = nil
	}
	if err := errors.Join(err, purge(ctx, js, blobsStream)); err != nil {
		return err
	}
	for {
		_, err = js.CreateStream(ctx, queueConfig(replicas, cfg.Backlog))
		if code(err) != codeNoPeers || !again(ctx, firstPause/10) { // they have not yet noticed what was removed
			return err
		}
	}
}

func purge(ctx context.Context, js jetstream.JetStream, name string) error {
	stream, err := js.Stream(ctx, name)
	if err == nil && stream.CachedInfo().State.Msgs > 0 {
		err = stream.Purge(ctx)
	}
	return err
}

// Node returns the name of the node that an engine is asked through.
func (e *Engine) Node(ctx context.Context) string {
	s, err := e.session(ctx)
	if err != nil {
		return ""
	}
	return s.conn.ConnectedServerName()
}

// Leader returns the name of the node that leads a kind's records, "" while there is none.
func (e *Engine) Leader(ctx context.Context, kind Kind) string {
	s, err := e.session(ctx)
	if err != nil {
		return ""
	}
	stream, err := s.js.Stream(ctx, "KV_"+bucket(kind))
	if err != nil || stream.CachedInfo().Cluster == nil {
		return ""
	}
	return stream.CachedInfo().Cluster.Leader
}

// Has reports whether the node that is asked has a blob: the others may have it first.
func (e *Engine) Has(ctx context.Context, name string) bool {
	s, err := e.session(ctx)
	if err != nil {
		return false
	}
	records := registry{kind: blobNames}
	_, err = s.replica(ctx, records.stream(), getRequest{Last: records.subject(name)})
	if err == nil {
		_, err = s.replica(ctx, blobsStream, getRequest{Next: piecePrefix + "*", Sequence: 1})
	}
	return err == nil
}

// Distant returns the records of an engine elsewhere that a test plays itself, at the other end
// of a connection.
func Distant(conn *nats.Conn) (func(Kind) Registry, error) {
	s := newSession(hclog.NewNullLogger())
	s.many, s.place, s.conn = true, "the engine of a test", conn
	for _, k := range kept {
		s.buckets[k.kind] = struct{ jetstream.KeyValue }{}
	}
	var err error
	s.js, err = jetstream.New(conn)
	return func(kind Kind) Registry { return registry{kind: kind, session: s.itself} }, err
}
