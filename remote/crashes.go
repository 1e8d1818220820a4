package remote

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/disk"
	"github.com/Ishan27g/ryo-faas/remote/process"
)

// run owns crashes and calls remember; the goroutine that waits for a process calls
// inquire.

// crashesKept is how many crashes of a function's processes are kept: as many as a user
// looks at.
const crashesKept = 20

const (
	// lastWords bounds the output of a process that a crash keeps, in bytes: about the
	// last 20 lines. A panic may be longer.
	lastWords = 2 << 10
	// lastOutput is how much of the output is searched for a panic, in bytes: a program
	// that panics prints all its goroutines.
	lastOutput = 64 << 10
)

// notToListen is the hint for programs that listen by themselves.
const notToListen = "it could not listen on a port; the platform serves the function, at PORT, so the package need not listen"

// remember stores how a process exited, if that is known, the newest first.
func (f *function) remember(crash *proto.Crash) {
	if crash == nil {
		return
	}
	f.crashes = slices.Insert(f.crashes, 0, crash)
	f.crashes = f.crashes[:min(len(f.crashes), crashesKept)]
	if err := f.agent.disk.Note(disk.CrashFile(f.path), f.crashes); err != nil {
		f.logger.Error("how a process exited cannot be stored", "error", err)
	}
}

// inquire finds out why a process has exited.
func (f *function) inquire(p *instance) *proto.Crash {
	exit := p.Exit()
	limit, _ := p.version.Spec.MemoryLimit() // it was checked before it was accepted
	output := f.agent.logs.Last(f.name, p.Pid(), lastOutput)
	crash := &proto.Crash{
		Version: p.serves().Number, Time: timestamp(time.Now()), AtAgent: f.agent.addr,
		ExitCode: int32(exit.Code), Pid: int32(p.Pid()), //nolint:gosec // small
		Lived:  time.Since(p.since).Round(time.Millisecond).String(),
		Output: process.Panic(output),
	}
	crash.Cause, crash.OutOfMemory = process.OutOfMemory(exit, limit, output)
	if p.hung.Load() {
		crash.Cause = "it left its health unanswered for " + p.version.Liveness().String()
	}
	if p.full.Load() {
		crash.Cause = fmt.Sprintf("its temporary files took more than the limit of %d MiB (disk), and were removed", p.version.Disk()>>20)
	}
	if exit.Signal != 0 {
		crash.Signal = exit.Signal.String()
	}
	if crash.Output == "" {
		output = output[max(0, len(output)-lastWords):]
		crash.Output = strings.TrimSpace(strings.ToValidUTF8(output, ""))
	}
	if exit.Code != 0 && process.Listens(crash.Output) {
		crash.Cause += ": " + notToListen
	}
	return crash
}
