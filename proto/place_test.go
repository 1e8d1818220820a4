package proto

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReplicasAreANumberOrAll(t *testing.T) {
	for text, want := range map[string]Replicas{
		"1": {Least: 1, Most: 1}, "3": {Least: 3, Most: 3}, "1024": {Least: 1024, Most: 1024}, "all": {All: true},
		"1-4": {Least: 1, Most: 4}, "2-1024": {Least: 2, Most: 1024},
	} {
		r, err := ParseReplicas(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, r, text)
		assert.Equal(t, text, r.String())
		assert.Equal(t, strings.Contains(text, "-"), r.Follow(), text)
	}
	for _, text := range []string{"", "0", "-1", "1025", "01", "+1", "1.5", "ALL", "many", "0-1", "1-", "-", "4-1", "2-2", "1-1025", "1-4-8", "1 - 4", "01-4", "1-04", "1-all"} {
		_, err := ParseReplicas(text)
		assert.Error(t, err, text)
	}
}

func TestWhereAFunctionMayBeIsChecked(t *testing.T) {
	for text, f := range map[string]*FunctionJson{
		"neither a whole number": {Name: "F", Replicas: "few"},
		"agents are named":       {Name: "F", Replicas: "2", ToAgent: []string{"a:1"}},
		"labels are for agents":  {Name: "F", Placement: map[string]string{"a": "b"}, ToAgent: []string{"a:1"}},
		"is not a label":         {Name: "F", Placement: map[string]string{"a b": "c"}},
	} {
		err := f.Check()
		require.ErrorIs(t, err, ErrInvalid, text)
		assert.ErrorContains(t, err, text)
	}
	require.NoError(t, (&FunctionJson{Name: "F", Replicas: "all", Placement: map[string]string{"example.com/zone": "a-1"}}).Check())
}

func TestHowAgentsAreChosenIsNotKeptWhereTheyAreNamed(t *testing.T) {
	names := []string{"env", "replicas", "placement", "memory", "unknown"}
	assert.Equal(t, names, (&FunctionJson{Name: "F"}).Keepable(names))
	assert.Equal(t, []string{"env", "memory", "unknown"}, (&FunctionJson{Name: "F", ToAgent: []string{"a:1"}}).Keepable(names))
	assert.Len(t, names, 5, "they are left alone")
	assert.Equal(t, "replicas", names[1])
}

func FuzzLabels(f *testing.F) {
	for _, text := range []string{"", "a=b", "zone=a,gpu=yes", "a=", "=b", "a=b,a=c", "a=b=c", ","} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		labels, err := ParseLabels(text)
		if err != nil {
			return
		}
		again, err := ParseLabels(LabelsText(labels))
		require.NoError(t, err)
		assert.Equal(t, labels, again)
	})
}
