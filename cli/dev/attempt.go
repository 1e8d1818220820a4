package dev

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

// change is a state of the sources to serve.
type change struct {
	snapshot
	file  string    // saved last; "" at the beginning
	since time.Time // of the first save
}

// attempt builds and serves a state of the sources, or says why it cannot; ok is
// whether it could. If ctx is canceled, the state stays as it was. Functions that it
// opens run until session is canceled.
func (s *session) attempt(ctx, session context.Context, c change) (ok bool) {
	before, next := s.current(), state{}
	targets, err := s.targets(c.snapshot)
	if err == nil {
		next.functions, err = s.bring(ctx, session, c.snapshot, targets)
	}
	if ctx.Err() != nil {
		return false
	}
	if next.functions == nil {
		s.set(state{functions: before.functions, trouble: s.report(asTrouble(err))})
		if c.file == "" {
			name := cmp.Or(proto.Path(s.cfg.Function.GetName()), "NAME")
			s.say("nothing serves yet: save a correction, and it is called at http://%s%s%s (Ctrl-C to stop)", s.cfg.Host, prefix, name)
		}
		return false
	}
	s.set(next)
	if list := s.list(next.functions); list != s.list(before.functions) {
		for line := range strings.Lines(list) {
			s.say("%s", strings.TrimSpace(line))
		}
	}
	took := time.Since(c.since).Round(time.Millisecond)
	switch {
	case err != nil && c.file == "": // bring reported it
		s.say("save a correction, and it is served (Ctrl-C to stop)")
	case err != nil:
	case c.file == "":
		s.say("serving %s after %s; what you save is served, too, until Ctrl-C", s.cfg.Shown, took)
	default:
		s.say("%s: serving after %s", filepath.Base(c.file), took)
	}
	return err == nil
}

// targets finds the functions to serve.
func (s *session) targets(src snapshot) ([]*funcfw.Target, error) {
	if src.err != nil {
		return nil, src.err
	}
	fn, fsys := s.cfg.Function, os.DirFS(src.root)
	if fn.GetName() != "" {
		spec := funcfw.Spec{Dir: src.dir, Name: fn.GetName(), Target: fn.GetTarget(), Kind: fn.GetKind()}
		target, err := funcfw.Check(fsys, spec, s.tools.platform)
		if err != nil {
			return nil, s.refused(src, fn.GetName(), err)
		}
		return []*funcfw.Target{target}, nil
	}
	found, refusals, err := funcfw.Candidates(fsys, src.dir, s.tools.platform)
	if err != nil {
		return nil, s.refused(src, s.cfg.Shown, err)
	}
	if len(found) == 0 {
		absent := funcfw.NoFunction(s.cfg.Shown, refusals)
		head, rest, _ := strings.Cut(absent.Reason, "\n")
		return nil, &Trouble{What: head, Text: rest, Hint: absent.Fix, Root: src.root}
	}
	return found, nil
}

func (s *session) refused(src snapshot, what string, err error) error {
	return &Trouble{What: what + " was refused", Text: err.Error(), Hint: proto.AsError(err).Hint, Root: src.root}
}

// bring builds the programs of targets and starts them. An error without functions
// means that the source does not build; one with functions, that some do not start,
// which it has reported.
func (s *session) bring(ctx, session context.Context, src snapshot, targets []*funcfw.Target) (map[string]*function, error) {
	folder, err := os.MkdirTemp(s.temp, programs)
	if err != nil {
		return nil, err
	}
	built, err := s.build(ctx, src, targets, folder)
	if err != nil {
		return nil, err
	}
	before, next := s.current().functions, map[string]*function{}
	s.several.Store(len(targets) > 1)
	var starting sync.WaitGroup
	errs := make([]error, len(targets))
	for i, t := range targets {
		path := proto.Path(t.Name)
		if other, twice := next[path]; twice {
			errs[i] = &Trouble{What: t.Name + " is not served: it has the path of " + other.name, Hint: "rename one of them"}
			continue
		}
		f := before[path]
		if f == nil || f.name != t.Name {
			if f, err = s.open(session, t.Name); err != nil {
				errs[i] = err
				continue
			}
		}
		next[path] = f
		starting.Go(func() {
			env, err := f.environment(t.Kind)
			if err == nil {
				err = f.replace(ctx, version{built[t.Name], t.Key(), filepath.Join(src.root, filepath.FromSlash(src.dir)), env})
			}
			errs[i] = err
		})
	}
	starting.Wait()
	if ctx.Err() != nil {
		for path, f := range next {
			if before[path] != f {
				f.cancel()
			}
		}
		return nil, ctx.Err()
	}
	for path, f := range before {
		if next[path] != f {
			f.cancel()
		}
	}
	for _, err := range errs {
		if err != nil {
			s.report(asTrouble(err))
		}
	}
	s.removeOthers(folder)
	return next, errors.Join(errs...)
}

// programs is the prefix of the folders of programs.
const programs = "programs-"

// removeOthers removes all programs but those of folder; nothing starts them any more.
func (s *session) removeOthers(folder string) {
	all, _ := filepath.Glob(filepath.Join(s.temp, programs+"*"))
	for _, other := range all {
		if other != folder {
			_ = os.RemoveAll(other) // Run removes all
		}
	}
}

// build builds the programs of targets into a folder and returns them by the
// functions' names. Most packages have one program for all of their functions.
func (s *session) build(ctx context.Context, src snapshot, targets []*funcfw.Target, folder string) (map[string]string, error) {
	built := map[string]string{}
	var last *funcfw.Generated
	var program string
	for _, t := range targets {
		generated, err := funcfw.Generate(os.DirFS(src.root), t, s.tools.platform)
		if err != nil {
			return nil, s.refused(src, t.Name, err)
		}
		if reflect.DeepEqual(generated, last) {
			built[t.Name] = program
			continue
		}
		last, program = generated, filepath.Join(folder, t.Name)
		built[t.Name] = program
		err = s.tools.build(ctx, job{
			root: src.root, work: filepath.Join(s.temp, "work-"+t.Name), program: program,
			generated: generated, fn: s.cfg.Function,
			fetching: func(module string) { s.say("fetching %s", module) },
		})
		if failed, ok := errors.AsType[*failure](err); ok {
			return nil, &Trouble{What: cmp.Or(s.cfg.Function.GetName(), s.cfg.Shown) + " did not build", Text: failed.said, Root: src.root}
		}
		if err != nil {
			return nil, err
		}
	}
	return built, nil
}

// list is the functions with their addresses, a line for each.
func (s *session) list(all map[string]*function) string {
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(all)) {
		b.WriteString(all[path].name + "  http://" + s.cfg.Host + prefix + path + "\n")
	}
	return b.String()
}
