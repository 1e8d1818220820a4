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
	// Connect are the TCP ports that may be dialled, on any host, and AnyPort opens all of
	// them. UDP is open then, but for a list of ports to DNS alone where the layer is on.
	// Without either, no socket of a network can be made.
	Connect []uint16
	AnyPort bool
	// Listen lets the program open listening sockets, beside those that it is given.
	Listen bool
	// Unix lets it make unix sockets. What they lead to is up to the permissions of files.
	Unix bool
	// Attributes lets it change modes, owners, times and attributes of files, and watch
	// folders: of all that the user may, since Landlock sees neither.
	Attributes bool
	// Children lets the program start others, under the same rules and in its
	// process group, which they cannot leave; with Groups its session, which is as far
	// as they can go.
	Children, Groups bool
	Limits           Limits
	// User is the user, and the group of that number, that the program runs as. Only root
	// can start it then. Where the layer of users is on, its own files in the folder of
	// Separate are this user's in its eyes, whose ever they are. 0: who starts it.
	User uint32
}

// network says that rules allow sockets of a network.
func (r *Rules) network() bool { return r.AnyPort || len(r.Connect) > 0 }

// Limits hold for each process alone, but for those at the end. 0 is no limit.
type Limits struct {
	CPU   time.Duration // full seconds; at the limit the process is killed
	Data  uint64        // bytes of memory that it can write to
	File  uint64        // bytes of a file that it writes
	Files uint64        // open files
	// Of a program and its children together, where the layers of these are on:
	// processes and threads, and bytes.
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
	// Bound what a program and its children take together.
	Processes = "processes"
	Memory    = "memory"
	CPU       = "cpu"
	// Of ForkExec.
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
