package gateway

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/accesslog"
)

const (
	fastCallText   = "GET /functions/hello?q=1 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n"
	fastAnswerText = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nDate: Sun, 29 Nov 2026 03:00:00 GMT\r\nContent-Length: 13\r\n\r\nHello, World!"
)

// frugal is a function that answers all requests of a connection alike and allocates
// nothing for that.
func frugal(t testing.TB) *proto.FunctionJsonRsp {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf, answer, n := make([]byte, 4<<10), []byte(fastAnswerText), 0
				for {
					m, err := conn.Read(buf[n:])
					if err != nil {
						return
					}
					if n += m; bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
						n = 0
						_, _ = conn.Write(answer)
					}
				}
			}()
		}
	}()
	return deployed("Hello", l.Addr().String())
}

// caller calls as often as it is told, and allocates nothing for that.
func caller(t testing.TB, addr string) (call func()) {
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	request, buf := []byte(fastCallText), make([]byte, 4<<10)
	return func() {
		_, err := conn.Write(request)
		n := 0
		for err == nil && !bytes.HasSuffix(buf[:n], []byte("Hello, World!")) {
			var m int
			m, err = conn.Read(buf[n:])
			n += m
		}
		if err != nil {
			t.Error(err)
		}
	}
}

func skipUnderRace(t *testing.T) {
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector makes pools forget what they hold")
	}
}

func TestAFastCallAllocatesNextToNothing(t *testing.T) {
	skipUnderRace(t)
	for name, log := range accessLogs(t) {
		t.Run(name, func(t *testing.T) {
			addr, _ := frontWith(t, Config{Table: table(frugal(t)), AccessLog: log})
			call := caller(t, addr)
			for range 100 {
				call()
			}
			const calls = 2000
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range calls {
				call()
			}
			runtime.ReadMemStats(&after)
			each := float64(after.Mallocs-before.Mallocs) / calls
			t.Logf("%.2f allocations of %.0f bytes", each, float64(after.TotalAlloc-before.TotalAlloc)/calls)
			assert.LessOrEqual(t, each, 1.5)
		})
	}
}

// accessLogs are no log, and one of all calls, in a file.
func accessLogs(t testing.TB) map[string]*accesslog.Log {
	file, err := os.Create(filepath.Join(t.TempDir(), "access.log"))
	require.NoError(t, err)
	t.Cleanup(func() { file.Close() })
	return map[string]*accesslog.Log{"unlogged": nil, "logged": logTo(t, file, 1)}
}

func BenchmarkFastGET(b *testing.B) {
	for name, log := range accessLogs(b) {
		b.Run(name, func(b *testing.B) {
			addr, _ := frontWith(b, Config{Table: table(frugal(b)), AccessLog: log})
			call := caller(b, addr)
			call()
			b.ReportAllocs()
			for b.Loop() {
				call()
			}
		})
	}
}
