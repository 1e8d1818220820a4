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

func TestProgressInAPipeIsALinePerState(t *testing.T) {
	c := newConsole(false)
	p := c.startProgress()
	p.say("checking F")
	p.say("checking F")
	p.transfer(transport.Progress{Function: "F", Stage: transport.Packing})
	p.transfer(transport.Progress{Function: "F", Stage: transport.Uploading, Total: 3 << 20})
	p.transfer(transport.Progress{Function: "F", Stage: transport.Uploading, Done: 1 << 20, Total: 3 << 20})
	p.stop()
	p.say("late")
	p.stop()
	assert.Equal(t, "checking F\npacking F\nuploading F 3.0 MiB\n", c.stderr.String())
	assert.Empty(t, c.stdout.String())
}

func TestProgressOnATerminalIsOneLineThatGoesAway(t *testing.T) {
	c := newConsole(true)
	p := c.startProgress()
	p.transfer(transport.Progress{Stage: transport.Uploading, Done: 512, Total: 2048})
	p.say(strings.Repeat("ä", 200))
	p.pause()
	p.stop()
	out := c.stderr.String()
	assert.Contains(t, out, eraseLine+"uploading the package 512 B of 2.0 KiB  0.")
	assert.Contains(t, out, eraseLine+strings.Repeat("ä", usualWidth-besides-1)+"…  ")
	assert.True(t, strings.HasSuffix(out, "s"+eraseLine), "%q", out)
	assert.NotContains(t, out, "\n")
}

func TestProgressIsQuietWhenAsked(t *testing.T) {
	c := newConsole(true)
	c.quiet = true
	p := c.startProgress()
	p.say("checking F")
	p.stop()
	assert.Empty(t, c.stderr.String())
}

func TestOutputOfABuildIsShownOnce(t *testing.T) {
	var b buildOutput
	rows := []struct {
		output string
		bytes  uint64
		want   []string
	}{
		{"", 0, []string{}},
		{"one\ntw", 6, []string{"one"}},
		{"one\ntw", 6, []string{}},
		{"one\ntwo\nthree\n", 14, []string{"two", "three"}},
		{"ee\nfour\n", 19, []string{"four"}},
		{"hundred\n", 100, []string{"hundred"}}, // of 81 bytes, the last 8
		{"", 0, []string{}},
		{"again\n", 6, []string{"again"}},
		{"x\n", 2, []string{"x"}}, // another build that printed less
	}
	for i, r := range rows {
		assert.Equal(t, r.want, b.next(&proto.FunctionJsonRsp{Output: r.output, Printed: r.bytes}), "row %d", i)
	}
}

func FuzzOutputOfABuild(f *testing.F) {
	f.Add("one\ntw", uint64(6), "one\ntwo\n", uint64(8))
	f.Add("one", uint64(1), "", uint64(0))
	f.Add("one", uint64(1)<<63, "two", uint64(1)<<63+1)
	f.Fuzz(func(t *testing.T, before string, n uint64, after string, m uint64) {
		var b buildOutput
		for _, r := range []*proto.FunctionJsonRsp{{Output: before, Printed: n}, {Output: after, Printed: m}} {
			for _, line := range b.next(r) {
				require.NotContains(t, line, "\n")
			}
		}
	})
}

func TestOutputStandsBelowTheLineOfATerminal(t *testing.T) {
	for terminal, want := range map[bool]string{
		true: eraseLine + "building F  0.0s" + eraseLine + "building F  0.0s\n  go: \ufffd[2Jx\r\x1b[1A" +
			eraseLine + "building F  0.0s\n  a\n  b\n  " + strings.Repeat("c", usualWidth-4) + "…\r\x1b[3A" +
			eraseLine + "starting F  0.0s" + eraseLine,
		false: "building F\n  go: \ufffd[2Jx\n  a\n  b\n  " + strings.Repeat("c", 2*usualWidth) + "\nstarting F\n",
	} {
		synctest.Test(t, func(t *testing.T) { // no time passes
			c := newConsole(terminal)
			p := c.startProgress()
			p.say("building F")
			p.print([]string{"go: \x1b[2Jx\r"})
			p.print([]string{"a", "b", strings.Repeat("c", 2*usualWidth)})
			p.print(nil)
			p.say("starting F")
			p.stop()
			p.print([]string{"late"})
			assert.Equal(t, want, c.stderr.String())
		})
	}
}

// A deploy that waits shows what its own functions' builds print, until it is told
// to stop.
func TestAFollowedDeployShowsItsBuilds(t *testing.T) {
	var feed transport.Feed
	row := func(name, output string) *proto.FunctionJsonRsp {
		return &proto.FunctionJsonRsp{Name: name, AtAgent: "a:1", Status: "Deploying", Stage: "building", Output: output, Printed: uint64(len(output))}
	}
	out := &lockedBuffer{}
	p := &progress{w: out, close: func() {}}
	stop := p.follow(t.Context(), &watched{Feed: &feed}, []*proto.FunctionJson{{Name: "F"}})
	feed.Set(row("G", "not asked\n"))
	for _, output := range []string{"one\n", "one\ntwo\n"} {
		feed.Set(row("F", output))
		require.Eventually(t, func() bool { return strings.HasSuffix(out.String(), output[len(output)-4:]) }, callLimit, time.Millisecond)
	}
	stop()
	assert.Equal(t, "building F at a:1\n  one\n  two\n", out.String())
}

// watched can be watched alone.
type watched struct {
	transport.Interface
	*transport.Feed
}

func (w *watched) Watch(ctx context.Context, on func(*proto.WatchEvent) error) error {
	return w.Feed.Watch(ctx, on)
}
