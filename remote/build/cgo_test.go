package build

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What such a dependency lacks may only show at a call.
func TestDependenciesThatNeedCgoAreWarnedOf(t *testing.T) {
	const cgo = "package lib\n\nimport \"C\"\n\nfunc Open() {}\n"
	module := func(lib files) files {
		src := files{
			"go.mod": gomod + "\nrequire example.com/lib v0.0.0\n\nreplace example.com/lib => ./lib\n", "lib/go.mod": "module example.com/lib\n\ngo 1.24\n",
			"p.go": head1 + "\n\t\"example.com/lib\"\n)\n\n" + fn + " lib.L() }\n", "lib/l.go": "package lib\n\nfunc L() {}\n",
		}
		for name, text := range lib {
			src["lib/"+name] = text
		}
		return src
	}
	for name, c := range map[string]struct {
		lib  files
		want []string
	}{
		"nothing":             {nil, nil},
		"a file":              {files{"c.go": cgo, "x.c": "int x;\n"}, []string{"example.com/lib has files that need cgo, and functions are built without it: what these files do is missing, which may only show at a call; use a package in Go alone"}},
		"with a tag":          {files{"c.go": "//go:build cgo\n\n" + cgo}, []string{"example.com/lib has files that need cgo, and functions are built without it: what these files do is missing, which may only show at a call; use a package in Go alone"}},
		"of another system":   {files{"c_windows.go": cgo}, nil},
		"with another tag":    {files{"c.go": "//go:build cgo && special\n\n" + cgo}, nil},
		"Go for lack of cgo":  {files{"n.go": "//go:build !cgo\n\npackage lib\n", "y.go": "//go:build cgo\n\npackage lib\n"}, nil},
		"a package of nobody": {files{"sub/c.go": cgo, "sub/s.go": "package lib\n"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			spec := module(c.lib).spec(t, ".", "F")
			var warnings []string
			spec.Warn = func(line string) { warnings = append(warnings, line) }
			require.NoError(t, builder.Build(t.Context(), spec))
			assert.Equal(t, c.want, warnings)
		})
	}
}
