package funcfw_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

func TestLinkerFlags(t *testing.T) {
	for user, want := range map[string]string{
		"":                      "-s -w",
		" -X a.b=c  -X=d/e.f=g": "-s -w -X=a.b=c -X=d/e.f=g",
		"-X a.b=":               "-s -w -X=a.b=",
	} {
		got, err := funcfw.LinkerFlags(user)
		require.NoError(t, err, user)
		assert.Equal(t, want, got)
	}
	for _, user := range []string{"-X", "-X a", "-X =b", "-extld=/tmp/evil", "-s", "a.b=c", "-X a.b=c evil", "-X 'a.b=c -extld=x'", `-X a.b="c`} {
		_, err := funcfw.LinkerFlags(user)
		require.ErrorIs(t, err, proto.ErrInvalid, user)
	}
}

func TestLayoutMapsTheGeneratedFiles(t *testing.T) {
	g := &funcfw.Generated{
		GoMod: []byte("module a.b/c\n"), GoSum: []byte("sum\n"),
		Overlay: map[string][]byte{"p/go.mod": []byte("module p\n"), "../zz_ryo/main/main.go": []byte("package main\n")},
	}
	files, err := g.Layout("/a/src", "/build")
	require.NoError(t, err)
	assert.JSONEq(t, `{"Replace": {"/a/src/p/go.mod": "/build/overlay/p/go.mod", "/a/zz_ryo/main/main.go": "/build/beside/main/main.go"}}`, string(files["overlay.json"]))
	delete(files, "overlay.json")
	assert.Equal(t, map[string][]byte{
		"go.mod": g.GoMod, "go.sum": g.GoSum, "overlay/p/go.mod": []byte("module p\n"), "beside/main/main.go": []byte("package main\n"),
	}, files)
}

func TestLayoutStaysBelowItsFolders(t *testing.T) {
	for _, name := range []string{"../x", "../zz_ryo/../x", "../zz_ryox/../../x", "/x", "../../zz_ryo/x"} {
		_, err := (&funcfw.Generated{Overlay: map[string][]byte{name: nil}}).Layout("/a/src", "/build")
		assert.Error(t, err, name)
	}
}
