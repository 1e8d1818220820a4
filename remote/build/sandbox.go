package build

import (
	"debug/elf"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/remote/confine"
)

// limits are those of each process of a build. The largest packages in public
// take the compiler 20 seconds and 1 GiB.
var limits = confine.Limits{
	CPU:   60 * time.Second,
	Data:  1536 << 20,
	File:  256 << 20, // an archive or a program with its working copy
	Files: 1024,
}

// sandbox is what the go command may reach of this machine, in two phases: fetch
// gets modules from where the agent's owner said, compile has no network.
type sandbox struct {
	compile, fetch confine.Rules // without the folders of a Spec
	proxy, sumDB   string        // of fetch
	// lacks is what compile says of a module that is not in the cache, which it may
	// neither fetch nor write to.
	lacks *regexp.Regexp
}

// newSandbox returns the sandbox of a toolchain, with the caches in dir.
func newSandbox(known *toolchain, dir, proxy, sumDB string) (*sandbox, error) {
	cache, modules, home := filepath.Join(dir, "gocache"), filepath.Join(dir, "gomod"), filepath.Join(dir, "home")
	for _, folder := range []string{cache, modules} {
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
	ports, files, err := sources(pinned(proxy), sumDB)
	if err != nil {
		return nil, err
	}
	common := confine.Rules{
		Exec:     append(loader, goCommand),
		Read:     append(root, home),
		Write:    []string{cache, os.DevNull},
		System:   libraries,
		Children: true,
		Limits:   limits,
	}
	s := &sandbox{
		compile: common, fetch: common, proxy: pinned(proxy), sumDB: sumDB,
		lacks: regexp.MustCompile("disabled by GOPROXY=off|" + regexp.QuoteMeta(modules) + `\S*: permission denied`),
	}
	s.compile.Exec = slices.Concat(common.Exec, []string{filepath.Join(known.GOROOT, "pkg", "tool")})
	s.compile.Read = slices.Concat(common.Read, []string{modules})
	s.fetch.Write = slices.Concat(common.Write, []string{modules})
	s.fetch.System = slices.Concat(libraries, network, files)
	s.fetch.Connect = ports
	return s, nil
}

// network is what it takes to find hosts by name and to know them by certificate.
var network = []string{
	"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/services",
	"/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/pki/ca-trust/extracted",
	"/etc/ca-certificates/extracted", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
}

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
	for _, place := range places {
		if place == "off" {
			continue
		}
		if !strings.Contains(place, "://") {
			place = "https://" + place
		}
		u, err := url.Parse(place)
		if err != nil {
			return nil, nil, fmt.Errorf("module proxy: %w", err)
		}
		switch port := u.Port(); {
		case u.Scheme == "file":
			files = append(files, filepath.FromSlash(u.Path))
		case port != "":
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil {
				return nil, nil, fmt.Errorf("module proxy %s: %w", u.Redacted(), err)
			}
			ports = append(ports, uint16(n))
		case u.Scheme == "http":
			ports = append(ports, 80)
		default:
			ports = append(ports, 443)
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
