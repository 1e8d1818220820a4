package remote

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/process"
)

// killLag is by how much a process may outlive its drain before it is killed.
const killLag = 5 * time.Second

// instance is one process of a version that has answered.
type instance struct {
	*process.Process
	version *version
	since   time.Time // it was started
}

// start starts a process of a version, whose folder is whole, and waits until it
// has answered.
func (f *function) start(ctx context.Context, v *version, kind string, at *process.Sockets) (*instance, *failure) {
	spec, err := f.process(v, kind, at)
	if err != nil {
		return nil, trouble(v, err)
	}
	proc, err := process.Start(spec)
	if errors.Is(err, syscall.ENOEXEC) {
		// A loss of power came before the binary was on the disk: build it anew.
		err = errors.Join(err, os.Remove(spec.Path))
	}
	if err != nil {
		return nil, trouble(v, err)
	}
	p := &instance{Process: proc, version: v, since: time.Now()}
	limit, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := proc.Ready(limit); err != nil {
		proc.Stop(context.WithoutCancel(ctx), 0)
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("the process did not answer within %s of its start", startLimit)
		}
	}
	return p, nil
}
