package confine

import "time"

// Rules say what a program may do. Paths are absolute and mean a file, or a
// folder with all that is and will be below it; a link stands for its target.
type Rules struct {
	Exec  []string // may be run and read; ForkExec runs the first
	Read  []string // may be read
	Write []string // may be read, written, made and removed, but not run
	// System may be read where it exists; a missing path above is an error. Programs may
	// be run as well.
	System, Programs []string
	// Connect are the TCP ports that may be dialled, on any host; AnyPort allows all of
	// them. With AnyPort UDP is open, too. With Connect it is open to DNS alone if the layer
	// Datagrams is on, else to all. Without either, no network socket can be made.
	Connect []uint16
	AnyPort bool
	// Listen lets the program open listening sockets, beside those that it is given.
	Listen bool
	// Unix lets it make unix sockets. What they lead to is up to the permissions of files.
	Unix bool
	// Attributes lets it change modes, owners, times and attributes of files, and watch
	// folders: all those that its user may, since Landlock does not see such calls.
	Attributes bool
	// Children lets the program start others, under the same rules. They cannot leave its
	// process group; with Groups they can, but not its session.
	Children, Groups bool
	Limits           Limits
	// User is the user that the program runs as, and its group has the same number; 0: those
	// of this process. Others take root. Where the layer Users is on, the program sees its files
	// in the folder of Separate as this user's, whoever owns them on the disk.
	User uint32
}

// network reports whether rules allow network sockets.
func (r *Rules) network() bool { return r.AnyPort || len(r.Connect) > 0 }

// Limits are for each process alone, except for the last three. 0 is no limit.
type Limits struct {
	CPU   time.Duration // full seconds; at the limit the process is killed
	Data  uint64        // bytes of memory that it can write to
	File  uint64        // bytes of a file that it writes
	Files uint64        // open files
	// For a program and its children together, where the layers Processes, Memory and CPU
	// are on: processes and threads, and bytes.
	Tasks, Memory uint64
	CPUs          float64 // processors that are kept busy
}

// State is how far a layer is in force.
type State string

// The states of a layer.
const (
	On       State = "on"
	Degraded State = "degraded"
	Off      State = "off"
)

// Names of layers that the tiers of functions depend on.
const (
	Files = "files" // keeps programs from files
	Ports = "ports" // keeps them from TCP ports
	Calls = "calls" // keeps them from system calls
	// These bound what a program and its children take together.
	Processes = "processes"
	Memory    = "memory"
	CPU       = "cpu"
	// These are for programs of ForkExec alone.
	Namespaces = "namespaces" // keep what else there is on the machine out of sight
	Users      = "users"      // give programs users of their own
	Datagrams  = "udp"        // keeps programs with a list of ports from UDP
)

// Layer is one kind of protection on this machine.
type Layer struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"` // why it is not on
	Remedy string `json:"remedy,omitempty"`
}
