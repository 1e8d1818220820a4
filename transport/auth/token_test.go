package auth

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

func TestATokenForPreviewsIsForNothingElse(t *testing.T) {
	id := &Identity{Functions: []string{"Greet__*"}}
	assert.True(t, id.For("Greet__feature_login_029aa3"))
	assert.True(t, id.For("greet__main"))
	for _, name := range []string{"Greet", "Greeter__main", "Greet__", "Other__main", ""} {
		assert.False(t, id.For(name), name)
	}
	assert.False(t, (&Identity{Functions: []string{"Greet"}}).For("Greet__main"))
	token := Token{Functions: []string{"Greet__*"}, Scopes: []wire.Scope{wire.ScopeDeploy}}
	assert.NoError(t, token.check())
	for _, wrong := range []string{"greet__*", "__*", "Greet*", "Greet__*__*"} {
		token.Functions = []string{wrong}
		assert.ErrorIs(t, token.check(), proto.ErrInvalid, wrong)
	}
}
