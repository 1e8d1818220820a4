package cli

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// busy has one process that uses half a processor and answers 25 requests a
// second, and one that is new at the second question. The third question fails.
type busy struct {
	transport.Interface
	asked    int
	answered func(asked int)
}

func (b *busy) Usage(context.Context, string) ([]*proto.Usage, error) {
	b.asked++
	defer func() { b.answered(b.asked) }()
	list := []*proto.Usage{{
		Function: "F", Version: 2, Pid: 7, AtAgent: "a:1", Since: "1999-12-31T00:00:00Z", CpuSeconds: float64(b.asked), Requests: uint64(50 * b.asked),
		Resident: 20 << 20, Peak: 21 << 20, Descriptors: 9, InFlight: 3, Connections: 4, Restarts: 1,
	}, {
		// 24 calls in 25 take 1 ms, one takes a second and fails.
		Function: "F", Version: 2, Traffic: &proto.Traffic{
			Calls: uint64(50 * b.asked), Errors: uint64(2 * b.asked), InFlight: 5, Took: took(-79, 48*b.asked, 0, 2*b.asked),
		},
	}}
	switch b.asked {
	case 2:
		list = append(list, &proto.Usage{AtAgent: "b:1", Error: "agent b:1 does not answer\nfor good"}, &proto.Usage{Function: "E", Version: 1, Pid: 8, AtAgent: "a:1", Since: "2000-01-01T00:00:00Z"})
	case 3:
		return nil, proto.Errorf(proto.ErrUnavailable, "gone\nfor good")
	}
	return list, nil
}

func TestTopRefreshesATerminalUntilItIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it is 2000-01-01
		ctx, interrupt := context.WithCancel(t.Context())
		b := &busy{answered: func(asked int) {
			if asked == 4 {
				interrupt()
			}
		}}
		c := newConsole(true)
		assert.Equal(t, reported(exitInterrupted), c.watchUsage(ctx, b, ""))
		screen := c.stdout.String()
		assert.True(t, strings.HasPrefix(screen, openScreen))
		assert.True(t, strings.HasSuffix(screen, closeScreen))
		frames := strings.Split(strings.ReplaceAll(screen, restOfLine, ""), homeScreen)
		require.Len(t, frames, 4)
		assert.Contains(t, frames[1], "processes: 1  (q quits)\r\n")
		assert.Contains(t, frames[1], "F         2        a:1    7    -     20.0 MiB  21.0 MiB  9    -      3 ")
		assert.Contains(t, frames[1], "\r\nFUNCTION  VERSION  CALLS/S  FAILED%  P50  P99  IN FLIGHT\r\nF         2        -        -        -    -    5\r\n\r\n")
		assert.True(t, strings.HasPrefix(strings.SplitN(frames[2], "\r\n", 3)[1], "without the processes of b:1: agent b:1 does not answer"), "%q", frames[2])
		assert.Contains(t, frames[2], "processes: 2")
		assert.Contains(t, frames[2], "\r\nF         2        25.0     4.0      1.02ms  958ms  5\r\n\r\n")
		assert.Contains(t, frames[2], "E         1        a:1    8    -     0 B       0 B       0    -      0 ")
		assert.Contains(t, frames[2], "F         2        a:1    7    50.0  20.0 MiB  21.0 MiB  9    25.0   3 ")
		assert.True(t, strings.HasPrefix(frames[3], "error: gone; trying again\r\n"))
		assert.Contains(t, frames[3], "F         2        a:1    7    50.0  ", "what was known stays")
		for line := range strings.SplitSeq(strings.TrimSuffix(frames[2], restOfPage), "\r\n") {
			assert.LessOrEqual(t, len(line), 79)
		}
	})
}

func TestTopShowsAsManyProcessesAsThereIsRoomFor(t *testing.T) {
	s := &samples{at: time.Now()}
	for pid := range int32(30) {
		s.processes = append(s.processes, &proto.Usage{Function: "F", Pid: pid})
	}
	c := newConsole(true)
	require.NoError(t, c.draw(s, nil))
	assert.Equal(t, 23, strings.Count(c.stdout.String(), "\r\n"))
	assert.Contains(t, c.stdout.String(), restOfLine+"and 10 more"+restOfPage)
}

func TestTopKeys(t *testing.T) {
	for typed, want := range map[string]error{"xq": errClosed, "Q\x03": errClosed, "\x1b[A\x03": context.Canceled, "x": nil} {
		ctx, leave := context.WithCancelCause(t.Context())
		keys(strings.NewReader(typed), leave)
		assert.Equal(t, want, context.Cause(ctx), "%q", typed)
		leave(nil)
	}
}

func TestTopThatCannotBeginIsAnError(t *testing.T) {
	c := newConsole(true)
	assert.Equal(t, exitUnreachable, c.run(t.Context(), []string{"top", "-proxy", "127.0.0.1:1"}))
	assert.Empty(t, c.stdout.String())
}

func TestSamplesOfAProcessThatStartedAnew(t *testing.T) {
	s := &samples{used: used{processes: []*proto.Usage{{Pid: 1, Since: "a", CpuSeconds: 5, Requests: 9}}}, at: time.Now().Add(-time.Second)}
	fresh := &proto.Usage{Pid: 1, Since: "b", CpuSeconds: 1}
	require.NoError(t, s.take(t.Context(), usage{list: []*proto.Usage{fresh}}, ""))
	cpu, requests := s.load(fresh)
	assert.Empty(t, cpu+requests)
}

func TestTopSaysWhichAgentsAreNotShown(t *testing.T) {
	c := newConsole(false)
	list := []*proto.Usage{{Function: "F", Pid: 7, AtAgent: "a:1"}, {AtAgent: "b:1", Error: "agent b:1 does not answer"}}
	require.NoError(t, c.printUsage(t.Context(), usage{list: list}, ""))
	assert.Contains(t, c.stdout.String(), "a:1")
	assert.NotContains(t, c.stdout.String(), "b:1")
	assert.Equal(t, "without the processes of b:1: agent b:1 does not answer\n"+
		"without errors and times of calls: this is an agent; a proxy knows those that come through it\n", c.stderr.String())
	c = newConsole(false)
	require.NoError(t, c.printUsage(t.Context(), usage{list: list[1:]}, ""))
	assert.Empty(t, c.stdout.String())
	assert.NotContains(t, c.stderr.String(), "no process runs", "nobody knows")
}

func TestVersionsAndCrashesSayWhichAgentsAreSilent(t *testing.T) {
	c := newConsole(false)
	require.NoError(t, c.printVersions([]*proto.Version{{Version: 2, AtAgent: "a:1"}, {AtAgent: "b:1", Error: "agent b:1 does not answer\nfor good"}}))
	assert.Contains(t, c.stdout.String(), "a:1")
	assert.NotContains(t, c.stdout.String(), "b:1")
	assert.Equal(t, "without the versions of b:1: agent b:1 does not answer\n", c.stderr.String())
	c = newConsole(false)
	require.NoError(t, c.printCrashes([]*proto.Crash{{Version: 2, AtAgent: "a:1", Cause: "exit status 2"}, {AtAgent: "b:1", Error: "agent b:1 does not answer"}}))
	assert.Equal(t, 1, strings.Count(c.stdout.String(), "version"))
	assert.Equal(t, "without the crashes of b:1: agent b:1 does not answer\n", c.stderr.String())
}

// usage can be asked for its usage alone.
type usage struct {
	transport.Interface
	list []*proto.Usage
}

func (u usage) Usage(context.Context, string) ([]*proto.Usage, error) { return u.list, nil }

// took has so many calls in each bucket.
func took(bucketsAndCalls ...int) (list []*proto.Took) {
	for i := 0; i < len(bucketsAndCalls); i += 2 {
		list = append(list, &proto.Took{Bucket: int32(bucketsAndCalls[i]), Calls: uint64(bucketsAndCalls[i+1])})
	}
	return list
}

func TestTopPrintsCallsAndProcesses(t *testing.T) {
	c := newConsole(false)
	list := []*proto.Usage{
		{Function: "F", Version: 2, Traffic: &proto.Traffic{Calls: 100, Errors: 3, InFlight: 1, Took: took(-79, 98, 8, 1, 16, 1)}},
		{Function: "G", Traffic: &proto.Traffic{Calls: 7, Errors: 7}},
		{Function: "F", Version: 2, Pid: 7, AtAgent: "a:1", Since: time.Now().Format(time.RFC3339)},
	}
	require.NoError(t, c.printUsage(t.Context(), usage{list: list}, ""))
	assert.Empty(t, c.stderr.String())
	tables := strings.Split(c.stdout.String(), "\n\n")
	require.Len(t, tables, 2)
	assert.Equal(t, "FUNCTION  VERSION  CALLS  FAILED  P50     P99    IN FLIGHT\n"+
		"F         2        100    3       1.02ms  1.92s  1\n"+
		"G         -        7      7       -       -      0", tables[0])
	assert.Contains(t, tables[1], "a:1")

	c = newConsole(false)
	require.NoError(t, c.printUsage(t.Context(), usage{list: list[:2]}, ""))
	assert.Contains(t, c.stdout.String(), "G         -        7")
	assert.Equal(t, "no process runs\n", c.stderr.String())
}

func TestCallsOfAProxyThatStartedAnew(t *testing.T) {
	row := func(calls uint64) *proto.Usage {
		return &proto.Usage{Function: "F", Version: 1, Traffic: &proto.Traffic{Calls: calls, Errors: calls, Took: took(0, int(calls))}}
	}
	s := &samples{used: used{calls: []*proto.Usage{row(9)}}, at: time.Now().Add(-time.Second)}
	require.NoError(t, s.take(t.Context(), usage{list: []*proto.Usage{row(3)}}, ""))
	calls, failed, since := s.traffic(row(3))
	assert.Empty(t, calls+failed)
	assert.Empty(t, since)
}

// A proxy counts in buckets of which 8 are a power of two of seconds.
func TestQuantiles(t *testing.T) {
	for want, took := range map[string][]*proto.Took{
		"":      nil,
		"958ms": took(0, 1),
		"913ns": took(-160, 5),
		"1.92s": took(-8, 1, 8, 2, 16, 1),
		"120ms": took(-24, 1, 8, 1),
	} {
		assert.Equal(t, want, quantile(took, 0.5))
	}
}
