package store_test

import (
	"encoding/base64"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// played is an engine elsewhere whose answers a test decides.
func played(t *testing.T) *nats.Conn {
	t.Helper()
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	conn, err := nats.Connect("", nats.InProcessServer(s))
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	return conn
}

// answers lets the engine answer what is sent to a subject; "" for nothing.
func answers(t *testing.T, conn *nats.Conn, subject string, answer func(*nats.Msg) string) {
	t.Helper()
	_, err := conn.Subscribe(subject, func(m *nats.Msg) {
		if text := answer(m); text != "" {
			assert.NoError(t, m.Respond([]byte(text)))
		}
	})
	require.NoError(t, err)
}

const refusal = `{"stream": "KV_ryo_functions", "error": {"code": 400, "err_code": 10071, "description": "wrong last sequence: 40"}}`

// within requires that something is done in a time, in one of some rounds: the machine may
// stand still in any of them.
func within(t *testing.T, limit time.Duration, do func() time.Duration) {
	t.Helper()
	for round := 1; ; round++ {
		took := do()
		if took < limit {
			return
		}
		require.Less(t, round, 5, "it took %v", took)
	}
}

// A leader that is gone answers nobody. What was sent to it is sent again as soon as there is
// another one, and not once its time is over.
func TestChangesReachTheNextLeaderSoon(t *testing.T) {
	t.Parallel()
	within(t, 1200*time.Millisecond, func() time.Duration {
		conn := played(t)
		records, err := store.Distant(conn)
		require.NoError(t, err)
		elected := time.Now().Add(2700 * time.Millisecond) // soon after a try has begun
		answers(t, conn, "$KV.ryo_functions.hello", func(*nats.Msg) string {
			if time.Now().Before(elected) {
				return ""
			}
			return `{"stream": "KV_ryo_functions", "seq": 7}`
		})
		revision, err := records(store.Functions).Create(t.Context(), "hello", []byte("a wish"))
		require.NoError(t, err)
		assert.Equal(t, uint64(7), revision)
		return time.Since(elected)
	})
}

// While streams have no leader, that of the next one is not waited for as long as that of the
// first: a deploy asks several, one after the other.
func TestLeadersThatAreGoneAreNotWaitedForInTurn(t *testing.T) {
	t.Parallel()
	within(t, 4500*time.Millisecond, func() time.Duration {
		conn := played(t)
		records, err := store.Distant(conn)
		require.NoError(t, err)
		answers(t, conn, "$JS.API.STREAM.MSG.GET.*", func(*nats.Msg) string { return "" })
		_, err = conn.Subscribe("$JS.API.DIRECT.GET.*", func(m *nats.Msg) { // a replica
			assert.NoError(t, m.RespondMsg(&nats.Msg{Header: nats.Header{"Status": {"404"}}}))
		})
		require.NoError(t, err)
		began := time.Now()
		for _, kind := range []store.Kind{store.Functions, store.Versions, store.Rollouts, store.Agents} {
			_, err := records(kind).Get(t.Context(), "hello")
			require.ErrorIs(t, err, proto.ErrNotFound)
		}
		return time.Since(began)
	})
}

// One who was the leader, and does not know yet that it is no longer, refuses what the leader has
// made.
func TestChangesThatAnOldLeaderRefusesAreMade(t *testing.T) {
	t.Parallel()
	conn := played(t)
	records, err := store.Distant(conn)
	require.NoError(t, err)
	var made atomic.Pointer[nats.Msg]
	answers(t, conn, "$KV.ryo_functions.hello", func(m *nats.Msg) string {
		made.Store(m)
		return refusal
	})
	answers(t, conn, "$JS.API.STREAM.MSG.GET.KV_ryo_functions", func(*nats.Msg) string {
		m := made.Load()
		header := "NATS/1.0\r\n"
		for name := range m.Header {
			header += fmt.Sprintf("%s: %s\r\n", name, m.Header.Get(name))
		}
		return fmt.Sprintf(`{"message": {"subject": %q, "seq": 62, "hdrs": %q, "data": %q, "time": "2026-01-02T03:04:05Z"}}`, m.Subject,
			base64.StdEncoding.EncodeToString([]byte(header+"\r\n")), base64.StdEncoding.EncodeToString(m.Data))
	})
	revision, err := records(store.Functions).Update(t.Context(), "hello", []byte("a wish"), 61)
	require.NoError(t, err)
	assert.Equal(t, uint64(62), revision)

	answers(t, conn, "$KV.ryo_functions.another", func(*nats.Msg) string { return refusal })
	_, err = records(store.Functions).Update(t.Context(), "another", []byte("a wish"), 61)
	require.ErrorIs(t, err, proto.ErrConflict, "what somebody else has changed")
}
