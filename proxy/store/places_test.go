package store_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// A place that came free is used at once, also when messages come while all are taken.
func TestPlacesThatCameFreeAreUsed(t *testing.T) {
	const messages, limit = 400, 32
	e := store.New(store.Config{Dir: t.TempDir(), Logger: hclog.NewNullLogger()})
	require.NoError(t, e.Start())
	defer func() { assert.NoError(t, e.Stop()) }()
	ctx, cancel := context.WithCancel(t.Context())
	var now, most, all atomic.Int32
	ended := make(chan error, 1)
	go func() {
		ended <- e.Queue().Consume(ctx, "a", limit, func(context.Context, store.Message, int) store.Verdict {
			defer now.Add(-1)
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			<-time.After(100 * time.Millisecond)
			all.Add(1)
			return store.Verdict{}
		})
	}()
	for range messages {
		_, err := e.Queue().Publish(ctx, store.Message{Topic: "a"})
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return all.Load() == messages }, patience, time.Millisecond)
	assert.LessOrEqual(t, most.Load(), int32(limit))
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}
