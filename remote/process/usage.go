package process

import "time"

// Usage is what a process uses of its machine.
type Usage struct {
	CPU         time.Duration // processor time since its start, of all its threads
	Resident    uint64        // bytes of memory
	Peak        uint64        // the most that it has had resident
	Descriptors int           // that it has open
	Start       time.Time
}
