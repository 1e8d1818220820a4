package remote

import (
	"slices"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// crashesKept is how many ends of a function's processes are remembered: as many
// as one looks at.
const crashesKept = 20

// lastWords bounds the output that is told of a process that has ended, in bytes:
// about the last 20 lines.
const lastWords = 2 << 10

func crashFile(path string) string { return "functions/" + path + "/crashes.json" }

// recall reads how processes of the function ended under earlier agents.
func (f *function) recall() {
	if _, err := f.agent.ws.Read(crashFile(f.path), &f.crashes); err != nil {
		f.log.Error("how the function's processes ended is forgotten", "error", err)
	}
}

// remember notes how a process ended, if that is known, the newest first.
func (f *function) remember(crash *proto.Crash) {
	if crash == nil {
		return
	}
	f.crashes = slices.Insert(f.crashes, 0, crash)
	f.crashes = f.crashes[:min(len(f.crashes), crashesKept)]
	if err := f.agent.ws.Write(crashFile(f.path), f.crashes); err != nil {
		f.log.Error("how a process ended cannot be stored", "error", err)
	}
}

// inquire finds out how a process, which has ended by itself, came to that.
func (f *function) inquire(p *instance) *proto.Crash {
	exit := p.Exit()
	crash := &proto.Crash{
		Version: p.version.Number, Time: time.Now().UTC().Format(time.RFC3339), AtAgent: f.agent.addr,
		Cause: exit.String(), ExitCode: int32(exit.Code), Pid: int32(p.Pid()), //nolint:gosec // small
		Lived: time.Since(p.since).Round(time.Millisecond).String(),
	}
	if exit.Signal != 0 {
		crash.Signal = exit.Signal.String()
	}
	if p.hung.Load() {
		crash.Cause = "it left its health unanswered for " + p.version.liveness().String()
	}
	crash.Output = strings.TrimSpace(f.agent.logs.Last(f.name, p.Pid(), lastWords))
	return crash
}
