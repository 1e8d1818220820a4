package build

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

var somewhere = funcfw.Places{
	Root: "/state/gen/src", Work: "/state/gen/work", ModCache: "/state/gomod", GoRoot: "/opt/go",
	Generated: &funcfw.Generated{ModuleRoot: "app", GoMod: []byte("module example.com/app\n")},
}

func TestExplain(t *testing.T) {
	vendored := somewhere
	vendored.Generated = &funcfw.Generated{ModuleRoot: "app", GoMod: []byte("module example.com/app\n\nreplace example.org/x => ../vendor/example.org/x\n")}
	bare := somewhere
	bare.Generated = &funcfw.Generated{ModuleRoot: "app", GoMod: []byte("module hello\n"), Overlay: map[string][]byte{"app/go.mod": nil}}
	elsewhere := map[string]funcfw.Places{"vendored": vendored, "without go.mod": bare, "without go.mod, a sum": bare, "without go.mod, one of its own": bare}
	for name, c := range map[string]struct {
		output, want string
		kind         proto.Kind // ErrInvalid: a *Failure
	}{
		"vendored": {
			"a.go:3:1: no required module provides package example.org/x/y; to add it:\n\tgo get example.org/x/y\n",
			`app/a.go:3:1: package example.org/x/y is not in the vendor folder; run "go mod vendor" beside it`, proto.ErrInvalid,
		},
		"without go.mod": {
			"a.go:3:1: no required module provides package example.org/x; to add it:\n\tgo get example.org/x\n",
			`app/a.go:3:1: package example.org/x is not in the standard library, and there is no go.mod; run "go mod init example.com/hello && go mod tidy" in the function's folder`, proto.ErrInvalid,
		},
		"without go.mod, a sum": {
			"a.go:3:1: missing go.sum entry for module providing package example.org/x (imported by hello); to add:\n\tgo get hello\n",
			`app/a.go:3:1: missing go.sum entry for module providing package example.org/x (imported by hello); there is no go.mod; run "go mod init example.com/hello && go mod tidy" in the function's folder`, proto.ErrInvalid,
		},
		"without go.mod, one of its own": {
			"a.go:3:1: package hello/sub is not in std (/opt/go/src/hello/sub)\n",
			`app/a.go:3:1: package hello/sub is not in the standard library, and there is no go.mod; run "go mod init example.com/hello && go mod tidy" in the function's folder, and import packages of it by that path`, proto.ErrInvalid,
		},
		"a path without a dot": {
			"a.go:3:1: package hello/sub is not in std (/opt/go/src/hello/sub)\n", `app/a.go:3:1: package hello/sub is neither in the standard library nor in module example.com/app`, proto.ErrInvalid,
		},
		"headings and progress": {
			"go: downloading example.org/x v1.0.0\n# example.com/app\n./a.go:1:2: undefined: x\n", "app/a.go:1:2: undefined: x", proto.ErrInvalid,
		},
		"outside of the module": {"../lib/a.go:1:2: undefined: x\n", "lib/a.go:1:2: undefined: x", proto.ErrInvalid},
		"a dependency": {
			"/state/gomod/example.org/x@v1.0.0/x.go:1:2: undefined: x\n", "example.org/x@v1.0.0/x.go:1:2: undefined: x", proto.ErrInvalid,
		},
		"a dependency, relative": {
			"../../../gomod/example.org/x@v1.0.0/x.go:1:2: undefined: x\n", "example.org/x@v1.0.0/x.go:1:2: undefined: x", proto.ErrInvalid,
		},
		"the toolchain": {
			"example.com/app: /opt/go/pkg/tool/linux_amd64/compile: exec format error\n", "the agent's Go toolchain cannot be run: example.com/app: $GOROOT/pkg/tool/linux_amd64/compile: exec format error", proto.ErrUnavailable,
		},
		"the compiler is killed": {
			"example.com/app: /opt/go/pkg/tool/linux_amd64/compile: signal: killed\n", "the compiler was killed: a package needs more than 60 s of processor time, or more memory than there is", proto.ErrExhausted,
		},
		"too many threads": {
			"runtime: failed to create new OS thread (have 12 already; errno=11)\nfatal error: newosproc\n",
			fmt.Sprintf("the build needs more than %d processes and threads, or than %d files", limits.Tasks, limits.Files), proto.ErrExhausted,
		},
		"go.mod": {
			"go: errors parsing ../../work/go.mod:\n../../work/go.mod:3: unknown directive: x\n", "go: errors parsing app/go.mod:\napp/go.mod:3: unknown directive: x", proto.ErrInvalid,
		},
		"go.sum": {
			"a.go:3:1: missing go.sum entry for module providing package example.org/x (imported by example.com/app); to add:\n\tgo get example.com/app\n",
			`app/a.go:3:1: missing go.sum entry for module providing package example.org/x (imported by example.com/app); run "go mod tidy" in the function's folder`,
			proto.ErrInvalid,
		},
		"the advice goes": {
			"a.go:3:1: no required module provides package example.org/x; to add it:\n\tgo get example.org/x\n",
			`app/a.go:3:1: no module in go.mod has package example.org/x; run "go get example.org/x" in the function's folder`, proto.ErrInvalid,
		},
		"no network": {
			"go: example.org/x@v1.0.0: Get \"https://proxy.example/x\": dial tcp: lookup proxy.example: no such host\n",
			"a module that the function needs cannot be fetched: go: example.org/x@v1.0.0: Get \"https://proxy.example/x\": dial tcp: lookup proxy.example: no such host",
			proto.ErrUnavailable,
		},
		"no network on purpose": {
			"go: downloading example.org/x v1.0.0\na.go:3:2: module lookup disabled by GOPROXY=off\n",
			"a module that the function needs cannot be fetched (it asked for example.org/x@v1.0.0): app/a.go:3:2: module lookup disabled by GOPROXY=off", proto.ErrUnavailable,
		},
		"the disk is full": {"# example.com/app\n/opt/go/pkg/tool/linux_amd64/link: write x: no space left on device\n", "no space is left to build", proto.ErrExhausted},
		"too little memory": {
			"# example.com/app\nfatal error: runtime: out of memory\n\nruntime stack:\n",
			fmt.Sprintf("the compiler crashed, as it does when a package needs more than %d MiB of memory", limits.Data>>20), proto.ErrExhausted,
		},
		"the proxy is broken": {
			"a.go:3:2: example.org/x@v1.0.0: reading https://proxy.example/example.org/x/@v/v1.0.0.zip: 502 Bad Gateway\n",
			"a module that the function needs cannot be fetched: app/a.go:3:2: example.org/x@v1.0.0: reading https://proxy.example/example.org/x/@v/v1.0.0.zip: 502 Bad Gateway",
			proto.ErrUnavailable,
		},
		"another module than was published": {
			"go: downloading example.org/x v1.0.0\ngo: example.org/x@v1.0.0: verifying go.mod: checksum mismatch\n\tdownloaded: h1:a\n\tgo.sum:     h1:b\n\nSECURITY ERROR\n",
			"a module is not the one that was published (it asked for example.org/x@v1.0.0): go: example.org/x@v1.0.0: verifying go.mod: checksum mismatch\n\tdownloaded: h1:a\n\tapp/go.sum:     h1:b\n\nSECURITY ERROR",
			proto.ErrConflict,
		},
		"the sandbox": {
			"go: open /state/gopath/pkg/sumdb/x/latest: permission denied\n",
			"the build may not use its own files: go: open /state/gopath/pkg/sumdb/x/latest: permission denied", proto.ErrInternal,
		},
		"words of a source about a disk": {
			"# example.com/app\n./a.go:1:2: cannot use \"no space left on device\" as int\n\thave (signal: killed)\n",
			"app/a.go:1:2: cannot use \"no space left on device\" as int\n\thave (signal: killed)", proto.ErrInvalid,
		},
		"no proxy has it": {
			"go: corp.example/x@v1.0.0: reading https://proxy.example/corp.example/x/@v/v1.0.0.mod: 404 Not Found\n",
			"go: corp.example/x@v1.0.0: reading https://proxy.example/corp.example/x/@v/v1.0.0.mod: 404 Not Found\nthe agent cannot have a private module; " + alongWith, proto.ErrInvalid,
		},
		"words of a source": {
			"# example.com/app\n./a.go:1:2: cannot use \"dial tcp\" as int\n", "app/a.go:1:2: cannot use \"dial tcp\" as int", proto.ErrInvalid,
		},
		"our own fault, in several lines": {
			"# a.ryo.local/serve\nzz_ryo/serve/x.go:7:1: too many arguments\n\thave (error)\n\twant ()\n",
			"the generated files do not build: app/zz_ryo/serve/x.go:7:1: too many arguments\n\thave (error)\n\twant ()", proto.ErrInternal,
		},
		"our own fault": {
			"# example.com/app/zz_ryo_main\nzz_ryo_main/main_F.go:7:1: undefined: x\n",
			"the generated files do not build: app/zz_ryo_main/main_F.go:7:1: undefined: x", proto.ErrInternal,
		},
		"the framework's symbol is gone": {
			"# example.com/app/zz_ryo_main\na.ryo.local/serve.frameworkHandler: relocation target x.initServer not defined\n",
			"the generated files do not build: a.ryo.local/serve.frameworkHandler: relocation target x.initServer not defined", proto.ErrInternal,
		},
		"the user's fault comes first": {
			"a.go:1:2: undefined: x\nzz_ryo_main/main_F.go:7:1: undefined: x\n", "app/a.go:1:2: undefined: x", proto.ErrInvalid,
		},
		"nothing": {"", "the generated files do not build: ", proto.ErrInternal},
	} {
		t.Run(name, func(t *testing.T) {
			places := somewhere
			if p, ok := elsewhere[name]; ok {
				places = p
			}
			err := explain(places, c.output)
			assert.EqualError(t, err, c.want)
			require.ErrorIs(t, err, c.kind)
			assert.Equal(t, c.kind == proto.ErrInvalid, errors.As(err, new(*Failure)))
			if c.kind != proto.ErrInvalid && c.kind != proto.ErrInternal {
				assert.NotEmpty(t, proto.AsError(err).Hint)
			}
		})
	}
}

func TestProgressNamesWhatTheUserHasWritten(t *testing.T) {
	for said, want := range map[string]string{
		"p.go:5:6: cannot use fn.F (value of type func()) as T value in argument to serve.HTTP\n":     "app/p.go:5:6: cannot use F (value of type func()) as T value\n",
		"p.go:5:6: cannot use F (value of type func()) as T value in argument to zz_ryo_serve.HTTP\n": "app/p.go:5:6: cannot use F (value of type func()) as T value\n",
		"# example.com/app/zz_ryo_main\n": "",
		"# a.ryo.local/serve\n":           "",
	} {
		a := &attempt{Builder: builder, places: somewhere}
		assert.Equal(t, want, a.shown(said), said)
	}
}

func FuzzExplain(f *testing.F) {
	for _, seed := range []string{
		"# p\n./a.go:1:2: undefined: x\n", "/state/gen/src/a.go:1\n", "package zz_ryo_main\n\timports a from b\n",
		"a.go:1: no required module provides package x; to add it:\n\tgo get x\n", "go: errors parsing ../../work/go.mod:\n", "../../../gomod/x.go:1\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, output string) {
		err := explain(somewhere, output)
		if err == nil || proto.AsError(err).Kind == "" || err.Error() == "" {
			t.Errorf("%q became %v", output, err)
		}
		if strings.Contains(output, "\n# ") && errors.Is(err, proto.ErrUnavailable) {
			t.Errorf("%q is about source, not about the network", output)
		}
	})
}
