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
)

// mute is a server that sends some events, one after each delay, and is then silent.
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
	for _, tt := range []struct {
		heartbeat uint32 // as the server says
		delay     time.Duration
		silence   time.Duration // after which it is lost
	}{
		{2, 2 * time.Second, 5 * time.Second},
		{1, time.Second, 5 * time.Second},
		{4, 4 * time.Second, 8 * time.Second},
		{0, 15 * time.Second, 45 * time.Second}, // an earlier version
		{1 << 31, 15 * time.Second, 45 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			server := &mute{delay: tt.delay, events: []*proto.WatchEvent{{Snapshot: true, Heartbeat: tt.heartbeat}, {}, {}, {}, {}}}
			c := &Client{addr: "a:1", rpc: server}
			start, seen := time.Now(), 0
			err := c.Watch(t.Context(), func(*proto.WatchEvent) error { seen++; return nil })
			require.ErrorIs(t, err, proto.ErrUnavailable)
			assert.ErrorContains(t, err, "no sign of life for "+tt.silence.String())
			assert.Equal(t, 5*tt.delay+tt.silence, time.Since(start))
			assert.Equal(t, 1, seen, "heartbeats are not handed on")
		})
	}
}
