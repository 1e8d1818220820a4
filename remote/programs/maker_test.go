package programs

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// newMaker is a maker that builds nothing.
func newMaker(t *testing.T) *Maker {
	t.Helper()
	dir := t.TempDir()
	packages, err := bundle.OpenStore(filepath.Join(dir, "packages"), 1<<20)
	require.NoError(t, err)
	m, err := New(Config{Dir: filepath.Join(dir, "programs"), Temp: dir, Packages: packages, Addr: "here:9000", Logger: hclog.NewNullLogger()})
	require.NoError(t, err)
	t.Cleanup(m.Close)
	return m
}

// resolved is a function whose package m has.
func resolved(t *testing.T, m *Maker) *proto.FunctionJson {
	t.Helper()
	dir := t.TempDir()
	const source = "package fn\n\nimport \"net/http\"\n\nfunc F(http.ResponseWriter, *http.Request) {}\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "fn.go"), []byte(source), 0o600))
	fn, _, err := m.packages.Resolve(t.Context(), &proto.FunctionJson{Name: "F", Dir: dir})
	require.NoError(t, err)
	return fn
}

func TestBuildsForOthersAreBounded(t *testing.T) {
	m := newMaker(t)
	for range maxWanted {
		m.wanted <- struct{}{}
	}
	_, err := m.Build(t.Context(), resolved(t, m))
	require.ErrorIs(t, err, proto.ErrTooMany)
}

func TestWithoutAToolchainTheWayOutIsNamed(t *testing.T) {
	m := newMaker(t)
	_, err := m.Build(t.Context(), resolved(t, m))
	require.ErrorIs(t, err, proto.ErrUnavailable)
	require.Contains(t, proto.AsError(err).Hint, "an agent of platform "+m.Info().GetPlatform()+" that builds")
	_, _, err = m.Open("00")
	require.ErrorIs(t, err, proto.ErrInvalid)
	require.ErrorIs(t, m.Put(t.Context(), &proto.Program{Platform: "plan9/arm"}, bytes.NewReader(nil)), proto.ErrInvalid)
}

func TestADamagedPackageIsNoFaultOfItsSource(t *testing.T) {
	for name, damage := range map[string]func(file string) error{
		"swapped":   func(file string) error { return os.WriteFile(file, []byte("PK"), 0o600) },
		"truncated": func(file string) error { return os.Truncate(file, 10) },
		"empty":     func(file string) error { return os.Truncate(file, 0) },
	} {
		m := newMaker(t)
		fn := resolved(t, m)
		pkg, err := m.packages.Get(fn.GetPackage())
		require.NoError(t, err)
		require.NoError(t, damage(pkg.Path))
		reason, err := m.unpack(t.Context(), fn, filepath.Join(t.TempDir(), "src"))
		require.ErrorIs(t, err, proto.ErrUnavailable, name)
		require.Equal(t, proto.ReasonDamaged, reason)
		require.False(t, m.packages.Has(fn.GetPackage()), "it can be uploaded again")
	}
}
