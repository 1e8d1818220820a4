package fleet

import (
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

func newFleet(t *testing.T, cfg Config) (*Fleet, error) {
	t.Helper()
	if cfg.Dir == nil {
		dir, err := state.Open(t.TempDir())
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, dir.Close()) })
		cfg.Dir = dir
	}
	if cfg.Publish == nil {
		cfg.Publish = func(map[string][]Replica) {}
	}
	cfg.Logger = hclog.NewNullLogger()
	return New(cfg)
}

func TestAgentsOnOtherMachinesAreNotLocal(t *testing.T) {
	given := []string{"10.0.0.1:9000"}
	_, err := newFleet(t, Config{Local: true, Agents: given})
	require.ErrorIs(t, err, proto.ErrForbidden)
	assert.Contains(t, proto.AsError(err).Hint, "-insecure")

	f, err := newFleet(t, Config{Agents: given})
	require.NoError(t, err)
	f.agents[given[0]].known = true
	f.save()

	// What an insecure proxy remembered, a protected one does not dial.
	f, err = newFleet(t, Config{Local: true, Dir: f.Dir})
	require.NoError(t, err)
	assert.Empty(t, f.agents)
}

// deployed is the row of a function that runs.
func deployed(name string) *proto.FunctionJsonRsp {
	return &proto.FunctionJsonRsp{Name: name, Status: string(proto.Deployed)}
}

func TestEventsOfAnAgentInAnyOrder(t *testing.T) {
	published := map[string][]string{} // names by path
	f, err := newFleet(t, Config{Agents: []string{"localhost:9000"}, Publish: func(changes map[string][]Replica) {
		for path, replicas := range changes {
			delete(published, path)
			for _, r := range replicas {
				published[path] = append(published[path], r.Row.GetName())
			}
		}
	}})
	require.NoError(t, err)
	a := f.agents["localhost:9000"]
	client := transport.NewAgent(transport.RPC, a.addr)
	defer client.Close()
	old, changed := deployed("Hello"), deployed("HELLO")

	assert.True(t, f.apply(a, client, &proto.WatchEvent{Functions: []*proto.FunctionJsonRsp{old, nil, {Name: "../x"}}}))
	assert.Equal(t, map[string][]string{"hello": {"Hello"}}, published)

	// Another function has the path now; rows come ordered by name.
	f.apply(a, client, &proto.WatchEvent{Functions: []*proto.FunctionJsonRsp{changed, Stopped(old)}})
	assert.Equal(t, map[string][]string{"hello": {"HELLO"}}, published)
	require.Len(t, f.Rows(), 1)
	assert.Equal(t, "HELLO", f.Rows()[0].GetName())
	assert.Equal(t, a.addr, f.Rows()[0].GetAtAgent())

	f.Hide("hello")
	assert.Empty(t, published)
	f.Show("hello")
	assert.Equal(t, map[string][]string{"hello": {"HELLO"}}, published)

	a.removed = true
	assert.False(t, f.apply(a, client, &proto.WatchEvent{Snapshot: true}))
	assert.Len(t, f.Rows(), 1)
}
