package state

import (
	"fmt"
	"syscall"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	// fullDisk is how much of a disk may be used before nothing that can wait is written
	// to it, in percent: what runs prints, and what is stopped is recorded.
	fullDisk = 90
	// ampleDisk is how many free bytes are enough, however large the disk is.
	ampleDisk = 10 << 30
)

// Space is the room of a disk.
type Space struct {
	Free, All          uint64 // bytes for this user
	FreeInodes, Inodes uint64
	folder             string
}

// SpaceOf returns the room of the disk that a folder lies on.
func SpaceOf(folder string) (Space, error) {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(folder, &disk); err != nil {
		return Space{}, fmt.Errorf("the disk of %s: %w", folder, err)
	}
	block := uint64(disk.Bsize) //nolint:gosec // it is no negative number
	return Space{disk.Bavail * block, disk.Blocks * block, disk.Ffree, disk.Files, folder}, nil
}

// Err is an ErrExhausted if a disk is so full that nothing should be added that can
// wait.
func (s Space) Err() error {
	const way = "remove what is not needed on it, or choose another folder with -dir"
	switch {
	case s.Free < ampleDisk && s.All > 0 && (s.All-min(s.Free, s.All))*100/s.All >= fullDisk:
		return proto.Errorf(proto.ErrExhausted, "the disk of %s is %d %% full: %d MiB are free, and the rest is kept for what runs",
			s.folder, (s.All-min(s.Free, s.All))*100/s.All, s.Free>>20).WithHint(way)
	case s.Inodes > 0 && (s.Inodes-min(s.FreeInodes, s.Inodes))*100/s.Inodes >= fullDisk:
		return proto.Errorf(proto.ErrExhausted, "the disk of %s has %d of %d inodes left, and they are kept for what runs", s.folder, s.FreeInodes, s.Inodes).WithHint(way)
	}
	return nil
}

// Room is an ErrExhausted if the disk of the folder is so full that nothing should be
// added to it that can wait. A disk that does not say is not full.
func (d *Dir) Room() error {
	space, err := SpaceOf(d.path)
	if err != nil {
		return nil //nolint:nilerr // writing will say what is wrong
	}
	return space.Err()
}
