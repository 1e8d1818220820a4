package vuln

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/semver"
)

// library is the module path of the standard library in the database.
const library = "stdlib"

// Report is what a scan has found.
type Report struct {
	Faults   []Fault  `json:"faults"`             // of modules, sorted; not nil
	Library  *Library `json:"library,omitempty"`  // nil: the program has no fault of the standard library
	Database string   `json:"database,omitempty"` // its date, if that is known
}

// Fault is a known fault of a module, whose code is in the program.
type Fault struct {
	ID      string `json:"id"` // of the database: GO-2024-3333
	Summary string `json:"summary"`
	Module  string `json:"module"`
	Version string `json:"version"`
	Fixed   string `json:"fixed,omitempty"` // the version that mends it; "": there is none
	// Path is the calls that lead there, the faulty one last. It is nil if none were
	// found, as when calls go through reflection.
	Path []Frame `json:"path,omitempty"`
}

// Frame is a call on the way to a fault.
type Frame struct {
	Function string `json:"function"`       // with the last word of its package
	File     string `json:"file,omitempty"` // of the user, in the bundle
	Line     int    `json:"line,omitempty"` // of the next call
	Column   int    `json:"column,omitempty"`
}

// Library says which faults of the standard library are in the program. It was built
// with the Go of this machine; that of the agent decides.
type Library struct {
	Go    string   `json:"go"`
	Fixed string   `json:"fixed"` // the Go that mends all; "": there is none
	IDs   []string `json:"ids"`
}

// finding is a message of govulncheck's JSON, whose form govulncheck promises to keep.
type finding struct {
	OSV   string
	Fixed string `json:"fixed_version"`
	Trace []struct {
		Module, Version, Package, Function, Receiver string
		Position                                     struct {
			Filename     string
			Line, Column int
		}
	}
}

// said is what govulncheck says.
type said struct {
	database  string // its day, if that is known
	summaries map[string]string
	findings  []*finding // of faulty code in the program, not of modules alone
}

// parse reads govulncheck's JSON.
func parse(data []byte) (*said, error) {
	s := &said{summaries: map[string]string{}}
	began := false
	for stream := json.NewDecoder(bytes.NewReader(data)); ; {
		var message struct {
			Config *struct {
				Modified time.Time `json:"db_last_modified"`
			}
			OSV     *struct{ ID, Summary string }
			Finding *finding
		}
		if err := stream.Decode(&message); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read what govulncheck says: %w", err)
		}
		if c := message.Config; c != nil {
			began = true
			if c.Modified.Unix() > 0 {
				s.database = c.Modified.Format(time.DateOnly)
			}
		}
		if o := message.OSV; o != nil {
			s.summaries[o.ID] = o.Summary
		}
		if f := message.Finding; f != nil && len(f.Trace) > 0 && f.Trace[0].Function != "" {
			s.findings = append(s.findings, f)
		}
	}
	if !began {
		return nil, errors.New("govulncheck said nothing")
	}
	return s, nil
}

// report makes a report of what was said of a program.
func (s *said) report() *Report {
	r := &Report{Faults: []Fault{}, Database: s.database}
	inLibrary, seen, goVersion := map[string]string{}, map[string]bool{}, ""
	for _, f := range s.findings {
		at := f.Trace[0]
		if at.Module == library {
			inLibrary[f.OSV], goVersion = f.Fixed, goName(at.Version)
			continue
		}
		fault := Fault{ID: f.OSV, Summary: s.summaries[f.OSV], Module: at.Module, Version: at.Version, Fixed: f.Fixed}
		if key := fault.key(); !seen[key] {
			seen[key] = true
			r.Faults = append(r.Faults, fault)
		}
	}
	slices.SortFunc(r.Faults, func(a, b Fault) int { return strings.Compare(a.key(), b.key()) })
	if len(inLibrary) > 0 {
		r.Library = &Library{Go: goVersion, IDs: slices.Sorted(maps.Keys(inLibrary)), Fixed: latest(inLibrary)}
	}
	return r
}

func (f *Fault) key() string { return f.Module + " " + f.ID }

// explain adds the calls that lead to each fault, as far as they were found: those of
// the user's code if there are any, and the fewest. own is the path of the user's
// module; place says where a file of it lies, "" where it has no such file.
func (s *said) explain(r *Report, own string, place func(file string) string) {
	best, ofUser := map[string][]Frame{}, map[string]bool{}
	for _, f := range s.findings {
		fault := Fault{ID: f.OSV, Module: f.Trace[0].Module}
		key := fault.key()
		path, users := f.path(own, place)
		if before := best[key]; before == nil || users && !ofUser[key] || users == ofUser[key] && len(path) < len(before) {
			best[key], ofUser[key] = path, users
		}
	}
	for i := range r.Faults {
		r.Faults[i].Path = best[r.Faults[i].key()]
	}
}

// latest is the Go that mends all faults; "" if one is not mended.
func latest(fixed map[string]string) string {
	last := ""
	for _, v := range fixed {
		if v == "" {
			return ""
		}
		if last == "" || semver.Compare(v, last) > 0 {
			last = v
		}
	}
	return goName(last)
}

// goName is the name of a Go by its version in the database.
func goName(version string) string { return "go" + strings.TrimPrefix(version, "v") }

// path is the calls that lead to a finding; users says that the user's code is among
// them.
func (f *finding) path(own string, place func(file string) string) (frames []Frame, users bool) {
	for _, at := range slices.Backward(f.Trace) {
		name := path.Base(at.Package) + "."
		if at.Receiver != "" {
			name += strings.TrimPrefix(at.Receiver, "*") + "."
		}
		frame := Frame{Function: name + at.Function}
		if at.Module == own {
			if frame.File = place(at.Position.Filename); frame.File != "" {
				frame.Line, frame.Column, users = at.Position.Line, at.Position.Column, true
			}
		}
		frames = append(frames, frame)
	}
	return frames, users
}
