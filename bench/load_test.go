package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLoadCountsWhatTheServerAnswered(t *testing.T) {
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		fmt.Fprint(w, "Hello, World!\n")
	}))
	defer server.Close()

	spec, err := json.Marshal(load{
		Addr: strings.TrimPrefix(server.URL, "http://"), Path: "/", Conns: 4,
		Warm: 20 * time.Millisecond, For: 100 * time.Millisecond,
	})
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, serveLoad(strings.NewReader(string(spec)+"\ngo\n"), &out))

	ready, result, _ := strings.Cut(out.String(), "\n")
	assert.Equal(t, "ready", ready)
	var o outcome
	require.NoError(t, json.Unmarshal([]byte(result), &o))
	assert.EqualValues(t, calls.Load(), o.All+4, "with the first of each connection")
	assert.Positive(t, o.Measured)
	assert.Less(t, o.Measured, o.All, "the calls before the measured ones count apart")
	assert.LessOrEqual(t, o.P50, o.P99)
}

func TestLoadRefusesWhatIsNoAnswer(t *testing.T) {
	tests := map[string]http.HandlerFunc{
		"404":               http.NotFound,
		"no Content-Length": func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush() },
	}
	for want, handler := range tests {
		t.Run(want, func(t *testing.T) {
			server := httptest.NewServer(handler)
			defer server.Close()
			clients, err := load{Addr: strings.TrimPrefix(server.URL, "http://"), Path: "/", Conns: 1}.connect()
			assert.ErrorContains(t, err, want)
			for _, c := range clients {
				require.NoError(t, c.conn.Close())
			}
		})
	}
}
