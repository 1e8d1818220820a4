package vuln

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/modfile"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

const (
	// govulncheck is what is built where the PATH has none.
	govulncheck = "golang.org/x/vuln/cmd/govulncheck@v1.9.0"
	// limit bounds a scan with all that it fetches. One of a small function takes 5
	// seconds; the first one, another 20.
	limit = 10 * time.Minute
	// maxSaid bounds what is kept of an error, in bytes.
	maxSaid = 8 << 10
	// lag is how long to wait for the output of a program that was killed.
	lag = time.Second
)

// Config says what to look at.
type Config struct {
	Root      string   // the folder of the bundle
	Files     []string // of the bundle, relative to Root and slash separated
	Dir       string   // the package's folder, likewise
	Generated *funcfw.Generated
	Tags      []string
	Database  string       // a URL or a folder; "": the Go project's
	Say       func(string) // told what is being done
}

// Scan finds the known faults that a program can reach. It takes the go command of the
// PATH; an error says what is missing.
func Scan(ctx context.Context, cfg Config) (*Report, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, proto.Errorf(proto.ErrTimeout, "the search for known faults took longer than %v", limit))
	defer cancel()
	report, err := scan(ctx, cfg)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return report, err
}

func scan(ctx context.Context, cfg Config) (*Report, error) {
	known, err := goEnv(ctx, cfg.Root)
	if err != nil {
		return nil, proto.Errorf(proto.ErrUnavailable, "known faults are found with the go command: %w", err).
			WithHint("install Go, from https://go.dev/dl, or put it in the PATH")
	}
	work, err := os.MkdirTemp("", "ryo-vuln-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	if work, err = filepath.EvalSymlinks(work); err != nil {
		return nil, err
	}
	tool, err := findTool(ctx, cfg, work)
	if err != nil {
		return nil, err
	}
	db, dated, err := findDatabase(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := cfg.lay(work); err != nil {
		return nil, fmt.Errorf("lay out the program: %w", err)
	}
	at := &workshop{cfg: cfg, known: known, work: work, tool: tool, db: db}
	if err := at.build(ctx); err != nil {
		return nil, err
	}
	cfg.Say("looking for known faults")
	out, err := at.govulncheck(ctx, "-mode", "binary", at.program())
	if err != nil {
		return nil, err
	}
	found, err := parse(out)
	if err != nil {
		return nil, err
	}
	report := found.report()
	report.Database = cmp.Or(dated, report.Database)
	if len(report.Faults) == 0 {
		return report, nil
	}
	cfg.Say(fmt.Sprintf("looking for the calls that lead to %d known faults", len(report.Faults)))
	patterns := []string{"-tags", strings.Join(cfg.Tags, ","), cfg.Generated.Main}
	if cfg.Generated.Package != "main" { // else it is that already
		rel, err := filepath.Rel(filepath.FromSlash(cfg.Generated.ModuleRoot), filepath.FromSlash(cfg.Dir))
		if err != nil {
			return nil, err
		}
		patterns = append(patterns, "./"+filepath.ToSlash(rel))
	}
	if out, err = at.govulncheck(ctx, patterns...); err != nil {
		return nil, err
	}
	calls, err := parse(out)
	if err != nil {
		return nil, err
	}
	calls.explain(report, modfile.ModulePath(cfg.Generated.GoMod), cfg.place)
	return report, nil
}

// workshop is a folder in which a program is laid out, built and looked at.
type workshop struct {
	cfg            Config
	known          goCommand
	work, tool, db string
}

func (w *workshop) root() string    { return filepath.Join(w.work, "root") }
func (w *workshop) program() string { return filepath.Join(w.work, "program") }

// command runs a program in the module's folder, for the agent's platform, and with the
// go.mod that was laid out, whatever stands beside it.
func (w *workshop) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // the user's own programs
	cmd.Dir = filepath.Join(w.root(), filepath.FromSlash(w.cfg.Generated.ModuleRoot))
	cmd.Env = append(os.Environ(), "PWD="+cmd.Dir, "GOFLAGS=-mod=mod", "GOWORK=off", "GO111MODULE=on", "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH)
	return cmd
}

// build builds the program, with its symbols. The error is a *funcfw.Refusal if the go
// command refuses the source.
func (w *workshop) build(ctx context.Context) error {
	w.cfg.Say("building the program")
	args := slices.Concat([]string{"build"}, funcfw.BuildFlags, []string{"-tags", strings.Join(w.cfg.Tags, ","), "-o", w.program(), w.cfg.Generated.Main})
	_, output, err := run(w.command(ctx, "go", args...))
	if _, refused := errors.AsType[*exec.ExitError](err); refused && ctx.Err() == nil {
		places := funcfw.Places{
			Root: w.root(), Work: filepath.Join(w.work, "none"), // nothing is laid out beside the bundle
			ModCache: w.known.GOMODCACHE, GoRoot: w.known.GOROOT, Generated: w.cfg.Generated,
		}
		said, ours := places.Explain(output)
		return &funcfw.Refusal{Reason: cmp.Or(places.Advise(said), ours, err.Error()), Fix: "correct the source"}
	}
	return err
}

func (w *workshop) govulncheck(ctx context.Context, args ...string) ([]byte, error) {
	out, said, err := run(w.command(ctx, w.tool, append([]string{"-db", w.db, "-format", "json"}, args...)...))
	if err != nil {
		return nil, proto.Errorf(proto.ErrUnavailable, "govulncheck: %w\n%s", err, strings.ReplaceAll(said, w.root()+string(filepath.Separator), "")).
			WithHint("name the database of known faults with -vulndb; a govulncheck in the PATH must be as new as the go command")
	}
	return out, nil
}

// goCommand is what the go command says of itself.
type goCommand struct{ GOROOT, GOMODCACHE string }

func goEnv(ctx context.Context, folder string) (known goCommand, err error) {
	cmd := exec.CommandContext(ctx, "go", "env", "-json", "GOROOT", "GOMODCACHE")
	cmd.Dir = folder
	out, said, err := run(cmd)
	if err != nil && said != "" {
		return known, fmt.Errorf("%w: %s", err, said)
	}
	if err == nil {
		err = json.Unmarshal(out, &known)
	}
	return known, err
}

// place is where a file of the user's module lies in the bundle, by its name below the
// module's folder; "" if it is not one of the user's.
func (cfg Config) place(file string) string {
	name := path.Join(cfg.Generated.ModuleRoot, filepath.ToSlash(file))
	if !slices.Contains(cfg.Files, name) {
		return ""
	}
	return name
}

// lay writes the bundle below work/root and the generated files to their places in and
// beside it. Govulncheck reads files where they lie, and not through an overlay.
func (cfg Config) lay(work string) error {
	root := filepath.Join(work, "root")
	write := func(name string, content []byte) error {
		file := filepath.Join(root, filepath.FromSlash(name))
		if rel, err := filepath.Rel(work, file); err != nil || !filepath.IsLocal(rel) {
			return fmt.Errorf("%q lies outside", name)
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		return os.WriteFile(file, content, 0o600)
	}
	for _, name := range cfg.Files {
		content, err := os.ReadFile(filepath.Join(cfg.Root, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		if err := write(name, content); err != nil {
			return err
		}
	}
	for name, content := range cfg.Generated.Overlay {
		if err := write(name, content); err != nil {
			return err
		}
	}
	if err := write(path.Join(cfg.Generated.ModuleRoot, "go.mod"), cfg.Generated.GoMod); err != nil {
		return err
	}
	return write(path.Join(cfg.Generated.ModuleRoot, "go.sum"), cfg.Generated.GoSum)
}

// findTool returns the govulncheck of the PATH, or builds one into a folder.
func findTool(ctx context.Context, cfg Config, folder string) (string, error) {
	if tool, err := exec.LookPath("govulncheck"); err == nil {
		return filepath.Abs(tool)
	}
	cfg.Say("building govulncheck, as the PATH has none")
	cmd := exec.CommandContext(ctx, "go", "install", "-trimpath", govulncheck)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "PWD="+folder, "GOBIN="+folder, "GOFLAGS=", "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
	if _, said, err := run(cmd); err != nil {
		return "", proto.Errorf(proto.ErrUnavailable, "build %s: %w\n%s", govulncheck, err, said).
			WithHint("go install " + govulncheck + " puts it in the PATH")
	}
	return filepath.Join(folder, "govulncheck"), nil
}

// run runs a program, which is killed with those that it starts if its context ends, and
// returns what it printed: all of stdout, and the end of stderr.
func run(cmd *exec.Cmd) (out []byte, said string, err error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	killTogether(cmd)
	cmd.WaitDelay = lag
	err = cmd.Run()
	said = strings.TrimSpace(stderr.String())
	return stdout.Bytes(), strings.ToValidUTF8(said[max(0, len(said)-maxSaid):], ""), err
}

// goModule fetches a module as the user's go command does.
func goModule(ctx context.Context, query string) (dir, version string, err error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", query)
	cmd.Dir = os.TempDir()
	cmd.Env = append(os.Environ(), "PWD="+cmd.Dir, "GOFLAGS=", "GOWORK=off")
	out, said, err := run(cmd)
	var module struct{ Dir, Version, Error string }
	if jsonErr := json.Unmarshal(out, &module); err == nil {
		err = jsonErr
	}
	if module.Error != "" {
		err = errors.New(module.Error)
	}
	if err != nil {
		return "", "", fmt.Errorf("%w\n%s", err, said)
	}
	return module.Dir, module.Version, nil
}
