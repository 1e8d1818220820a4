package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// greeting is what example/hello says, and what each edit changes.
const greeting = "Hello, World!"

// answerLimit is for the new answer after a deploy or a kill. It is only ever
// reached when something is wrong.
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

// stage is a part of a deploy, as far as the agent's answers tell it.
type stage struct {
	Name   string `json:"name"`
	Millis figure `json:"millis"`
}

// deployFigures are about `proxyCli deploy -wait` of an edited hello.
type deployFigures struct {
	Deploy figure  `json:"deployMillis"`
	Answer figure  `json:"newAnswerMillis"` // from the start of the deploy to the first new answer
	Stale  int     `json:"staleAnswers"`    // deploys after whose end the old answer was seen
	Stages []stage `json:"stages"`
	Same   figure  `json:"sameSourceMillis"` // deployed again without an edit
	Plain  figure  `json:"goBuildMillis"`
	// Restart is the time from SIGKILL of the function's process to its first answer.
	Restart figure `json:"restartMillis"`
}

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
		"-proxy", s.proxyGRPC, "deploy", "-wait", "-name", function, "-agent", s.agentAddr, h.dir()))
}

func timed(cmd *exec.Cmd) (time.Duration, error) {
	begun := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return time.Since(begun), nil
}

// measureDeploys edits, deploys, kills, deploys again without an edit, and builds
// plainly, round after round.
func (s *stack) measureDeploys(ctx context.Context, rounds int) (*deployFigures, error) {
	fn, err := s.newHello(filepath.Join(s.dir, "hello"))
	if err != nil {
		return nil, err
	}
	plain, err := s.newPlain()
	if err != nil {
		return nil, err
	}
	watch := s.watchStages(ctx)
	defer watch.close()

	var deploys, answers, same, plains, restarts []float64
	stale := 0
	stages := map[string][]float64{}
	for round := range rounds + 1 {
		if s.says, err = fn.edit(); err != nil {
			return nil, err
		}
		begun := time.Now()
		took, err := s.deploy(ctx, fn)
		if err != nil {
			return nil, err
		}
		late, err := s.newAnswer(ctx)
		if err != nil {
			return nil, fmt.Errorf("after the deploy: %w", err)
		}
		answered := time.Since(begun)
		marks, err := watch.deployed(ctx)
		if err != nil {
			return nil, err
		}
		restarted, err := s.kill(ctx)
		if err != nil {
			return nil, err
		}
		again, err := s.deploy(ctx, fn)
		if err != nil {
			return nil, err
		}
		if _, err := watch.deployed(ctx); err != nil {
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
		restarts = append(restarts, millis(restarted))
		same = append(same, millis(again))
		plains = append(plains, millis(built))
		for name, d := range split(begun, marks, begun.Add(took)) {
			stages[name] = append(stages[name], millis(d))
		}
	}
	f := &deployFigures{
		Deploy: summarize(deploys), Answer: summarize(answers), Stale: stale,
		Same: summarize(same), Plain: summarize(plains), Restart: summarize(restarts),
	}
	for _, name := range stageNames {
		if len(stages[name]) > 0 {
			f.Stages = append(f.Stages, stage{Name: name, Millis: summarize(stages[name])})
		}
	}
	return f, nil
}

// newAnswer waits for what the function says since the last edit. It returns 1 if
// it did not say so at once, else 0.
func (s *stack) newAnswer(ctx context.Context) (late int, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	if s.get(s.url(), s.says) == nil {
		return 0, nil
	}
	return 1, s.poll(ctx, pollEvery, func() error { return s.get(s.url(), s.says) })
}

// kill ends the function's process the hard way and returns how long callers
// waited for the next one.
func (s *stack) kill(ctx context.Context) (time.Duration, error) {
	row, err := s.row(ctx)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	begun := time.Now()
	if err := syscall.Kill(int(row.GetPid()), syscall.SIGKILL); err != nil {
		return 0, fmt.Errorf("kill the function: %w", err)
	}
	// The dying process may still take a call and drop it.
	if err := s.poll(ctx, pollEvery, func() error { return s.get(row.GetProxy()+"/"+proto.Path(function), s.says) }); err != nil {
		return 0, fmt.Errorf("after the kill: %w", err)
	}
	took := time.Since(begun)
	return took, s.poll(ctx, pollEvery, func() error {
		now, err := s.row(ctx)
		if err == nil && (now.GetPid() == row.GetPid() || now.GetInstances() == 0) {
			err = errors.New("the agent has not noticed the new process")
		}
		return err
	})
}
