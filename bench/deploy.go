package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// greeting is what example/hello says, and what each edit changes.
const greeting = "Hello, World!"

// answerLimit is for the new answer after a deploy or a kill. Only an error reaches it.
const answerLimit = 30 * time.Second

// plainMain is a program of the same kind as the one that an agent builds for
// hello, as one would write it by hand.
const plainMain = `package main

import (
	"context"
	"log"
	"os"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"

	"plain/hello"
)

func main() {
	err := funcframework.RegisterHTTPFunctionContext(context.Background(), "/", hello.HelloWorld)
	if err == nil {
		err = funcframework.Start(os.Getenv("PORT"))
	}
	log.Fatal(err)
}
`

// hello is an edited copy of example/hello.
type hello struct {
	source []byte // of the example
	file   string
	edits  int
}

func (s *stack) newHello(dir string) (*hello, error) {
	source, err := os.ReadFile(filepath.Join(s.root, "example", "hello", "helloWorld.go"))
	if err != nil {
		return nil, err
	}
	if !bytes.Contains(source, []byte(greeting)) {
		return nil, fmt.Errorf("example/hello does not say %q", greeting)
	}
	return &hello{source: source, file: filepath.Join(dir, "helloWorld.go")}, os.MkdirAll(dir, 0o700)
}

func (h *hello) dir() string { return filepath.Dir(h.file) }

// edit writes the next version and returns what it will say.
func (h *hello) edit() (string, error) {
	h.edits++
	says := fmt.Sprintf("Hello, edit %d!", h.edits)
	source := bytes.Replace(h.source, []byte(greeting), []byte(says), 1)
	return says + "\n", os.WriteFile(h.file, source, 0o600)
}

// newPlain lays out the program that a plain go build builds, with the versions
// of this repository's go.mod.
func (s *stack) newPlain() (*hello, error) {
	dir := filepath.Join(s.dir, "plain")
	h, err := s.newHello(filepath.Join(dir, "hello"))
	if err != nil {
		return nil, err
	}
	mod, err := os.ReadFile(filepath.Join(s.root, "go.mod"))
	if err != nil {
		return nil, err
	}
	sum, err := os.ReadFile(filepath.Join(s.root, "go.sum"))
	if err != nil {
		return nil, err
	}
	return h, errors.Join(
		os.WriteFile(filepath.Join(dir, "go.mod"), bytes.Replace(mod, []byte("module "+module), []byte("module plain"), 1), 0o600),
		os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o600),
		os.WriteFile(filepath.Join(dir, "main.go"), []byte(plainMain), 0o600),
	)
}

// build runs a plain go build and returns how long it took.
func (h *hello) build(ctx context.Context) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", "plain.bin", ".")
	cmd.Dir = filepath.Dir(h.dir())
	return timed(cmd)
}

// deploy runs proxyCli as a user would and returns how long it took.
func (s *stack) deploy(ctx context.Context, h *hello) (time.Duration, error) {
	return timed(exec.CommandContext(ctx, filepath.Join(s.dir, "proxyCli"),
		"-proxy", s.proxyGRPC, "deploy", "-wait", "-name", function, "-agent", s.agent.addr, h.dir()))
}

func timed(cmd *exec.Cmd) (time.Duration, error) {
	begun := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return time.Since(begun), nil
}

// first deploys the function of the others, where deploys does not.
func (s *stack) first(ctx context.Context) (err error) {
	if s.hello, err = s.newHello(filepath.Join(s.dir, "hello")); err != nil {
		return err
	}
	if s.says, err = s.hello.edit(); err != nil {
		return err
	}
	_, err = s.deploy(ctx, s.hello)
	return err
}

// deploys edits, deploys, deploys again without an edit, and builds plainly, round
// after round.
func (s *stack) deploys(ctx context.Context, e effort) ([]*table, error) {
	var err error
	if s.hello, err = s.newHello(filepath.Join(s.dir, "hello")); err != nil {
		return nil, err
	}
	plain, err := s.newPlain()
	if err != nil {
		return nil, err
	}
	watch := watchStages(ctx, s.agent.client)
	defer watch.close()

	var deploys, answers, same, plains []float64
	stale := 0
	stages := map[string][]float64{}
	for round := range e.deploys + 1 {
		if s.says, err = s.hello.edit(); err != nil {
			return nil, err
		}
		begun := time.Now()
		took, err := s.deploy(ctx, s.hello)
		if err != nil {
			return nil, err
		}
		late, err := s.newAnswer(ctx)
		if err != nil {
			return nil, fmt.Errorf("after the deploy: %w", err)
		}
		answered := time.Since(begun)
		marks, err := watch.deployed(ctx, 1)
		if err != nil {
			return nil, err
		}
		again, err := s.deploy(ctx, s.hello)
		if err != nil {
			return nil, err
		}
		if _, err := plain.edit(); err != nil {
			return nil, err
		}
		built, err := plain.build(ctx)
		if err != nil {
			return nil, err
		}
		if round == 0 {
			continue // it filled the caches
		}
		deploys = append(deploys, millis(took))
		answers = append(answers, millis(answered))
		stale += late
		same = append(same, millis(again))
		plains = append(plains, millis(built))
		for name, d := range split(begun, marks, begun.Add(took)) {
			stages[name] = append(stages[name], millis(d))
		}
	}
	t := &table{head: timesHead(fmt.Sprintf("deploy of an edited hello, warm agent, n = %d", e.deploys))}
	deploy, build := summarize(deploys), summarize(plains)
	t.times("`proxyCli deploy -wait`: source to `Deployed`", deploy, "p95 < 1 s")
	for _, name := range stageNames {
		if len(stages[name]) > 0 {
			t.times("· "+name, summarize(stages[name]), "")
		}
	}
	t.times("source to the first new answer", summarize(answers), "")
	t.times("plain `go build -ldflags=\"-s -w\"` of the same kind of program", build, "")
	t.ratio("`proxyCli deploy -wait` ÷ plain `go build`", deploy, build, "≤ 1.25")
	t.times("the same again, nothing edited", summarize(same), "")
	t.add("deploys after which an old answer was seen", fmt.Sprint(stale), "", "", "0")
	return []*table{t}, nil
}

// newAnswer waits for the answer of the last edit. late is 1 if an old one came first,
// else 0.
func (s *stack) newAnswer(ctx context.Context) (late int, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	if s.get(s.url(function), s.says) == nil {
		return 0, nil
	}
	return 1, poll(ctx, pollEvery, func() error { return s.get(s.url(function), s.says) })
}
