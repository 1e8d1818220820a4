package cli

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

func TestTabulate(t *testing.T) {
	assert.Equal(t, []string{"A    B", "ä    -", "x y  \ufffd[2J"}, tabulate([][]string{{"A", "B"}, {"ä", ""}, {"x\ty", "\x1b[2J"}}))
}

func TestAge(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 119 * time.Minute: "119m",
		2 * time.Hour: "2h", 47 * time.Hour: "47h", 48 * time.Hour: "2d", 400 * 24 * time.Hour: "400d",
	} {
		assert.Equal(t, want, age(now.Add(-d).Format(time.RFC3339Nano), now))
	}
	assert.Empty(t, age("yesterday", now))
}

func TestShortDigest(t *testing.T) {
	for digest, want := range map[string]string{"sha256:0123456789abcdef": "0123456789ab", "0123": "0123", "": "", "sha256:": ""} {
		assert.Equal(t, want, short(digest))
	}
}

func TestVersionsOfSeveralAgentsAreOneRowWhenAlike(t *testing.T) {
	v := func(number, weight uint32, agent, program string) *proto.Version {
		return &proto.Version{Version: number, Weight: weight, AtAgent: agent, Kind: "http", Program: &proto.Program{Digest: program}}
	}
	c := newConsole(false)
	require.NoError(t, c.printVersions([]*proto.Version{
		v(3, 10, "a:1", "x"), v(3, 10, "b:1", "x"), v(2, 90, "a:1", "x"), v(2, 90, "b:1", "y"), v(1, 0, "a:1", "z"), v(1, 0, "b:1", "z"),
	}))
	assert.Equal(t, `VERSION  CALLS       DEPLOYED  KIND  PACKAGE  PROGRAM  AGENT    NOTE
3        canary 10%  -         http  -        x        a:1,b:1  -
2        serves 90%  -         http  -        x        a:1      -
2        serves 90%  -         http  -        y        b:1      -
1        -           -         http  -        z        a:1,b:1  -
`, c.stdout.String())
}

func TestDetailsSayMoreThanRows(t *testing.T) {
	c := newConsole(false)
	require.NoError(t, c.printDetails([]*proto.FunctionJsonRsp{
		{Name: "F", Url: "u", Status: "Failed", AtAgent: "a:1", Restarts: 5, Retry: "2026-01-02T03:04:05Z"},
		{Name: "G", Url: "u", Status: "Deploying", AtAgent: "a:1", Version: 2, Instances: 1, Stage: "building", Serving: []*proto.Serving{
			{Version: 2, Weight: 100}, {Version: 1},
		}},
	}, []*proto.Usage{
		{Function: "G", AtAgent: "a:1", Resident: 8 << 20, CpuSeconds: 1.25}, {Function: "G", AtAgent: "a:1", Resident: 2 << 20},
		{Function: "G", AtAgent: "b:1", Resident: 1 << 20},
	}))
	assert.Equal(t, `name:"F"  url:"u"  status:"Failed"  version:0  instances:0  agent:"a:1"  restarts:5  retry:"2026-01-02T03:04:05Z"
name:"G"  url:"u"  status:"Deploying"  version:2  instances:1  agent:"a:1"  memory:"10.0 MiB"  cpu:"1.25s"  stage:"building"
`, c.stdout.String())
}
