//go:build linux

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
)

// abused is a port that is abused.
type abused struct{ name, network, addr string }

func (a abused) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial(a.network, a.addr)
	require.NoError(t, err, a.name)
	return conn
}

// nonsense is what no client of ours sends. It is made when it is needed: each process of
// the tests begins as this program.
func nonsense() map[string]string {
	return map[string]string{
		"nothing":                       "",
		"a TLS greeting":                "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 600),
		"a TLS record of the wrong age": "\x16\x02\x00\x00\x05hello",
		"zeros":                         strings.Repeat("\x00", 1<<16),
		"a long line":                   "GET /" + strings.Repeat("a", 1<<20),
		"many headers":                  "GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("A: b\r\n", 1<<16),
		"half a head":                   "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Half",
		"no host":                       "GET / HTTP/1.1\r\n\r\n",
		"two hosts":                     "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
		"two lengths":                   "POST /functions/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"a length and chunks":           "POST /functions/a HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /details HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"a length below zero":           "POST /deploy HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
		"a chunk without an end":        "POST /deploy HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
		"a tunnel":                      "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n",
		"a forward proxy":               "GET http://192.0.2.1:22/ HTTP/1.1\r\nHost: 192.0.2.1:22\r\n\r\n",
		"half a PROXY header":           "PROXY TCP4 192.0.2.7",
		"a PROXY header without an end": "PROXY TCP4 " + strings.Repeat("1", 1<<16),
		"a binary PROXY header":         "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff" + strings.Repeat("\x00", 1<<16),
		"h2c, then garbage":             "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\xff", 1<<12),
		"h2c, then endless headers":     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x40\x00\x01\x00\x00\x00\x00\x01" + strings.Repeat("\x00", 0x4000) + strings.Repeat("\x00\x40\x00\x09\x00\x00\x00\x00\x01"+strings.Repeat("\x00", 0x4000), 50),
		"an upgrade to h2c":             "GET /functions/a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
		"an unknown challenge":          "GET /.well-known/acme-challenge/../../details HTTP/1.1\r\nHost: localhost\r\n\r\n",
	}
}

// plain are answers to nonsense: an error over HTTP, an alert of TLS, or frames of HTTP/2,
// which end with a reason, or what the holder says. Without a host, and for a function, some of it is a request.
var plain = regexp.MustCompile(`^(HTTP/1\.[01] ([345]\d\d|200) |\x15\x03|\x00\x00.\x04|!)`)

// Whoever sends anything to any port gets a clear answer or is hung up on; what that
// costs is bounded, and given back.
func TestAbuse(t *testing.T) {
	t.Parallel()
	authority, dir := testkit.NewAuthority(t), t.TempDir()
	cert := authority.Issue(t, "localhost")
	write(t, dir, tree{"cert.pem": string(cert.Cert), "key.pem": string(cert.Key)})
	a := startAgent(t, "", "")
	p := startProxy(t, "", "-agents", a.addr, "-functions", "127.0.0.1:0,127.0.0.1:0", "-trusted-proxies", "127.0.0.0/8",
		"-tls-cert", filepath.Join(dir, "cert.pem"), "-tls-key", filepath.Join(dir, "key.pem"))
	mustDeploy(t, p.http, "Hello", source(t, says("Hello", "hello")))
	r := rows(t, http.MethodGet, "http://"+a.addr+"/details", "")[0]
	fn, err := url.Parse(r.Proxy)
	require.NoError(t, err)
	holders, err := filepath.Glob(filepath.Join(a.dir, "agent", "holder-*.sock"))
	require.NoError(t, err)
	require.Len(t, holders, 1)
	ports := []abused{
		{"agent", "tcp", a.addr}, {"proxy", "tcp", p.http}, {"proxy's rpc", "tcp", p.rpc},
		{"published", "tcp", p.said(`Functions started on ([^\s,]+)`)},
		{"function", "tcp", fn.Host}, {"function's socket", "unix", r.Socket}, {"holder", "unixpacket", holders[0]},
	}
	programs := map[string]int{"agent": a.cmd.Process.Pid, "proxy": p.cmd.Process.Pid, "function": r.Pid}
	type use struct{ files, memory int }
	before := map[string]use{}
	for name, pid := range programs {
		require.NoError(t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0), "which resets the peak")
		before[name] = use{descriptors(t, pid), peak(t, pid)}
	}

	t.Run("nonsense", func(t *testing.T) {
		var all sync.WaitGroup
		defer all.Wait()
		for _, port := range ports {
			for what, sent := range nonsense() {
				for _, ends := range []bool{true, false} {
					if !ends && port.name == "holder" {
						continue // its clients have the right to wait
					}
					conn := port.dial(t)
					all.Go(func() {
						defer conn.Close()
						_ = conn.SetDeadline(time.Now().Add(testkit.Patience)) // many times as long as a head may take
						_, _ = io.WriteString(conn, sent)
						if ends {
							_ = conn.(interface{ CloseWrite() error }).CloseWrite() // it may be reset already
						}
						answer := make([]byte, 4<<10)
						n, err := conn.Read(answer)
						answer = answer[:n]
						assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "%s waits, after %s", port.name, what)
						if len(answer) > 0 {
							assert.Regexp(t, plain, string(answer), "%s, after %s", port.name, what)
						}
						assert.NotContains(t, string(answer), `"atAgent"`, "%s, after %s", port.name, what)
					})
				}
			}
		}
	})
	t.Run("many that are silent, and some that never read", func(t *testing.T) {
		var all sync.WaitGroup
		for _, port := range ports[:len(ports)-1] { // the holder serves but its own user, and few at once
			for range 2000 / 400 {
				var silent []net.Conn
				for range 400 {
					conn, err := net.Dial(port.network, port.addr)
					if err != nil {
						assert.ErrorIs(t, err, syscall.EAGAIN, "the queue of a socket is full") // not of a port
						continue
					}
					silent = append(silent, conn)
				}
				for _, conn := range silent {
					conn.Close()
				}
			}
			for range 10 {
				conn, err := net.Dial(port.network, port.addr)
				if err != nil {
					assert.ErrorIs(t, err, syscall.EAGAIN)
					continue
				}
				defer conn.Close()
				all.Go(func() {
					_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
					_, _ = io.WriteString(conn, strings.Repeat("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 1<<15))
				})
			}
		}
		all.Wait()
	})
	t.Run("what anybody may send is small", func(t *testing.T) {
		for _, addr := range []string{a.addr, p.rpc} {
			flood(t, addr, proto.Functions_Join_FullMethodName, true)
			flood(t, addr, "/grpc.health.v1.Health/Check", true)
			flood(t, addr, "/agents/join", false)
		}
	})

	for name, pid := range programs {
		most := peak(t, pid)
		t.Logf("%s: %d MiB at most, %d before", name, most>>20, before[name].memory>>20)
		assert.Less(t, most-before[name].memory, 160<<20, "%s has grown", name)
		eventually(t, func() bool { return descriptors(t, pid) <= before[name].files+4 }, "%s keeps descriptors: %d before", name, before[name].files)
	}
	for _, at := range []string{r.URL, "http://" + p.http + "/functions/hello"} {
		answers(t, "hello", at)
	}
}

// flood sends many requests at once of which none ends, each as much as is taken of it.
func flood(t *testing.T, addr, path string, rpc bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	web := &http.Transport{Protocols: new(http.Protocols), MaxConnsPerHost: 1, TLSClientConfig: &tls.Config{}}
	web.Protocols.SetUnencryptedHTTP2(true)
	defer web.CloseIdleConnections()
	var sent atomic.Int64
	var all sync.WaitGroup
	head, kind := []byte(`{"id": "`), "application/json"
	if rpc {
		head, kind = binary.BigEndian.AppendUint32([]byte{0}, 4<<20-1), "application/grpc"
	}
	for range 200 {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+path, &endless{end: ctx.Done(), head: head, left: 4<<20 - 100, sent: &sent})
		require.NoError(t, err)
		req.Header.Set("Content-Type", kind)
		all.Go(func() {
			rsp, err := web.RoundTrip(req)
			if err == nil {
				rsp.Body.Close()
			}
		})
	}
	// All is sent that will be taken when for a while no more is.
	for last := int64(-1); last != sent.Load(); {
		last = sent.Load()
		time.Sleep(300 * time.Millisecond) //nolint:forbidigo // nothing says that a server takes no more
	}
	cancel()
	all.Wait()
	t.Logf("%s took %d KiB of 200 requests for %s", addr, sent.Load()>>10, path)
}

// endless is a body that stops before its end.
type endless struct {
	end  <-chan struct{}
	head []byte
	left int
	sent *atomic.Int64
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.head)
	e.head = e.head[n:]
	if n == 0 && e.left == 0 {
		<-e.end
		return 0, context.Canceled
	}
	if n == 0 {
		n = min(len(p), e.left)
		copy(p, bytes.Repeat([]byte("a"), n))
		e.left -= n
	}
	e.sent.Add(int64(n))
	return n, nil
}

// peak is the most memory that a process has had, in bytes.
func peak(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	require.NotNil(t, m)
	kib, err := strconv.Atoi(string(m[1]))
	require.NoError(t, err)
	return kib << 10
}
