package state

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Check refuses a folder whose content others can decide: one that another user
// owns, that a group or everybody may write to, or that lies in a folder where others
// may put another one in its place. It is an ErrForbidden with the command that
// mends it.
//
// Folders above it may belong to root too. Everybody may write to those with the
// sticky bit, such as /tmp, in which nobody replaces what others own. The user's own
// group may write to them as well: on many systems it has no other member.
func Check(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("check the folder: %w", err)
	}
	info, err := os.Stat(target)
	if err != nil {
		return fmt.Errorf("check the folder: %w", err)
	}
	if why := foreign(info); why != "" {
		return refuse(target, why, info)
	}
	for _, chain := range []string{path, target} { // a link may lie where others write, too
		for dir := filepath.Dir(chain); ; dir = filepath.Dir(dir) {
			info, err := os.Stat(dir)
			if err != nil {
				return fmt.Errorf("check the folder: %w", err)
			}
			if why := loose(info); why != "" {
				return refuse(dir, why, info)
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return nil
}

func refuse(path, why string, info fs.FileInfo) error {
	way := "chmod go-w " + path
	if !own(info) {
		way = "chown -R " + strconv.Itoa(os.Geteuid()) + " " + path
	}
	return proto.Errorf(proto.ErrForbidden, "the folder %s is not safe: %s", path, why).
		WithHint(way + "; or choose another folder")
}

// foreign says how others can decide what a file or folder holds, "" if they cannot.
func foreign(info fs.FileInfo) string {
	switch {
	case !own(info):
		return "it belongs to the user " + strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Uid))
	case info.Mode()&0o020 != 0:
		return "its group may write to it"
	case info.Mode()&0o002 != 0:
		return "everybody may write to it"
	}
	return ""
}

// loose says how others can replace what lies in a folder, "" if they cannot.
func loose(info fs.FileInfo) string {
	stat := info.Sys().(*syscall.Stat_t)
	switch {
	case stat.Uid != 0 && !own(info):
		return "it belongs to the user " + strconv.Itoa(int(stat.Uid))
	case info.Mode()&fs.ModeSticky != 0:
		return ""
	case info.Mode()&0o020 != 0 && int(stat.Gid) != os.Getegid() && stat.Gid != 0:
		return "the group " + strconv.Itoa(int(stat.Gid)) + " may write to it"
	case info.Mode()&0o002 != 0:
		return "everybody may write to it"
	}
	return ""
}

func own(info fs.FileInfo) bool { return int(info.Sys().(*syscall.Stat_t).Uid) == os.Geteuid() }
