package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	// piece is how many bytes of a blob are stored at a time. Each is synced to the disk.
	piece = 256 << 10
	// sweepPause is how often pieces are removed that belong to no blob: those of a process
	// that was killed. They are left alone for as long as a blob may take to be stored.
	sweepPause = time.Hour
)

// blobs is what is too large for a record: a record that says what it is, and pieces with a
// subject of their own. The record is written last, and replaced whole.
type blobs struct{ *Engine }

// blobRecord is what a record says of a blob.
type blobRecord struct {
	ID     string    `json:"id"` // of its pieces
	Size   int64     `json:"size"`
	SHA256 string    `json:"sha256"`
	Time   time.Time `json:"time"`
}

func (r *blobRecord) blob(name string) Blob { return Blob{Name: name, Size: r.Size, Time: r.Time} }

// Blobs implements Store.
func (e *Engine) Blobs() Blobs { return blobs{e} }

func blobFault(name string, err error) error { return fault("blob "+name, err) }

func (b blobs) record(ctx context.Context, name string) (is blobRecord, revision uint64, err error) {
	e, err := b.Registry(blobNames).Get(ctx, name)
	if errors.Is(err, proto.ErrNotFound) {
		return is, 0, proto.Errorf(proto.ErrNotFound, "there is no blob %s", name)
	}
	if err == nil {
		err = json.Unmarshal(e.Value, &is)
	}
	return is, e.Revision, err
}

// Put implements Blobs.
func (b blobs) Put(ctx context.Context, name string, r io.Reader) (Blob, error) {
	if err := CheckKey(name); err != nil {
		return Blob{}, err
	}
	s, err := b.session(ctx)
	if err != nil {
		return Blob{}, err
	}
	if err := s.sound(); err != nil {
		return Blob{}, err
	}
	is, err := s.putPieces(ctx, r)
	if err != nil {
		s.removePieces(ctx, is.ID)
		return Blob{}, blobFault(name, err)
	}
	old, err := b.name(ctx, name, is)
	if err != nil {
		if !errors.Is(err, proto.ErrTimeout) && ctx.Err() == nil { // otherwise the record may be there
			s.removePieces(ctx, is.ID)
		}
		return Blob{}, err
	}
	if old != "" {
		s.removePieces(ctx, old)
	}
	return is.blob(name), nil
}

// name stores a blob's record, and returns which one it has replaced.
func (b blobs) name(ctx context.Context, name string, is blobRecord) (old string, err error) {
	data, err := json.Marshal(is)
	if err != nil {
		return "", err
	}
	records := b.Registry(blobNames)
	for {
		was, revision, err := b.record(ctx, name)
		switch {
		case errors.Is(err, proto.ErrNotFound):
			_, err = records.Create(ctx, name, data)
		case err == nil:
			_, err = records.Update(ctx, name, data, revision)
		}
		if !errors.Is(err, proto.ErrConflict) {
			return was.ID, err
		}
	}
}

// putPieces stores all of r, a piece after the one before: so they are in order, whatever is
// tried again.
func (s *session) putPieces(ctx context.Context, r io.Reader) (blobRecord, error) {
	is := blobRecord{ID: rand.Text(), Time: time.Now().UTC()}
	sum := sha256.New()
	buf, last := make([]byte, piece), uint64(0)
	for {
		n, err := io.ReadFull(r, buf)
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return is, proto.AsError(err)
		}
		if n > 0 {
			sum.Write(buf[:n])
			is.Size += int64(n)
			if last, err = s.change(ctx, blobsStream, &nats.Msg{Subject: piecePrefix + is.ID, Data: buf[:n]}, last); err != nil {
				return is, err
			}
		}
		if end {
			is.SHA256 = hex.EncodeToString(sum.Sum(nil))
			return is, nil
		}
	}
}

// removePieces removes what nobody can find any more. What it cannot remove, the next
// sweep does.
func (s *session) removePieces(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerLimit)
	defer cancel()
	_ = s.purge(ctx, s.blobs, piecePrefix+id)
}

// Open implements Blobs.
func (b blobs) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	is, _, err := b.record(ctx, name)
	if err != nil {
		return nil, err
	}
	s, err := b.session(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	next := uint64(1)
	return &content{is: is, name: name, left: is.Size, sum: sha256.New(), cancel: cancel, more: func() ([]byte, error) {
		m, err := s.piece(ctx, getRequest{Sequence: next, Next: piecePrefix + is.ID})
		if err != nil {
			return nil, err
		}
		next = m.Sequence + 1
		return m.Data, nil
	}}, nil
}

// piece returns a piece of a blob, which never changes: only of one that a machine does not
// have the leader is asked.
func (s *session) piece(ctx context.Context, req getRequest) (*jetstream.RawStreamMsg, error) {
	m, err := s.replica(ctx, blobsStream, req)
	if err != nil && s.many {
		return s.get(ctx, blobsStream, req)
	}
	return m, err
}

// content is a blob that is read.
type content struct {
	is     blobRecord
	name   string
	left   int64 // bytes that are not read yet
	piece  bytes.Reader
	sum    hash.Hash
	more   func() ([]byte, error) // returns the next piece
	cancel func()
}

func (c *content) Read(p []byte) (int, error) {
	for c.piece.Len() == 0 {
		if c.left == 0 {
			if hex.EncodeToString(c.sum.Sum(nil)) != c.is.SHA256 {
				return 0, blobFault(c.name, errDamaged)
			}
			return 0, io.EOF
		}
		data, err := c.more()
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return 0, proto.Errorf(proto.ErrUnavailable, "blob %s was replaced or removed while it was read", c.name).WithHint("ask again")
		}
		if err != nil {
			return 0, blobFault(c.name, err)
		}
		if int64(len(data)) > c.left {
			return 0, blobFault(c.name, errDamaged)
		}
		c.sum.Write(data)
		c.left -= int64(len(data))
		c.piece.Reset(data)
	}
	return c.piece.Read(p)
}

func (c *content) Close() error {
	c.cancel()
	return nil
}

// Stat implements Blobs.
func (b blobs) Stat(ctx context.Context, name string) (Blob, error) {
	is, _, err := b.record(ctx, name)
	if err != nil {
		return Blob{}, err
	}
	return is.blob(name), nil
}

// Delete implements Blobs.
func (b blobs) Delete(ctx context.Context, name string) error {
	for {
		is, revision, err := b.record(ctx, name)
		if errors.Is(err, proto.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		err = b.Registry(blobNames).Delete(ctx, name, revision)
		if errors.Is(err, proto.ErrConflict) {
			continue
		}
		if err != nil {
			return err
		}
		s, err := b.session(ctx)
		if err == nil {
			s.removePieces(ctx, is.ID)
		}
		return nil
	}
}

// List implements Blobs.
func (b blobs) List(ctx context.Context, prefix string) ([]Blob, error) {
	records, err := b.Registry(blobNames).List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	list := make([]Blob, 0, len(records))
	for i := range records {
		var is blobRecord
		if err := json.Unmarshal(records[i].Value, &is); err != nil {
			return nil, blobFault(records[i].Key, err)
		}
		list = append(list, is.blob(records[i].Key))
	}
	return list, nil
}

// sweep removes pieces that belong to no blob, and whose last one is older than an age.
func (s *session) sweep(ctx context.Context, age time.Duration) error {
	info, err := s.info(ctx, s.blobs, piecePrefix+"*")
	if err != nil {
		return err
	}
	known := map[string]bool{} // after the pieces: a blob that comes meanwhile has none of these
	records, err := registry{kind: blobNames, session: s.itself}.List(ctx, "")
	if err != nil {
		return err
	}
	for i := range records {
		var is blobRecord
		if err := json.Unmarshal(records[i].Value, &is); err != nil {
			return blobFault(records[i].Key, err)
		}
		known[piecePrefix+is.ID] = true
	}
	for subject := range info.State.Subjects {
		if known[subject] {
			continue
		}
		last, err := s.get(ctx, blobsStream, getRequest{Last: subject})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err == nil && time.Since(last.Time) > age {
			err = s.purge(ctx, s.blobs, subject)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
