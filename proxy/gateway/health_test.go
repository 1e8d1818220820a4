package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
)

// targetsOf returns the targets of a table's only function.
func targetsOf(t *testing.T, r *Table) []*target {
	t.Helper()
	rt, _, err := r.find("hello")
	require.NoError(t, err)
	require.NotNil(t, rt)
	return rt.targets()
}

func TestOfTwoReplicasTheLessBusyIsTaken(t *testing.T) {
	r := table(deployed("Hello", "127.0.0.1:1"), deployed("Hello", "127.0.0.1:2"), deployed("Hello", "127.0.0.1:3"))
	defer r.Clear()
	rt, _, err := r.find("hello")
	require.NoError(t, err)
	all := rt.targets()
	all[0].inFlight.Store(2)
	seen := map[*target]int{}
	for range 1000 {
		seen[rt.versions[0].pick(nil, nil)]++
	}
	assert.Zero(t, seen[all[0]], "the busiest of three is never the less busy of two")
	assert.InDelta(t, 500, seen[all[1]], 120, "equals get equally many")
	all[0].inFlight.Store(0)
	clear(seen)
	for range 9 {
		seen[rt.versions[0].pick(nil, nil)]++
	}
	assert.Equal(t, map[*target]int{all[0]: 3, all[1]: 3, all[2]: 3}, seen, "in turn")
	assert.Same(t, all[0], rt.versions[0].pick(all[1:], nil))
	assert.Nil(t, rt.versions[0].pick(all, nil))
}

func TestAReplicaThatIsSetAsideGetsCallsOnlyIfThereIsNoOther(t *testing.T) {
	r := table(deployed("Hello", testkit.Address(t)), deployed("Hello", testkit.Address(t)), deployed("Hello", testkit.Address(t)))
	defer r.Clear()
	rt, _, err := r.find("hello")
	require.NoError(t, err)
	all := rt.targets()
	all[0].fail(io.EOF)
	for range 100 {
		p := picker{route: rt, chosen: rt.versions[0]}
		var order []*target
		for to := p.next(); to != nil; to = p.next() {
			order = append(order, to)
			assert.EqualValues(t, 1, to.inFlight.Load())
		}
		require.Len(t, order, 3, "each is tried once")
		assert.Same(t, all[0], order[2])
		p.release()
	}
	for _, to := range all {
		assert.Zero(t, to.inFlight.Load())
	}
}

// A canary that cannot be reached leaves its share to the version beside it.
func TestAnotherVersionComesBeforeAReplicaThatIsSetAside(t *testing.T) {
	row := deployed("Hello", "127.0.0.1:1")
	row.Serving = []*proto.Serving{
		{Version: 1, Weight: 50, Proxy: "http://127.0.0.1:1"}, {Version: 2, Weight: 50, Proxy: "http://127.0.0.1:2"}, {Version: 3, Proxy: "http://127.0.0.1:3"},
	}
	r := table(row)
	defer r.Clear()
	rt, _, err := r.find("hello")
	require.NoError(t, err)
	rt.version(2).targets[0].fail(io.EOF)
	p := picker{route: rt, chosen: rt.version(2)}
	assert.Same(t, rt.version(1).targets[0], p.next())
	assert.Same(t, rt.version(2).targets[0], p.next())
	assert.Nil(t, p.next(), "no call comes to a version without weight by chance")
	p.release()
	p = picker{route: rt, chosen: rt.version(2), number: 2}
	assert.Same(t, rt.version(2).targets[0], p.next(), "the caller named it")
	assert.Nil(t, p.next())
	p.release()
}

func TestAReplicaThatRefusesIsSetAsideAndProbedBack(t *testing.T) {
	live := function(t, "Hello", func(http.ResponseWriter, *http.Request) {})
	down := testkit.Address(t)
	r := table(live, deployed("Hello", down))
	addr := frontTo(t, r)
	all := targetsOf(t, r)
	for all[1].available() {
		res, _ := say(t, addr, "POST /functions/hello HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
		require.Equal(t, 200, res.StatusCode)
	}
	assert.True(t, all[0].available())
	row := deployed("Hello", down)
	require.ErrorContains(t, r.Trouble(row), "refused")
	assert.NotContains(t, r.Trouble(row).Error(), down)
	row.AtAgent = "localhost:9001"
	assert.NoError(t, r.Trouble(row), "another agent's")
	assert.NoError(t, r.Trouble(deployed("Other", down)))
	l, err := net.Listen("tcp", down)
	require.NoError(t, err)
	defer l.Close()
	assert.Eventually(t, all[1].available, patience, time.Millisecond, "no call is needed for that")
	assert.NoError(t, r.Trouble(deployed("Hello", down)))
}

func TestAReplicaThatBreaksIsSetAside(t *testing.T) {
	inBothLanes(t, func(t *testing.T, line string) {
		var broke atomic.Int32
		r := table(function(t, "Hello", func(http.ResponseWriter, *http.Request) {}), scripted(t, func(_ net.Conn, in *bufio.Reader) {
			if _, err := readHead(in); err == nil {
				broke.Add(1)
			}
		}))
		addr := frontTo(t, r)
		broken := targetsOf(t, r)[1]
		for broken.health.failures.Load() == 0 {
			_, _ = say(t, addr, "POST /functions/hello HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n"+line+"\r\n")
		}
		assert.EqualValues(t, 1, broke.Load(), "one call was lost")
		require.Eventually(t, broken.available, patience, time.Millisecond, "it is tried again")
	})
}

// What comes as an answer is the function's matter, not its machine's.
func TestAReplicaThatAnswersBadlyIsNotSetAside(t *testing.T) {
	r := table(scripted(t, answering("HTTP/1.1 nonsense\r\n\r\n")))
	assert.Equal(t, 502, statusOf(t, frontTo(t, r), "GET", ""))
	assert.True(t, targetsOf(t, r)[0].available())
}

// Whose agent is silent when the time of a call is up, or when its connection breaks, is
// not told that the function is to blame.
func TestTheAgentIsBlamedForWhatItDoesNotAnswer(t *testing.T) {
	quiet := silent(t, "50ms")
	breaks := scripted(t, func(_ net.Conn, in *bufio.Reader) { _, _ = readHead(in) })
	r := table(quiet, breaks)
	srv := httptest.NewServer(New(Config{
		Table: r, Logger: hclog.NewNullLogger(), Admit: func(*http.Request, string, bool) error { return nil },
		Stranger: func(*http.Request) bool { return false },
		AgentErr: func(agent string) *proto.Error {
			return proto.Errorf(proto.ErrUnavailable, "agent %s does not answer", agent).WithHint("look at it").From("agent", "dial")
		},
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(r.Clear)
	for name, want := range map[string][]any{"silent": {"timeout", "agent", "timeout"}, "hello": {"bad_gateway", "agent", "lost"}} {
		res, _ := say(t, srv.Listener.Addr().String(), "POST /functions/"+name+" HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		e := errorOf(t, res)
		assert.Equal(t, want, []any{e["code"], e["component"], e["reason"]})
		assert.Contains(t, e["message"], "agent localhost:9000 does not answer")
	}
}

// full returns the address of a listener that takes no further connections: packets to
// it vanish.
func full(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, syscall.Listen(fd, 0))
	name, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(name.(*syscall.SockaddrInet4).Port))
	for {
		conn, err := net.DialTimeout("tcp", addr, 100*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { conn.Close() })
	}
}

func TestAfterASilentReplicaWasFoundNobodyWaitsForIt(t *testing.T) {
	t.Parallel()
	live := function(t, "Hello", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	r := table(deployed("Hello", full(t)), live)
	addr := frontTo(t, r)
	silent := targetsOf(t, r)[0]
	for n := 0; silent.available(); n++ {
		res, _ := say(t, addr, "POST /functions/hello HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody")
		require.Equal(t, "body", bodyOf(t, res), "nothing of it was sent to the silent one")
		require.Less(t, n, 100)
	}
	waited := 0
	for i := range 200 {
		start := time.Now()
		res, _ := say(t, addr, fmt.Sprintf("GET /functions/hello?%d HTTP/1.1\r\nHost: h\r\n\r\n", i))
		require.Equal(t, 200, res.StatusCode)
		if time.Since(start) >= dialLimit {
			waited++ // or the machine has
		}
	}
	assert.Less(t, waited, 10, "half of the calls, if they go there")
	assert.False(t, silent.available())
}

func TestAReplicaIsAvailableAsItsAgentSays(t *testing.T) {
	for name, tt := range map[string]struct {
		change    func(*proto.FunctionJsonRsp)
		available bool
	}{
		"runs":                       {func(*proto.FunctionJsonRsp) {}, true},
		"idle":                       {func(row *proto.FunctionJsonRsp) { row.Instances = 0 }, true},
		"its agent does not answer":  {func(row *proto.FunctionJsonRsp) { row.Reason = proto.ReasonUnreachable }, false},
		"its process is frozen":      {func(row *proto.FunctionJsonRsp) { row.Instances, row.Reason = 0, proto.ReasonFrozen }, false},
		"one of two is frozen":       {func(row *proto.FunctionJsonRsp) { row.Reason = proto.ReasonFrozen }, true},
		"it is restarted":            {func(row *proto.FunctionJsonRsp) { row.Instances, row.Retry = 0, "2030-01-01T00:00:00Z" }, false},
		"its last deploy has failed": {func(row *proto.FunctionJsonRsp) { row.Reason = proto.ReasonBuild }, true},
	} {
		t.Run(name, func(t *testing.T) {
			row := deployed("Hello", testkit.Address(t))
			r := table(row)
			defer r.Clear()
			target := targetsOf(t, r)[0]
			require.True(t, target.available())
			next := deployed("Hello", target.key.address)
			tt.change(next)
			r.Update(map[string][]Replica{"hello": {{Row: next}}})
			assert.Same(t, target, targetsOf(t, r)[0])
			assert.Equal(t, tt.available, target.available())
			target.fail(io.EOF)
			r.Update(map[string][]Replica{"hello": {{Row: row}}})
			assert.Equal(t, !tt.available, target.available(), "what was met while its agent was away is forgotten")
		})
	}
}
