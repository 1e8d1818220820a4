package e2e

import (
	"encoding/json"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// busy is a function that takes its time.
const busy = `package busy

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

var now, most atomic.Int32

func Busy(w http.ResponseWriter, r *http.Request) {
	defer now.Add(-1)
	if n := now.Add(1); n > most.Load() {
		most.Store(n)
	}
	<-time.After(300 * time.Millisecond)
	fmt.Fprint(w, most.Load())
}
`

// What a definition says of a function's load reaches the proxy by its agent: of many
// calls at once, one is served and two wait, and the others are refused.
func TestCallsBeyondTheConcurrencyWaitAtTheProxy(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	dir := folder(t, tree{
		"busy.go":     busy,
		"deploy.json": `{"deploy": [{"name": "Busy", "packageDir": ".", "agentAddr": "` + s.agent.addr + `", "concurrency": 1, "queue": 2, "queueTimeout": "1m"}]}`,
	})
	r := proxyCli(t, dir, "-proxy", s.proxy.rpc, "def", "-wait", "deploy.json")
	require.Zero(t, r.code, r.stderr)

	var mu sync.Mutex
	served, refused := 0, 0
	var calls sync.WaitGroup
	for range 20 {
		calls.Go(func() {
			status, answer, err := tryFetch(http.MethodGet, "http://"+s.proxy.http+"/functions/busy", "")
			assert.NoError(t, err)
			mu.Lock()
			defer mu.Unlock()
			switch status {
			case http.StatusOK:
				served++
				assert.Equal(t, "1", answer)
			case http.StatusServiceUnavailable:
				refused++
				var said struct{ Error map[string]any }
				assert.NoError(t, json.Unmarshal([]byte(answer), &said))
				assert.Equal(t, []any{"gateway", "full"}, []any{said.Error["component"], said.Error["reason"]})
			default:
				assert.Fail(t, "neither served nor refused", "%d %s", status, answer)
			}
		})
	}
	calls.Wait()
	assert.GreaterOrEqual(t, served, 3)
	assert.Positive(t, refused)
}
