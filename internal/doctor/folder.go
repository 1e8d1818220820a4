//go:build unix

package doctor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
)

// Disk looks at the disk that a folder lies on, or will.
func Disk(check, folder string) Finding {
	at := nearest(folder)
	space, err := state.SpaceOf(at)
	if err != nil {
		return Badly(check, "choose another folder with -dir", "%v", err)
	}
	if err := space.Err(); err != nil {
		e := proto.AsError(err)
		return Badly(check, e.Hint, "%s; deploys are refused", e.Message)
	}
	return Found(check, "%s has %d MiB free of %d", at, space.Free>>20, space.All>>20)
}

// nearest is a folder or, if there is none, the nearest one above it.
func nearest(folder string) string {
	for {
		if _, err := os.Stat(folder); err == nil || folder == filepath.Dir(folder) {
			return folder
		}
		folder = filepath.Dir(folder)
	}
}

// Folder looks at a state folder: whether it is there, safe and can be written to.
func Folder(check, folder string) Finding {
	info, err := os.Stat(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Found(check, "%s will be made at the first start", folder)
	case err != nil:
		return Badly(check, "choose another folder with -dir", "%v", err)
	case !info.IsDir():
		return Badly(check, "choose another folder with -dir", "%s is no folder", folder)
	}
	if err := state.Check(folder); err != nil {
		e := proto.AsError(err)
		return Badly(check, e.Hint, "%s", e.Message)
	}
	const canWrite = 2 // access(2), W_OK
	if err := syscall.Access(folder, canWrite); err != nil {
		return Badly(check, "run as its owner, or choose another folder with -dir", "%s cannot be written to: %v", folder, err)
	}
	return Found(check, "%s", folder)
}
