package confine

import "time"

// Rules say what a program may do. Paths are absolute and mean a file, or a
// folder with all that is and will be below it; a link stands for its target.
type Rules struct {
	Exec  []string // may be run and read
	Read  []string // may be read
	Write []string // may be read, written, made and removed, but not run
	// System may be read where it exists; a missing path above is an error.
	System []string
	// Connect are the TCP ports that may be dialled, on any host; UDP is open then.
	// Without any, no socket can be made at all.
	Connect []uint16
	// Children lets the program start others, under the same rules and in its
	// process group, which they cannot leave.
	Children bool
	Limits   Limits
}

// Limits hold for each process alone, but for those at the end. 0 is no limit.
type Limits struct {
	CPU   time.Duration // full seconds; at the limit the process is killed
	Data  uint64        // bytes of memory that it can write to
	File  uint64        // bytes of a file that it writes
	Files uint64        // open files
	// Of a program with Children and all of them together, where the layers processes
	// and memory are on: processes and threads, and bytes.
	Tasks, Memory uint64
}

// State is how far a layer is in force.
type State string

// The states of a layer.
const (
	On       State = "on"
	Degraded State = "degraded"
	Off      State = "off"
)

// Files is the name of the layer that keeps programs from files.
const Files = "files"

// Layer is one kind of protection on this machine.
type Layer struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"` // why it is not on
	Remedy string `json:"remedy,omitempty"`
}
