package remote

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/disk"
	"github.com/Ishan27g/ryo-faas/remote/programs"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// reads is a function that answers with a file of its package.
const reads = `package fn

import (
	"net/http"
	"os"
)

func Reads(w http.ResponseWriter, r *http.Request) {
	text, err := os.ReadFile("data.txt")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
	w.Write(text)
}
`

// withData writes a package whose function Reads answers with text.
func withData(t *testing.T, text string) *proto.FunctionJson {
	t.Helper()
	dir := source(t, reads)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data.txt"), []byte(text), 0o600))
	return &proto.FunctionJson{Name: "Reads", Dir: dir, Include: []string{"data.txt"}, Wait: true}
}

// send uploads a function's package.
func (a running) send(t *testing.T, fn *proto.FunctionJson) *proto.FunctionJson {
	t.Helper()
	packer, err := bundle.OpenStore(t.TempDir(), 1<<30)
	require.NoError(t, err)
	fn, pkg, err := packer.Resolve(t.Context(), fn)
	require.NoError(t, err)
	require.NoError(t, a.Upload(t.Context(), pkg))
	return fn
}

func (a running) deployed(t *testing.T, fn *proto.FunctionJson) *proto.FunctionJsonRsp {
	t.Helper()
	rows, err := a.Deploy(t.Context(), fn)
	require.NoError(t, err)
	require.Equal(t, string(proto.Deployed), rows[0].GetStatus(), rows[0].GetError())
	return rows[0]
}

func TestAProgramRunsWhereItWasNotBuilt(t *testing.T) {
	builder := start(t, t.TempDir())
	t.Setenv("PATH", t.TempDir()) // there is no toolchain
	runner := startWith(t, t.TempDir(), func(cfg *Config) { cfg.NoBuild = true })
	assert.Empty(t, runner.Info().GetGoVersion())
	assert.NotEmpty(t, builder.Info().GetGoVersion())
	assert.Equal(t, runner.Info().GetPlatform(), builder.Info().GetPlatform())
	assert.Nil(t, runner.Layers())

	fn := builder.send(t, withData(t, "the data"))
	program, err := builder.Build(t.Context(), fn)
	require.NoError(t, err)
	assert.Equal(t, proto.KindHTTP, program.GetKind())
	assert.Equal(t, builder.Info().GetPlatform(), program.GetPlatform())
	assert.True(t, builder.HasProgram(program.GetKey()))
	rows, err := builder.Details(t.Context())
	require.NoError(t, err)
	assert.Empty(t, rows, "nothing is deployed")

	// The second time nothing is built.
	began := time.Now()
	again, err := builder.Build(t.Context(), fn)
	require.NoError(t, err)
	t.Log("asked for again:", time.Since(began))
	assert.Equal(t, program.GetDigest(), again.GetDigest())

	runner.send(t, withData(t, "the data"))
	fn.Program, fn.Kind = program.GetKey(), program.GetKind()
	rows, err = runner.Deploy(t.Context(), fn)
	require.NoError(t, err)
	assert.Equal(t, string(proto.Failed), rows[0].GetStatus())
	assert.Equal(t, proto.ReasonProgram, rows[0].GetReason())
	assert.Contains(t, rows[0].GetError(), "is not stored on the agent")

	r, described, err := builder.OpenProgram(program.GetKey())
	require.NoError(t, err)
	defer r.Close()
	assert.Equal(t, program.GetDigest(), described.GetDigest())
	assert.False(t, runner.HasProgram(program.GetKey()))
	began = time.Now()
	require.NoError(t, runner.KeepProgram(t.Context(), described, r))
	t.Log("taken from the other agent:", time.Since(began))
	assert.True(t, runner.HasProgram(program.GetKey()))

	began = time.Now()
	row := runner.deployed(t, fn)
	t.Log("deployed there:", time.Since(began))
	assert.Equal(t, proto.KindHTTP, row.GetKind())
	assertSays(t, "the data", row.GetUrl())

	fn.Kind = "" // the source says it
	assert.Equal(t, proto.KindHTTP, runner.deployed(t, fn).GetKind())
}

// Bringing a program to the disk takes longer than a proxy takes to ask for it.
func TestAProgramCanBeFetchedAsSoonAsItServes(t *testing.T) {
	a := start(t, t.TempDir())
	fn := &proto.FunctionJson{Name: "Reads", Dir: source(t, reads+"\nfunc init() { println(`fetched`) }\n"), Wait: true}
	row := a.deployed(t, fn)
	r, program, err := a.OpenProgram(row.GetProgram().GetKey())
	require.NoError(t, err)
	require.NoError(t, r.Close())
	assert.Equal(t, row.GetProgram().GetDigest(), program.GetDigest())
}

func TestAnAgentThatDoesNotBuildSaysSo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	a := startWith(t, t.TempDir(), func(cfg *Config) { cfg.NoBuild = true })
	row := a.deploy(t, "Hello", says("Hello", "one"))
	assert.Equal(t, string(proto.Failed), row.GetStatus())
	assert.Equal(t, proto.ReasonProgram, row.GetReason())
	assert.Contains(t, row.GetError(), "builds no functions")
	assert.Contains(t, row.GetError(), "an agent of platform "+a.Info().GetPlatform()+" that builds")
	_, err := a.Build(t.Context(), a.send(t, withData(t, "x")))
	require.ErrorIs(t, err, proto.ErrUnavailable)
}

func TestBuildTellsWhatIsWrong(t *testing.T) {
	a := start(t, t.TempDir())
	for name, c := range map[string]struct {
		fn           *proto.FunctionJson
		want         proto.Kind
		reason, says string
	}{
		"no package":     {&proto.FunctionJson{Name: "F", Dir: source(t, reads)}, proto.ErrInvalid, "", "from a package"},
		"not stored":     {&proto.FunctionJson{Name: "F", Package: "sha256:" + strings.Repeat("0", 64)}, proto.ErrNotFound, "", "not stored"},
		"no name":        {&proto.FunctionJson{}, proto.ErrInvalid, "", ""},
		"no function":    {a.send(t, &proto.FunctionJson{Name: "F", Dir: source(t, says("G", "x"))}), proto.ErrInvalid, proto.ReasonCheck, "F"},
		"strict":         {a.send(t, &proto.FunctionJson{Name: "F", Strict: true, Dir: source(t, says("F", "x"))}), proto.ErrInvalid, proto.ReasonCheck, "fn.go:8: strict is for typed functions, and F is of kind http"},
		"compiler error": {a.send(t, &proto.FunctionJson{Name: "F", Dir: source(t, says("F", "x")+"\nvar x int = \"s\"\n")}), proto.ErrInvalid, proto.ReasonBuild, "fn.go:10:13: cannot use"},
	} {
		_, err := a.Build(t.Context(), c.fn)
		require.ErrorIs(t, err, c.want, name)
		assert.Contains(t, err.Error(), c.says, name)
		assert.Equal(t, c.reason, proto.AsError(err).Reason, name)
	}
	tmp, err := os.ReadDir(filepath.Join(a.dir, "tmp"))
	require.NoError(t, err)
	for _, e := range tmp {
		assert.NotContains(t, e.Name(), "wanted-")
	}
}

func TestForeignProgramsAreRefused(t *testing.T) {
	a := start(t, t.TempDir())
	p := &proto.Program{Key: strings.Repeat("0", 64), Digest: "sha256:" + strings.Repeat("0", 64), Platform: "plan9/arm"}
	require.ErrorIs(t, a.KeepProgram(t.Context(), p, bytes.NewReader(nil)), proto.ErrInvalid)
	p.Platform = a.Info().GetPlatform()
	require.ErrorIs(t, a.KeepProgram(t.Context(), p, bytes.NewReader(nil)), proto.ErrInvalid)
	_, _, err := a.OpenProgram(p.GetKey())
	require.ErrorIs(t, err, proto.ErrNotFound)
}

func TestNewDataNeedsNoBuild(t *testing.T) {
	dir := t.TempDir()
	a := start(t, dir)
	fn := withData(t, "one")
	assertSays(t, "one", a.deployed(t, fn).GetUrl())
	programs := func() (names []string) {
		names, err := filepath.Glob(filepath.Join(dir, "programs", "*"))
		require.NoError(t, err)
		return names
	}
	require.Eventually(t, func() bool { return len(programs()) == 1 }, patience, time.Millisecond)

	require.NoError(t, os.WriteFile(filepath.Join(fn.GetDir(), "data.txt"), []byte("two"), 0o600))
	began := time.Now()
	assertSays(t, "two", a.deployed(t, fn).GetUrl())
	t.Log("new data:", time.Since(began))
	assert.Len(t, programs(), 1)
}

func TestRowsShowWhatTheBuildSays(t *testing.T) {
	a := start(t, t.TempDir())
	var heard strings.Builder
	watching, settled := make(chan error, 1), make(chan struct{})
	var printed uint64
	go func() {
		defer close(settled)
		watching <- a.Watch(t.Context(), func(e *proto.WatchEvent) error {
			for _, row := range e.GetFunctions() {
				if more := int(row.GetPrinted() - min(printed, row.GetPrinted())); more > 0 {
					out := row.GetOutput()
					heard.WriteString(out[len(out)-more:])
					printed = row.GetPrinted()
				}
				if row.GetStatus() == string(proto.Failed) {
					assert.Empty(t, row.GetOutput())
					assert.Zero(t, row.GetPrinted())
					return io.EOF
				}
			}
			return nil
		})
	}()
	const broken = "package fn\n\nimport (\n\t\"net/http\"\n)\n\n// %d\nfunc F(w http.ResponseWriter, r *http.Request) { x }\n"
	row := a.deploy(t, "F", fmt.Sprintf(broken, time.Now().UnixNano()))
	assert.Equal(t, proto.ReasonBuild, row.GetReason())
	<-settled
	require.ErrorIs(t, <-watching, io.EOF)
	assert.Contains(t, heard.String(), "fn.go:8:50: undefined: x\n")
	assert.Equal(t, "fn.go:8:50: undefined: x", row.GetError())
}

func TestRowsCarryTheEndOfWhatIsSaid(t *testing.T) {
	m := &move{Change: &disk.Change{Version: &disk.Version{}}}
	building := func(text string) programs.Progress {
		return programs.Progress{Stage: proto.StageBuilding, Output: text}
	}
	m.heard(building("one\n"))
	assert.Equal(t, "one\n", m.output)
	m.heard(building(strings.Repeat("ü", outputKept)))
	assert.Equal(t, strings.Repeat("ü", outputKept/2), m.output)
	m.heard(building("x"))
	assert.Equal(t, strings.Repeat("ü", outputKept/2-1)+"x", m.output)
	assert.Equal(t, uint64(4+2*outputKept+1), m.printed)
	m.heard(building("y\ntwo\n" + strings.Repeat("z", outputKept-6)))
	assert.Equal(t, "two\n"+strings.Repeat("z", outputKept-6), m.output, "from a whole line on")
	m.heard(programs.Progress{Stage: proto.StageStarting})
	assert.Zero(t, m.printed)
	assert.Empty(t, m.output)
}

func TestADeclaredFunctionIsServedUnderAnotherName(t *testing.T) {
	a := start(t, t.TempDir())
	dir := source(t, `package fn

import (
	"io"
	"net/http"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"
)

func init() {
	functions.HTTP("blur-images", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "blurred") })
}
`)
	assertSays(t, "blurred", a.deployed(t, &proto.FunctionJson{Name: "BlurImages", Dir: dir, Wait: true}).GetUrl())
	assertSays(t, "blurred", a.deployed(t, &proto.FunctionJson{Name: "Other", Target: "blur-images", Dir: dir, Wait: true}).GetUrl())
}
