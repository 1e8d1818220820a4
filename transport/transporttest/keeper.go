package transporttest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/transport/auth"
)

// Keeper returns what knows tokens, which are forgotten with it.
func Keeper(t testing.TB) *auth.Keeper {
	t.Helper()
	keeper, err := auth.Open(forgetful{})
	require.NoError(t, err)
	return keeper
}

// forgetful is a store that keeps nothing.
type forgetful struct{}

func (forgetful) Load() (*auth.Lists, error) { return nil, nil }
func (forgetful) Save(*auth.Lists) error     { return nil }
