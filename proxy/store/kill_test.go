package store_test

import (
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// acknowledged is what programs have printed.
type acknowledged struct {
	records, messages map[string]bool
	slowest           time.Duration // from the start of a process until its store was ready
}

// read notes a line. One that was cut off is not noted.
func (a *acknowledged) read(t *testing.T, line string) {
	t.Helper()
	kind, name, _ := strings.Cut(line, " ")
	switch kind {
	case "record":
		a.records[name] = true
	case "message":
		a.messages[name] = true
	case "ready":
		ms, err := strconv.Atoi(name)
		require.NoError(t, err)
		a.slowest = max(a.slowest, time.Duration(ms)*time.Millisecond)
	default:
		t.Fatal(line)
	}
}

// stored asserts that a store has all of it.
func (a *acknowledged) stored(t *testing.T, cfg store.Config) {
	t.Helper()
	cfg.Backlog = store.MaxBacklog
	e := open(t, cfg)
	require.NoError(t, e.Err())
	list, err := e.Registry(store.Functions).List(t.Context(), "")
	require.NoError(t, err)
	for _, is := range list {
		assert.Equal(t, is.Key, string(is.Value))
		delete(a.records, is.Key)
	}
	messages, err := e.Queue().List(t.Context(), "storm", 0, store.MaxBacklog)
	require.NoError(t, err)
	for _, m := range messages {
		delete(a.messages, m.ID)
	}
	assert.Empty(t, a.records, "of %d records", len(list))
	assert.Empty(t, a.messages, "of %d messages", len(messages))
}

// Twenty times a process is killed in the middle of writes: what it has acknowledged is
// there, and the next one is soon ready.
func TestNothingThatWasAcknowledgedIsLostByKills(t *testing.T) {
	const kills = 20
	cfg := config(t)
	all := acknowledged{records: map[string]bool{}, messages: map[string]bool{}}
	for range kills {
		p := spawn(t, "storm", cfg.Dir)
		for range 100 + rand.IntN(300) {
			all.read(t, p.line(t))
		}
		require.NoError(t, p.Process.Kill())
		for p.out.Scan() {
			if line := p.out.Text(); strings.Count(line, "-") == 2 {
				all.read(t, line)
			}
		}
		_ = p.Wait()
	}
	records, messages := len(all.records), len(all.messages)
	all.stored(t, cfg)
	t.Logf("%d records and %d messages outlive %d kills; ready again within %s", records, messages, kills, all.slowest)
}

// What a killed process left of a blob is removed, and no blob with it.
func TestPiecesOfNoBlobAreRemoved(t *testing.T) {
	ctx, cfg := t.Context(), config(t)
	e := open(t, cfg)
	_, err := e.Blobs().Put(ctx, "whole", strings.NewReader("it stays"))
	require.NoError(t, err)
	require.NoError(t, e.Stop())
	p := spawn(t, "put", cfg.Dir)
	require.Equal(t, "a part is stored", p.line(t))
	require.NoError(t, p.Process.Kill())
	_ = p.Wait()
	require.NoError(t, e.Start())
	pieces := func() uint64 {
		n, err := e.Pieces(ctx)
		require.NoError(t, err)
		return n
	}
	left := pieces()
	assert.Greater(t, left, uint64(1))
	require.NoError(t, e.Sweep(ctx, time.Hour))
	assert.Equal(t, left, pieces(), "somebody may be storing it now")
	require.NoError(t, e.Sweep(ctx, 0))
	assert.EqualValues(t, 1, pieces())
	r, err := e.Blobs().Open(ctx, "whole")
	require.NoError(t, err)
	defer r.Close()
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, "it stays", string(data))
	_, err = e.Blobs().Stat(ctx, "large")
	require.ErrorIs(t, err, proto.ErrNotFound)
}
