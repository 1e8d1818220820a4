package build

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// poison is what no build of another may link.
const poison = "POISONED"

// A module of the framework's, which each program links.
const common = "github.com/cloudevents/sdk-go/v2"

// What one build compiles never changes what another links: programs that are built
// beside attackers have the bytes of those that are built where there are none.
func TestOneBuildCannotChangeWhatAnotherLinks(t *testing.T) {
	<-builder.Warm()
	clean := func() *Builder { // with a cache of its own, which begins as that of all tests
		b, err := New(Config{Dir: t.TempDir()})
		require.NoError(t, err)
		b.owners = builder.cache
		spec := files{"hello.go": hello}.spec(t, ".", "Hello")
		spec.filling = func(int, int) {}
		require.NoError(t, b.build(t.Context(), spec, new(pace)))
		close(b.tried)
		return b
	}
	alone, shared := clean(), clean()
	lib := func(says string) files {
		return files{
			"go.mod": gomod + "\nrequire example.com/lib v1.0.0\n\nreplace example.com/lib => ./lib\n", "lib/go.mod": "module example.com/lib\n\ngo 1.24\n",
			"lib/lib.go": "package lib\n\nconst Says = \"" + says + "\"\n", "sub/sub.go": "package sub\n\nconst Says = \"" + says + "\"\n",
			"p.go": head1 + "\n\t\"example.com/app/sub\"\n\t\"example.com/lib\"\n)\n\n" + fn + " println(lib.Says + sub.Says) }\n",
		}
	}
	digest := func(dir, name string) string {
		sum := sha256.Sum256([]byte(textOf(t, dir, name)))
		return hex.EncodeToString(sum[:])
	}
	victim := func(b *Builder) string {
		spec := lib("harmless").spec(t, ".", "F")
		require.NoError(t, b.Build(t.Context(), spec))
		assert.Contains(t, textOf(t, "", spec.Out), "harmless")
		return digest("", spec.Out)
	}

	before := make(map[string]string)
	for name := range entries(t, shared.cache) {
		before[name] = digest(shared.cache, name)
	}
	for name, c := range map[string]struct {
		source files
		change func(*Spec)
		works  bool
	}{
		"a package of the same path": {lib(poison), nil, true},
		"a replaced module of all": {
			files{"p.go": head1 + "\t_ \"" + common + "/event\"\n)\n\n" + fn + "}\n", "evil/go.mod": "module " + common + "\n\ngo 1.24\n", "evil/event/e.go": "package event\n\nfunc init() { println(\"" + poison + "\") }\n"},
			func(s *Spec) {
				s.Generated.GoMod = append(s.Generated.GoMod, "\nreplace "+common+" => "+filepath.Join(s.Root, "evil")+"\n"...)
			}, false,
		},
		"a package of the standard library beside it": {
			files{"go.mod": gomod, "vendor/net/http/h.go": "package http\n\nvar _ = \"" + poison + "\"\n", "p.go": head1 + ")\n\n" + fn + "}\n"}, nil, true, // it is not linked
		},
		"an entry of the cache as data": {
			files{"p.go": "package p\n\nimport (\n\t_ \"embed\"\n\t\"net/http\"\n)\n\n//go:embed entry-a\nvar entry string\n\n" + fn + " println(entry) }\n", "entry-a": "v1 " + strings.Repeat("0", 64) + " " + strings.Repeat("0", 64) + " 1 1\n" + poison},
			nil, true,
		},
		"a link to the cache": {
			files{"p.go": head1 + ")\n\n" + fn + "}\n"},
			func(s *Spec) { require.NoError(t, os.Symlink(shared.cache, filepath.Join(s.Root, "sub"))) }, true,
		},
		"the name of a file in the cache": {
			files{"p.go": head1 + ")\n\n//line " + shared.cache + "/00/x.go:1\n" + fn + " println(`" + poison + "`) }\n"}, nil, true,
		},
		"flags of the linker": {
			files{"p.go": head1 + ")\n\nvar says string\n\n" + fn + " println(says) }\n"},
			func(s *Spec) { s.Ldflags = "-X example.com/app.says=" + poison + " -linkmode=external" }, false,
		},
		"a program between": {
			files{"p.go": head1 + ")\n\n" + fn + "}\n", "go.env": "GOFLAGS=-toolexec=./evil.sh\n", "evil.sh": "#!/bin/sh\necho " + poison + "\n"},
			func(s *Spec) { s.Tags = []string{"x", "-toolexec=./evil.sh"} }, true, // which is a tag
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := c.source.spec(t, ".", "F")
			if c.change != nil {
				c.change(&spec)
			}
			err := shared.Build(t.Context(), spec)
			assert.Equal(t, c.works, err == nil, "%v", err)
		})
	}
	assert.Equal(t, victim(alone), victim(shared))
	for name, was := range before {
		if strings.HasSuffix(name, "-a") || strings.HasSuffix(name, "-d") {
			assert.Equal(t, was, digest(shared.cache, name), name)
		}
	}
	for name := range entries(t, shared.cache) {
		if output, ok := strings.CutSuffix(filepath.Base(name), "-d"); ok {
			assert.Equal(t, output, digest(shared.cache, name), "what is taken by another digest")
		}
	}
}
