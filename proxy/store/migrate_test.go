package store_test

import (
	"crypto/rand"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// All that a store in a folder has is at the engine that it is moved to, and nowhere twice.
func migrate(t *testing.T, n *nodes) {
	ctx, from, to := t.Context(), filled(t), n.config(t)
	e, err := store.Open(from)
	require.NoError(t, err)
	large, err := io.ReadAll(io.LimitReader(rand.Reader, 3<<20))
	require.NoError(t, err)
	_, err = e.Blobs().Put(ctx, "package", strings.NewReader(string(large)))
	require.NoError(t, err)
	for _, id := range []string{"handled", "waits", "handled, too", "waits, too"} {
		_, err = e.Queue().Publish(ctx, store.Message{Topic: "a", ID: id, Header: map[string]string{"of": id}, Data: []byte(id)})
		require.NoError(t, err)
	}
	require.Equal(t, []string{"handled"}, handled(t, e, "a", 1))
	require.NoError(t, e.Queue().Delete(ctx, "a", 3))
	_, err = e.Queue().Publish(ctx, store.Message{Topic: "a", ID: "later", NotBefore: time.Now().Add(time.Hour)})
	require.NoError(t, err)
	epoch := e.Epoch()
	wish, err := e.Registry(store.Functions).Get(ctx, "fn007")
	require.NoError(t, err)
	waiting, err := e.Queue().List(ctx, "a", 0, 10)
	require.NoError(t, err)
	require.Len(t, waiting, 2)
	report, err := store.Migrate(ctx, from, to)
	require.ErrorIs(t, err, proto.ErrConflict, "it is open")
	require.Nil(t, report)
	require.NoError(t, e.Stop())

	other := n.empty(t)
	_, err = other.Registry(store.Settings).Create(ctx, "somebody's", nil)
	require.NoError(t, err)
	_, err = store.Migrate(ctx, from, to)
	require.ErrorIs(t, err, proto.ErrConflict)
	require.ErrorContains(t, err, "has something already: 1 of settings")
	require.NoError(t, other.Stop())
	require.NoError(t, store.Empty(ctx, to))

	report, err = store.Migrate(ctx, from, to)
	require.NoError(t, err)
	assert.Contains(t, report, store.Moved{What: "functions", Messages: 100})
	assert.Contains(t, report, store.Moved{What: "queue", Messages: 3})
	_, err = store.Open(from)
	require.ErrorIs(t, err, proto.ErrConflict)
	require.ErrorContains(t, err, "was moved to the engine at")
	_, err = store.Migrate(ctx, from, to)
	require.ErrorContains(t, err, "was moved to the engine at", "it is not moved twice")

	e = open(t, to)
	assert.Equal(t, epoch, e.Epoch())
	is, err := e.Registry(store.Functions).Get(ctx, "fn007")
	require.NoError(t, err)
	assert.Equal(t, wish, is, "its revision, too")
	list, err := e.Registry(store.Versions).List(ctx, "")
	require.NoError(t, err)
	assert.Len(t, list, 100)
	assert.Equal(t, string(large), read(t, e, "package"))
	at, err := e.Queue().List(ctx, "a", 0, 10)
	require.NoError(t, err)
	assert.Equal(t, waiting, at, "their numbers, too")
	removed, err := e.Queue().Purge(ctx, "a")
	require.NoError(t, err)
	assert.Equal(t, 3, removed, "that which waits for its time, too")
}
