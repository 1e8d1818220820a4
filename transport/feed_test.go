package transport

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

func row(name string, status proto.Status) *proto.FunctionJsonRsp {
	return &proto.FunctionJsonRsp{Name: name, AtAgent: "a:1", Status: string(status)}
}

func TestFeedSendsASnapshotThenChanges(t *testing.T) {
	var f Feed
	f.Set(row("B", proto.Deployed))
	f.Set(row("A", proto.Deployed))
	done := errors.New("seen enough")
	step := 0
	err := f.Watch(t.Context(), func(e *proto.WatchEvent) error {
		step++
		switch step {
		case 1:
			require.True(t, e.GetSnapshot())
			require.Len(t, e.GetFunctions(), 2)
			assert.Equal(t, "A", e.GetFunctions()[0].GetName())
			f.Set(row("A", proto.Failed))
			f.Set(row("A", proto.Stopped)) // only the latest state of A is sent
		case 2:
			require.False(t, e.GetSnapshot())
			require.Len(t, e.GetFunctions(), 1)
			assert.Equal(t, string(proto.Stopped), e.GetFunctions()[0].GetStatus())
			return done
		}
		return nil
	})
	require.ErrorIs(t, err, done)
	assert.Len(t, f.Rows(), 1)
	assert.Empty(t, f.watchers)
}

func TestFeedStopsWithItsContext(t *testing.T) {
	var f Feed
	ctx, cancel := context.WithCancel(t.Context())
	err := f.Watch(ctx, func(*proto.WatchEvent) error { cancel(); return nil })
	require.ErrorIs(t, err, context.Canceled)
}

func TestFeedRowsBelongToTheCaller(t *testing.T) {
	var f Feed
	f.Set(row("A", proto.Deployed))
	f.Rows()[0].Status = "changed"
	assert.Equal(t, string(proto.Deployed), f.Rows()[0].GetStatus())
}
