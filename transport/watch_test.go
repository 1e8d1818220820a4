package transport

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// mute is a server that sends some events and is then silent.
type mute struct {
	proto.FunctionsClient
	grpc.ServerStreamingClient[proto.WatchEvent]
	wait   func() error // blocks until the caller cancels
	events []*proto.WatchEvent
	delay  time.Duration
}

func (m *mute) Watch(ctx context.Context, _ *proto.WatchRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[proto.WatchEvent], error) {
	m.wait = func() error { <-ctx.Done(); return ctx.Err() }
	return m, nil
}

func (m *mute) Recv() (*proto.WatchEvent, error) {
	if len(m.events) == 0 {
		return nil, m.wait()
	}
	<-time.After(m.delay)
	e := m.events[0]
	m.events = m.events[1:]
	return e, nil
}

func TestClientCancelsASilentStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &mute{delay: wire.Heartbeat, events: []*proto.WatchEvent{{Snapshot: true}, {}, {}, {}, {}}}
		c := &Client{addr: "a:1", rpc: server}
		start, seen := time.Now(), 0
		err := c.Watch(t.Context(), func(*proto.WatchEvent) error { seen++; return nil })
		require.ErrorIs(t, err, proto.ErrUnavailable)
		assert.Contains(t, err.Error(), "no sign of life")
		assert.Equal(t, 5*wire.Heartbeat+wire.WatchSilence, time.Since(start))
		assert.Equal(t, 1, seen, "heartbeats are not handed on")
	})
}
