package cli

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

func given(flags ...string) func(string) bool {
	return func(flag string) bool {
		for _, f := range flags {
			if f == flag {
				return true
			}
		}
		return false
	}
}

func TestWhereAFunctionRunsIsKept(t *testing.T) {
	zone := map[string]string{"zone": "a"}
	for name, tt := range map[string]struct {
		was           *proto.FunctionJson // what serves
		fn            *proto.FunctionJson
		given         []string
		want          *proto.FunctionJson // to be deployed
		kept, changes []string            // as people are told
	}{
		"the first number of replicas was not said, and is not told": {
			was: &proto.FunctionJson{Replicas: "1"}, fn: &proto.FunctionJson{},
			want: &proto.FunctionJson{Replicas: "1"},
		},
		"others are told": {
			was: &proto.FunctionJson{Replicas: "2", Placement: zone}, fn: &proto.FunctionJson{},
			want: &proto.FunctionJson{Replicas: "2", Placement: zone}, kept: []string{"replicas 2", "placement zone=a"},
		},
		"a number replaces a number": {
			was: &proto.FunctionJson{Replicas: "1"}, fn: &proto.FunctionJson{Replicas: "2"}, given: []string{"replicas"},
			want: &proto.FunctionJson{Replicas: "2"}, changes: []string{"replicas: 1 → 2"},
		},
		"agents that are named replace what chose them": {
			was: &proto.FunctionJson{Replicas: "2", Placement: zone, Memory: "64MiB"}, fn: &proto.FunctionJson{ToAgent: []string{"a:1"}}, given: []string{"agent"},
			want: &proto.FunctionJson{ToAgent: []string{"a:1"}, Memory: "64MiB"}, kept: []string{"memory 64MiB"}, changes: []string{"placement: zone=a → none (default)"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt.was.Name, tt.fn.Name, tt.want.Name = "F", "F", "F"
			e := &entry{fn: tt.fn, serves: &proto.Version{Settings: tt.was}}
			e.keep(given(tt.given...), nil)
			kept, changes := e.changes()
			assert.Equal(t, tt.kept, kept)
			assert.Equal(t, tt.changes, changes)
			require.NoError(t, e.fn.Check())
			e.fn.Keep = nil
			assert.Equal(t, tt.want.String(), e.fn.String())
		})
	}
}

// A definition that does not say how many replicas there are changes nothing of that.
func TestADefinitionWithoutReplicasLeavesTheirNumber(t *testing.T) {
	e := &entry{fn: &proto.FunctionJson{Name: "F"}, serves: &proto.Version{Settings: &proto.FunctionJson{Name: "F", Replicas: "3"}}}
	kept, changes := e.changes()
	assert.Empty(t, kept)
	assert.Empty(t, changes)
}

func TestFlagsSayWhereADefinitionRuns(t *testing.T) {
	zone := map[string]string{"zone": "a"}
	for name, tt := range map[string]struct {
		file, flags, want *proto.FunctionJson
		given             []string
	}{
		"agents for replicas": {
			file: &proto.FunctionJson{Replicas: "2", Placement: zone}, flags: &proto.FunctionJson{ToAgent: []string{"a:1"}}, given: []string{"agent"},
			want: &proto.FunctionJson{ToAgent: []string{"a:1"}},
		},
		"replicas for agents": {
			file: &proto.FunctionJson{ToAgent: []string{"a:1"}}, flags: &proto.FunctionJson{Replicas: "2"}, given: []string{"replicas"},
			want: &proto.FunctionJson{Replicas: "2"},
		},
		"labels for agents": {
			file: &proto.FunctionJson{ToAgent: []string{"a:1"}}, flags: &proto.FunctionJson{Placement: zone}, given: []string{"placement"},
			want: &proto.FunctionJson{Placement: zone},
		},
		"replicas for replicas": {
			file: &proto.FunctionJson{Replicas: "2", Placement: zone}, flags: &proto.FunctionJson{Replicas: "3"}, given: []string{"replicas"},
			want: &proto.FunctionJson{Replicas: "3", Placement: zone},
		},
		"others leave it": {
			file: &proto.FunctionJson{ToAgent: []string{"a:1"}}, flags: &proto.FunctionJson{Memory: "64MiB"}, given: []string{"memory"},
			want: &proto.FunctionJson{ToAgent: []string{"a:1"}, Memory: "64MiB"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt.file.Name, tt.want.Name = "F", "F"
			e := &entry{fn: tt.file}
			e.override(&entry{fn: tt.flags}, given(tt.given...))
			require.NoError(t, e.fn.Check())
			assert.Equal(t, tt.want.String(), e.fn.String())
		})
	}
	e := &entry{fn: &proto.FunctionJson{Name: "F"}}
	e.override(&entry{fn: &proto.FunctionJson{Replicas: "2", ToAgent: []string{"a:1"}}}, given("agent", "replicas"))
	require.ErrorIs(t, e.fn.Check(), proto.ErrInvalid, "both are said")
}
