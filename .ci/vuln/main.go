// Vuln fails when programs of this repository contain faults that the Go
// vulnerability database knows and that a newer module mends.
//
//	go run ./.ci/vuln bin/agent bin/proxy bin/proxyCli
//
// The database is fetched as a Go module, and so is govulncheck: whatever gets
// modules on a machine gets both. Faults of the standard library are listed with the
// Go version that mends them, and do not fail: which Go builds is the machine's
// choice, and agents say it at their start. So are faults that nothing mends yet.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/version"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/remote/build"
)

const (
	govulncheck = "golang.org/x/vuln/cmd/govulncheck@v1.9.0"
	database    = "golang.org/x/vulndb@latest"
	// limit bounds everything; a first run takes 20 seconds.
	limit = 5 * time.Minute
	// library is the module path of the standard library in the database.
	library = "stdlib"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	failed, err := check(ctx, os.Stdout, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if failed {
		fmt.Fprintln(os.Stderr, "what is marked with ! is to be mended here: go get MODULE@VERSION")
		os.Exit(1)
	}
}

// fault is one entry of the database that a program contains.
type fault struct {
	id, summary string
	module, has string
	fixed       string // the version that mends it; "": none yet
	programs    []string
	bad         bool // a newer module mends it
}

// check prints the faults of programs and reports whether one of them fails.
func check(ctx context.Context, w io.Writer, programs []string) (failed bool, err error) {
	if len(programs) == 0 {
		return false, errors.New("usage: go run ./.ci/vuln PROGRAM...")
	}
	db, dated, err := fetch(ctx)
	if err != nil {
		return false, err
	}
	faults := map[string]*fault{}
	for _, program := range programs {
		messages, err := scan(ctx, db, program)
		if err != nil {
			return false, err
		}
		if err := collect(faults, messages, filepath.Base(program)); err != nil {
			return false, fmt.Errorf("read what govulncheck says of %s: %w", program, err)
		}
	}
	fmt.Fprintf(w, "%d known faults, as of %s\n", len(faults), dated)
	for _, f := range faults {
		if f.module == library && version.Compare("go"+strings.TrimPrefix(f.fixed, "v"), build.MendedGo) > 0 {
			fmt.Fprintf(w, "! raise MendedGo of remote/build to go%s\n", strings.TrimPrefix(f.fixed, "v"))
			failed = true
		}
	}
	for _, f := range slices.SortedFunc(maps.Values(faults), func(a, b *fault) int {
		return cmp.Or(cmp.Compare(a.module, b.module), cmp.Compare(a.id, b.id))
	}) {
		mark := " "
		if f.bad {
			mark, failed = "!", true
		}
		fmt.Fprintf(w, "%s %s %s %s, %s, in %v: %s\n", mark, f.id, f.module, f.has, fixedIn(f), f.programs, f.summary)
	}
	return failed, nil
}

func fixedIn(f *fault) string {
	if f.fixed == "" {
		return "not mended yet"
	}
	return "mended in " + f.fixed
}

// fetch returns the folder of the database's entries, and its version.
func fetch(ctx context.Context) (dir, version string, err error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", database)
	out, err := cmd.Output()
	var module struct{ Dir, Version, Error string }
	if jsonErr := json.Unmarshal(out, &module); jsonErr != nil || module.Error != "" || err != nil {
		return "", "", fmt.Errorf("fetch %s: %w", database, errors.Join(err, jsonErr, errors.New(module.Error)))
	}
	return filepath.Join(module.Dir, "data", "osv"), module.Version, nil
}

// scan returns what govulncheck says of a program, as JSON.
func scan(ctx context.Context, db, program string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", "run", govulncheck, "-db", "file://"+filepath.ToSlash(db), "-mode", "binary", "-format", "json", program)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("check %s: %w\n%s", program, err, stderr.Bytes())
	}
	return out, nil
}

// collect adds the faults whose code a program contains, and not only its module.
func collect(faults map[string]*fault, messages []byte, program string) error {
	summaries := map[string]string{}
	for stream := json.NewDecoder(bytes.NewReader(messages)); ; {
		var message struct {
			OSV *struct {
				ID      string
				Summary string
			}
			Finding *struct {
				OSV   string
				Fixed string `json:"fixed_version"`
				Trace []struct{ Module, Version, Function string }
			}
		}
		if err := stream.Decode(&message); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if message.OSV != nil {
			summaries[message.OSV.ID] = message.OSV.Summary
		}
		found := message.Finding
		if found == nil || len(found.Trace) == 0 || found.Trace[0].Function == "" {
			continue
		}
		at := found.Trace[0]
		f := faults[found.OSV]
		if f == nil {
			f = &fault{id: found.OSV, summary: summaries[found.OSV], module: at.Module, has: at.Version, fixed: found.Fixed}
			f.bad = f.fixed != "" && f.module != library
			faults[found.OSV] = f
		}
		if !slices.Contains(f.programs, program) {
			f.programs = append(f.programs, program)
		}
	}
}
