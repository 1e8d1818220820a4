package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
)

// printing is a deploy of a function Hello that prints a line for each call and
// exits at /exit.
func printing(t testing.TB, agents ...*node) *proto.FunctionJson {
	t.Helper()
	fn := answers(t, "", agents...)
	fn.Dir = sourceOf(t, "Hello", "package p\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n\t\"os\"\n)\n\nfunc Hello(w http.ResponseWriter, r *http.Request) {\n\tif r.URL.Path == \"/exit\" {\n\t\tos.Exit(3)\n\t}\n\tfmt.Println(\"called\")\n}\n").Dir
	return fn
}

func TestUsageAndCrashesOfAllReplicas(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{})
	deploys(t, p, printing(t, nodes...))
	for range 2 {
		p.call(t, "hello/exit")
	}
	require.Eventually(t, func() bool {
		list, err := p.Crashes(t.Context(), "hello")
		return err == nil && len(list) == 2
	}, patience, time.Millisecond)
	crashes, err := p.Crashes(t.Context(), "hello")
	require.NoError(t, err)
	assert.False(t, timeOf(crashes[0].GetTime()).Before(timeOf(crashes[1].GetTime())))
	assert.Contains(t, []string{nodes[0].addr, nodes[1].addr}, crashes[0].GetAtAgent())

	for _, name := range []string{"", "Hello"} {
		usage, err := p.Usage(t.Context(), name)
		require.NoError(t, err)
		require.Len(t, usage, 3)
		assert.EqualValues(t, 2, usage[0].GetTraffic().GetCalls(), "the calls come first")
		assert.EqualValues(t, 2, usage[0].GetTraffic().GetErrors())
		assert.ElementsMatch(t, []string{nodes[0].addr, nodes[1].addr}, []string{usage[1].GetAtAgent(), usage[2].GetAtAgent()})
	}
	_, err = p.Usage(t.Context(), "Other")
	require.ErrorIs(t, err, proto.ErrNotFound)

	nodes[0].stop() // the others are told of
	usage, err := p.Usage(t.Context(), "")
	require.NoError(t, err)
	require.Len(t, usage, 3)
	usage = usage[1:]
	slices.SortFunc(usage, func(a, b *proto.Usage) int { return cmp.Compare(a.GetError(), b.GetError()) })
	assert.Equal(t, nodes[1].addr, usage[0].GetAtAgent())
	assert.Empty(t, usage[0].GetError())
	assert.Equal(t, nodes[0].addr, usage[1].GetAtAgent())
	assert.Contains(t, usage[1].GetError(), nodes[0].addr)
	crashes, err = p.Crashes(t.Context(), "Hello")
	require.NoError(t, err)
	require.NotEmpty(t, crashes)
	last := crashes[len(crashes)-1]
	assert.Equal(t, nodes[0].addr, last.GetAtAgent())
	assert.Contains(t, last.GetError(), nodes[0].addr)
	versions, err := p.Versions(t.Context(), "Hello")
	require.NoError(t, err)
	require.Len(t, versions, 2)
	assert.Equal(t, []string{nodes[1].addr, nodes[0].addr}, []string{versions[0].GetAtAgent(), versions[1].GetAtAgent()})
	assert.Empty(t, versions[0].GetError())
	assert.Contains(t, versions[1].GetError(), nodes[0].addr)

	nodes[1].stop()
	_, err = p.Usage(t.Context(), "Hello")
	require.ErrorIs(t, err, proto.ErrUnavailable)
	_, err = p.Versions(t.Context(), "Hello")
	require.ErrorIs(t, err, proto.ErrUnavailable)
}

func TestWhatIsNotFoundMayBeAtAgentsThatDoNotAnswer(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{})
	deploys(t, p, answers(t, "one", nodes[0]))
	deploys(t, p, source(t, "Other", nodes[1].addr))
	_, err := p.Stop(t.Context(), "Hello")
	require.NoError(t, err)
	_, err = p.Log(t.Context(), "Hello")
	require.NoError(t, err)
	nodes[0].stop()
	require.Eventually(t, func() bool { return p.fleet.Problem(nodes[0].addr) != nil }, patience, time.Millisecond)
	_, err = p.Versions(t.Context(), "Hello")
	_, unread := p.Log(t.Context(), "Hello")
	_, unstopped := p.Stop(t.Context(), "Hello")
	for _, err := range []error{
		err, unread, unstopped, errorBy(p.Scale(t.Context(), "Hello", "2")), errorBy(p.Usage(t.Context(), "Hello")), errorBy(p.Crashes(t.Context(), "Hello")),
		errorBy(p.Rollback(t.Context(), "Hello", 0)), errorBy(p.Pause(t.Context(), "Hello")), errorBy(p.Resume(t.Context(), "Hello")), errorBy(p.Shift(t.Context(), "Hello", 10)),
		errorBy(p.Remove(t.Context(), "Hello")), p.Logs(t.Context(), &proto.LogsRequest{Name: "Hello"}, func(*proto.LogLines) error { return nil }),
	} {
		require.ErrorIs(t, err, proto.ErrNotFound)
		assert.Equal(t, "agents that do not answer may have it: "+nodes[0].addr, proto.AsError(err).Hint)
	}
}

// Its agent answers and says nothing of it.
func TestListSaysWhereCallsFail(t *testing.T) {
	well, hurt := newNode(t), newNode(t)
	hurt.service = "http://" + testkit.Address(t)
	p := start(t, Config{})
	deploys(t, p, source(t, "Hello", well.addr, hurt.addr))
	for range 2 { // one to each, which for one fails
		status, body := p.call(t, "hello")
		assert.Equal(t, 200, status)
		assert.Contains(t, body, well.addr)
	}
	for addr, reason := range map[string]string{well.addr: "", hurt.addr: proto.ReasonAside} {
		rows, err := p.List(t.Context(), addr)
		require.NoError(t, err)
		require.Len(t, rows, 1)
		assert.Equal(t, reason, rows[0].GetReason(), rows[0].GetError())
		assert.EqualValues(t, proto.Deployed, rows[0].GetStatus())
		assert.Equal(t, reason == "", rows[0].Available(rows[0].GetServing()[0]))
	}
}

func TestLogsOfAllReplicasAreMerged(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{})
	deploys(t, p, printing(t, nodes...))
	for range 10 {
		p.call(t, "hello")
	}
	read := func(req *proto.LogsRequest) (list []*proto.LogLine) {
		t.Helper()
		require.NoError(t, p.Logs(t.Context(), req, func(lines *proto.LogLines) error {
			for _, l := range lines.GetLines() {
				assert.Equal(t, lines.GetLines()[0].GetAtAgent(), l.GetAtAgent())
			}
			list = append(list, lines.GetLines()...)
			return nil
		}))
		return list
	}
	all := read(&proto.LogsRequest{Name: "Hello"})
	assert.Len(t, all, 12)
	assert.True(t, slices.IsSortedFunc(all, func(a, b *proto.LogLine) int { return timeOf(a.GetTime()).Compare(timeOf(b.GetTime())) }))
	assert.Len(t, read(&proto.LogsRequest{Name: "Hello", Grep: "called"}), 10)
	last := read(&proto.LogsRequest{Name: "Hello", Tail: 5})
	require.Len(t, last, 5)
	for i, l := range last {
		assert.Equal(t, all[7+i].GetTime(), l.GetTime())
	}
	enough := errors.New("seen enough")
	require.ErrorIs(t, p.Logs(t.Context(), &proto.LogsRequest{Name: "Hello"}, func(*proto.LogLines) error { return enough }), enough)
	require.ErrorIs(t, p.Logs(t.Context(), &proto.LogsRequest{Name: "Hello", Tail: maxTail + 1}, nil), proto.ErrInvalid)
	require.ErrorIs(t, p.Logs(t.Context(), &proto.LogsRequest{Name: "Other"}, nil), proto.ErrNotFound)

	nodes[0].stop()
	count := 0
	err := p.Logs(t.Context(), &proto.LogsRequest{Name: "Hello"}, func(lines *proto.LogLines) error { count += len(lines.GetLines()); return nil })
	require.ErrorIs(t, err, proto.ErrUnavailable, "it is told at the end")
	assert.Contains(t, err.Error(), nodes[0].addr)
	rest := slices.DeleteFunc(all, func(l *proto.LogLine) bool { return l.GetAtAgent() == nodes[0].addr })
	assert.Len(t, rest, count)
}

func TestLogsOfAllReplicasAreFollowed(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{})
	deploys(t, p, printing(t, nodes...))
	for _, tail := range []uint32{0, 1} {
		ctx, cancel := context.WithCancel(t.Context())
		lines := make(chan *proto.LogLine, 100)
		ended := make(chan error, 1)
		go func() {
			ended <- p.Logs(ctx, &proto.LogsRequest{Name: "Hello", Follow: true, Tail: tail}, func(batch *proto.LogLines) error {
				for _, l := range batch.GetLines() {
					lines <- l
				}
				return nil
			})
		}()
		<-lines
		seen := map[string]bool{}
		for len(seen) < 2 {
			p.call(t, "hello")
			l := <-lines // it waits for no line of the other
			for l.GetText() != "called" {
				l = <-lines
			}
			seen[l.GetAtAgent()] = true
		}
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	}
}

func TestLinesWithoutOrderAreStillPassedOn(t *testing.T) {
	for name, follow := range map[string]bool{"read": false, "followed": true} {
		t.Run(name, func(t *testing.T) {
			var got []string
			m := merge{streams: make([]stream, 2), arrivals: make(chan arrival), follow: follow, on: func(lines *proto.LogLines) error {
				got = append(got, fmt.Sprint(lines.GetLost()))
				for _, l := range lines.GetLines() {
					got = append(got, l.GetText())
				}
				return nil
			}}
			batches := [][]*proto.LogLines{
				{{Lines: []*proto.LogLine{{Time: "2026-01-01T00:00:01Z", Text: "a"}, {Time: "2026-01-01T00:00:01.5Z", Text: "c"}, {Time: "no time", Text: "d"}}, Lost: 3}, {Lost: 2}},
				{{Lines: []*proto.LogLine{{Time: "2026-01-01T00:00:01.25Z", Text: "b"}}}},
			}
			for i, list := range batches {
				taken := make(chan struct{}, 1)
				m.streams[i].taken = taken
				go func() {
					for _, b := range list {
						m.arrivals <- arrival{from: i, batch: b}
						<-taken
					}
					m.arrivals <- arrival{from: i}
				}()
			}
			require.NoError(t, m.run(t.Context()))
			assert.Equal(t, []string{"3", "a", "0", "b", "0", "c", "d", "2"}, got)
		})
	}
}
