package typed

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSummary(t *testing.T) {
	got, err := Summary([]float64{3, 1, 2, 10})
	require.NoError(t, err)
	assert.Equal(t, Numbers{Count: 4, Min: 1, Median: 2.5, Mean: 4, Max: 10}, got)

	_, err = Summary(nil)
	assert.Error(t, err)
}
