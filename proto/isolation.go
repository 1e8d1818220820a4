package proto

import (
	"slices"
	"strconv"
	"strings"
)

// Isolation is how well an agent keeps a function from the rest of its machine. A
// greater one holds what those before it hold.
type Isolation int

// The tiers of isolation.
const (
	// IsolationNone keeps functions from nothing that the agent's user may do.
	IsolationNone Isolation = iota
	// IsolationBasic keeps them from files, processes and system calls.
	IsolationBasic
	// IsolationStrong also puts each into namespaces of its own, out of sight of the machine
	// and of each other, and bounds how many processes and threads one has.
	IsolationStrong
	// IsolationFull also gives each a user of its own, and bounds the memory and the
	// processors that all processes of one take together.
	IsolationFull
)

var isolations = []string{"none", "basic", "strong", "full"}

// String is the tier's name.
func (i Isolation) String() string { return isolations[i] }

// ParseIsolation is the tier of a name.
func ParseIsolation(name string) (Isolation, error) {
	i := slices.Index(isolations, name)
	if i < 0 {
		return 0, Errorf(ErrInvalid, "%.40q is no tier of isolation; use %s", name, strings.Join(isolations, ", "))
	}
	return Isolation(i), nil
}

// MinIsolation is the least tier that the function may run under.
func (f *FunctionJson) MinIsolation() (Isolation, error) {
	if f.GetIsolation() == "" {
		return IsolationNone, nil
	}
	i, err := ParseIsolation(f.GetIsolation())
	if err != nil {
		return 0, f.invalid("isolation", "%.40q is not one of %s", f.GetIsolation(), strings.Join(isolations, ", "))
	}
	return i, nil
}

// The values of network that are no ports.
const (
	NetworkAny  = "any"
	NetworkNone = "none"
)

// MaxPorts bounds the ports of network: each costs the start of a process.
const MaxPorts = 256

// Network is what a function may dial.
type Network struct {
	Any   bool
	Ports []uint16 // without Any
}

// Ports is what the setting network says.
func (f *FunctionJson) Ports() (n Network, err error) {
	list := f.GetNetwork()
	if len(list) == 0 {
		return Network{Any: true}, nil
	}
	if len(list) > MaxPorts {
		return n, f.invalid("network", "there are %d ports; at most %d are taken", len(list), MaxPorts)
	}
	for _, text := range list {
		if text == NetworkAny || text == NetworkNone {
			if len(list) > 1 {
				return n, f.invalid("network", "%q stands alone, not beside others", text)
			}
			return Network{Any: text == NetworkAny}, nil
		}
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			return n, f.invalid("network", "%.40q is neither any, none nor a TCP port such as 443", text)
		}
		n.Ports = append(n.Ports, uint16(port))
	}
	return n, nil
}

// What the setting allow may say.
const (
	AllowSubprocess = "subprocess" // start programs of the machine, and of its package
	AllowListen     = "listen"     // open ports of its own
	AllowUnix       = "unix"       // make unix sockets
)

var allowances = []string{AllowSubprocess, AllowListen, AllowUnix}

// Allows reports whether the setting allow has an entry.
func (f *FunctionJson) Allows(what string) bool { return slices.Contains(f.GetAllow(), what) }

func (f *FunctionJson) checkAllow() error {
	for _, what := range f.GetAllow() {
		if !slices.Contains(allowances, what) {
			return f.invalid("allow", "%.40q is not known; use %s", what, strings.Join(allowances, ", "))
		}
	}
	return nil
}
