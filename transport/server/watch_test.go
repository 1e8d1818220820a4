package server

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// quiet is an implementer with one row that never changes.
type quiet struct {
	transport.Interface
	feed transport.Feed
}

func (q *quiet) Logs(context.Context, *proto.LogsRequest, func(*proto.LogLines) error) error {
	return nil
}

func (q *quiet) Watch(ctx context.Context, on func(*proto.WatchEvent) error) error {
	return q.feed.Watch(ctx, on)
}

func TestWatchBeatsWhileNothingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{impl: new(quiet), closing: t.Context().Done(), logger: hclog.NewNullLogger()}
		failed := errors.New("gone")
		start := time.Now()
		var events []*proto.WatchEvent
		err := s.watch(t.Context(), func(e *proto.WatchEvent) error {
			if events = append(events, e); len(events) == 4 {
				return failed
			}
			return nil
		})
		require.ErrorIs(t, err, failed)
		assert.True(t, events[0].GetSnapshot())
		assert.False(t, events[3].GetSnapshot())
		assert.Equal(t, 3*wire.Heartbeat, time.Since(start))
	})
}

func TestWatchStopsWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closing, stop := context.WithCancel(t.Context())
		s := &service{impl: new(quiet), closing: closing.Done(), logger: hclog.NewNullLogger()}
		err := s.watch(t.Context(), func(*proto.WatchEvent) error { stop(); return nil })
		require.ErrorIs(t, err, proto.ErrUnavailable)
	})
}

func TestGateReadsOnlyWhatIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(io.NopCloser(strings.NewReader("ab")))
		var got []byte
		var err error
		go func() {
			for b := make([]byte, 1); err == nil; {
				var n int
				n, err = g.Read(b)
				got = append(got, b[:n]...)
				g.want(false)
			}
		}()
		synctest.Wait()
		assert.Empty(t, got)
		g.want(true)
		synctest.Wait()
		assert.Equal(t, "a", string(got))
		require.NoError(t, g.Close())
		synctest.Wait()
		assert.Equal(t, "ab", string(got), "a closed gate holds nobody")
		require.ErrorIs(t, err, io.EOF)
	})
}

func TestListenersAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{impl: new(quiet), closing: t.Context().Done(), logger: hclog.NewNullLogger()}
		ctx, cancel := context.WithCancel(t.Context())
		for range maxListeners {
			go func() { _ = s.watch(ctx, func(*proto.WatchEvent) error { return nil }) }()
		}
		synctest.Wait()
		got := func(*proto.WatchEvent) error { return io.EOF }
		err := s.watch(t.Context(), got)
		require.ErrorIs(t, err, proto.ErrTooMany)
		require.ErrorContains(t, err, "500 callers watch here already")
		err = s.logs(t.Context(), &proto.LogsRequest{Name: "Hello"}, func(*proto.LogLines) error { return io.EOF })
		require.NotErrorIs(t, err, proto.ErrTooMany, "who watches keeps none away who reads logs")
		cancel()
		synctest.Wait()
		require.ErrorIs(t, s.watch(t.Context(), got), io.EOF)
	})
}
