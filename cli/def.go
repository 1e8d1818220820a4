package cli

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
)

func (a *app) defCommand() *cobra.Command {
	var w waiting
	var prune bool
	var branch, ttl string
	cmd := &cobra.Command{
		Use:   "def FILE…",
		Short: "does what definition files say",
		Long: `
A definition file is JSON, or YAML if its name ends so, with any of the sections deploy,
list, stop and log. They are executed in the order in which they stand in the file:

  {
    "deploy": [{"packageDir": "./hello", "name": "HelloWorld", "agentAddr": ["localhost:9000"]}],
    "list": {"agentAddr": ["localhost:9000"]},
    "log": {"name": ["HelloWorld"]},
    "stop": {"name": ["HelloWorld"]}
  }

Paths are relative to the file's own folder. An entry of deploy may also have filePath
and settings: ` + settingNames() + `.
The value of a secret is a reference: {"DB_PASSWORD": "env:DB_PASSWORD", "KEY":
"file:key.pem"}. A setting that is not given has its default. An envFile names files with
lines NAME=value for env. In strings, ${NAME} is a variable of this environment, ${NAME:-text}
has a default, and $${ stands for ${. proxyCli schema prints what editors want to know.

A file may say of what its functions are a part: "app": "shop", beside "deploy". With
-prune, functions are removed that are a part of the same app and that no file names any
more, once all that is named is deployed. They are printed first; functions of other
apps, of none, and previews stay.

With -preview, all functions of deploy are deployed beside those that serve, as previews of
a branch: each has a name of its own, NAME__BRANCH, and is removed for its age. Their routes,
schedule and subscribe are left out, and so are the other sections.

All files are checked before anything is sent. The FILE - is the standard input.`,
		Example: `
  proxyCli def deploy.json
  proxyCli def -wait -o json - < deploy.json`,
		Args: atLeastOne("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			wait, err := w.decide(a, cmd)
			if err != nil {
				return err
			}
			switch {
			case branch == "" && ttl != "":
				return usagef(cmd, "-preview-ttl is for -preview")
			case branch != "" && prune:
				return usagef(cmd, "-prune and -preview exclude each other: previews are removed for their age, or by rm -preview")
			}
			return a.runDefinitions(cmd.Context(), args, wait, prune, branch, ttl)
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&prune, "prune", false, "remove functions of the files' apps that they do not name")
	cmd.Flags().StringVar(&branch, "preview", "", "`BRANCH` deploy previews of a branch")
	cmd.Flags().StringVar(&ttl, "preview-ttl", "", "`DURATION` how long they are kept after their last deploy (default: 168h)")
	a.overlayFlag(cmd)
	a.vulnDBFlag(cmd)
	w.flags(cmd)
	return cmd
}

// applyCommand is def by the name that other tools have for it.
func (a *app) applyCommand() *cobra.Command {
	cmd := a.defCommand()
	cmd.Use, cmd.Short = "apply FILE…", "the same as def"
	cmd.Example = "\n  proxyCli apply -prune deploy.json"
	return cmd
}

func (a *app) runDefinitions(ctx context.Context, files []string, wait, prune bool, branch, ttl string) error {
	steps, err := a.readDefinitions(ctx, files)
	if err == nil && branch != "" {
		steps = slices.DeleteFunc(steps, func(s step) bool { return s.verb != "deploy" })
		if len(steps) == 0 {
			err = proto.Errorf(proto.ErrInvalid, "there is no section deploy of which previews could be made")
		}
		for _, e := range entriesOf(steps) {
			e.preview(a, branch, ttl, func(string) bool { return false })
		}
	}
	if err == nil && prune {
		err = prunable(steps)
	}
	if err != nil {
		return err
	}
	if entries := entriesOf(steps); len(entries) > 0 {
		p := a.startProgress()
		err := a.checkEntries(ctx, entries, p)
		p.stop()
		if err != nil {
			return err
		}
	}
	if err := a.runSteps(ctx, steps, wait); err != nil || !prune {
		if _, told := errors.AsType[reported](err); told && prune {
			a.note("nothing is pruned, since not all went well")
		}
		return err
	}
	return a.prune(ctx, steps)
}

// readDefinitions reads what definition files ask for, one after the other.
func (a *app) readDefinitions(ctx context.Context, files []string) (steps []step, err error) {
	var errs faults
	for _, file := range files {
		def, err := readDefinition(ctx, file, a.overlay, a.stdin)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		steps = append(steps, def.steps...)
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return steps, nil
}

// entriesOf returns all that steps deploy.
func entriesOf(steps []step) (entries []*entry) {
	for _, s := range steps {
		entries = append(entries, s.entries...)
	}
	return entries
}

// runSteps does all steps, even after a function that failed, but none after a
// request that failed. The first failure decides the exit code.
func (a *app) runSteps(ctx context.Context, steps []step, wait bool) error {
	var first error
	for _, s := range steps {
		err := a.runStep(ctx, s, wait)
		if _, told := errors.AsType[reported](err); err != nil && !told {
			return err
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (a *app) runStep(ctx context.Context, s step, wait bool) error {
	switch s.verb {
	case "deploy":
		p := a.startProgress()
		defer p.stop()
		return a.send(ctx, s.entries, wait, p)
	case "list":
		return a.list(ctx, s.agents, false)
	case "stop":
		return a.stop(ctx, s.names)
	case "log":
		return a.logs(ctx, s.names)
	}
	return proto.Errorf(proto.ErrInternal, "unknown section %q", s.verb)
}
