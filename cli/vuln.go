package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/semver"

	"github.com/Ishan27g/ryo-faas/cli/vuln"
	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

// vulnDB is the flag that names the database of known faults.
const vulnDB = "vulndb"

func (a *app) vulnDBFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.vulnDB, vulnDB, "", "`URL|DIR` database of known faults ("+flags.Env(vulnDB)+
		", default https://vuln.go.dev, or else the module golang.org/x/vulndb)")
}

// scanner looks for known faults in programs, in each once: most functions of a
// package have the same one. It prints why a program does not build.
type scanner struct {
	root   string
	last   *funcfw.Generated
	report *vuln.Report
}

func (s *scanner) scan(ctx context.Context, a *app, e *entry, g *funcfw.Generated, p *progress) (report *vuln.Report, err error) {
	if s.report != nil && s.root == e.root && reflect.DeepEqual(g, s.last) {
		return s.report, nil
	}
	s.report, err = vuln.Scan(ctx, vuln.Config{
		Root: e.root, Files: e.contents.Files, Dir: e.dir, Generated: g, Tags: e.fn.GetTags(), Database: cmp.Or(a.vulnDB, os.Getenv(flags.Env(vulnDB))), Say: p.say,
	})
	if _, refused := errors.AsType[*funcfw.Refusal](err); refused {
		p.pause()
		a.reportRefusal(cmp.Or(e.fn.GetName(), shorten(e.fn.GetDir())), e.root, err)
		return nil, reported(exitRefused)
	}
	s.root, s.last = e.root, g
	return s.report, err
}

// shown is a report with the names of files as people here know them.
func shown(r *vuln.Report, root string) *vuln.Report {
	if r == nil {
		return nil
	}
	c := *r
	c.Faults = slices.Clone(r.Faults)
	for i := range c.Faults {
		c.Faults[i].Path = slices.Clone(c.Faults[i].Path)
		for j := range c.Faults[i].Path {
			if frame := &c.Faults[i].Path[j]; frame.File != "" {
				frame.File = shorten(filepath.Join(root, filepath.FromSlash(frame.File)))
			}
		}
	}
	return &c
}

// passGates refuses entries whose setting gate says that something must hold which
// does not.
func (a *app) passGates(ctx context.Context, entries []*entry, p *progress) error {
	var s scanner
	failed := false
	for _, e := range entries {
		if e.fn.GetGate() != proto.GateVuln {
			continue
		}
		t, err := e.check()
		if err != nil {
			return e.place(err)
		}
		g, err := funcfw.Generate(os.DirFS(e.root), t, platform(e.fn.GetTags()))
		if err != nil {
			return e.place(err)
		}
		report, err := s.scan(ctx, a, e, g, p)
		if _, told := errors.AsType[reported](err); told {
			return err
		}
		if err != nil {
			return e.place(fmt.Errorf("gate vuln of %s: %w", e.fn.GetName(), err))
		}
		p.pause()
		failed = a.tellFaults(e, []*funcfw.Target{t}, []*vuln.Report{report}) != nil || failed
	}
	if failed {
		return reported(exitRefused)
	}
	return nil
}

// tellFaults prints the known faults that functions reach. The error says that there
// are some.
func (a *app) tellFaults(e *entry, found []*funcfw.Target, reports []*vuln.Report) (err error) {
	for i, r := range reports {
		if i > 0 && r == reports[i-1] {
			continue
		}
		if l := r.Library; l != nil {
			a.note("%s", describeLibrary(l))
		}
		if len(r.Faults) == 0 {
			a.note("no known fault of a module is in the program%s", asOf(r))
			continue
		}
		var names []string
		for j := i; j < len(found) && reports[j] == r; j++ {
			names = append(names, found[j].Name)
		}
		text, hint := describeFaults(r.Faults)
		a.complain(strings.Join(names, ", ")+": "+counted(len(r.Faults))+asOf(r), text, hint, []string{e.root})
		err = reported(exitRefused)
	}
	return err
}

func asOf(r *vuln.Report) string {
	if r.Database == "" {
		return ""
	}
	return " (as of " + r.Database + ")"
}

func counted(n int) string {
	if n == 1 {
		return "1 known fault is in its program"
	}
	return fmt.Sprintf("%d known faults are in its program", n)
}

func describeLibrary(l *vuln.Library) string {
	what, them := fmt.Sprintf("%d known faults of the standard library of %s, which is here, are", len(l.IDs), l.Go), "them"
	if len(l.IDs) == 1 {
		what, them = fmt.Sprintf("1 known fault of the standard library of %s, which is here, is", l.Go), "it"
	}
	way := "no Go mends " + them + " yet"
	if l.Fixed != "" {
		way = l.Fixed + " mends " + them
	}
	return what + " in the program; " + way + ". The agent builds with its own Go, whose faults its /readyz tells"
}

// describeFaults says where the user's code leads to each fault, by which calls, and
// what mends all of them.
func describeFaults(faults []vuln.Fault) (text, hint string) {
	var b strings.Builder
	mends := map[string]string{} // module → version
	var waiting []string
	for _, f := range faults {
		var calls []string
		place := ""
		for _, frame := range f.Path {
			calls = append(calls, frame.Function)
			if frame.File != "" {
				place = fmt.Sprintf("%s:%d:%d: ", frame.File, frame.Line, frame.Column)
			}
		}
		mended := "mended in " + f.Fixed
		if f.Fixed == "" {
			mended = "not mended yet"
			waiting = append(waiting, f.ID)
		} else if semver.Compare(f.Fixed, mends[f.Module]) > 0 {
			mends[f.Module] = f.Fixed
		}
		way := strings.Join(calls, " → ")
		if way == "" {
			way = "by which calls it is reached was not found"
		}
		fmt.Fprintf(&b, "%s%s: %s; %s %s, %s\n    %s\n", place, f.ID, f.Summary, f.Module, f.Version, mended, way)
	}
	var ways []string
	if len(mends) > 0 {
		way := "go get"
		for _, m := range slices.Sorted(maps.Keys(mends)) {
			way += " " + m + "@" + mends[m]
		}
		ways = append(ways, way)
	}
	if len(waiting) > 0 {
		ways = append(ways, "no version mends "+strings.Join(waiting, ", ")+" yet: do without what is faulty")
	}
	return b.String(), strings.Join(ways, "; ")
}
