package gateway

import (
	"io"
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

func TestTrafficIsOfVersionsThatServe(t *testing.T) {
	hello := function(t, "Hello", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, "hello")
	})
	hello.Version = 3
	idle := deployed("Idle", "127.0.0.1:1")
	idle.Version = 1
	failed := deployed("Failed", "127.0.0.1:1")
	failed.Status, failed.Version, failed.Instances = string(proto.Failed), 7, 0
	addr, g := frontWith(t, Config{Table: table(hello, idle, failed)})
	for _, path := range []string{"hello", "hello?q", "hello", "failed", "other"} {
		exchange(t, addr, "GET /functions/"+path+" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	}
	var list []*proto.Usage
	require.Eventually(t, func() bool { // a caller has its answer before the call has ended
		list = g.Traffic("")
		return len(list) == 3 && list[1].GetTraffic().GetCalls() == 3
	}, patience, time.Millisecond)
	for i, want := range []struct {
		name          string
		version       uint32
		calls, failed uint64
	}{{"Failed", 0, 1, 1}, {"Hello", 3, 3, 1}, {"Idle", 1, 0, 0}} {
		traffic := list[i].GetTraffic()
		assert.Equal(t, want.name, list[i].GetFunction())
		assert.Equal(t, want.version, list[i].GetVersion(), want.name)
		assert.Equal(t, want.calls, traffic.GetCalls(), want.name)
		assert.Equal(t, want.failed, traffic.GetErrors(), want.name)
		assert.Zero(t, traffic.GetInFlight(), want.name)
		var n uint64
		for _, took := range traffic.GetTook() {
			n += took.GetCalls()
			assert.Less(t, math.Exp2(float64(took.GetBucket())/8), patience.Seconds())
		}
		assert.Equal(t, want.calls, n, want.name)
	}
	assert.Len(t, g.Traffic("hello"), 1)
	assert.Empty(t, g.Traffic("other"))
}

func TestTrafficHasThePlaceOfADuration(t *testing.T) {
	for _, took := range []time.Duration{0, time.Nanosecond, time.Microsecond, 123 * time.Microsecond, time.Millisecond, time.Second, time.Minute, 1000 * time.Hour} {
		m := new(meter)
		m.add(&ending{status: 200, took: took}, "", "")
		for _, in := range m.traffic().GetTook() {
			assert.EqualValues(t, 1, in.GetCalls())
			bucket := in.GetBucket()
			seconds := min(took.Seconds(), math.Exp2(highestPower))
			assert.LessOrEqual(t, seconds, math.Exp2(float64(bucket)/8), took)
			if took > time.Microsecond {
				assert.Greater(t, seconds, math.Exp2(float64(bucket-1)/8), took)
			}
		}
		assert.Len(t, m.traffic().GetTook(), 1)
	}
}
