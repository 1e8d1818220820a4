package isolation

import (
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/confine"
)

func TestMain(m *testing.M) {
	guarded := testkit.Guarded(m)
	os.Exit(guarded.Run())
}

func TestTiers(t *testing.T) {
	layers := func(files, calls, ports confine.State) []confine.Layer {
		list := []confine.Layer{{Name: confine.Files, State: files}, {Name: confine.Ports, State: ports}, {Name: confine.Calls, State: calls}}
		for i := range list {
			if list[i].State != confine.On {
				list[i].Reason, list[i].Remedy = "an old kernel", "a new one"
			}
		}
		return list
	}
	for _, c := range []struct {
		layers []confine.Layer
		want   proto.Isolation
	}{
		{append(layers(confine.On, confine.On, confine.On), confine.Layer{Name: confine.Namespaces, State: confine.Off}), proto.IsolationBasic},
		{append(layers(confine.On, confine.On, confine.On), confine.Layer{Name: confine.Processes, State: confine.Off}), proto.IsolationBasic},
		{append(layers(confine.On, confine.On, confine.On), confine.Layer{Name: confine.Memory, State: confine.Degraded}), proto.IsolationStrong},
		{append(layers(confine.On, confine.On, confine.On), confine.Layer{Name: confine.Users, State: confine.Off}), proto.IsolationStrong},
		{layers(confine.On, confine.On, confine.On), proto.IsolationFull},
		{layers(confine.Degraded, confine.On, confine.Degraded), proto.IsolationFull},
		{layers(confine.Off, confine.On, confine.Off), proto.IsolationNone},
		{layers(confine.On, confine.Off, confine.On), proto.IsolationNone},
	} {
		tier, why := tierOf(c.layers)
		assert.Equal(t, c.want, tier)
		if tier == proto.IsolationNone {
			assert.Equal(t, "an old kernel; it takes: a new one", why)
		}
	}

	old := &Walls{tier: proto.IsolationBasic, layers: layers(confine.Degraded, confine.On, confine.Degraded)}
	require.NoError(t, old.Check(&proto.FunctionJson{Name: "F", Isolation: "basic"}))
	require.NoError(t, old.Check(&proto.FunctionJson{Name: "F", Network: []string{"none"}}))
	err := old.Check(&proto.FunctionJson{Name: "F", Network: []string{"443"}})
	require.ErrorIs(t, err, proto.ErrIncapable)
	require.ErrorContains(t, err, "an old kernel")
	none := &Walls{layers: layers(confine.Off, confine.On, confine.Off)}
	require.NoError(t, none.Check(&proto.FunctionJson{Name: "F"}))
	require.ErrorIs(t, none.Check(&proto.FunctionJson{Name: "F", Network: []string{"none"}}), proto.ErrIncapable)
	require.ErrorIs(t, none.Check(&proto.FunctionJson{Name: "F", Isolation: "basic"}), proto.ErrIncapable)
}

func TestUsers(t *testing.T) {
	one, other := firstOf("one"), firstOf("other")
	assert.NotEqual(t, one, other)
	for _, first := range []uint32{one, other, firstOf("")} {
		assert.Zero(t, (first-firstUser)%(MaxUsers+1))
		assert.Less(t, first+MaxUsers, uint32(math.MaxInt32))
	}
	full := &Walls{tier: proto.IsolationFull, first: one}
	user, err := full.user(MaxUsers)
	require.NoError(t, err)
	assert.Equal(t, one+MaxUsers, user)
	for _, number := range []uint32{0, MaxUsers + 1} {
		_, err = full.user(number)
		require.ErrorIs(t, err, proto.ErrExhausted)
	}
	user, err = (&Walls{tier: proto.IsolationStrong, first: one}).user(7)
	require.NoError(t, err)
	assert.Zero(t, user, "that of the agent")
}

func TestLeast(t *testing.T) {
	w := &Walls{demanded: proto.IsolationBasic}
	assert.Equal(t, proto.IsolationBasic, w.Least(&proto.FunctionJson{}))
	assert.Equal(t, proto.IsolationFull, w.Least(&proto.FunctionJson{Isolation: "full"}))
	assert.Equal(t, proto.IsolationBasic, w.Least(&proto.FunctionJson{Isolation: "none"}))
}

func TestWhatWasFoundOutIsProven(t *testing.T) {
	launcher := confine.New()
	w, err := New(launcher, t.TempDir(), "agent", proto.IsolationNone)
	require.NoError(t, err)
	report := w.Report()
	assert.Equal(t, w.Tier().String(), report.Tier)
	assert.NotEmpty(t, report.Layers)
	if w.Tier() < proto.IsolationFull {
		assert.NotEmpty(t, report.Why)
		_, err = New(launcher, t.TempDir(), "agent", proto.IsolationFull)
		require.ErrorIs(t, err, proto.ErrIncapable)
	}
}
