package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// engineCommand is a command that looks after the store of a proxy that does not run.
type engineCommand struct {
	word, argument, does string
	// run gets the store, the argument, "" if it is not given, and the flag -replace.
	run func(ctx context.Context, cfg store.Config, argument string, replace bool, stdin io.Reader, stdout io.Writer) error
}

// engineCommands are the commands of proxy engine.
var engineCommands = []engineCommand{
	{"secret", "FILE", "FILE: makes a new file by which the nodes of an engine and its proxies know each other; copy it to all of them", newSecret},
	{"migrate", "", "moves all that the store in the folder has to the engine of -engine, which has to be empty", migrateEngine},
	{"check", "", "says what the store has, and whether something is lost", checkEngine},
	{"export", "FILE", "writes the records to a new file, - for stdout: functions, versions, agents, schedules, settings; with keys of certificates, as the store has them", exportEngine},
	{"import", "FILE", "stores the records of an export, - for stdin; those that are there and differ are refused, or replaced (-replace)", importEngine},
	{"restore", "[FILE]", "begins the store anew with an export, by default the last one that the proxy has made; what it had is set aside", restoreEngine},
	{"accept", "", "goes on with a store that has lost something, as it is", acceptEngine},
}

// elsewhere are the commands that an engine of several processes knows, too.
var elsewhere = []string{"migrate", "check", "export", "import"}

// runEngine is proxy engine, with the arguments that follow.
func runEngine(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	set := flags.New("proxy engine", "runs a node of an engine that proxies share (-cluster), or looks after a store", stdout, stderr)
	dir := set.String("dir", flags.StateDir(), "`folder` of the node, or of the proxy, which must not run")
	cluster := set.String("cluster", "", "runs a node: `addresses` of all three or five nodes, HOST:PORT, separated by commas; each has the next port, too, for the others")
	node := set.String("node", "", "`address` of -cluster that this node is")
	engine := declareEngine(set)
	replace := set.Bool("replace", false, "import: records that are there are replaced")
	var chosen *engineCommand
	rest := args
	for i := range engineCommands {
		c := &engineCommands[i]
		if after, given := set.Command(args, strings.TrimSpace(c.word+" "+c.argument), c.does); given {
			chosen, rest = c, after
		}
	}
	argument := ""
	if chosen != nil && chosen.argument != "" && len(rest) > 0 && (rest[0] == "-" || !strings.HasPrefix(rest[0], "-")) {
		argument, rest = rest[0], rest[1:]
	}
	if code, ok := set.Parse(rest); !ok {
		return code
	}
	if chosen == nil && *cluster != "" && *dir != "" {
		return runNode(set, *dir, *cluster, *node, *engine.secret, stdout, stderr)
	}
	switch {
	case chosen == nil:
		return set.Failf("say what to do: -cluster, or check, export, import, restore, accept, migrate or secret")
	case *cluster != "" || *node != "":
		return set.Failf("-cluster and -node run a node, and %s does something else", chosen.word)
	case *engine.urls != "" && !slices.Contains(elsewhere, chosen.word):
		return set.Failf("%s is for a store in a folder, and -engine names one elsewhere", chosen.word)
	case *engine.urls == "" && chosen.word == "migrate":
		return set.Failf("-engine says where to")
	case chosen.argument == "FILE" && argument == "":
		return set.Failf("%s needs a file as the next word, or -", chosen.word)
	case *replace && chosen.word != "import":
		return set.Failf("-replace is for import")
	case *dir == "":
		return set.Failf("there is no home folder: give -dir")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	to, err := engine.cluster()
	if err != nil {
		return set.Fail(err)
	}
	cfg := store.Config{
		Cluster: to,
		Dir:     filepath.Join(*dir, "proxy", engineFolder),
		Logger:  hclog.New(&hclog.LoggerOptions{Name: "proxy", Output: stderr, Level: hclog.Error}),
	}
	if err := chosen.run(ctx, cfg, argument, *replace, stdin, stdout); err != nil {
		return set.Fail(err)
	}
	return 0
}

func newSecret(_ context.Context, _ store.Config, path string, _ bool, _ io.Reader, stdout io.Writer) error {
	if err := store.NewSecret(path); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s is a new secret; each node and each proxy needs a copy, and nobody else\n", path)
	return nil
}

func migrateEngine(ctx context.Context, cfg store.Config, _ string, _ bool, _ io.Reader, stdout io.Writer) error {
	from := cfg
	from.Cluster = nil
	moved, err := store.Migrate(ctx, from, cfg)
	if err != nil {
		return err
	}
	for _, m := range moved {
		fmt.Fprintf(stdout, "%s %d\n", m.What, m.Messages)
	}
	fmt.Fprintf(stdout, "all of it is at %s, and was compared; start the proxy with -engine\n", store.New(cfg))
	return nil
}

func checkEngine(ctx context.Context, cfg store.Config, _ string, _ bool, _ io.Reader, stdout io.Writer) error {
	r, err := store.Examine(ctx, cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "epoch %s\n", r.Epoch)
	for _, kind := range slices.Sorted(maps.Keys(r.Records)) {
		fmt.Fprintf(stdout, "%s %d\n", kind, r.Records[kind])
	}
	fmt.Fprintf(stdout, "blobs %d\nmessages %d\n", r.Blobs, r.Messages)
	for _, lost := range r.Lost {
		fmt.Fprintf(stdout, "lost: %s\n", lost)
	}
	if len(r.Lost) > 0 {
		return store.ErrLost
	}
	return nil
}

func exportEngine(ctx context.Context, cfg store.Config, path string, _ bool, _ io.Reader, stdout io.Writer) error {
	if path == "-" {
		return store.Export(ctx, cfg, stdout)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return proto.Errorf(proto.ErrConflict, "%s exists, and an export replaces no file", path).WithHint("name another file, or remove this one first")
	}
	if err != nil {
		return err
	}
	err = store.Export(ctx, cfg, file)
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		os.Remove(path)
	}
	return err
}

func importEngine(ctx context.Context, cfg store.Config, path string, replace bool, stdin io.Reader, stdout io.Writer) error {
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		stdin = file
	}
	n, err := store.Import(ctx, cfg, stdin, replace)
	if err == nil {
		fmt.Fprintf(stdout, "%d records are stored that were not there\n", n)
	}
	return err
}

func restoreEngine(ctx context.Context, cfg store.Config, path string, _ bool, _ io.Reader, stdout io.Writer) error {
	from, aside, n, err := store.Restore(ctx, cfg, path)
	if aside != "" {
		fmt.Fprintf(stdout, "what was there is in %s\n", aside)
	}
	if err == nil {
		fmt.Fprintf(stdout, "%d records are stored from %s\n", n, from)
	}
	return err
}

func acceptEngine(ctx context.Context, cfg store.Config, _ string, _ bool, _ io.Reader, stdout io.Writer) error {
	lost, err := store.Accept(ctx, cfg)
	for _, what := range lost {
		fmt.Fprintf(stdout, "lost: %s\n", what)
	}
	if err == nil && len(lost) == 0 {
		fmt.Fprintln(stdout, "nothing is lost")
	}
	return err
}
