package programs

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

func newBuilds(t *testing.T) *builds {
	t.Helper()
	b := &builds{tmp: t.TempDir(), running: make(map[string]*shared)}
	t.Cleanup(b.close)
	return b
}

// steps is a recipe that a test leads.
type steps struct {
	begun  chan string // gets its folder
	say    chan string // closed to end it
	result error       // then
	ended  chan struct{}
}

func script(result error) *steps {
	return &steps{begun: make(chan string, 1), say: make(chan string), result: result, ended: make(chan struct{})}
}

func (s *steps) recipe(ctx context.Context, dir string, said io.Writer) (product, error) {
	defer close(s.ended)
	s.begun <- dir
	for {
		select {
		case text, more := <-s.say:
			if !more {
				program := filepath.Join(dir, "fn")
				return product{file: program}, errors.Join(s.result, os.WriteFile(program, []byte("program"), 0o600))
			}
			_, _ = io.WriteString(said, text)
		case <-ctx.Done():
			return product{}, context.Cause(ctx)
		}
	}
}

// caller is one who shares a build.
type caller struct {
	cancel context.CancelFunc
	heard  chan string // parts of the output
	got    chan error
	used   string // what the program was
}

func (b *builds) call(t *testing.T, key string, how recipe) *caller {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &caller{cancel: cancel, heard: make(chan string, 10), got: make(chan error, 1)}
	var calling sync.WaitGroup
	calling.Go(func() {
		c.got <- b.share(ctx, key, how, func(said string) { c.heard <- said }, func(made product) error {
			text, err := os.ReadFile(made.file)
			c.used = string(text)
			return err
		})
	})
	t.Cleanup(func() { cancel(); calling.Wait() })
	return c
}

func never(context.Context, string, io.Writer) (product, error) {
	return product{}, errors.New("built twice")
}

func TestCallersShareABuild(t *testing.T) {
	b := newBuilds(t)
	s := script(nil)
	first := b.call(t, "a", s.recipe)
	dir := <-s.begun
	s.say <- "one "
	assert.Equal(t, "one ", <-first.heard)

	second := b.call(t, "a", never)
	assert.Equal(t, "one ", <-second.heard, "from the beginning")
	s.say <- "two "
	assert.Equal(t, "two ", <-first.heard)
	assert.Equal(t, "two ", <-second.heard)

	first.cancel() // the other one goes on
	require.ErrorIs(t, <-first.got, context.Canceled)
	third := b.call(t, "a", never)
	assert.Equal(t, "one two ", <-third.heard)
	close(s.say)
	for _, c := range []*caller{second, third} {
		require.NoError(t, <-c.got)
		assert.Equal(t, "program", c.used)
	}
	b.close()
	assert.NoDirExists(t, dir)
	assert.Empty(t, b.running)
}

func TestABuildThatNobodyWaitsForIsGivenUp(t *testing.T) {
	b := newBuilds(t)
	s := script(nil)
	one := b.call(t, "a", s.recipe)
	dir := <-s.begun
	s.say <- "x"
	two := b.call(t, "a", never)
	assert.Equal(t, "x", <-two.heard)
	one.cancel()
	two.cancel()
	<-s.ended
	next := script(nil)
	again := b.call(t, "a", next.recipe)
	assert.NotEqual(t, dir, <-next.begun)
	close(next.say)
	require.NoError(t, <-again.got)
}

func TestAFailedBuildFailsAllAndIsTriedAgain(t *testing.T) {
	b := newBuilds(t)
	s := script(errors.New("broken"))
	one := b.call(t, "a", s.recipe)
	<-s.begun
	s.say <- "x"
	two := b.call(t, "a", never)
	<-two.heard
	close(s.say)
	require.ErrorContains(t, <-one.got, "broken")
	require.ErrorContains(t, <-two.got, "broken")
	next := script(nil)
	again := b.call(t, "a", next.recipe)
	<-next.begun
	close(next.say)
	require.NoError(t, <-again.got)
}

func TestBuildsEndWithTheAgent(t *testing.T) {
	b := newBuilds(t)
	s := script(nil)
	c := b.call(t, "a", s.recipe)
	<-s.begun
	b.close()
	require.ErrorIs(t, <-c.got, proto.ErrUnavailable)
	require.ErrorIs(t, b.share(t.Context(), "a", never, nil, nil), proto.ErrUnavailable)
}

func TestDifferentProgramsAreBuiltApart(t *testing.T) {
	b := newBuilds(t)
	one, two := script(nil), script(nil)
	a, c := b.call(t, "a", one.recipe), b.call(t, "c", two.recipe)
	assert.NotEqual(t, <-one.begun, <-two.begun)
	close(two.say)
	require.NoError(t, <-c.got)
	close(one.say)
	require.NoError(t, <-a.got)
}
