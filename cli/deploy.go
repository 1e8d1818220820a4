package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// waiting is the choice between an answer at once and one when the deploy is done.
type waiting struct{ wait, noWait bool }

func (w *waiting) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.wait, "wait", false, "wait until the function is Deployed or Failed (the default on a terminal, and where CI is set)")
	cmd.Flags().BoolVar(&w.noWait, "no-wait", false, "do not wait")
}

// decide resolves the default: people at a terminal want to see the result, and a
// pipeline must fail with it.
func (w *waiting) decide(a *app, cmd *cobra.Command) (bool, error) {
	switch {
	case w.wait && w.noWait:
		return false, usagef(cmd, "-wait and -no-wait exclude each other")
	case w.noWait:
		return false, nil
	case cmd.Flags().Changed("wait"):
		return w.wait, nil
	}
	ci := os.Getenv("CI")
	wait := a.isTerminal(a.stdout) || ci != "" && ci != "false" && ci != "0"
	a.hurried = !wait
	return wait, nil
}

func (a *app) deployCommand() *cobra.Command {
	fn := &proto.FunctionJson{}
	e := &entry{fn: fn}
	var plan bool
	var reset string
	var w waiting
	cmd := &cobra.Command{
		Use:   "deploy [DIR]",
		Short: "deploys the function in a folder",
		Long: `
Uploads the package in DIR (default: the working directory); an agent builds and
starts it. A deploy that changes code or settings makes a new version of the
function. If it fails, the version before it goes on serving.

If DIR contains a definition, deploy.json or deploy.yaml, it says what is deployed; flags override
it. Otherwise the only function of the package is deployed, or the one that -name
names. Its settings stay as they are unless you give others: each flag changes one
setting, and each -env and -secret one variable. The changes are printed.

The value of a secret is read from a variable of this shell or from a file, without
the line end at the end of the file. It is never shown.`,
		Example: `
  proxyCli deploy ./example/hello
  proxyCli deploy -preview feature/login ./example/hello
  proxyCli deploy -canary 10 -note "new greeting" ./example/hello
  proxyCli deploy -secret DB_PASSWORD=env:DB_PASSWORD -secret KEY=file:key.pem ./hello
  proxyCli deploy -name HelloWorld -env GREETING=hi -agent host-a:9000,host-b:9000 ./hello`,
		Args: atMostOne("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			wait, err := w.decide(a, cmd)
			if err != nil {
				return err
			}
			for i, addr := range fn.GetToAgent() {
				if fn.ToAgent[i], err = transport.NormalizeAddr(addr); err != nil {
					return usagef(cmd, "-agent: %v", err)
				}
			}
			if fn.Dir, err = filepath.Abs(strings.Join(args, "")); err != nil {
				return err
			}
			entries, unreached, err := a.entries(cmd, e, reset)
			if err != nil {
				return err
			}
			p := a.startProgress()
			defer p.stop()
			if err := a.checkEntries(cmd.Context(), entries, p); err != nil {
				p.stop()
				a.tellKept(entries) // what was not given may be the reason
				return err
			}
			if unreached != nil { // errors in the source come first
				return unreached
			}
			p.pause()
			a.tellChanges(entries)
			if plan {
				return a.plan(cmd.Context(), entries, p)
			}
			return a.send(cmd.Context(), entries, wait, p)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&fn.Name, "name", "", "`NAME` function to deploy (default: the only one of the package)")
	fs.StringSliceVar(&fn.ToAgent, "agent", nil, "`ADDR,…` agents to run on, one replica on each (default: the proxy chooses, as -replicas and -placement say)")
	settingFlags(fs, fn, &e.secrets)
	fs.StringVar(&reset, "reset", "", "`[=SETTING,…]` give all settings, or these, their defaults unless a flag gives them")
	fs.Lookup("reset").NoOptDefVal = resetAll
	a.overlayFlag(cmd)
	a.vulnDBFlag(cmd)
	fs.BoolVar(&plan, "plan", false, "only print what a deploy would change")
	w.flags(cmd)
	offer(cmd, "kind", proto.KindHTTP, proto.KindCloudEvent, proto.KindEvent, proto.KindTyped, proto.KindGin)
	return cmd
}

// modules asks the go command of this machine which modules are private, and where
// the module cache is. Without Go, functions must vendor private modules.
func modules(ctx context.Context) bundle.Modules {
	cmd := exec.CommandContext(ctx, "go", "env", "-json", "GOMODCACHE", "GONOPROXY")
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local") // a toolchain line must not fetch another one
	out, err := cmd.Output()
	var said struct{ GOMODCACHE, GONOPROXY string }
	if err != nil || json.Unmarshal(out, &said) != nil {
		return bundle.Modules{}
	}
	return bundle.Modules{Cache: said.GOMODCACHE, Private: said.GONOPROXY}
}

// send deploys entries that have been checked and prints the rows.
func (a *app) send(ctx context.Context, entries []*entry, wait bool, p *progress) error {
	var roots []string
	for _, e := range entries {
		e.fn.Wait = wait
		roots = append(roots, e.root, filepath.Join(e.root, e.dir))
	}
	paused := a.paused(ctx)
	began := time.Now()
	rows, err := a.submit(ctx, entries, p)
	if err != nil {
		return err
	}
	if err := a.printRows(rows); err != nil {
		return err
	}
	a.warnRows(rows)
	a.reportRows(rows, roots)
	a.tellResumed(rows, paused)
	a.tellPublic(rows, entries)
	if wait {
		a.tellDeployed(rows, entries, time.Since(began))
		a.noteMissing(slices.DeleteFunc(slices.Clone(rows), func(r *proto.FunctionJsonRsp) bool { return !ofProxy(r.GetUrl()) }))
	} else if a.hurried && slices.ContainsFunc(rows, func(r *proto.FunctionJsonRsp) bool { return r.GetStatus() == string(proto.Deploying) }) {
		a.note("not waiting until it is ready; -wait waits, and proxyCli details shows how it goes")
	}
	if code := rowsCode(rows); code != exitOK {
		return reported(code)
	}
	return nil
}

// tellPublic says which functions everybody may call from now on.
func (a *app) tellPublic(rows []*proto.FunctionJsonRsp, entries []*entry) {
	for _, e := range entries {
		failed := func(r *proto.FunctionJsonRsp) bool {
			return r.GetName() == e.fn.GetName() && proto.Status(r.GetStatus()) == proto.Failed
		}
		if e.fn.GetAuth() == proto.AuthPublic && !slices.ContainsFunc(rows, failed) {
			a.warn(e.fn.GetName() + " is public: everybody who reaches the proxy's -functions port may call it")
		}
	}
}

// tellDeployed prints, for each function that is deployed on all its agents, the
// result and what to do next.
func (a *app) tellDeployed(rows []*proto.FunctionJsonRsp, entries []*entry, took time.Duration) {
	if took = took.Round(time.Millisecond); took > time.Second {
		took = took.Round(100 * time.Millisecond)
	}
	for _, e := range entries {
		name := e.fn.GetName()
		of := slices.DeleteFunc(slices.Clone(rows), func(r *proto.FunctionJsonRsp) bool { return r.GetName() != name })
		if len(of) == 0 || rowsCode(of) != exitOK {
			continue
		}
		r := of[0]
		what := strings.Join(shares(r), ", ")
		if e.serves != nil && e.serves.GetVersion() == r.GetVersion() && e.fn.GetCanary() == 0 {
			what = fmt.Sprintf("nothing changed, version %d serves", r.GetVersion())
			if _, changes := e.changes(); len(changes) > 0 { // of where it runs, which makes no version
				what = fmt.Sprintf("version %d serves on", r.GetVersion())
			}
		}
		if !a.quiet {
			parts := []string{fmt.Sprintf("%s: %s, after %s", name, what, took), clean(r.GetUrl()), "try: proxyCli invoke " + name}
			_, _ = fmt.Fprintln(a.stderr, flow(parts, a.width(a.stderr)))
		}
	}
}

// submit deploys or plans entries, and stops the progress.
func (a *app) submit(ctx context.Context, entries []*entry, p *progress) ([]*proto.FunctionJsonRsp, error) {
	client := a.dial(transport.WithProgress(p.transfer), transport.WithModules(modules(ctx)))
	defer func() { _ = client.Close() }()
	defer p.stop()

	fns := make([]*proto.FunctionJson, len(entries))
	for i, e := range entries {
		fns[i] = e.fn
	}
	if fns[0].GetWait() {
		defer p.follow(ctx, client, fns)()
	}
	return client.Deploy(ctx, fns...)
}
