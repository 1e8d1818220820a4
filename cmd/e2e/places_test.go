//go:build linux

package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// holders returns where a function is Deployed, as a proxy knows.
func holders(t *testing.T, p gateway, name string) (list []string) {
	t.Helper()
	for _, r := range rows(t, http.MethodGet, "http://"+p.http+"/details", "") {
		if r.Name == name && r.Status == "Deployed" && r.Reason != "unreachable" {
			list = append(list, r.AtAgent)
		}
	}
	slices.Sort(list)
	return list
}

// A drain moves functions under load without a failed call, and tells what stays.
func TestDrainMovesFunctionsAndFailsNoCall(t *testing.T) {
	t.Parallel()
	sites := []agent{newSite(t).start(t, "-labels", "zone=a"), newSite(t).start(t, "-labels", "zone=a")}
	p := startProxy(t, "", "-agents", sites[0].addr+","+sites[1].addr)
	dir := source(t, obeys("Busy", "here"))
	r := mustDeploy(t, p.http, "Busy", dir)
	mustDeploy(t, p.http, "Named", source(t, obeys("Named", "stays")), sites[0].addr, sites[1].addr)
	l := startLoad(t, r.URL, "here")
	calls, moves := int64(often(2_000, 10_000)), int64(often(2, 6))
	at := holders(t, p, "Busy")
	require.Len(t, at, 1)
	for range moves {
		from := at[0]
		l.served(calls / moves / 2)
		said := proxyCli(t, t.TempDir(), "-proxy", p.rpc, "agents", "drain", from)
		assert.Equal(t, 6, said.code, said.stderr) // something stays
		assert.Contains(t, said.stderr, "Named: it was deployed to agents by name")
		assert.NotContains(t, said.stderr, "Busy")
		at = holders(t, p, "Busy")
		require.Len(t, at, 1)
		require.NotEqual(t, from, at[0])
		l.served(calls / moves / 2)
		said = proxyCli(t, t.TempDir(), "-proxy", p.rpc, "agents", "resume", from)
		require.Zero(t, said.code, said.stderr)
	}
	l.served(max(20, calls-l.good.Load()))
	assert.Empty(t, l.stop(), "of %d calls", l.good.Load())
	t.Logf("%d calls during %d moves", l.good.Load(), moves)
	assert.Len(t, holders(t, p, "Named"), 2)

	said := proxyCli(t, t.TempDir(), "-proxy", p.rpc, "agents")
	require.Zero(t, said.code, said.stderr)
	assert.Equal(t, 2, strings.Count(said.stdout, "zone=a"), said.stdout)
}

// What lost agents had is brought up elsewhere in time, and once.
func TestLostAgentsAreReplacedAndNotDoubled(t *testing.T) {
	t.Parallel()
	const lostAfter = 2 * time.Second
	sites := map[string]site{}
	running := map[string]agent{}
	var names []string
	for range 4 {
		s := newSite(t)
		a := s.start(t)
		sites[a.addr], running[a.addr] = s, a
		names = append(names, a.addr)
	}
	p := startProxy(t, "", "-lost-after", lostAfter.String(), "-agents", strings.Join(names, ","))
	r := mustDeploy(t, p.http, "Hello", source(t, obeys("Hello", "here")))
	said := proxyCli(t, t.TempDir(), "-proxy", p.rpc, "scale", "Hello", "2")
	require.Zero(t, said.code, said.stderr)
	first := holders(t, p, "Hello")
	require.Len(t, first, 2)
	for _, lost := range first {
		running[lost].kill()
		killed := time.Now()
		eventually(t, func() bool {
			at := holders(t, p, "Hello")
			return len(at) == 2 && !slices.Contains(at, lost)
		}, "%s is replaced", lost)
		t.Logf("replaced after %s", time.Since(killed).Round(10*time.Millisecond))
		assert.Greater(t, time.Since(killed), lostAfter, "it might be back")
		answers(t, "here", r.URL)
	}
	// returns starts an agent again, which removes what was replaced.
	returns := func(lost string) {
		t.Helper()
		running[lost] = sites[lost].start(t)
		eventually(t, func() bool { return len(rows(t, http.MethodGet, "http://"+lost+"/details", "")) == 0 }, "%s removes what was replaced", lost)
		eventually(t, func() bool {
			list := rows(t, http.MethodGet, "http://"+p.http+"/details", "")
			return !slices.ContainsFunc(list, func(r row) bool { return r.AtAgent == lost })
		}, "the proxy knows that %s has nothing", lost)
	}
	for _, lost := range first {
		returns(lost)
	}

	// All that have it, at once: what it is then only the store knows. The others have its
	// program.
	both := holders(t, p, "Hello")
	require.Len(t, both, 2)
	killed := time.Now()
	for _, lost := range both {
		running[lost].kill()
	}
	eventually(t, func() bool {
		at := holders(t, p, "Hello")
		return len(at) == 2 && !slices.ContainsFunc(both, func(lost string) bool { return slices.Contains(at, lost) })
	}, "both are replaced")
	t.Logf("both replaced after %s", time.Since(killed).Round(10*time.Millisecond))
	assert.Greater(t, time.Since(killed), lostAfter, "they might be back")
	answers(t, "here", r.URL)

	now := holders(t, p, "Hello")
	for _, lost := range both {
		returns(lost)
	}
	assert.Equal(t, now, holders(t, p, "Hello"))
	answers(t, "here", r.URL)
}
