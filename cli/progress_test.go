package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

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
	assert.Contains(t, out, "\r\x1b[Kuploading the package 512 B of 2.0 KiB  0.")
	assert.Contains(t, out, "\r\x1b[K"+strings.Repeat("ä", maxLine-1)+"…  ")
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
