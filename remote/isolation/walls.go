package isolation

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/confine"
)

// Walls keep functions from the rest of their machine. The methods may be called
// concurrently.
type Walls struct {
	launcher *confine.Launcher
	tier     proto.Isolation
	layers   []confine.Layer
	why      string // it is no better tier, and the way to one
	bare     bool   // the launcher does not work
	demanded proto.Isolation
	first    uint32 // before the users of functions
}

const (
	// MaxUsers is how many users the functions of an agent can have.
	MaxUsers = 1<<14 - 1
	// firstUser begins the users of functions. Those up to 2^31 are nobody's: neither of
	// people, nor of services, nor of containers (systemd's UIDS-GIDS).
	firstUser = 1_900_000_000
	// agents is for how many agents there are users.
	agents = 1 << 13
)

// firstOf is the number before the first user of the functions of an agent. Agents of one
// machine have users of their own, unless two ids are as good as the same.
func firstOf(agent string) uint32 {
	sum := sha256.Sum256([]byte(agent))
	return firstUser + binary.BigEndian.Uint32(sum[:])%agents*(MaxUsers+1)
}

// New finds out which tier functions can have whose files lie in an agent's folder, and
// changes the launcher so that they have it. It is an error if that is less than an
// operator demands.
func New(launcher *confine.Launcher, folder, agent string, demanded proto.Isolation) (*Walls, error) {
	w := &Walls{launcher: launcher, demanded: demanded, first: firstOf(agent)}
	launcher.Separate(folder, w.first+1)
	w.layers = launcher.FreeLayers()
	w.tier, w.why = tierOf(w.layers)
	if err := launcher.Prove(); err != nil {
		w.bare, w.tier, w.why = true, proto.IsolationNone, "what this machine offers does not hold: "+err.Error()
	}
	if w.tier < demanded {
		return nil, proto.Errorf(proto.ErrIncapable, "functions are to be isolated by tier %s, and this machine has tier %s", demanded, w.tier).
			WithHint(w.why)
	}
	return w, nil
}

// tierOf is the tier that layers make, and why it is no better one.
func tierOf(layers []confine.Layer) (tier proto.Isolation, why string) {
	for _, t := range []struct {
		tier  proto.Isolation
		needs []string
	}{
		{proto.IsolationBasic, []string{confine.Files, confine.Calls}},
		{proto.IsolationStrong, []string{confine.Namespaces, confine.Processes}},
		{proto.IsolationFull, []string{confine.Users, confine.Memory, confine.CPU}},
	} {
		for _, layer := range layers {
			// Of files and calls an old kernel can deny less: that is degraded, not off.
			missing := layer.State == confine.Off || layer.State == confine.Degraded && t.tier > proto.IsolationBasic
			if missing && slices.Contains(t.needs, layer.Name) {
				return t.tier - 1, layer.Reason + "; it takes: " + layer.Remedy
			}
		}
	}
	return proto.IsolationFull, ""
}

// Report is what is said of the walls, as JSON too.
type Report struct {
	Tier   string          `json:"tier"`
	Why    string          `json:"whyNotMore,omitempty"`
	Layers []confine.Layer `json:"layers"`
}

// Report says which tier functions run under, and why it is no better one.
func (w *Walls) Report() Report { return Report{w.tier.String(), w.why, w.layers} }

// Tier is the tier that functions run under.
func (w *Walls) Tier() proto.Isolation { return w.tier }

// Least is the least tier that a function, which has been checked, may run under.
func (w *Walls) Least(fn *proto.FunctionJson) proto.Isolation {
	least, _ := fn.MinIsolation()
	return max(least, w.demanded)
}

// Forget gives up what is kept for a function that was removed, with the number of its
// user.
func (w *Walls) Forget(number uint32) { w.launcher.Forget(w.first + number) }

// user is the user of a function, 0 for that of the agent.
func (w *Walls) user(number uint32) (uint32, error) {
	if w.tier < proto.IsolationFull {
		return 0, nil
	}
	if number == 0 || number > MaxUsers {
		return 0, proto.Errorf(proto.ErrExhausted, "all %d users of functions are in use", MaxUsers).WithHint("remove functions that are not needed")
	}
	return w.first + number, nil
}

// Check is an error if a function asks for what the walls do not hold.
func (w *Walls) Check(fn *proto.FunctionJson) error {
	least, err := fn.MinIsolation()
	if err != nil {
		return err
	}
	if least > w.tier {
		return proto.Errorf(proto.ErrIncapable, "function %s is to be isolated by tier %s, and this agent has tier %s", fn.GetName(), least, w.tier).
			WithHint(w.why)
	}
	network, err := fn.Ports()
	if err != nil || network.Any {
		return err
	}
	layer := confine.Calls // opens no socket
	if len(network.Ports) > 0 {
		layer = confine.Ports
	}
	for _, l := range w.layers {
		if l.Name == layer && (l.State != confine.On || w.tier == proto.IsolationNone) {
			return proto.Errorf(proto.ErrIncapable, "function %s is to have less of the network than this agent can hold it to: %s", fn.GetName(), l.Reason).
				WithHint("it takes " + l.Remedy)
		}
	}
	return nil
}

// Place is where a function's files lie; all paths are absolute.
type Place struct {
	Program string   // it runs
	Package string   // the folder that it may read
	Temp    string   // the folder that it may write to
	Extra   []string // files and folders of the agent's that it may read
	User    uint32   // the number that its user follows from
	Data    uint64   // bytes of memory that it can write to; 0: any number
}

const (
	// files is how many descriptors a process may have open: one for each connection of
	// its callers, and as many again for what it asks of others.
	files = 16 << 10
	// tasks is how many threads a process and its children may have. Calls that wait for
	// others take none.
	tasks = 1024
)

// Fork returns how a process of a function is started, for process.Spec; nil: without
// walls.
func (w *Walls) Fork(fn *proto.FunctionJson, at Place) (func(path string, argv []string, attr *syscall.ProcAttr) (pid int, exited func(), err error), error) {
	rules, err := rulesOf(fn, at)
	user, userErr := w.user(at.User)
	if err := errors.Join(err, userErr, w.Check(fn)); err != nil {
		return nil, err
	}
	rules.User = user
	if w.bare {
		return nil, nil
	}
	return func(path string, argv []string, attr *syscall.ProcAttr) (int, func(), error) {
		pid, exited, err := w.launcher.ForkExec(path, argv, attr, rules)
		if err != nil {
			return 0, nil, fmt.Errorf("isolate the function: %w", err)
		}
		return pid, exited, nil
	}, nil
}

// rulesOf are the rules for the processes of a function.
func rulesOf(fn *proto.FunctionJson, at Place) (confine.Rules, error) {
	network, err := fn.Ports()
	memory, memoryErr := fn.MemoryLimit()
	cpus, cpuErr := fn.CPUs()
	if err := errors.Join(err, memoryErr, cpuErr); err != nil {
		return confine.Rules{}, err
	}
	rules := confine.Rules{
		Exec: []string{at.Program}, Read: append([]string{at.Package}, at.Extra...),
		Write:   []string{at.Temp, "/dev/null"},
		System:  system,
		AnyPort: network.Any, Connect: network.Ports,
		Listen: fn.Allows(proto.AllowListen), Unix: fn.Allows(proto.AllowUnix), Children: fn.Allows(proto.AllowSubprocess),
		Limits: confine.Limits{Files: files, Data: at.Data, Tasks: tasks, Memory: uint64(memory), CPUs: cpus}, //nolint:gosec // positive
	}
	if rules.Children {
		rules.Groups = true
		rules.Exec = append(rules.Exec, at.Package)
		rules.Programs = programs
	}
	return rules, nil
}

// system is what every function may read of the machine.
var system = []string{
	// Names of hosts, and where they are asked for.
	"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/services", "/etc/protocols", "/etc/gai.conf",
	"/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf", "/run/connman/resolv.conf",
	// Certificates. /etc/ssl and /etc/pki have folders with keys.
	"/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/pki/tls/cacert.pem",
	"/etc/pki/ca-trust/extracted", "/etc/ca-certificates/extracted", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
	// Time zones.
	"/etc/localtime", "/etc/timezone", "/etc/zoneinfo", "/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/usr/lib/locale/TZ",
	// Types of files, which package mime reads, and who is who.
	"/etc/mime.types", "/etc/apache2/mime.types", "/etc/apache/mime.types", "/etc/httpd/conf/mime.types",
	"/usr/share/mime", "/usr/local/share/mime", "/etc/passwd", "/etc/group",
	"/dev/zero", "/dev/full", "/dev/random", "/dev/urandom",
}

// programs is what functions with subprocesses may run: the programs of the machine, and
// what these need to start.
var programs = []string{
	"/bin", "/sbin", "/usr", "/lib", "/lib32", "/lib64", "/opt", "/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
	"/etc/ssl/openssl.cnf", "/etc/fonts", "/etc/ld-musl-x86_64.path", "/etc/ld-musl-aarch64.path", "/nix/store", "/gnu/store",
}
