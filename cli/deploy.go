package cli

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// waiting is the choice between an answer at once and one when all is settled.
type waiting struct{ wait, noWait bool }

func (w *waiting) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.wait, "wait", false, "answer when the function is Deployed or Failed (the default on a terminal)")
	cmd.Flags().BoolVar(&w.noWait, "no-wait", false, "answer at once, with Deploying")
}

// decide resolves the default: people at a terminal want to know how it went.
func (w *waiting) decide(a *app, cmd *cobra.Command) (bool, error) {
	switch {
	case w.wait && w.noWait:
		return false, usagef(cmd, "-wait and -no-wait exclude each other")
	case w.noWait:
		return false, nil
	case cmd.Flags().Changed("wait"):
		return w.wait, nil
	}
	return a.isTerminal(a.stdout), nil
}

func (a *app) deployCommand() *cobra.Command {
	fn := &proto.FunctionJson{}
	var env, secrets []string
	var plan bool
	var w waiting
	cmd := &cobra.Command{
		Use:   "deploy [DIR]",
		Short: "deploys the function in a folder",
		Long: `
Packs the package in DIR (default: the working directory), uploads it, and has it
built and started. Without -name the package's only function is deployed. A deploy
that changes code or settings makes the function's next version; when it fails, the
version before goes on serving. The value of a secret is read from a variable of
this shell or from a file, less a line end at its end, and never shown.`,
		Example: `
  proxyCli deploy ./example/hello
  proxyCli deploy -canary 10 -note "new greeting" ./example/hello
  proxyCli deploy -secret DB_PASSWORD=env:DB_PASSWORD -secret KEY=file:key.pem ./hello
  proxyCli deploy -name HelloWorld -env GREETING=hi -agent host-a:9000,host-b:9000 ./hello`,
		Args: atMostOne("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			wait, err := w.decide(a, cmd)
			if err != nil {
				return err
			}
			if fn.Env, err = parseEnv(cmd, env); err != nil {
				return err
			}
			e := &entry{fn: fn}
			if e.secrets, err = parseSecrets(cmd, secrets); err != nil {
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
			if fn.GetName() == "" {
				if fn.Name, err = a.onlyFunction(e); err != nil {
					return err
				}
			}
			p := a.startProgress()
			defer p.stop()
			if err := a.checkEntries([]*entry{e}, p); err != nil {
				return err
			}
			if plan {
				return a.plan(cmd.Context(), []*entry{e}, p)
			}
			return a.send(cmd.Context(), []*entry{e}, wait, p)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&fn.Name, "name", "", "`NAME` the function's Go name (default: the only one that the package has)")
	fs.StringSliceVar(&fn.ToAgent, "agent", nil, "`ADDR,…` agents to run on, a replica on each (default: the proxy chooses one)")
	fs.StringArrayVar(&env, "env", nil, "`K=V` environment variable of the function; may be repeated")
	fs.StringSliceVar(&fn.Include, "include", nil, "`GLOB,…` files below DIR that the function opens at run time")
	fs.StringSliceVar(&fn.Tags, "tags", nil, "`TAG,…` build tags")
	fs.StringVar(&fn.Ldflags, "ldflags", "", "`FLAGS` linker flags, of the form -X importpath.name=value")
	fs.StringVar(&fn.Timeout, "timeout", "", "`DURATION` how long the gateway waits for an answer to begin, such as 30s (default 60s)")
	fs.StringVar(&fn.Kind, "kind", "", "`KIND` what the function is: http, cloudevent, event, typed or gin (default: as its declaration says)")
	fs.StringVar(&fn.Body, "body", "", "`SIZE` largest body of a request, such as 1MiB (default: 10MiB where it is read whole, else none)")
	fs.BoolVar(&fn.Strict, "strict", false, "have a typed function refuse JSON with fields that it does not know")
	fs.StringVar(&fn.Memory, "memory", "", "`SIZE` memory limit of a process, such as 128MiB (default: none)")
	fs.StringVar(&fn.Cpu, "cpu", "", "`N` processors that a process may use, such as 0.5 (default: all)")
	fs.Uint32Var(&fn.Concurrency, "concurrency", 0, "`N` calls that a process serves at the same time; further ones wait (default: any number)")
	fs.Uint32Var(&fn.Instances, "instances", 0, "`N` processes that serve at the same time (default 1)")
	fs.Uint32Var(&fn.Min, "min", 0, "`N` processes that are kept although they are idle (default 0)")
	fs.StringVar(&fn.Idle, "idle", "", "`DURATION` how long a process without connections is kept; 0: for ever (default 15m)")
	fs.StringVar(&fn.Drain, "drain", "", "`DURATION` how long calls may take whose process is replaced or stopped (default 30s)")
	fs.StringVar(&fn.Liveness, "liveness", "", "`DURATION` how long a process may leave its health unanswered before it is replaced (default: for ever)")
	fs.StringArrayVar(&secrets, "secret", nil, "`K=env:NAME|K=file:PATH` environment variable that is never shown; may be repeated")
	fs.StringVar(&fn.Note, "note", "", "`TEXT` what versions is to show beside the version")
	fs.Uint32Var(&fn.Canary, "canary", 0, "`PERCENT` of the calls for the new version; the one before serves the rest (default: all)")
	fs.BoolVar(&plan, "plan", false, "change nothing; say what a deploy would change")
	w.flags(cmd)
	return cmd
}

func parseEnv(cmd *cobra.Command, words []string) (map[string]string, error) {
	env := make(map[string]string, len(words))
	for _, word := range words {
		k, v, ok := strings.Cut(word, "=")
		if !ok {
			return nil, usagef(cmd, "-env %q is not of the form K=V", word)
		}
		if _, twice := env[k]; twice {
			return nil, usagef(cmd, "-env gives %s twice", k)
		}
		env[k] = v
	}
	return env, nil
}

// modules asks the go command of this machine which modules are private and where
// they are. Without one, functions that need such modules have to vendor them.
func modules(ctx context.Context) bundle.Modules {
	cmd := exec.CommandContext(ctx, "go", "env", "-json", "GOMODCACHE", "GONOPROXY")
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local") // a toolchain line here is not to fetch another one
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
	rows, err := a.submit(ctx, entries, p)
	if err != nil {
		return err
	}
	if err := a.printRows(rows); err != nil {
		return err
	}
	a.reportRows(rows, roots)
	if code := rowsCode(rows); code != exitOK {
		return reported(code)
	}
	return nil
}

// submit has entries deployed, or planned, as they say, and ends the progress.
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
