package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

// platform is where functions are built, as far as it is known here: agents run
// on Linux, and most often with a toolchain like the one that built this program.
func platform(tags []string) funcfw.Platform {
	return funcfw.Platform{GOOS: "linux", GOARCH: runtime.GOARCH, GoVersion: runtime.Version(), Tags: tags}
}

// checkEntries checks all that a deploy consists of before anything of it is
// sent: names and settings, folders, that no two share a path, and the source, as
// the agent will. Refused source is reported here, with its lines.
func (a *app) checkEntries(entries []*entry, p *progress) error {
	var errs faults
	paths := map[string]*entry{}
	for _, e := range entries {
		if err := e.fn.Check(); err != nil {
			errs = append(errs, e.fail(err))
			continue
		}
		path := proto.Path(e.fn.GetName())
		if other, ok := paths[path]; ok {
			errs = append(errs, e.fail(proto.Errorf(proto.ErrInvalid, "function %q has the path /%s, which %q at %s has already",
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
			return e.fail(err)
		}
		refused = refused || !ok
	}
	if refused {
		return reported(exitRefused)
	}
	return nil
}

// checkSource reports whether the agent would take the entry's source. Why not
// has been said then. An error is one of reading it.
func (a *app) checkSource(e *entry, p *progress) (ok bool, err error) {
	file := e.fn.GetFilePath()
	if file != "" {
		file = filepath.Base(file)
	}
	target, err := funcfw.Check(os.DirFS(e.root), e.dir, e.fn.GetName(), file, platform(e.fn.GetTags()))
	if _, refused := errors.AsType[*funcfw.Refusal](err); refused {
		p.pause()
		a.refused(e.fn.GetName(), e.root, err)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if target.Note != "" {
		p.pause()
		a.note("%s", target.Note)
	}
	return true, nil
}

// onlyFunction finds the name of the function to deploy from a folder that
// declares one.
func (a *app) onlyFunction(e *entry) (string, error) {
	if err := e.find(); err != nil {
		return "", err
	}
	dir := shorten(e.fn.GetDir())
	found, err := funcfw.Candidates(os.DirFS(e.root), e.dir, platform(e.fn.GetTags()))
	if _, refused := errors.AsType[*funcfw.Refusal](err); refused {
		a.refused(dir, e.root, err)
		return "", reported(exitRefused)
	}
	switch {
	case err != nil:
		return "", err
	case len(found) == 0:
		a.complain("no function to deploy in "+dir, "",
			"export a func(http.ResponseWriter, *http.Request); -name NAME says why the function NAME is none", nil)
		return "", reported(exitRefused)
	case len(found) == 1:
		return found[0].Name, nil
	}
	text := ""
	for _, t := range found {
		text += fmt.Sprintf("%s\t%s:%d\n", t.Name, shorten(filepath.Join(e.root, t.File)), t.Line)
	}
	a.complain(fmt.Sprintf("%s declares %d functions; choose one with -name", dir, len(found)), text, "", nil)
	return "", reported(exitUsage)
}
