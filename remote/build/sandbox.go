package build

import (
	"debug/elf"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/confine"
)

// limits are those of each process of a build. The largest packages in public
// take the compiler 20 seconds and 1 GiB.
var limits = confine.Limits{
	CPU:   60 * time.Second,
	Data:  1536 << 20,
	File:  256 << 20, // an archive or a program with its working copy
	Files: 1024,
	// A compiler on two processors has some ten threads, and a processor has a
	// compiler. The go command itself has as many more.
	Tasks:  256 + 128*uint64(runtime.NumCPU()),   //nolint:gosec // positive
	Memory: 1<<30 + uint64(runtime.NumCPU())<<30, //nolint:gosec // positive
}

// sandbox is what the go command may reach of this machine, in two phases: fetch
// gets modules from where the agent's owner said, compile has no network.
type sandbox struct {
	compile, fetch confine.Rules // without the folders of a Spec
	online         []string      // environment of fetch alone
	// lacks is what compile says of a module that is not in the cache, which it may
	// neither fetch nor write to.
	lacks *regexp.Regexp
}

// unreachable is the environment of compile in place of online.
var unreachable = []string{"GOPROXY=off", "GOSUMDB=off"}

// newSandbox returns the sandbox of a toolchain, with the caches in dir.
func newSandbox(known *toolchain, dir string, cfg Config) (*sandbox, error) {
	cache, modules, home := filepath.Join(dir, "gocache"), filepath.Join(dir, "gomod"), filepath.Join(dir, "home")
	// The last tree that each checksum database has signed, which the go command takes
	// from there only with that signature.
	signed := filepath.Join(goPath(dir), "pkg", "sumdb")
	for _, folder := range []string{cache, modules, signed} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
	}
	goCommand := filepath.Join(known.GOROOT, "bin", "go")
	root, err := linked(known.GOROOT)
	if err != nil {
		return nil, err
	}
	loader, libraries := loaderOf(goCommand)
	proxy := pinned(cfg.Proxy)
	ports, files, err := sources(proxy, cfg.SumDB)
	if err != nil {
		return nil, err
	}
	network, err := networkOf(os.Getenv)
	if err != nil {
		return nil, err
	}
	common := confine.Rules{
		Exec:       append(loader, goCommand),
		Read:       append(root, home),
		Write:      []string{cache, os.DevNull},
		System:     libraries,
		Attributes: true, // of what the go command makes; no foreign code runs
		Children:   true,
		Limits:     limits,
	}
	s := &sandbox{
		compile: common, fetch: common,
		online: append(network.env, "GOPROXY="+proxy, "GOSUMDB="+cfg.SumDB, "GONOSUMDB="+cfg.Private),
		lacks:  regexp.MustCompile("disabled by GOPROXY=off|" + regexp.QuoteMeta(modules) + `\S*: permission denied`),
	}
	s.compile.Exec = slices.Concat(common.Exec, []string{filepath.Join(known.GOROOT, "pkg", "tool")})
	s.compile.Read = slices.Concat(common.Read, []string{modules})
	s.fetch.Write = slices.Concat(common.Write, []string{modules, signed})
	s.fetch.System = slices.Concat(libraries, resolving, files, network.files)
	s.fetch.Connect = slices.Concat(ports, network.ports)
	return s, nil
}

// goPath is the GOPATH of builds, of which only what is in newSandbox exists.
func goPath(dir string) string { return filepath.Join(dir, "gopath") }

// resolving is what it takes to find hosts by name and to know them by certificate.
var resolving = []string{
	"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/services",
	"/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/pki/ca-trust/extracted",
	"/etc/ca-certificates/extracted", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
}

// network is how the agent's owner reaches hosts: through which proxies, and by
// whose certificates.
type network struct {
	env   []string
	ports []uint16
	files []string
}

// networkOf reads it from the variables that package net/http and crypto/x509 know.
func networkOf(getenv func(string) string) (n network, err error) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		value := getenv(name)
		if value == "" {
			continue
		}
		n.env = append(n.env, name+"="+value)
		switch strings.ToUpper(name) {
		case "HTTPS_PROXY", "HTTP_PROXY":
			_, port, err := place(value, "http")
			if err != nil {
				return network{}, fmt.Errorf("%s: %w", name, err)
			}
			n.ports = append(n.ports, port)
		case "SSL_CERT_FILE", "SSL_CERT_DIR":
			n.files = append(n.files, filepath.SplitList(value)...)
		}
	}
	return n, nil
}

// place parses the address of a server, which may come without its scheme, and
// says what port is dialled.
func place(addr, scheme string) (*url.URL, uint16, error) {
	if !strings.Contains(addr, "://") {
		addr = scheme + "://" + addr
	}
	u, err := url.Parse(addr)
	if err != nil {
		return nil, 0, proto.Errorf(proto.ErrInvalid, "it is not the address of a server") // err repeats it, with its password
	}
	if known, ok := schemes[u.Scheme]; ok && u.Port() == "" {
		return u, known, nil
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil && u.Scheme != "file" {
		return nil, 0, proto.Errorf(proto.ErrInvalid, "%s names no port", u.Redacted())
	}
	return u, uint16(port), nil
}

// schemes are the ways to reach module proxies, and their ports.
var schemes = map[string]uint16{"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}

// linked is a toolchain's folder and where links in it lead: distributions keep
// the sources elsewhere.
func linked(root string) ([]string, error) {
	folders := []string{root}
	for _, pattern := range []string{"*", "pkg/*"} {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if info, err := os.Lstat(name); err != nil || info.Mode()&os.ModeSymlink == 0 {
				continue
			}
			if target, err := filepath.EvalSymlinks(name); err == nil {
				folders = append(folders, target)
			}
		}
	}
	return folders, nil
}

// loaderOf returns what a program that is not statically linked needs to start,
// as the go command of some distributions does.
func loaderOf(program string) (loader, libraries []string) {
	file, err := elf.Open(program)
	if err != nil {
		return nil, nil // another system's
	}
	defer file.Close()
	section := file.Section(".interp")
	if section == nil {
		return nil, nil
	}
	name, err := section.Data()
	if err != nil {
		return nil, nil
	}
	return []string{strings.TrimRight(string(name), "\x00")}, []string{"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"}
}

// pinned is a list of module proxies without "direct", by which the go command
// would connect to whatever host a module's path names.
func pinned(proxies string) string {
	var kept strings.Builder
	for proxies != "" {
		end := strings.IndexAny(proxies, ",|")
		name, next := proxies, ""
		if end >= 0 {
			name, next = proxies[:end], proxies[end+1:]
		}
		if name = strings.TrimSpace(name); name != "direct" && name != "" {
			kept.WriteString(name)
			if end >= 0 {
				kept.WriteByte(proxies[end])
			}
		}
		proxies = next
	}
	if list := strings.TrimRight(kept.String(), ",|"); list != "" {
		return list
	}
	return "off"
}

// sources says what has to be reachable for module proxies and a checksum
// database: TCP ports and, for proxies that are folders, files.
func sources(proxies, sumDB string) (ports []uint16, files []string, err error) {
	ports = []uint16{53} // names whose answers are too long for UDP
	places := strings.FieldsFunc(proxies, func(r rune) bool { return r == ',' || r == '|' })
	switch database := strings.Fields(sumDB); {
	case sumDB == "off":
	case len(database) > 1:
		places = append(places, database[1])
	default:
		ports = append(ports, 443) // a name stands for https
	}
	for _, name := range places {
		if name == "off" {
			continue
		}
		u, port, err := place(name, "https")
		if err != nil {
			return nil, nil, fmt.Errorf("module proxy: %w", err)
		}
		if u.Scheme == "file" {
			files = append(files, filepath.FromSlash(u.Path))
		} else {
			ports = append(ports, port)
		}
	}
	return ports, files, nil
}

// with returns rules for one build.
func with(rules confine.Rules, spec Spec) confine.Rules {
	rules.Read = slices.Concat(rules.Read, []string{spec.Root})
	rules.Write = slices.Concat(rules.Write, []string{spec.Work})
	return rules
}
