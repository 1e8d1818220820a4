package proxy

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
	"github.com/Ishan27g/ryo-faas/proxy/wish"
)

// hearing notes which secrets an agent is given.
func hearing(n *node) (given func() []map[string]string) {
	var mu sync.Mutex
	var all []map[string]string
	n.deploying = func(fn *proto.FunctionJson) error {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, fn.GetSecrets())
		return nil
	}
	return func() []map[string]string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

func TestAFunctionMovesAsItIs(t *testing.T) {
	secrets := map[string]string{"KEY": "first", "OTHER": "kept"}
	for name, tt := range map[string]struct {
		prepare func(*running) error
		as      func(*proto.FunctionJsonRsp) bool
	}{
		"with secrets": {func(*running) error { return nil }, func(r *proto.FunctionJsonRsp) bool { return r.GetVersion() == 1 }},
		"with secrets that a deploy has kept": {func(p *running) error {
			fn := answers(t, "two")
			fn.Secrets, fn.Keep = map[string]string{"KEY": "first"}, []string{"secrets"}
			_, err := p.Deploy(t.Context(), fn)
			return err
		}, func(r *proto.FunctionJsonRsp) bool { return r.GetVersion() == 2 }},
		"paused": {func(p *running) error { _, err := p.Pause(t.Context(), "Hello"); return err }, (*proto.FunctionJsonRsp).GetPaused},
		"with a canary": {func(p *running) error {
			fn := answers(t, "two")
			fn.Secrets, fn.Canary = secrets, 20
			_, err := p.Deploy(t.Context(), fn)
			return err
		}, func(r *proto.FunctionJsonRsp) bool {
			return r.GetVersion() == 1 && slices.ContainsFunc(r.GetServing(), func(s *proto.Serving) bool { return s.GetVersion() == 2 && s.GetWeight() == 20 })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := newNodes(t, 2)
			p := start(t, Config{Agents: addrs(nodes...), LostAfter: 200 * time.Millisecond, Store: storetest.New()})
			fn := answers(t, "one")
			fn.Secrets = secrets
			deploys(t, p, fn)
			require.NoError(t, tt.prepare(p))
			has, other := p.pick(t, nodes)
			move := func(from, to *node, given func() []map[string]string) {
				t.Helper()
				require.Eventually(t, func() bool {
					rows, err := to.Details(t.Context())
					return err == nil && len(rows) == 1 && rows[0].GetStatus() == string(proto.Deployed) && tt.as(rows[0])
				}, patience, 5*time.Millisecond)
				for _, got := range given() {
					assert.Equal(t, secrets, got)
				}
				require.Eventually(t, func() bool {
					w := p.wishes.Get("hello")
					return len(w.At) <= 2 && w.Place(to.addr, "") != nil && !w.Behind(w.Place(to.addr, "")) && (w.Place(from.addr, "") == nil || w.Place(from.addr, "").Leaving)
				}, patience, 5*time.Millisecond)
			}
			given := hearing(other)
			_, err := p.DrainAgent(t.Context(), has.addr)
			require.NoError(t, err)
			move(has, other, given)
			require.Eventually(t, func() bool { return len(has.names(t)) == 0 }, patience, 5*time.Millisecond)
			_, err = p.ResumeAgent(t.Context(), has.addr)
			require.NoError(t, err)
			given = hearing(has)
			other.stop()
			move(other, has, given)
		})
	}
}

func TestAnAgentGetsNewSecretsThoughTheProxyThatHadThemIsGone(t *testing.T) {
	nodes, s, dir := newNodes(t, 2), storetest.New(), t.TempDir()
	p := start(t, Config{Store: s, Dir: dir})
	fn := answers(t, "one", nodes...)
	fn.Secrets = map[string]string{"KEY": "first"}
	deploys(t, p, fn)
	nodes[1].stop()
	p.away(t, nodes[1])
	fn = answers(t, "two", nodes...)
	fn.Secrets = map[string]string{"KEY": "open-sesame"}
	_, err := p.Deploy(t.Context(), fn)
	require.NoError(t, err)
	p.stop()

	// What is stored says nothing.
	for _, kind := range []store.Kind{store.Functions, store.Versions, store.Rollouts, store.Settings, store.Agents} {
		entries, err := s.Registry(kind).List(t.Context(), "")
		require.NoError(t, err)
		for _, e := range entries {
			assert.False(t, bytes.Contains(e.Value, []byte("sesame")), e.Key)
			assert.False(t, bytes.Contains(e.Value, []byte(base64.StdEncoding.EncodeToString([]byte("open-sesame")))), e.Key)
		}
	}

	// One that lacks the key says so, and what to do.
	given := hearing(nodes[1])
	nodes[1].start(t)
	stranger := start(t, Config{Store: s, Dir: t.TempDir(), Agents: addrs(nodes...)})
	eventually(t, func() bool { return stranger.wishes.trouble("hello", nodes[1].addr) != "" }, "it cannot")
	assert.Contains(t, stranger.wishes.trouble("hello", nodes[1].addr), "proxy -secrets-key FILE")
	assert.Empty(t, given())
	stranger.stop()

	// A key of another line opens, and the first one seals from then on.
	old, err := os.ReadFile(filepath.Join(dir, "secrets.key"))
	require.NoError(t, err)
	info, err := os.Stat(filepath.Join(dir, "secrets.key"))
	require.NoError(t, err)
	assert.EqualValues(t, 0o600, info.Mode().Perm())
	fresh, file := wish.NewKey(), filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(file, append(slices.Clone(fresh), old...), 0o600))
	p = start(t, Config{Store: s, Dir: t.TempDir(), Agents: addrs(nodes...), SecretsKey: file})
	eventually(t, func() bool { return serves(nodes[1], 2) }, "it is up to date")
	assert.Equal(t, []map[string]string{{"KEY": "open-sesame"}}, given())
	keys, err := wish.ReadKeys(fresh)
	require.NoError(t, err)
	wishOf(t, p, func(w *wish.Wish) bool {
		values, err := keys.Open("hello", w.Version.Sealed)
		return err == nil && values["KEY"] == "open-sesame"
	})
	p.stop()
	require.NoError(t, os.Chmod(file, 0o644)) //nolint:gosec // that is what is refused
	_, err = New(Config{Store: s, Dir: t.TempDir(), SecretsKey: file})
	require.ErrorIs(t, err, proto.ErrForbidden)
}
