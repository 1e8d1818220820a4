package wish_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
	"github.com/Ishan27g/ryo-faas/proxy/wish"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func keeper(s store.Store) *wish.Keeper {
	return wish.New(s, func(...string) {}, hclog.NewNullLogger())
}

func TestAnAgentIsHeldUntilItHasFollowed(t *testing.T) {
	w := func(state wish.State, done uint64, leaving bool) *wish.Wish {
		return &wish.Wish{State: state, Generation: 3, Version: wish.Version{Number: 2}, At: []wish.Place{{Agent: "a:1", ID: "x", Done: done, Leaving: leaving}}}
	}
	for name, tt := range map[string]struct {
		w        *wish.Wish
		addr, id string
		want     string
	}{
		"it has followed":        {w(wish.Running, 3, false), "a:1", "x", ""},
		"it has not":             {w(wish.Running, 2, false), "a:1", "x", "version 2 is wished; this agent is brought up to date when it answers again"},
		"at another address":     {w(wish.Running, 2, false), "b:1", "x", "version 2 is wished; this agent is brought up to date when it answers again"},
		"another at its address": {w(wish.Running, 2, false), "a:1", "y", ""},
		"its id is not known":    {w(wish.Running, 2, false), "a:1", "", "version 2 is wished; this agent is brought up to date when it answers again"},
		"it is to stop":          {w(wish.Stopped, 2, false), "a:1", "x", "it is stopped on this agent when the agent answers again"},
		"it is to remove it":     {w(wish.Removed, 2, false), "a:1", "x", "it is removed from this agent when the agent answers again"},
		"it is elsewhere now":    {w(wish.Running, 2, true), "a:1", "x", "it is removed from this agent when the agent answers again"},
		"it is not concerned":    {w(wish.Running, 2, false), "c:1", "z", ""},
	} {
		assert.Equal(t, tt.want, tt.w.Held(tt.addr, tt.id), name)
	}
}

func TestDriftIsWhatAnAgentRunsInstead(t *testing.T) {
	w := &wish.Wish{State: wish.Running, Generation: 3, Version: wish.Version{Number: 2, Package: "p"}, At: []wish.Place{{Agent: "a:1", Done: 3}, {Agent: "b:1", Done: 3, Number: 7}, {Agent: "c:1", Done: 2}}}
	row := func(status proto.Status, version uint32, pkg string, paused bool) *proto.FunctionJsonRsp {
		return &proto.FunctionJsonRsp{Status: string(status), Version: version, Package: pkg, Paused: paused}
	}
	assert.Empty(t, w.Drift("a:1", "", row(proto.Deployed, 2, "p", false)))
	assert.Empty(t, w.Drift("b:1", "", row(proto.Deployed, 7, "p", false)), "it has another number there")
	assert.Empty(t, w.Drift("c:1", "", row(proto.Deployed, 1, "q", false)), "it is behind")
	assert.Equal(t, "version 3 serves, and version 2 is wished", w.Drift("a:1", "", row(proto.Deployed, 3, "p", false)))
	assert.Equal(t, "version 2 serves, and version 2 is wished", w.Drift("a:1", "", row(proto.Deployed, 2, "q", false)))
	assert.Equal(t, "it is stopped, and version 2 is wished", w.Drift("a:1", "", row(proto.Stopped, 2, "p", false)))
	assert.Equal(t, "it is paused, and wished to serve", w.Drift("a:1", "", row(proto.Deployed, 2, "p", true)))
	assert.Equal(t, "no version serves, and version 2 is wished", w.Drift("a:1", "", row(proto.Failed, 0, "", false)))
	w.State = wish.Stopped
	assert.Empty(t, w.Drift("a:1", "", row(proto.Failed, 0, "", false)), "a deploy failed, and left nothing that runs")
	assert.Equal(t, "version 2 runs, and the function is stopped by what was asked of the proxy", w.Drift("a:1", "", row(proto.Deployed, 2, "p", false)))
}

func TestManyEditsAtOnceAllCount(t *testing.T) {
	s := storetest.New()
	var wg sync.WaitGroup
	for range 4 {
		k := keeper(s)
		wg.Go(func() {
			for range 10 {
				_, err := k.Edit(t.Context(), "f", func(w *wish.Wish) error {
					w.Next("c", "me")
					w.State, w.At = wish.Running, []wish.Place{{Agent: "a:1"}}
					return nil
				})
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	w, _, err := keeper(s).Read(t.Context(), "f")
	require.NoError(t, err)
	assert.EqualValues(t, 40, w.Generation)
}

func TestAWishEndsWhenTheLastAgentHasRemovedTheFunction(t *testing.T) {
	k := keeper(storetest.New())
	_, err := k.Edit(t.Context(), "f", func(w *wish.Wish) error {
		w.Next("c", "me")
		w.State, w.At = wish.Removed, []wish.Place{{Agent: "a:1"}, {Agent: "b:1"}}
		return nil
	})
	require.NoError(t, err)
	for i := range 2 {
		w, err := k.Edit(t.Context(), "f", func(w *wish.Wish) error { w.At[0].Done = w.Generation; return nil })
		require.NoError(t, err)
		assert.Equal(t, i == 1, w == nil)
	}
	assert.Nil(t, k.Get("f"))
	w, _, err := k.Read(t.Context(), "f")
	require.NoError(t, err)
	assert.Nil(t, w)
}

func TestWhatOthersWishIsLoaded(t *testing.T) {
	s := storetest.New()
	var changed []string
	one, two := keeper(s), wish.New(s, func(paths ...string) { changed = append(changed, paths...) }, hclog.NewNullLogger())
	wished := func(w *wish.Wish) error { w.Next("c", "me"); w.State = wish.Running; return nil }
	_, err := one.Edit(t.Context(), "f", wished)
	require.NoError(t, err)
	require.Nil(t, two.Get("f"))
	require.NoError(t, two.Load(t.Context()))
	assert.EqualValues(t, 1, two.Get("f").Generation)
	require.NoError(t, two.Load(t.Context()))
	assert.Equal(t, []string{"f"}, changed, "what has not changed is not told again")
	_, err = one.Edit(t.Context(), "f", func(w *wish.Wish) error { w.State = wish.Removed; return nil })
	require.NoError(t, err)
	require.NoError(t, two.Load(t.Context()))
	assert.Nil(t, two.Get("f"))
	// What a later program has written is neither lost nor in the way.
	_, err = s.Registry(store.Functions).Create(t.Context(), "g", []byte("not JSON"))
	require.NoError(t, err)
	require.NoError(t, two.Load(t.Context()))
	assert.Nil(t, two.Get("g"))
	_, err = s.Registry(store.Functions).Get(t.Context(), "g")
	require.NoError(t, err)
}

func TestAChangeIsLostWhenItsProcessIsSilent(t *testing.T) {
	s := storetest.New()
	one, two := keeper(s), keeper(s)
	two.LostAfter = 0
	nobody := func(string) bool { return false }
	require.NoError(t, one.Begin(t.Context(), "f", wish.Change{ID: "c_1", By: "ann"}))
	err := two.Begin(t.Context(), "f", wish.Change{ID: "c_2", By: "bob"})
	require.ErrorIs(t, err, proto.ErrConflict)
	assert.Contains(t, err.Error(), "change c_1 by ann")
	assert.Equal(t, wish.ReasonChange, proto.AsError(err).Reason)

	// Its own process replaces it, and it is not lost as long as that is heard of.
	require.NoError(t, one.Begin(t.Context(), "f", wish.Change{ID: "c_3", By: "ann"}))
	require.NoError(t, one.End(t.Context(), "f", "c_1"), "it was replaced")
	two.LostAfter = time.Hour
	lost, busy, err := two.Lost(t.Context(), nobody)
	require.NoError(t, err)
	assert.Empty(t, lost)
	assert.True(t, busy["f"])
	two.LostAfter = 0
	lost, busy, err = two.Lost(t.Context(), nobody)
	require.NoError(t, err)
	assert.Equal(t, "c_3", lost["f"].ID)
	assert.Empty(t, busy)
	assert.Equal(t, "c_3", two.Ours("f"))
	one.Touch(t.Context()) // too late: it is told so, and takes nothing back
	require.NoError(t, two.End(t.Context(), "f", "c_3"))
	entries, err := s.Registry(store.Rollouts).List(t.Context(), "")
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func TestVersionsAreKeptByNumberUpToALimit(t *testing.T) {
	s := storetest.New()
	k := keeper(s)
	for i := range 12 {
		require.NoError(t, k.PutVersion(t.Context(), "f", wish.Version{Number: uint32(i + 1), Package: fmt.Sprint(i)})) //nolint:gosec // few
	}
	require.NoError(t, k.PutVersion(t.Context(), "f", wish.Version{Number: 12, Package: "again"}))
	require.NoError(t, k.PutVersion(t.Context(), "f2", wish.Version{Number: 1}))
	for number, kept := range map[uint32]bool{1: false, 2: false, 3: true, 12: true} {
		v, err := k.GetVersion(t.Context(), "f", number)
		if !kept {
			require.ErrorIs(t, err, proto.ErrNotFound)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, number, v.Number)
	}
	require.NoError(t, k.DropVersions(t.Context(), "f"))
	entries, err := s.Registry(store.Versions).List(t.Context(), "")
	require.NoError(t, err)
	require.Len(t, entries, 1)
	assert.True(t, strings.HasPrefix(entries[0].Key, "f2/"))
}

// aged is a store whose blobs are old.
type aged struct{ store.Store }

func (a aged) Blobs() store.Blobs { return agedBlobs{a.Store.Blobs()} }

type agedBlobs struct{ store.Blobs }

func (a agedBlobs) List(ctx context.Context, prefix string) ([]store.Blob, error) {
	list, err := a.Blobs.List(ctx, prefix)
	for i := range list {
		list[i].Time = list[i].Time.Add(-2 * time.Hour)
	}
	return list, err
}

func TestPackagesThatNothingRefersToAreSwept(t *testing.T) {
	s := storetest.New()
	k := keeper(s)
	digest := func(name string) string { return "sha256:" + name }
	for _, name := range []string{"version", "wish", "canary", "change", "nothing"} {
		require.NoError(t, k.PutPackage(t.Context(), digest(name), func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(name)), nil }))
	}
	_, err := s.Blobs().Put(t.Context(), "pay/1", strings.NewReader("of others"))
	require.NoError(t, err)
	require.NoError(t, k.PutVersion(t.Context(), "f", wish.Version{Number: 1, Package: digest("version")}))
	_, err = k.Edit(t.Context(), "f", func(w *wish.Wish) error {
		w.Next("c", "me")
		w.State, w.Version.Package, w.Canary = wish.Running, digest("wish"), &wish.Canary{Version: wish.Version{Package: digest("canary")}}
		return nil
	})
	require.NoError(t, err)
	require.NoError(t, k.Begin(t.Context(), "g", wish.Change{ID: "c_1", Function: wish.Of(&proto.FunctionJson{Name: "G", Package: digest("change")})}))

	names := func() (list []string) {
		blobs, err := s.Blobs().List(t.Context(), "")
		require.NoError(t, err)
		for _, b := range blobs {
			list = append(list, b.Name)
		}
		return list
	}
	require.NoError(t, k.Sweep(t.Context()))
	require.Len(t, names(), 6, "a change that begins may refer to what is new")
	require.NoError(t, keeper(aged{s}).Sweep(t.Context()))
	assert.Equal(t, []string{"packages/canary", "packages/change", "packages/version", "packages/wish", "pay/1"}, names())

	// What cannot be read may refer to anything.
	_, err = s.Registry(store.Functions).Create(t.Context(), "h", []byte("not JSON"))
	require.NoError(t, err)
	require.Error(t, keeper(aged{s}).Sweep(t.Context()))
	require.Len(t, names(), 5)
}

func TestSettingsKeepNoValueOfASecret(t *testing.T) {
	fn := &proto.FunctionJson{Name: "F", Secrets: map[string]string{"KEY": "hidden"}, Env: map[string]string{"A": "b"}, Package: "sha256:x", Wait: true}
	data, err := json.Marshal(wish.Settings{FunctionJson: fn})
	require.NoError(t, err)
	assert.NotContains(t, string(data), "hidden")
	assert.Equal(t, "hidden", fn.GetSecrets()["KEY"], "the function itself keeps it")
	var back wish.Settings
	require.NoError(t, json.Unmarshal([]byte(strings.Replace(string(data), "{", `{"later": 1, `, 1)), &back))
	assert.Equal(t, map[string]string{"KEY": ""}, back.GetSecrets())
	assert.Equal(t, map[string]string{"A": "b"}, back.GetEnv())
	assert.Equal(t, "sha256:x", back.GetPackage())
	assert.False(t, back.GetWait())
}

// A change that is shown to be under way has another revision then: that keeps its own
// process neither from ending it nor from replacing it.
func TestAChangeThatWasTouchedMeanwhileCanEndAndBeReplaced(t *testing.T) {
	s := storetest.New()
	k := wish.New(s, func(...string) {}, hclog.NewNullLogger())
	touched := func() {
		t.Helper()
		changes := s.Registry(store.Rollouts)
		e, err := changes.Get(t.Context(), "hello")
		require.NoError(t, err)
		_, err = changes.Update(t.Context(), "hello", e.Value, e.Revision)
		require.NoError(t, err)
	}
	require.NoError(t, k.Begin(t.Context(), "hello", wish.Change{ID: "c_1"}))
	touched()
	require.NoError(t, k.Begin(t.Context(), "hello", wish.Change{ID: "c_2"}))
	touched()
	require.NoError(t, k.End(t.Context(), "hello", "c_2"))
	_, err := s.Registry(store.Rollouts).Get(t.Context(), "hello")
	require.ErrorIs(t, err, proto.ErrNotFound)
}

// Keys that are not there open nothing, and what is sealed for one function or name is not
// another's.
func TestSecretsAreSealedForTheirFunctionAndName(t *testing.T) {
	one, err := wish.ReadKeys(wish.NewKey())
	require.NoError(t, err)
	two, err := wish.ReadKeys(wish.NewKey())
	require.NoError(t, err)
	sealed := one.Seal("hello", map[string]string{"KEY": "open-sesame"})
	values, err := one.Open("hello", sealed)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"KEY": "open-sesame"}, values)
	_, err = two.Open("hello", sealed)
	require.ErrorIs(t, err, proto.ErrUnavailable)
	_, err = one.Open("other", sealed)
	require.ErrorIs(t, err, proto.ErrInternal)
	_, err = one.Open("hello", wish.Sealed{"OTHER": sealed["KEY"]})
	require.ErrorIs(t, err, proto.ErrInternal)
	for _, file := range []string{"", "# nothing\n", "c2hvcnQ=\n", "not base64 !"} {
		_, err := wish.ReadKeys([]byte(file))
		require.ErrorIs(t, err, proto.ErrInvalid, "%q", file)
		assert.NotContains(t, err.Error(), "c2hv")
	}
}
