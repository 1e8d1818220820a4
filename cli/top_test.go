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
		assert.True(t, strings.HasPrefix(strings.SplitN(frames[2], "\r\n", 3)[1], "without the processes of b:1: agent b:1 does not answer"), "%q", frames[2])
		assert.Contains(t, frames[2], "processes: 2")
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
		s.list = append(s.list, &proto.Usage{Function: "F", Pid: pid})
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
	s := &samples{list: []*proto.Usage{{Pid: 1, Since: "a", CpuSeconds: 5, Requests: 9}}, at: time.Now().Add(-time.Second)}
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
	assert.Equal(t, "without the processes of b:1: agent b:1 does not answer\n", c.stderr.String())
	c = newConsole(false)
	require.NoError(t, c.printUsage(t.Context(), usage{list: list[1:]}, ""))
	assert.Empty(t, c.stdout.String())
	assert.NotContains(t, c.stderr.String(), "no process runs", "nobody knows")
}

// usage can be asked for its usage alone.
type usage struct {
	transport.Interface
	list []*proto.Usage
}

func (u usage) Usage(context.Context, string) ([]*proto.Usage, error) { return u.list, nil }
