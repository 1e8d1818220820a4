//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// cable is what passes over the network of a machine, its own loopback included.
type cable struct {
	mu   sync.Mutex // guards the field below:
	seen bytes.Buffer
}

// listenIn records all packets that a machine sends and gets.
func (m machine) listenIn(t *testing.T) *cable {
	t.Helper()
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in the order of the network
	var fd int
	var opened error
	require.NoError(t, m.run(func() {
		fd, opened = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all)
	}))
	require.NoError(t, opened)
	socket := os.NewFile(uintptr(fd), "packets")
	c := &cable{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 1<<16)
		for {
			n, err := socket.Read(buf)
			if err != nil {
				return
			}
			c.mu.Lock()
			c.seen.Write(buf[:n])
			c.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		socket.Close()
		<-read
	})
	return c
}

// saw reports whether a text has passed in the clear.
func (c *cable) saw(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Contains(c.seen.Bytes(), []byte(text))
}

// pageCommands returns the commands, as words, of the first block below a heading of a page
// of the docs, without the remarks.
func pageCommands(t *testing.T, page, heading string, here *strings.Replacer) (commands [][]string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../docs", page))
	require.NoError(t, err)
	_, text, found := strings.Cut(string(data), heading+"\n")
	require.True(t, found, "%s: %s", page, heading)
	_, text, _ = strings.Cut(text, "```sh\n")
	text, _, _ = strings.Cut(text, "```")
	for line := range strings.Lines(text) {
		command, _, _ := strings.Cut(line, "#")
		if words := strings.Fields(here.Replace(command)); len(words) > 0 {
			commands = append(commands, words)
		}
	}
	return commands
}

// everything does all that a call may: it streams both ways, has trailers, and takes
// over the connection.
const everything = `package hello

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

func HelloWorld(w http.ResponseWriter, r *http.Request) {
	stream := http.NewResponseController(w)
	if r.Header.Get("Upgrade") == "websocket" {
		conn, in, err := stream.Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(conn, in)
		return
	}
	if r.URL.Path == "/deadline" {
		at, limited := r.Context().Deadline()
		fmt.Fprint(w, limited, " ", time.Until(at) > 10*time.Second, " ", time.Until(at) <= 20*time.Second)
		return
	}
	_ = stream.EnableFullDuplex()
	w.Header().Set("Trailer", "X-End")
	w.Header().Set("X-Proto", r.Proto)
	fmt.Fprintf(w, "%s plainly readable\n", r.URL.EscapedPath())
	_ = stream.Flush()
	io.Copy(w, r.Body)
	w.Header().Set("X-End", "end")
}
`

// Three machines belong together by joining, and a fourth calls with a token: nothing
// passes between them in the clear, and no port of a function is open.
func TestMachinesThatJoined(t *testing.T) {
	t.Parallel()
	m := newMachines(t, 4)
	front, workers, desk := m[0], m[1:3], m[3]
	cables := []*cable{workers[0].listenIn(t), workers[1].listenIn(t), desk.listenIn(t)}

	authority := testkit.NewAuthority(t)
	cert := authority.Issue(t, front.addr)
	pems := t.TempDir()
	certFile, keyFile, ca := filepath.Join(pems, "cert.pem"), filepath.Join(pems, "key.pem"), filepath.Join(pems, "ca.pem")
	for file, text := range map[string][]byte{certFile: cert.Cert, keyFile: cert.Key, ca: authority.PEM()} {
		require.NoError(t, os.WriteFile(file, text, 0o600))
	}
	say := pageCommands(t, "machines.md", "# Several machines", strings.NewReplacer(
		"cert.pem", certFile, "key.pem", keyFile, "ca.pem", ca, "front:", front.addr+":"))
	require.Len(t, say, 5)
	launch(t, front.command(t, "proxy", append(say[0][1:], "-dir", t.TempDir())...))
	on := func(m machine, args ...string) string {
		t.Helper()
		r := m.cli(t, args...)
		require.Zero(t, r.code, r.stderr)
		return strings.TrimSpace(r.stdout)
	}
	var agents []*server
	var flags [][]string
	for i, w := range workers {
		printed := strings.Fields(on(front, say[1][1:]...))
		require.Len(t, printed, len(say[2]))
		say[2][len(printed)-1] = printed[len(printed)-1] // the token
		flags = append(flags, slices.Concat([]string{"-dir", t.TempDir(), "-cache", cache(t)}, say[2][1:]))
		agents = append(agents, launch(t, w.command(t, "agent", flags[i]...)))
	}
	eventually(t, func() bool { return strings.Count(on(front, "agents"), " connected ") == 2 }, "they are not connected")

	// The desk has a token, and no right without.
	r := desk.cli(t, "-proxy", "https://"+front.addr+":9001", "-ca", ca, "details")
	assert.Equal(t, 7, r.code, r.stderr)
	token := on(front, say[3][1:]...)
	atDesk := func(args ...string) result {
		cmd := desk.command(t, "proxyCli", append([]string{"-proxy", "https://" + front.addr + ":9001", "-ca", ca}, args...)...)
		cmd.Env = append(cmd.Env, "RYO_TOKEN="+token)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		_ = cmd.Run()
		return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	}
	dir := folder(t, tree{
		"hello.go":    everything,
		"deploy.json": fmt.Sprintf(`{"deploy": [{"packageDir": ".", "name": "HelloWorld", "agentAddr": ["%s:9000", "%s:9000"]}]}`, workers[0].addr, workers[1].addr),
	})
	def := strings.Join(say[4], " ")
	require.Equal(t, "RYO_TOKEN=ryo_… proxyCli -proxy https://"+front.addr+":9001 -ca "+ca+" def -wait deploy.json", def)
	r = atDesk("def", "-wait", filepath.Join(dir, "deploy.json"))
	require.Zero(t, r.code, r.stderr)
	r = atDesk("-o", "json", "details")
	var rows []row
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &rows), r.stdout+r.stderr)
	require.Len(t, rows, 2)

	secure := &tls.Config{RootCAs: authority.Pool(), ServerName: front.addr}
	dial := func() net.Conn {
		conn, err := desk.dial(t.Context(), "tcp", front.addr+":9002")
		require.NoError(t, err)
		c := tls.Client(conn, secure)
		t.Cleanup(func() { _ = c.Close() })
		require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
		return c
	}
	for range 4 { // at one machine, then at the other
		conn := dial()
		_, err := io.WriteString(conn, "POST /functions/helloworld/a%2Fb//c HTTP/1.1\r\nHost: f\r\nAuthorization: Bearer "+token+"\r\nTransfer-Encoding: chunked\r\n\r\n")
		require.NoError(t, err)
		_, err = io.WriteString(conn, "6\r\nfirst\n\r\n")
		require.NoError(t, err)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, res.StatusCode)
		_, err = io.WriteString(conn, "7\r\nsecond\n\r\n0\r\n\r\n")
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		assert.Equal(t, "/a%2Fb//c plainly readable\nfirst\nsecond\n", string(body))
		assert.Equal(t, "end", res.Trailer.Get("X-End"))
	}
	conn := dial()
	_, err := io.WriteString(conn, "GET /functions/helloworld/deadline HTTP/1.1\r\nHost: f\r\nAuthorization: Bearer "+token+"\r\nX-Ryo-Timeout: 20s\r\n\r\n")
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	assert.Equal(t, "true true true", string(body), "the caller's time is not the function's")
	// Calls of HTTP/2 that need it, as gRPC's do, share connections through the same doors.
	shared := &http.Transport{TLSClientConfig: secure.Clone(), DialContext: desk.dial, Protocols: new(http.Protocols)}
	shared.Protocols.SetHTTP2(true)
	defer shared.CloseIdleConnections()
	for range 4 {
		in, out := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+front.addr+":9002/functions/helloworld/a%2Fb//c", in)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Te", "trailers")
		res, err := shared.RoundTrip(req)
		require.NoError(t, err)
		assert.Equal(t, "HTTP/2.0", res.Header.Get("X-Proto"))
		lines := bufio.NewReader(res.Body)
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, "/a%2Fb//c plainly readable\n", line)
		_, err = io.WriteString(out, "first\n")
		require.NoError(t, err)
		require.NoError(t, out.Close())
		rest, err := io.ReadAll(lines)
		require.NoError(t, err)
		assert.Equal(t, "first\n", string(rest))
		assert.Equal(t, "end", res.Trailer.Get("X-End"))
		require.NoError(t, res.Body.Close())
	}
	socket := dial()
	_, err = io.WriteString(socket, "GET /functions/helloworld HTTP/1.1\r\nHost: f\r\nAuthorization: Bearer "+token+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	require.NoError(t, err)
	in := bufio.NewReader(socket)
	res, err = http.ReadResponse(in, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
	_, err = io.WriteString(socket, "\x81\x05hello")
	require.NoError(t, err)
	frame := make([]byte, 7)
	_, err = io.ReadFull(in, frame)
	require.NoError(t, err)
	assert.Equal(t, "\x81\x05hello", string(frame))

	for i, c := range cables {
		assert.True(t, c.saw("\x16\x03"), "something was recorded")
		for _, text := range []string{"plainly readable", "helloworld", "HelloWorld", token} {
			assert.False(t, c.saw(text), "%q passed in the clear at machine %d", text, i)
		}
	}
	for _, r := range rows {
		u, err := url.Parse(r.Proxy)
		require.NoError(t, err)
		_, err = desk.dial(t.Context(), "tcp", u.Host)
		assert.ErrorIs(t, err, unix.ECONNREFUSED, "a function's port is open")
	}
	// A new version takes over at both machines, and no call fails.
	web := &http.Transport{DialContext: front.dial, MaxIdleConnsPerHost: 8}
	defer web.CloseIdleConnections()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var load sync.WaitGroup
	var calls atomic.Int64
	for i := range 4 {
		load.Go(func() {
			for ctx.Err() == nil {
				body := strings.Repeat("x", i*8<<10) // some are passed on as they come
				req, err := http.NewRequest(http.MethodPost, "http://localhost:9002/functions/helloworld", strings.NewReader(body))
				assert.NoError(t, err)
				res, err := web.RoundTrip(req)
				if !assert.NoError(t, err) {
					return
				}
				answer, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if !assert.NoError(t, err) || !assert.Equal(t, http.StatusOK, res.StatusCode, "%s", answer) || !assert.True(t, strings.HasSuffix(string(answer), body)) {
					return
				}
				calls.Add(1)
			}
		})
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "hello.go"), []byte(strings.Replace(everything, "plainly readable", "still readable", 1)), 0o600))
	r = atDesk("def", "-wait", filepath.Join(dir, "deploy.json"))
	require.Zero(t, r.code, r.stderr)
	after := calls.Load() + 50
	eventually(t, func() bool { return calls.Load() > after }, "calls are not answered")
	cancel()
	load.Wait()

	// Others on the network control nothing, agents neither.
	for _, at := range []string{front.addr + ":9001", workers[0].addr + ":9000"} {
		r = workers[1].cli(t, "-proxy", at, "details")
		assert.Equal(t, 7, r.code, r.stderr)
	}

	// With the same flags an agent starts again; one that was removed does not belong here.
	agents[1].end()
	agents[1] = launch(t, workers[1].command(t, "agent", flags[1]...))
	eventually(t, func() bool { return strings.Count(on(front, "agents"), " connected ") == 2 }, "it does not come back")
	on(front, "agents", "rm", workers[1].addr+":9000")
	eventually(t, func() bool { return strings.Count(on(front, "agents"), "\n") == 1 }, "it is not removed")
	agents[1].end()
	again := launch(t, workers[1].command(t, "agent", flags[1][:6]...))
	eventually(t, func() bool { return strings.Contains(again.String(), "was removed from this proxy") }, "it is not told")
	assert.Equal(t, 1, strings.Count(on(front, "agents"), "\n"), "it came back")
	again.end()
	printed := strings.Fields(on(front, say[1][1:]...))
	launch(t, workers[1].command(t, "agent", append(flags[1][:6:6], printed[3:]...)...))
	eventually(t, func() bool { return strings.Count(on(front, "agents"), " connected ") == 2 }, "another token does not let it in")
}
