package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	bombs = 2
	// A bomb is many packages that each take the compiler about a second. A single
	// larger one would fail early: a compiler may have 1.5 GiB.
	bombPackages   = 40
	bombStatements = 4000
	besideBombs    = 4 // deploys in a round
)

// bombs deploys an edited hello, first alone, then while the agent compiles packages
// that take longer than all of this. Without rounds it does nothing.
func (s *stack) bombs(ctx context.Context, e effort) ([]*table, error) {
	if e.bombs == 0 {
		return nil, nil
	}
	var alone, beside []float64
	some := func(took *[]float64) error {
		for range besideBombs {
			if _, err := s.hello.edit(); err != nil {
				return err
			}
			d, err := s.deploy(ctx, s.hello)
			if err != nil {
				return err
			}
			*took = append(*took, millis(d))
		}
		return nil
	}
	for round := range e.bombs {
		if err := some(&alone); err != nil {
			return nil, err
		}
		cancel, err := s.plant(ctx, round)
		if err == nil {
			err = some(&beside)
		}
		if err := errors.Join(err, cancel(ctx)); err != nil {
			return nil, err
		}
	}
	t := &table{head: timesHead(fmt.Sprintf("deploy of an edited hello, n = %d", len(alone)))}
	t.times("alone", summarize(alone), "")
	t.times(fmt.Sprintf("beside %d compile bombs", bombs), summarize(beside), "")
	t.ratio("beside ÷ alone", summarize(beside), summarize(alone), "< 2")
	return []*table{t}, nil
}

// plant makes the agent build bombs that it has not built before. cancel stops them;
// it is an error if a build was done before.
func (s *stack) plant(ctx context.Context, round int) (cancel func(context.Context) error, err error) {
	cancel = func(context.Context) error { return nil }
	var fns []*proto.FunctionJson
	for i := range bombs {
		dir := filepath.Join(s.dir, "bombs", fmt.Sprintf("r%dn%d", round, i))
		name := fmt.Sprintf("Bomb%d", i)
		if err := writeBomb(dir, name, round*bombs+i); err != nil {
			return cancel, err
		}
		fns = append(fns, &proto.FunctionJson{Name: name, Dir: dir})
	}
	if _, err := s.agent.client.Deploy(ctx, fns...); err != nil {
		return cancel, err
	}
	building := func(ctx context.Context) error {
		for _, fn := range fns {
			row, err := s.row(ctx, fn.GetName())
			if err != nil {
				return err
			}
			if row.GetStage() != proto.StageBuilding {
				return fmt.Errorf("%s is %s %s: %s", fn.GetName(), row.GetStatus(), row.GetStage(), row.GetError())
			}
		}
		return nil
	}
	cancel = func(ctx context.Context) error {
		err := building(ctx)
		for _, fn := range fns {
			_, stopped := s.agent.client.Stop(ctx, fn.GetName())
			err = errors.Join(err, stopped)
		}
		return err
	}
	ctx, done := context.WithTimeout(ctx, answerLimit)
	defer done()
	return cancel, poll(ctx, lookEvery, func() error { return building(ctx) })
}

// writeBomb writes a module whose packages differ for each seed.
func writeBomb(dir, name string, seed int) error {
	files := map[string]string{"go.mod": "module bomb\n\ngo 1.26\n"}
	main := "package bomb\n\nimport \"net/http\"\n"
	for i := range bombPackages {
		var b bytes.Buffer
		fmt.Fprintf(&b, "package p%d\n\nfunc F(x, y int) int {\n", i)
		for n := range bombStatements {
			fmt.Fprintf(&b, "\tif x%%%d == y { x += %d } else { y ^= x }\n", n+3, seed*bombPackages+i)
		}
		fmt.Fprint(&b, "\treturn x\n}\n")
		files[fmt.Sprintf("p%d/p.go", i)] = b.String()
		main += fmt.Sprintf("import _ \"bomb/p%d\"\n", i)
	}
	files["bomb.go"] = main + fmt.Sprintf("\nfunc %s(http.ResponseWriter, *http.Request) {}\n", name)
	return writeFiles(dir, files)
}

func writeFiles(dir string, files map[string]string) error {
	for name, text := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// queue measures the agent's memory before, during and after many builds.
func (s *stack) queue(ctx context.Context, e effort) ([]*table, error) {
	var fns []*proto.FunctionJson
	for i := range e.queued {
		dir := filepath.Join(s.dir, "queue", fmt.Sprint(i))
		names := []string{fmt.Sprintf("Queued%d", i)}
		if err := writeFiles(dir, map[string]string{"fn.go": handlers("queued", names)}); err != nil {
			return nil, err
		}
		fns = append(fns, &proto.FunctionJson{Name: names[0], Dir: dir})
	}
	before, err := memoryOf(s.agent.pid())
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() {
		_, err := settle(ctx, s.agent.client, fns...)
		done <- err
	}()
	peak := before
	sample := func() error {
		m, err := memoryOf(s.agent.pid())
		peak = memory{RSS: max(peak.RSS, m.RSS), PrivateDirty: max(peak.PrivateDirty, m.PrivateDirty)}
		if err != nil {
			return err
		}
		select {
		case err = <-done:
			done <- err
			return nil
		default:
			return errors.New("functions are being built")
		}
	}
	if err := errors.Join(poll(ctx, 4*lookEvery, sample), <-done); err != nil {
		return nil, err
	}
	after, err := memoryOf(s.agent.pid())
	if err != nil {
		return nil, err
	}
	for _, fn := range fns {
		if _, err := s.agent.client.Stop(ctx, fn.GetName()); err != nil {
			return nil, err
		}
	}
	t := &table{head: []string{fmt.Sprintf("memory of the agent, %d builds at once", e.queued), "resident", "private, dirty"}}
	t.add("before", mib(before.RSS), mib(before.PrivateDirty))
	t.add("peak", mib(peak.RSS), mib(peak.PrivateDirty))
	t.add("after", mib(after.RSS), mib(after.PrivateDirty))
	return []*table{t}, nil
}

// handlers is a package whose functions answer.
func handlers(pkg string, names []string) string {
	text := "package " + pkg + "\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n)\n"
	for _, name := range names {
		text += fmt.Sprintf("\nfunc %s(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, 1) }\n", name)
	}
	return text
}
