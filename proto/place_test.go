package proto

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReplicasAreANumberOrAll(t *testing.T) {
	for text, want := range map[string]int{"1": 1, "3": 3, "1024": 1024, "all": 0} {
		n, all, err := ParseReplicas(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, n, text)
		assert.Equal(t, text == "all", all, text)
	}
	for _, text := range []string{"", "0", "-1", "1025", "01", "+1", "1.5", "ALL", "many"} {
		_, _, err := ParseReplicas(text)
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
