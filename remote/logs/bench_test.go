package logs

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

// BenchmarkIngest is the cost of one line from its raw file to the journal.
func BenchmarkIngest(b *testing.B) {
	for name, text := range map[string]string{
		"plain": "2026-01-02T15:04:05Z handled the order of a customer in 12 ms, nothing to complain of\n",
		"json":  `{"time":"2026-01-02T15:04:05Z","level":"INFO","message":"handled the order","execution_id":"e1d2"}` + "\n",
	} {
		b.Run(name, func(b *testing.B) {
			s, r := benchStore(b, text)
			lines := chunkSize / len(text)
			b.SetBytes(int64(len(text)))
			for n := 0; n < b.N; n += lines {
				r.pos, r.freed = 0, 0
				s.turnOf(r, false)
			}
		})
	}
}

// BenchmarkLines is the cost of one line to a query of all of them.
func BenchmarkLines(b *testing.B) {
	for name, req := range map[string]*proto.LogsRequest{
		"all": {Name: "Hello"}, "grep nothing": {Name: "Hello", Grep: "no such text"}, "tail": {Name: "Hello", Tail: 100},
	} {
		b.Run(name, func(b *testing.B) {
			s, r := benchStore(b, "handled the order of a customer in 12 ms, nothing to complain of\n")
			for range 20 {
				r.pos, r.freed = 0, 0
				s.turnOf(r, false)
			}
			q, err := s.query(req)
			require.NoError(b, err)
			lines := int(r.journal.next)
			for n := 0; n < b.N; n += lines {
				reader := &reader{query: q, journal: r.journal, on: func(*proto.LogLines) error { return nil }}
				if req.Tail > 0 {
					reader.at, reader.skip, err = q.last(r.journal, r.journal.end(), int(req.Tail))
					require.NoError(b, err)
				}
				require.NoError(b, reader.read(b.Context(), everything))
			}
		})
	}
}

// benchStore is a Store that does not run, and a raw file of one chunk.
func benchStore(b *testing.B, text string) (*Store, *raw) {
	s, err := Open(b.TempDir(), Config{})
	require.NoError(b, err)
	j, err := s.journal("Hello")
	require.NoError(b, err)
	r := &raw{function: "Hello", source: source{time.Now().UnixNano(), 1}, order: new(order)}
	require.NoError(b, os.WriteFile(s.rawPath(r), bytes.Repeat([]byte(text), chunkSize/len(text)), 0o600))
	s.add(r, j)
	r.closed = false
	return s, r
}
