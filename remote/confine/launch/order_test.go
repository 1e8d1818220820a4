package launch

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOrdersArriveWholeOrNotAtAll(t *testing.T) {
	order := &Order{
		Path: "/fn", Args: []string{"fn", ""}, Env: []string{"A=\n", "B="}, Limits: []Limit{{"files", 7, 1 << 40}},
		Joins: []uint32{6, 7}, Ruleset: 5, Filter: "\x00\xff", User: 200_000,
	}
	text := order.Encode()
	got, err := Decode(text)
	require.NoError(t, err)
	assert.Equal(t, order, got)
	for n := range text {
		_, err := Decode(text[:n])
		require.ErrorIs(t, err, errCut, "%d bytes", n)
	}
	_, err = Decode(append(text, 0))
	require.ErrorIs(t, err, errCut)
}

func FuzzDecode(f *testing.F) {
	f.Add((&Order{Path: "/fn", Args: []string{"a"}, Limits: []Limit{{What: "x"}}}).Encode())
	f.Fuzz(func(t *testing.T, text []byte) {
		if o, err := Decode(text); err == nil {
			again, err := Decode(o.Encode())
			require.NoError(t, err)
			assert.Equal(t, o, again)
		}
	})
}
