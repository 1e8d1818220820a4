package store_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// filled returns the folder of a store that was closed, with a hundred functions and a version of each.
func filled(t *testing.T) store.Config {
	t.Helper()
	cfg := config(t)
	e, err := store.Open(cfg)
	require.NoError(t, err)
	for i := range 100 {
		_, err = e.Registry(store.Functions).Create(t.Context(), fmt.Sprintf("fn%03d", i), []byte(strings.Repeat("wish ", 50)))
		require.NoError(t, err)
		_, err = e.Registry(store.Versions).Create(t.Context(), fmt.Sprintf("fn%03d/1", i), []byte("version"))
		require.NoError(t, err)
	}
	require.NoError(t, e.Stop())
	return cfg
}

// guarded opens an engine that is guarded until the test ends.
func guarded(t *testing.T, cfg store.Config) *store.Engine {
	t.Helper()
	e := open(t, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { e.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return e
}

// stream is the folder of a kind's records.
func stream(t *testing.T, cfg store.Config, name string) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(cfg.Dir, "data", "jetstream", "*", "streams", name))
	require.NoError(t, err)
	require.Len(t, list, 1)
	return list[0]
}

func TestALossIsNoticedAndNothingIsChanged(t *testing.T) {
	ctx, cfg := t.Context(), filled(t)
	r, err := store.Examine(ctx, cfg)
	require.NoError(t, err)
	assert.Empty(t, r.Lost)
	assert.Equal(t, 100, r.Records[store.Functions])
	require.NoError(t, os.RemoveAll(stream(t, cfg, "KV_ryo_functions")))

	e := guarded(t, cfg)
	require.ErrorIs(t, e.Err(), proto.ErrUnavailable)
	require.ErrorContains(t, e.Err(), "functions is missing, of 100 changes")
	assert.Contains(t, proto.AsError(e.Err()).Hint, "proxy engine restore")
	for name, do := range map[string]func() error{
		"create":  func() error { _, err := e.Registry(store.Settings).Create(ctx, "a", nil); return err },
		"delete":  func() error { return e.Registry(store.Versions).Delete(ctx, "fn001/1", 2) },
		"blob":    func() error { _, err := e.Blobs().Put(ctx, "a", strings.NewReader("a")); return err },
		"publish": func() error { _, err := e.Queue().Publish(ctx, store.Message{Topic: "a"}); return err },
	} {
		require.ErrorIs(t, do(), proto.ErrUnavailable, name)
	}
	list, err := e.Registry(store.Versions).List(ctx, "")
	require.NoError(t, err, "what is there can be read")
	assert.Len(t, list, 100)
	require.NoError(t, e.Stop())

	lost, err := store.Accept(ctx, cfg)
	require.NoError(t, err)
	assert.Len(t, lost, 1)
	e = open(t, cfg)
	require.NoError(t, e.Err())
	_, err = e.Registry(store.Functions).Create(ctx, "new", nil)
	require.NoError(t, err)
}

// Wherever a bit of the records changes, either all of them are as they were, or it is said.
func TestAFlippedBitIsNoticed(t *testing.T) {
	cfg := filled(t)
	blocks, err := filepath.Glob(filepath.Join(stream(t, cfg, "KV_ryo_functions"), "msgs", "*.blk"))
	require.NoError(t, err)
	require.Len(t, blocks, 1)
	whole, err := os.ReadFile(blocks[0])
	require.NoError(t, err)
	for _, part := range []int{5, 20, 50, 80, 99} {
		for _, index := range []bool{true, false} { // a killed server has none, or an old one
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS(cfg.Dir)))
			require.NoError(t, os.Chmod(dir, 0o700))
			copied := store.Config{Dir: dir, Logger: cfg.Logger}
			at := len(whole) * part / 100
			damaged := bytes.Clone(whole)
			damaged[at] ^= 8
			block := filepath.Join(stream(t, copied, "KV_ryo_functions"), "msgs", filepath.Base(blocks[0]))
			require.NoError(t, os.WriteFile(block, damaged, 0o600))
			if !index {
				require.NoError(t, os.Remove(filepath.Join(filepath.Dir(block), "index.db")))
			}
			r, err := store.Examine(t.Context(), copied)
			require.NoError(t, err)
			assert.NotEmpty(t, r.Lost, "at %d %%, index %v: %d records", part, index, r.Records[store.Functions])
		}
	}
}

func TestRecordsAreExportedAndRestored(t *testing.T) {
	ctx, cfg := t.Context(), filled(t)
	e := guarded(t, cfg)
	epoch := e.Epoch()
	exports := func() []string {
		list, err := filepath.Glob(filepath.Join(cfg.Dir, "exports", "*.export"))
		require.NoError(t, err)
		return list
	}
	require.Eventually(t, func() bool { return len(exports()) > 0 }, patience, 10*time.Millisecond, "each start makes one")
	require.NoError(t, e.Stop())
	require.NoError(t, os.RemoveAll(stream(t, cfg, "KV_ryo_functions")))

	from, aside, n, err := store.Restore(ctx, cfg, "")
	require.NoError(t, err)
	assert.Equal(t, exports()[len(exports())-1], from)
	assert.Equal(t, 200, n)
	assert.DirExists(t, aside)
	r, err := store.Examine(ctx, cfg)
	require.NoError(t, err)
	assert.Empty(t, r.Lost)
	assert.Equal(t, 100, r.Records[store.Functions])
	assert.Equal(t, 100, r.Records[store.Versions])
	assert.NotEqual(t, epoch, r.Epoch, "what agents run may be newer")

	var out bytes.Buffer
	require.NoError(t, store.Export(ctx, cfg, &out))
	other := config(t)
	_, err = store.Examine(ctx, other)
	require.ErrorIs(t, err, proto.ErrNotFound)
	e = open(t, other)
	_, err = e.Registry(store.Functions).Create(ctx, "fn000", []byte("another"))
	require.NoError(t, err)
	_, err = store.Import(ctx, other, bytes.NewReader(out.Bytes()), false)
	require.ErrorIs(t, err, proto.ErrConflict, "a proxy has it")
	require.NoError(t, e.Stop())
	n, err = store.Import(ctx, other, bytes.NewReader(out.Bytes()), false)
	require.ErrorIs(t, err, proto.ErrConflict)
	require.ErrorContains(t, err, "fn000")
	assert.Zero(t, n)
	n, err = store.Import(ctx, other, bytes.NewReader(out.Bytes()), true)
	require.NoError(t, err)
	assert.Equal(t, 200, n)
	for name, damaged := range map[string][]byte{
		"cut off": out.Bytes()[:out.Len()-10], "changed": bytes.Replace(out.Bytes(), []byte("Zm4wMDA"), []byte("Zm4wMDB"), 1), "empty": nil, "of another kind": []byte("{}\n"),
	} {
		_, err = store.Import(ctx, other, bytes.NewReader(damaged), true)
		require.ErrorIs(t, err, proto.ErrInvalid, name)
	}
}
