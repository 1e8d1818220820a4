package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/cli/vuln"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

// platform is where functions are built, as far as it is known here: agents run
// on Linux, and most often with a toolchain like the one that built this program.
func platform(tags []string) funcfw.Platform {
	return funcfw.Platform{GOOS: "linux", GOARCH: runtime.GOARCH, GoVersion: runtime.Version(), Tags: tags}
}

// checkEntries checks the whole deploy before anything is sent: names, settings and
// folders, that no two functions share a path, and the source, as the agent will. It
// reports refused source, with its lines.
func (a *app) checkEntries(ctx context.Context, entries []*entry, p *progress) error {
	var errs faults
	paths := map[string]*entry{}
	for _, e := range entries {
		err := e.readSecrets()
		if err == nil {
			err = e.fn.Check()
		}
		if err != nil {
			errs = append(errs, e.place(err))
			continue
		}
		path := proto.Path(e.fn.GetName())
		if other, ok := paths[path]; ok {
			errs = append(errs, e.place(proto.Errorf(proto.ErrInvalid, "function %q has the path /%s, which %q at %s has already",
				e.fn.GetName(), path, other.fn.GetName(), other.at).
				WithHint("give one entry several addresses in agentAddr to run replicas, or rename the function")))
			continue
		}
		paths[path] = e
		if err := e.find(); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return errs
	}
	refused := false
	for _, e := range entries {
		p.say("checking " + e.fn.GetName())
		ok, err := a.checkSource(e, p)
		if err != nil {
			return e.place(err)
		}
		refused = refused || !ok
	}
	if refused {
		return reported(exitRefused)
	}
	return a.passGates(ctx, entries, p)
}

// checkSource reports whether the agent would take the entry's source, and prints
// why not. An error means that the source could not be read.
func (a *app) checkSource(e *entry, p *progress) (ok bool, err error) {
	target, err := e.check()
	if _, refused := errors.AsType[*funcfw.Refusal](err); refused {
		p.pause()
		a.reportRefusal(e.fn.GetName(), e.root, err)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, note := range []string{target.Note, e.sentAlong()} {
		if note != "" {
			p.pause()
			a.note("%s", note)
		}
	}
	return true, nil
}

// check finds the entry's function in its source.
func (e *entry) check() (*funcfw.Target, error) {
	spec := funcfw.Spec{Dir: e.dir, Name: e.fn.GetName(), Target: e.fn.GetTarget(), Kind: e.fn.GetKind()}
	if file := e.fn.GetFilePath(); file != "" {
		spec.File = filepath.Base(file)
	}
	return funcfw.Check(os.DirFS(e.root), spec, platform(e.fn.GetTags()))
}

// candidates finds the functions of an entry's folder that can be deployed. When
// there are none, or the folder as a whole is refused, it prints why.
func (a *app) candidates(e *entry) ([]*funcfw.Target, error) {
	if err := e.find(); err != nil {
		return nil, err
	}
	dir := shorten(e.fn.GetDir())
	found, refusals, err := funcfw.Candidates(os.DirFS(e.root), e.dir, platform(e.fn.GetTags()))
	if _, refused := errors.AsType[*funcfw.Refusal](err); refused {
		a.reportRefusal(dir, e.root, err)
		return nil, reported(exitRefused)
	}
	if err != nil || len(found) > 0 {
		return found, err
	}
	absent := funcfw.NoFunction(dir, refusals)
	head, rest, _ := strings.Cut(absent.Reason, "\n")
	a.complain(head, rest, absent.Fix, []string{e.root})
	return nil, reported(exitRefused)
}

// onlyFunction finds the name of the function to deploy from a folder that
// declares one. A function that only takes and returns data is most often a helper,
// and a variable most often a part of a function: they count only if there is
// nothing else.
func (a *app) onlyFunction(e *entry) (string, error) {
	found, err := a.candidates(e)
	if err != nil {
		return "", err
	}
	variable := func(t *funcfw.Target) bool { return t.Variable }
	helper := func(t *funcfw.Target) bool { return t.Kind == proto.KindTyped || t.Kind == proto.KindEvent }
	for _, less := range []func(*funcfw.Target) bool{helper, variable} {
		if better := slices.DeleteFunc(slices.Clone(found), less); len(better) > 0 {
			found = better
		}
	}
	if len(found) == 1 {
		return found[0].Name, nil
	}
	text := ""
	for _, t := range found {
		text += fmt.Sprintf("%s\t%s:%d\n", t.Name, shorten(filepath.Join(e.root, t.File)), t.Line)
	}
	a.complain(fmt.Sprintf("%s declares %d functions; choose one with -name", shorten(e.fn.GetDir()), len(found)), text, "", nil)
	return "", reported(exitUsage)
}

func (a *app) checkCommand() *cobra.Command {
	fn := &proto.FunctionJson{}
	var known bool
	cmd := &cobra.Command{
		Use:   "check [DIR]",
		Short: "says which functions of a folder can be deployed",
		Long: `
Checks the package in DIR (default: the working directory) like an agent does before
it builds. No agent is asked. It prints one line for each function that can be
deployed: name, kind and place of the declaration, separated by tabs, or in columns
on a terminal. If there is none, or the function that -name names cannot be deployed,
it says why and exits with 3.

With -vuln it also looks for known faults that their program can reach, its own code
and all modules of it, and says by which calls; if there is one, it exits with 3. This
takes the go command, and govulncheck, which is built if the PATH has none.`,
		Example: `
  proxyCli check ./example/hello
  proxyCli check -name HelloWorld -o json ./hello
  proxyCli check -vuln ./example/qr`,
		Args: atMostOne("DIR"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if fn.Dir, err = filepath.Abs(strings.Join(args, "")); err != nil {
				return err
			}
			fn.Complete()
			return a.check(cmd.Context(), &entry{fn: fn}, known)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&fn.Name, "name", "", "`NAME` check this function alone, and say what is wrong with it")
	fs.BoolVar(&known, "vuln", false, "look for known faults that the program can reach, too")
	a.vulnDBFlag(cmd)
	settingFlags(fs, fn, nil, "tags", "kind", "target")
	return cmd
}

// check prints the functions of an entry's folder that can be deployed, and the known
// faults that they reach if they are asked for.
func (a *app) check(ctx context.Context, e *entry, known bool) error {
	found, programs, err := a.checked(e)
	if _, refused := errors.AsType[*funcfw.Refusal](err); refused {
		a.reportRefusal(cmp.Or(e.fn.GetName(), shorten(e.fn.GetDir())), e.root, err)
		return reported(exitRefused)
	}
	if err != nil {
		return err
	}
	reports := make([]*vuln.Report, len(found))
	if known {
		p := a.startProgress()
		defer p.stop()
		var s scanner
		for i := range found {
			if reports[i], err = s.scan(ctx, a, e, programs[i], p); err != nil {
				return err
			}
		}
		p.stop()
	}
	if err := a.printFound(e, found, reports); err != nil || !known {
		return err
	}
	return a.tellFaults(e, found, reports)
}

// printFound prints a line for each function.
func (a *app) printFound(e *entry, found []*funcfw.Target, reports []*vuln.Report) error {
	if a.output == "json" {
		type line struct {
			Name string       `json:"name"`
			Kind string       `json:"kind"`
			File string       `json:"file"`
			Line int          `json:"line"`
			Vuln *vuln.Report `json:"vuln,omitempty"`
		}
		list := []line{}
		for i, t := range found {
			list = append(list, line{t.Name, t.Kind, shorten(filepath.Join(e.root, t.File)), t.Line, shown(reports[i], e.root)})
		}
		return a.printJSON(list)
	}
	if a.isTerminal(a.stdout) {
		var rows [][]string
		for _, t := range found {
			rows = append(rows, []string{t.Name, t.Kind, fmt.Sprintf("%s:%d", shorten(filepath.Join(e.root, t.File)), t.Line)})
		}
		for _, line := range tabulate(rows) { // not cut: a place that is cut is none
			if _, err := fmt.Fprintln(a.stdout, line); err != nil {
				return err
			}
		}
		return nil
	}
	for _, t := range found {
		if _, err := fmt.Fprintf(a.stdout, "%s\t%s\t%s:%d\n", t.Name, t.Kind, shorten(filepath.Join(e.root, t.File)), t.Line); err != nil {
			return err
		}
	}
	return nil
}

// checked finds the functions that are asked for and generates the program of each,
// which shows whether their module can be built.
func (a *app) checked(e *entry) (found []*funcfw.Target, programs []*funcfw.Generated, err error) {
	if e.fn.GetName() == "" && e.fn.GetTarget() == "" {
		if e.fn.GetKind() == "" {
			found, err = a.candidates(e)
		} else if e.fn.Name, err = a.onlyFunction(e); err == nil { // a kind is that of one function
			found, err = a.checkNamed(e)
		}
	} else {
		found, err = a.checkNamed(e)
	}
	for _, t := range found {
		g, err := funcfw.Generate(os.DirFS(e.root), t, platform(e.fn.GetTags()))
		if err != nil {
			return nil, nil, err
		}
		programs = append(programs, g)
	}
	return found, programs, err
}

func (a *app) checkNamed(e *entry) ([]*funcfw.Target, error) {
	if err := e.fn.Check(); err != nil {
		return nil, err
	}
	if err := e.find(); err != nil {
		return nil, err
	}
	t, err := e.check()
	if err != nil {
		return nil, err
	}
	if t.Deferred != "" {
		a.note("only the compiler can tell for sure: %s", t.Deferred)
	}
	return []*funcfw.Target{t}, nil
}
