package remote

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/Ishan27g/ryo-faas/internal/doctor"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/build"
	"github.com/Ishan27g/ryo-faas/remote/confine"
	"github.com/Ishan27g/ryo-faas/remote/isolation"
)

// examine says what is not well for an agent with these options, whether it runs or not.
func examine(ctx context.Context, s options) doctor.Report {
	cfg := s.agent
	cache := cfg.Cache
	if cache == "" {
		cache = filepath.Join(cfg.Dir, "cache")
	}
	report := doctor.Report{
		doctor.Version("agent"),
		doctor.Folder("folder", cfg.Dir), doctor.Disk("disk", cfg.Dir),
	}
	if !cfg.NoBuild {
		report = append(report, doctor.Folder("cache folder", cache), doctor.Disk("cache disk", cache))
	}
	report = append(report, examinePorts(cfg.Ports))
	at := doctor.Port(ctx, "port", s.listen, "agent")
	report = append(report, at...)
	if len(at) > 1 {
		return report // it runs, and has said the rest itself
	}
	about := map[string]any{}
	if !cfg.NoBuild {
		found, version := doctor.Toolchain(ctx, "an agent without one runs only what others have built, with -build never")
		if version == "" {
			report = append(report, found)
		}
		about["toolchain"] = toolchain{version, build.Mended(version)}
	}
	launcher := confine.New()
	if !cfg.NoBuild {
		about["buildIsolation"] = launcher.Layers()
	}
	if walls, err := isolation.New(launcher, existing(cfg.Dir), "", proto.IsolationNone); err == nil {
		about["isolation"] = walls.Report()
	} else {
		report = append(report, doctor.Badly("isolation", "see the reason", "what this machine can isolate was not found out: %v", err))
	}
	return append(report, doctor.Said(about)...)
}

// existing is a folder, or the first one above it that there is.
func existing(folder string) string {
	folder, err := filepath.Abs(folder)
	for err == nil {
		if _, err := os.Stat(folder); err == nil || folder == filepath.Dir(folder) {
			break
		}
		folder = filepath.Dir(folder)
	}
	return folder
}

// ephemeral is where Linux says which ports connections to elsewhere are given.
const ephemeral = "/proc/sys/net/ipv4/ip_local_port_range"

// examinePorts looks at the range of the functions' ports.
func examinePorts(text string) doctor.Finding {
	const check = "function ports"
	if text == "" {
		text = DefaultPorts
	}
	p, err := parsePorts(text)
	if err != nil {
		e := proto.AsError(err)
		return doctor.Badly(check, e.Hint, "%s", e.Message)
	}
	data, _ := os.ReadFile(ephemeral)
	if of := strings.Fields(string(data)); len(of) == 2 {
		first, err1 := strconv.Atoi(of[0])
		last, err2 := strconv.Atoi(of[1])
		if err1 == nil && err2 == nil && p.first <= last && first <= p.last {
			return doctor.Poorly(check, fmt.Sprintf("choose -ports outside, such as %s, or sysctl net.ipv4.ip_local_reserved_ports=%s", DefaultPorts, text),
				"%s overlap with %d-%d, from which connections to elsewhere are given theirs", text, first, last)
		}
	}
	return doctor.Found(check, "%s", text)
}
