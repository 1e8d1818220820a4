package state

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

func TestDisksAreFullBeforeTheirEnd(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	for name, c := range map[string]struct {
		space Space
		says  string
	}{
		"room":              {Space{Free: 20 * mib, All: 100 * mib, FreeInodes: 50, Inodes: 100}, ""},
		"nearly full":       {Space{Free: 11 * mib, All: 100 * mib}, ""},
		"full":              {Space{Free: 10 * mib, All: 100 * mib}, "is 90 % full: 10 MiB are free"},
		"nothing":           {Space{Free: 0, All: 100 * mib}, "is 100 % full"},
		"large":             {Space{Free: 12 * gib, All: 1000 * gib}, ""},
		"large and full":    {Space{Free: 9 * gib, All: 1000 * gib}, "is 99 % full"},
		"few inodes":        {Space{Free: 50 * mib, All: 100 * mib, FreeInodes: 10, Inodes: 100}, "has 10 of 100 inodes left"},
		"it does not say":   {Space{}, ""},
		"more free than is": {Space{Free: 2, All: 1, FreeInodes: 2, Inodes: 1}, ""},
	} {
		err := c.space.Err()
		if c.says == "" {
			assert.NoError(t, err, name)
			continue
		}
		require.ErrorIs(t, err, proto.ErrExhausted, name)
		assert.ErrorContains(t, err, c.says, name)
	}
	dir, err := Open(t.TempDir())
	require.NoError(t, err)
	defer dir.Close()
	space, err := SpaceOf(dir.Path())
	require.NoError(t, err)
	assert.Positive(t, space.All)
	assert.Equal(t, space.Err() == nil, dir.Room() == nil)
}
