package process

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// waker returns one that runs until the test ends.
func waker(t testing.TB) *Waker {
	t.Helper()
	w, err := NewWaker()
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
		assert.Empty(t, w.waits)
	})
	return w
}

func listening(t testing.TB) *Sockets {
	t.Helper()
	s, err := Listen("127.0.0.1:0", filepath.Join(t.TempDir(), "fn.sock"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func call(t testing.TB, network, addr string) {
	t.Helper()
	c, err := net.Dial(network, addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
}

func asleep(t *testing.T, ready <-chan struct{}) {
	t.Helper()
	select {
	case <-ready:
		assert.Fail(t, "it is awake")
	default:
	}
}

// settled returns when a waker has looked at what came before.
func settled(t *testing.T, w *Waker) {
	t.Helper()
	s := listening(t)
	ready, _ := w.Wait(s)
	call(t, "tcp", s.Addr())
	within(t, ready)
}

func TestWakerWakesForACallerOnEitherSocket(t *testing.T) {
	w := waker(t)
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			s := listening(t)
			ready, cancel := w.Wait(s)
			defer cancel()
			settled(t, w)
			asleep(t, ready)
			call(t, network, map[string]string{"tcp": s.Addr(), "unix": s.Path()}[network])
			within(t, ready)
		})
	}
}

func TestWakerWakesForWhoCameBefore(t *testing.T) {
	w, s := waker(t), listening(t)
	call(t, "unix", s.Path())
	for range 3 { // as long as no process accepts
		ready, _ := w.Wait(s)
		within(t, ready)
	}
}

func TestWakerLetsSleepWhatIsNotWaitedFor(t *testing.T) {
	w := waker(t)
	cancelled, closed, again := listening(t), listening(t), listening(t)
	first, cancel := w.Wait(cancelled)
	cancel()
	cancel()
	second, cancelClosed := w.Wait(closed)
	addr := closed.Addr()
	require.NoError(t, closed.Close())
	third, cancelThird := w.Wait(again)
	fourth, _ := w.Wait(again)
	cancelThird() // has no part in the fourth

	// Its descriptors are now those of others.
	other, err := Listen(addr, "")
	require.NoError(t, err)
	defer other.Close()
	call(t, "tcp", addr)
	call(t, "tcp", cancelled.Addr())
	call(t, "tcp", again.Addr())
	within(t, fourth)
	settled(t, w)
	asleep(t, first)
	asleep(t, second)
	asleep(t, third)
	cancelClosed()

	never, cancel := w.Wait(closed)
	defer cancel()
	asleep(t, never)
}

func TestWakerEndsWhileOthersWait(t *testing.T) {
	w, err := NewWaker()
	require.NoError(t, err)
	s := listening(t)
	ready, cancel := w.Wait(s)
	ctx, end := context.WithCancel(t.Context())
	end()
	require.NoError(t, w.Run(ctx))
	call(t, "tcp", s.Addr())
	late, cancelLate := w.Wait(listening(t))
	asleep(t, ready)
	asleep(t, late)
	cancel()
	cancelLate()
}

func TestWakerKeepsTwoThousandApart(t *testing.T) {
	w := waker(t)
	const functions = 1000 // of two sockets each
	all := make([]*Sockets, functions)
	ready := make([]<-chan struct{}, functions)
	for i := range all {
		all[i] = listening(t)
		ready[i], _ = w.Wait(all[i])
	}
	var callers sync.WaitGroup
	for i := 0; i < functions; i += 2 {
		callers.Go(func() { call(t, "tcp", all[i].Addr()) })
	}
	callers.Wait()
	for i := 0; i < functions; i += 2 {
		within(t, ready[i])
	}
	for i := 1; i < functions; i += 2 {
		asleep(t, ready[i])
	}
}

// From a caller's connect to the moment when a process can be started.
func BenchmarkWake(b *testing.B) {
	w, s := waker(b), listening(b)
	for b.Loop() {
		ready, _ := w.Wait(s)
		c, err := net.Dial("tcp", s.Addr())
		require.NoError(b, err)
		<-ready
		c.Close()
		b.StopTimer()
		// Accept, so that no caller waits at the next turn.
		files, err := s.Files()
		require.NoError(b, err)
		l, err := net.FileListener(files[0])
		require.NoError(b, err)
		taken, err := l.Accept()
		require.NoError(b, err)
		taken.Close()
		l.Close()
		closeAll(files)
		b.StartTimer()
	}
}
