package transport

import (
	"cmp"
	"context"
	"slices"
	"sync"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Feed holds the rows of an implementer of Interface and tells watchers what
// changed. A slow watcher delays nobody and costs at most one row per function:
// it is sent the latest state, not every state. The zero value is ready to use.
type Feed struct {
	mu       sync.Mutex // guards the fields below
	rows     map[rowKey]*proto.FunctionJsonRsp
	watchers map[*watcher]struct{}
}

// rowKey is what tells two rows apart.
type rowKey struct{ name, agent string }

type watcher struct {
	changed map[rowKey]*proto.FunctionJsonRsp
	wake    chan struct{}
}

// Set publishes a row in place of the one with the same name and agent. A row
// that says Stopped is published and removed. Feed keeps row: it must not be
// changed afterwards.
func (f *Feed) Set(row *proto.FunctionJsonRsp) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := rowKey{row.GetName(), row.GetAtAgent()}
	if proto.Status(row.GetStatus()) == proto.Stopped {
		delete(f.rows, key)
	} else {
		if f.rows == nil {
			f.rows = make(map[rowKey]*proto.FunctionJsonRsp)
		}
		f.rows[key] = row
	}
	for w := range f.watchers {
		w.changed[key] = row
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Rows returns copies of all rows, ordered by name, then by agent.
func (f *Feed) Rows() []*proto.FunctionJsonRsp {
	f.mu.Lock()
	defer f.mu.Unlock()
	return ordered(f.rows)
}

// RowsOf returns the rows of the functions with a path.
func (f *Feed) RowsOf(path string) []*proto.FunctionJsonRsp {
	f.mu.Lock()
	defer f.mu.Unlock()
	own := make(map[rowKey]*proto.FunctionJsonRsp)
	for key, row := range f.rows {
		if proto.Path(key.name) == path {
			own[key] = row
		}
	}
	return ordered(own)
}

// Watch is the Watch of Interface over these rows.
func (f *Feed) Watch(ctx context.Context, on func(*proto.WatchEvent) error) error {
	w := &watcher{changed: make(map[rowKey]*proto.FunctionJsonRsp), wake: make(chan struct{}, 1)}
	f.mu.Lock()
	if f.watchers == nil {
		f.watchers = make(map[*watcher]struct{})
	}
	f.watchers[w] = struct{}{}
	event := &proto.WatchEvent{Functions: ordered(f.rows), Snapshot: true}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.watchers, w)
		f.mu.Unlock()
	}()
	for {
		if err := on(event); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.wake:
		}
		f.mu.Lock()
		event = &proto.WatchEvent{Functions: ordered(w.changed)}
		clear(w.changed)
		f.mu.Unlock()
	}
}

// ordered returns copies of rows, ordered by name, then by agent.
func ordered(rows map[rowKey]*proto.FunctionJsonRsp) []*proto.FunctionJsonRsp {
	list := make([]*proto.FunctionJsonRsp, 0, len(rows))
	for _, row := range rows {
		list = append(list, protobuf.CloneOf(row))
	}
	slices.SortFunc(list, func(a, b *proto.FunctionJsonRsp) int {
		return cmp.Or(cmp.Compare(a.GetName(), b.GetName()), cmp.Compare(a.GetAtAgent(), b.GetAtAgent()))
	})
	return list
}
