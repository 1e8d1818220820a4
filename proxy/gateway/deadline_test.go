package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/forward"
)

func TestACallerCanOnlyShortenTheLimit(t *testing.T) {
	inBothLanes(t, func(t *testing.T, line string) {
		told := make(chan string, 1)
		left := make(chan struct{}, 1)
		row := function(t, "Hello", func(_ http.ResponseWriter, r *http.Request) {
			told <- r.Header.Get(forward.Timeout)
			<-r.Context().Done()
			left <- struct{}{}
		})
		for _, tt := range []struct{ setting, asked, told, says string }{
			{"60s", "X-Ryo-Timeout: 50ms\r\n", "50ms", "within the 50ms that its caller gives it, after "},
			{"50ms", "X-Ryo-Timeout: 1h\r\n", "50ms", "within its limit of 50ms, after "},
			{"50ms", "", "50ms", "within its limit of 50ms, after "},
			{"60s", "grpc-timeout: 50m\r\n", "50ms", "within the 50ms that its caller gives it, after "},
			{"60s", "grpc-timeout: 1H\r\nX-Ryo-Timeout: 0.05s\r\n", "50ms", "within the 50ms that its caller gives it, after "},
			{"60s", "grpc-timeout: 50000u\r\nX-Ryo-Timeout: 1h\r\n", "50ms", "within the 50ms that its caller gives it, after "},
			{"50ms", "X_Ryo_Timeout: 1ms\r\n", "50ms", "within its limit of 50ms, after "},
		} {
			row.Timeout = tt.setting
			res, _ := say(t, front(t, row), "GET /functions/hello HTTP/1.1\r\nHost: h\r\n"+tt.asked+line+"\r\n")
			assert.Equal(t, 504, res.StatusCode)
			e := errorOf(t, res)
			assert.Equal(t, []any{"timeout", "function", "timeout"}, []any{e["code"], e["component"], e["reason"]})
			assert.Contains(t, e["message"], tt.says)
			assert.Equal(t, "50ms", e["limit"])
			assert.True(t, strings.HasSuffix(e["message"].(string), tt.says+e["elapsed"].(string)), e["message"])
			elapsed, err := time.ParseDuration(e["elapsed"].(string))
			require.NoError(t, err)
			assert.GreaterOrEqual(t, elapsed, 49*time.Millisecond)
			limit, err := time.ParseDuration(<-told)
			require.NoError(t, err)
			assert.Positive(t, limit) // what is left of it
			assert.LessOrEqual(t, limit, 50*time.Millisecond)
			<-left
		}
	})
}

// A function gives up at its limit, which is the gateway's too: whichever is first, the
// caller is told of the limit.
func TestAnAnswerThatComesAtTheLimitIsNone(t *testing.T) {
	inBothLanes(t, func(t *testing.T, line string) {
		after := 10 * time.Millisecond
		if line != "" { // the slow lane counts from when it has read the request, which a busy machine puts off
			after = 100 * time.Millisecond
		}
		row := function(t, "Hello", func(_ http.ResponseWriter, r *http.Request) {
			limit, err := time.ParseDuration(r.Header.Get(forward.Timeout))
			if !assert.NoError(t, err) {
				return
			}
			late := time.NewTimer(limit + after)
			defer late.Stop()
			<-late.C // and not the context: the gateway does not cancel first
		})
		row.Timeout = "20ms"
		addr := front(t, row)
		for range 50 {
			res, _ := say(t, addr, "GET /functions/hello HTTP/1.1\r\nHost: h\r\n"+line+"\r\n")
			assert.Equal(t, 504, res.StatusCode)
		}
	})
}

func TestTimeoutsThatAreNoneAreRefused(t *testing.T) {
	addr := front(t, function(t, "Hello", func(http.ResponseWriter, *http.Request) { t.Error("it was called") }))
	inBothLanes(t, func(t *testing.T, line string) {
		for _, asked := range []string{
			"X-Ryo-Timeout: soon", "X-Ryo-Timeout: 5", "X-Ryo-Timeout:", "X-Ryo-Timeout: 0s", "X-Ryo-Timeout: -1s", "X-Ryo-Timeout: 1s, 2s",
			"X-Ryo-Timeout: 1s\r\nX-Ryo-Timeout: 1s", "grpc-timeout: 1", "grpc-timeout: S", "grpc-timeout: 0S", "grpc-timeout: 123456789n", "grpc-timeout: +1S",
		} {
			res, _ := say(t, addr, "GET /functions/hello HTTP/1.1\r\nHost: h\r\n"+asked+"\r\n"+line+"\r\n")
			assert.Equal(t, 400, res.StatusCode, asked)
			e := errorOf(t, res)
			assert.Equal(t, []any{"invalid", "caller"}, []any{e["code"], e["component"]}, asked)
			assert.NotEmpty(t, e["hint"])
		}
	})
}

// The function's limit counts from the last part of the body; what a caller asks for, from
// the beginning.
func TestASlowUploadDoesNotProlongWhatItsCallerAskedFor(t *testing.T) {
	row := function(t, "Hello", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	addr := front(t, row, silent(t, "50ms"))
	conn, in := dial(t, addr)
	fmt.Fprint(conn, "POST /functions/hello HTTP/1.1\r\nHost: h\r\nX-Ryo-Timeout: 300ms\r\nContent-Length: 100\r\n\r\n")
	answered := make(chan *http.Response, 1)
	go func() {
		res, err := http.ReadResponse(in, nil)
		assert.NoError(t, err)
		answered <- res
	}()
	for {
		select {
		case res := <-answered:
			assert.Equal(t, 408, res.StatusCode)
			e := errorOf(t, res)
			assert.Equal(t, []any{"stalled", "caller", "stalled"}, []any{e["code"], e["component"], e["reason"]})
			assert.NotEmpty(t, e["limit"])
			assert.NotEmpty(t, e["elapsed"])
			assert.Contains(t, e["message"], "300ms that its caller gives it")
			return
		default:
			tick(t, addr)
			fmt.Fprint(conn, "x")
		}
	}
}

func TestAVersionThatIsOpenedTakesTheCallersTime(t *testing.T) {
	row := function(t, "Hello", func(http.ResponseWriter, *http.Request) {})
	addr, _ := frontWith(t, Config{Table: table(row), Wake: func(ctx context.Context, _ string, _ uint32) error {
		<-ctx.Done()
		return ctx.Err()
	}})
	res, _ := say(t, addr, "GET /functions/hello@7 HTTP/1.1\r\nHost: h\r\nX-Ryo-Timeout: 20ms\r\n\r\n")
	assert.Equal(t, 504, res.StatusCode)
	e := errorOf(t, res)
	assert.Equal(t, []any{"gateway", "starting"}, []any{e["component"], e["reason"]})
	assert.NotEmpty(t, e["limit"])
	assert.Contains(t, e["message"], "20ms that its caller gives it")
}

func FuzzTimeouts(f *testing.F) {
	for _, text := range []string{"1.5s", "99999999H", "99999999M", "1n", "0m", "9223372036854775807ns", "2562047h48m"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, parse := range []func(string) (time.Duration, error){parseTimeout, parseGRPCTimeout} {
			d, err := parse(text)
			if err != nil {
				require.ErrorIs(t, err, proto.ErrInvalid)
				require.Zero(t, d)
				continue
			}
			require.Positive(t, d)
			limit, err := time.ParseDuration(spoken(min(d, proto.MaxTimeout)))
			require.NoError(t, err)
			require.Positive(t, limit)
		}
	})
}
