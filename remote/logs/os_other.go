//go:build !linux

package logs

import (
	"errors"
	"os"
)

// watch does not exist on this system: agents that keep lines run on Linux.
type watch struct{}

func newWatch(string) (*watch, error) { return nil, errors.ErrUnsupported }

func (*watch) close() {}

func (*watch) wait() error { return errors.ErrUnsupported }

func (*watch) changes(func(string, bool), func()) error { return errors.ErrUnsupported }

func written(*os.File, int) bool { return true }

func holeAt(*os.File, int64) (int64, error) { return 0, nil }

func punch(*os.File, int64, int64) error { return errors.ErrUnsupported }
