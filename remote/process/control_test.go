package process

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

func TestStatsTellOfTheWork(t *testing.T) {
	s := newStage(t)
	p := s.ready()
	got, err := p.Stats(t.Context())
	require.NoError(t, err)
	assert.Zero(t, got.Requests)

	answer := make(chan error)
	go func() {
		_, err := get("tcp", s.Sockets.Addr(), "?sleep=100ms")
		answer <- err
	}()
	s.said("call %d")
	got, err = p.Stats(t.Context())
	require.NoError(t, err)
	assert.EqualValues(t, 1, got.InFlight)
	assert.EqualValues(t, 1, got.Connections)
	assert.Zero(t, got.Idle)
	require.NoError(t, <-answer)
	require.Eventually(t, func() bool {
		got, err = p.Stats(t.Context())
		return assert.NoError(t, err) && got.Idle > 0
	}, patience, time.Millisecond)
	assert.EqualValues(t, 1, got.Requests)
	assert.NotZero(t, got.Sent)
	assert.Zero(t, got.Connections)

	p.Stop(t.Context(), patience)
	_, err = p.Stats(t.Context())
	require.ErrorIs(t, err, proto.ErrUnavailable)
	require.ErrorContains(t, p.Health(t.Context()), "the process exited: exit status 0")
}

// Who does not wait for an answer must not be answered for by the next.
func TestAnAskerWhoLeavesSpoilsNothing(t *testing.T) {
	s := newStage(t)
	p := s.start("serve:slowly")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, p.Ready(ctx), context.DeadlineExceeded)
	s.said("slow %d")
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := p.Stats(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	require.NoError(t, syscall.Kill(p.Pid(), syscall.SIGUSR1))
	var askers sync.WaitGroup
	for range 10 {
		askers.Go(func() {
			_, err := p.Stats(t.Context())
			assert.NoError(t, err)
			assert.NoError(t, p.Health(t.Context()))
		})
	}
	askers.Wait()
	require.NoError(t, p.Drain(t.Context()))
}

func TestOutputGoesToItsFiles(t *testing.T) {
	s := newStage(t)
	var err error
	s.Stdout, err = os.Create(filepath.Join(s.dir, "out"))
	require.NoError(t, err)
	defer s.Stdout.Close()
	s.Stderr, err = os.Create(filepath.Join(s.dir, "err"))
	require.NoError(t, err)
	defer s.Stderr.Close()
	within(t, s.start("report").Done())
	out, err := os.ReadFile(s.Stdout.Name())
	require.NoError(t, err)
	assert.Contains(t, string(out), "leads true")
	errs, err := os.ReadFile(s.Stderr.Name())
	require.NoError(t, err)
	assert.Equal(t, "standard error\n", string(errs))
}

func FuzzParseStats(f *testing.F) {
	f.Add([]byte(`{"q":"a","nonce":"b","requests":1,"inFlight":2,"connections":3,"idleMs":4,"received":5,"sent":6}`))
	f.Add([]byte(`{"idleMs":18446744073709551615}`))
	f.Add([]byte(`ok`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if s, err := parseStats(body); err == nil && s.stats().Idle < 0 {
			t.Errorf("%q has been idle for %s", body, s.stats().Idle)
		}
	})
}
