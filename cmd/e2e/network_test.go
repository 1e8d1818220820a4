//go:build linux

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// machine is a network namespace: to the programs in it, a machine of its own.
type machine struct {
	name string // of the namespace
	addr string
}

var machines atomic.Int32

// newMachines returns n machines, each connected with each other by a cable.
func newMachines(t *testing.T, n int) []machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("network namespaces need iproute2:", err)
	}
	ip := func(format string, args ...any) {
		t.Helper()
		words := fmt.Sprintf(format, args...)
		said, err := exec.CommandContext(t.Context(), "ip", strings.Fields(words)...).CombinedOutput()
		require.NoError(t, err, "ip %s: %s", words, said)
	}
	var all []machine
	for i := range n {
		m := machine{fmt.Sprintf("ryo-e2e-%d-%d", os.Getpid(), machines.Add(1)), fmt.Sprintf("198.18.0.%d", i+1)} // RFC 2544
		if said, err := exec.CommandContext(t.Context(), "ip", "netns", "add", m.name).CombinedOutput(); err != nil {
			t.Skipf("no network namespaces here: %s", said)
		}
		testkit.Undo(t, "ip", "netns", "del", m.name)
		t.Cleanup(func() {
			said, err := exec.CommandContext(context.Background(), "ip", "netns", "del", m.name).CombinedOutput()
			assert.NoError(t, err, "%s", said)
		})
		ip("-n %s link set lo up", m.name)
		for j, other := range all {
			ip("-n %s link add to%d type veth peer name to%d netns %s", m.name, j, i, other.name)
			ip("-n %s addr add %s peer %s dev to%d", m.name, m.addr, other.addr, j)
			ip("-n %s addr add %s peer %s dev to%d", other.name, other.addr, m.addr, i)
			ip("-n %s link set to%d up", m.name, j)
			ip("-n %s link set to%d up", other.name, i)
		}
		all = append(all, m)
	}
	return all
}

// command is a program that will run on the machine.
func (m machine) command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := command(context.Background(), name, args...)
	ip, err := exec.LookPath("ip")
	require.NoError(t, err)
	cmd.Args = append([]string{"ip", "netns", "exec", m.name, cmd.Path}, args...)
	cmd.Path = ip
	cmd.Dir = t.TempDir()
	return cmd
}

// cli runs the command line on the machine.
func (m machine) cli(t *testing.T, args ...string) result {
	t.Helper()
	cmd := m.command(t, "proxyCli", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run()
	require.NotNil(t, cmd.ProcessState)
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// dial connects from the machine. The connection then works from anywhere.
func (m machine) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return m.dialFrom(ctx, nil, network, addr)
}

// dialFrom is dial from one of the machine's addresses.
func (m machine) dialFrom(ctx context.Context, from net.IP, network, addr string) (conn net.Conn, err error) {
	d := net.Dialer{}
	if from != nil {
		d.LocalAddr = &net.TCPAddr{IP: from}
	}
	inside := m.run(func() { conn, err = d.DialContext(ctx, network, addr) })
	return conn, cmp.Or(inside, err)
}

// run calls f on the machine: what it opens and starts is there.
func (m machine) run(f func()) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock it: the thread ends with its namespace
		done <- func() error {
			ns, err := os.Open("/var/run/netns/" + m.name)
			if err != nil {
				return err
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return os.NewSyscallError("setns", err)
			}
			f()
			return nil
		}()
	}()
	return <-done
}

type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// ask makes an HTTP/1 call, or one of HTTP/2 in the clear.
func (d dialer) ask(t *testing.T, h2 bool, req *http.Request) (rsp *http.Response, body string) {
	t.Helper()
	transport := &http.Transport{DialContext: d, DisableKeepAlives: !h2, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!h2)
	transport.Protocols.SetUnencryptedHTTP2(h2)
	defer transport.CloseIdleConnections()
	rsp, err := transport.RoundTrip(req.WithContext(t.Context()))
	require.NoError(t, err)
	defer rsp.Body.Close()
	data, err := io.ReadAll(rsp.Body)
	require.NoError(t, err)
	return rsp, string(data)
}

// rpc makes a gRPC call as its wire has it, and returns the status.
func (d dialer) rpc(t *testing.T, addr, host, method string) (status, message string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+addr+method, bytes.NewReader(make([]byte, 5))) // an empty message
	require.NoError(t, err)
	req.Host = host
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	rsp, _ := d.ask(t, true, req)
	for _, h := range []http.Header{rsp.Header, rsp.Trailer} {
		if h.Get("Grpc-Status") != "" {
			message, err := url.PathUnescape(h.Get("Grpc-Message"))
			require.NoError(t, err)
			return h.Get("Grpc-Status"), message
		}
	}
	t.Errorf("%s answered without a status: %d", method, rsp.StatusCode)
	return "", ""
}

// Codes of google.golang.org/grpc/codes.
const (
	permissionDenied = "7"
	withoutToken     = "16"
)

// methods are all that a server offers over gRPC, but for its health and for agents that
// have nothing yet but a token to join.
func methods() []string {
	const reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
	all := []string{reflection, strings.Replace(reflection, "v1", "v1alpha", 1), "/no.such.Service/Method"}
	desc := proto.Functions_ServiceDesc
	for _, m := range desc.Methods {
		rpc := "/" + desc.ServiceName + "/" + m.MethodName
		if rt, _ := wire.RouteOf(rpc); rt.Scope != wire.ScopeOpen {
			all = append(all, rpc)
		}
	}
	for _, s := range desc.Streams {
		all = append(all, "/"+desc.ServiceName+"/"+s.StreamName)
	}
	return all
}

// routes are all that a server offers over HTTP, but for its health and for the
// functions.
var routes = []struct{ method, path, body string }{
	{"POST", "/deploy", `[{"name": "F", "dir": "/etc"}]`},
	{"POST", "/deploy?wait=true", `[]`},
	{"GET", "/details", ""},
	{"POST", "/list", `{"atAgent": "localhost:9000"}`},
	{"GET", "/log?entrypoint=HelloWorld", ""},
	{"POST", "/stop", `{"name": "HelloWorld"}`},
	{"GET", "/watch", ""},
	{"HEAD", "/packages/sha256:" + strings.Repeat("0", 64), ""},
	{"PUT", "/packages/sha256:" + strings.Repeat("0", 64), "x"},
	{"GET", "/", ""},
	{"OPTIONS", "/deploy", ""},
}

// detours look like functions and mean something else. Nothing is there.
var detours = []string{"/functions/../details", "/functions/..%2fdetails", "/functions//details", "/functions/%2e%2e/details"}

func request(t *testing.T, method, addr, path, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+addr+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	return req
}

// forbidden asserts that an answer is the documented refusal of what nobody may send.
func forbidden(t *testing.T, rsp *http.Response, body string) {
	t.Helper()
	refusedWith(t, http.StatusForbidden, "forbidden", rsp, body)
}

// unauthenticated asserts that an answer is the documented refusal of callers without a
// token.
func unauthenticated(t *testing.T, rsp *http.Response, body string) {
	t.Helper()
	refusedWith(t, http.StatusUnauthorized, "unauthenticated", rsp, body)
	assert.Equal(t, "Bearer", rsp.Header.Get("WWW-Authenticate"))
}

func refusedWith(t *testing.T, status int, code string, rsp *http.Response, body string) {
	t.Helper()
	assert.Equal(t, status, rsp.StatusCode, "%s %s: %s", rsp.Request.Method, rsp.Request.URL, body)
	if rsp.Request.Method == http.MethodHead {
		return
	}
	e := errorOf(t, body)
	assert.Equal(t, code, e.Code)
	assert.NotEmpty(t, e.Hint)
}

// Without a token only this machine is served, and the others are told so. TestScan tries
// all ways in.
func TestOtherMachinesAreRefused(t *testing.T) {
	t.Parallel()
	m := newMachines(t, 2)
	here, there := m[0], dialer(m[1].dial)
	// On a machine of its own everything can have its default port.
	state := t.TempDir()
	launch(t, here.command(t, "agent", "-dir", state, "-cache", cache(t), "-host", here.addr))
	launch(t, here.command(t, "proxy", "-dir", state, "-agents", "localhost:9000"))
	dir := folder(t, tree{"a.go": hello})
	r := here.cli(t, "deploy", "-wait", dir)
	require.Zero(t, r.code, r.stderr)
	require.Equal(t, line("HelloWorld", "http://localhost:9002/functions/helloworld", "Deployed"), r.stdout)

	for _, port := range []string{"9000", "9001", "9002"} {
		t.Run(port, func(t *testing.T) {
			addr := here.addr + ":" + port
			for _, h2 := range []bool{false, true} {
				rsp, body := there.ask(t, h2, request(t, http.MethodGet, addr, "/functions/helloworld", ""))
				unauthenticated(t, rsp, body)
				// Pretending to be somebody else changes nothing.
				req := request(t, http.MethodGet, addr, "/details", "")
				req.Host = "localhost"
				req.Header.Set("X-Forwarded-For", "127.0.0.1")
				rsp, body = there.ask(t, h2, req)
				unauthenticated(t, rsp, body)
				rsp, _ = there.ask(t, h2, request(t, http.MethodGet, addr, "/healthz", ""))
				assert.Equal(t, http.StatusOK, rsp.StatusCode, "health is for everybody")
			}
			status, message := there.rpc(t, addr, addr, proto.Functions_Details_FullMethodName)
			assert.Equal(t, withoutToken, status)
			assert.Contains(t, message, "other machines")
			for _, kind := range []string{"rpc", "http"} {
				for _, args := range [][]string{{"list"}, {"stop", "HelloWorld"}, {"deploy", dir}} {
					r := m[1].cli(t, append(args, "-proxy", addr, "-transport", kind)...)
					assert.Equal(t, 7, r.code, r.stderr)
					assert.Contains(t, r.stderr, "-insecure")
				}
			}
		})
	}
	t.Run("functions", func(t *testing.T) {
		r := here.cli(t, "-o", "json", "list")
		var list []row
		require.NoError(t, json.Unmarshal([]byte(r.stdout), &list), r.stdout)
		u, err := url.Parse(list[0].Proxy)
		require.NoError(t, err)
		_, err = there(t.Context(), "tcp", net.JoinHostPort(here.addr, u.Port()))
		assert.ErrorIs(t, err, unix.ECONNREFUSED, "without -expose they listen on loopback alone")
	})
	r = here.cli(t, "invoke", "HelloWorld")
	assert.Equal(t, "Hello, World!\n", r.stdout, "nothing has happened: %s", r.stderr)
}

// With -insecure three machines work together.
func TestThreeMachines(t *testing.T) {
	t.Parallel()
	m := newMachines(t, 3)
	worker, front, desk := m[0], m[1], m[2]
	a := launch(t, worker.command(t, "agent", "-insecure", "-expose", "-host", worker.addr, "-dir", t.TempDir(), "-cache", cache(t)))
	p := launch(t, front.command(t, "proxy", "-insecure", "-dir", t.TempDir()))
	for _, s := range []*server{a, p} {
		eventually(t, func() bool { return strings.Contains(s.String(), "INSECURE") }, "it is not said loudly")
	}
	dir := folder(t, tree{
		"hello.go":    hello,
		"deploy.json": `{"deploy": [{"packageDir": ".", "name": "HelloWorld", "agentAddr": ["` + worker.addr + `:9000"]}]}`,
	})
	functions := "http://" + front.addr + ":9002/functions/helloworld"
	for _, d := range []door{{kind: "rpc", addr: front.addr + ":9001"}, {kind: "http", addr: front.addr + ":9002"}} {
		r := desk.cli(t, "-proxy", d.addr, "-transport", d.kind, "def", "-wait", filepath.Join(dir, "deploy.json"))
		require.Zero(t, r.code, r.stderr)
		assert.Equal(t, line("HelloWorld", functions, "Deployed"), r.stdout)
		r = desk.cli(t, "-proxy", d.addr, "-transport", d.kind, "invoke", "HelloWorld")
		assert.Equal(t, "Hello, World!\n", r.stdout, r.stderr)
		r = desk.cli(t, "-proxy", d.addr, "-transport", d.kind, "log", "HelloWorld")
		assert.Contains(t, r.stdout, "deploying at /helloworld\n")
		r = desk.cli(t, "-proxy", d.addr, "-transport", d.kind, "-o", "json", "list", worker.addr+":9000")
		var list []row
		require.NoError(t, json.Unmarshal([]byte(r.stdout), &list), r.stdout)
		require.Len(t, list, 1)
		assert.Equal(t, worker.addr+":9000", list[0].AtAgent)
		assert.Regexp(t, `^http://198\.18\.0\.1:5\d\d\d$`, list[0].Proxy)
		for _, at := range []string{list[0].URL, list[0].Proxy + "/helloworld"} {
			u, err := url.Parse(at)
			require.NoError(t, err)
			rsp, body := dialer(desk.dial).ask(t, false, request(t, http.MethodGet, u.Host, u.Path, ""))
			assert.Equal(t, http.StatusOK, rsp.StatusCode)
			assert.Equal(t, "Hello, World!\n", body, at)
		}
	}
	t.Run("the agent itself answers with urls that the desk reaches", func(t *testing.T) {
		r := desk.cli(t, "-proxy", worker.addr+":9000", "-o", "json", "details")
		var list []row
		require.NoError(t, json.Unmarshal([]byte(r.stdout), &list), r.stdout)
		assert.Regexp(t, `^http://198\.18\.0\.1:5\d\d\d/helloworld$`, list[0].URL)
	})
	t.Run("a folder on the server's disk is not for callers elsewhere", func(t *testing.T) {
		for _, addr := range []string{worker.addr + ":9000", front.addr + ":9002"} {
			body := fmt.Sprintf(`[{"name": "HelloWorld", "dir": %q, "toAgent": %q}]`, dir, worker.addr+":9000")
			rsp, answer := dialer(desk.dial).ask(t, false, request(t, http.MethodPost, addr, "/deploy", body))
			assert.Equal(t, http.StatusForbidden, rsp.StatusCode, answer)
			assert.Equal(t, "forbidden", errorOf(t, answer).Code)
		}
	})
	t.Run("a protected proxy connects to no other machine", func(t *testing.T) {
		launch(t, front.command(t, "proxy", "-dir", t.TempDir(), "-http", ":9102", "-rpc", ":9101"))
		r := front.cli(t, "-proxy", "localhost:9101", "list", worker.addr+":9000")
		assert.Equal(t, 5, r.code, "%+v", r)
		assert.Contains(t, r.stderr, "is not known")
		r = front.cli(t, "-proxy", "localhost:9101", "deploy", "-agent", worker.addr+":9000", dir)
		assert.Equal(t, 7, r.code, "%+v", r)
		assert.Contains(t, r.stderr, "-insecure")
	})
}

// Being on this machine is not enough: web pages and gateways are, too.
func TestBrowsersAndGatewaysAreRefused(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	mustDeploy(t, s.proxy.http, "HelloWorld", source(t, hello), s.agent.addr)
	var plain dialer = new(net.Dialer).DialContext
	for _, addr := range []string{s.agent.addr, s.proxy.http, s.proxy.rpc} {
		for _, h2 := range []bool{false, true} {
			for _, host := range []string{"evil.example", "evil.example:9000", "localhost.evil.example", "evil.internal.example"} {
				for _, c := range routes {
					req := request(t, c.method, addr, c.path, c.body)
					req.Host = host
					rsp, body := plain.ask(t, h2, req)
					forbidden(t, rsp, body)
				}
				req := request(t, http.MethodGet, addr, "/functions/helloworld", "")
				req.Host = host
				rsp, body := plain.ask(t, h2, req)
				forbidden(t, rsp, body)
			}
			for name, value := range map[string]string{
				"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site",
				"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "localhost", "Forwarded": "for=127.0.0.1",
			} {
				browser := name == "Origin" || name == "Sec-Fetch-Site"
				for _, c := range routes {
					if safe := c.method == "GET" || c.method == "HEAD" || c.method == "OPTIONS"; browser && safe {
						continue // a page cannot read the answers
					}
					req := request(t, c.method, addr, c.path, c.body)
					req.Header.Set(name, value)
					rsp, body := plain.ask(t, h2, req)
					if browser {
						forbidden(t, rsp, body)
					} else {
						unauthenticated(t, rsp, body)
					}
				}
				for _, path := range detours {
					req := request(t, http.MethodGet, addr, path, "")
					req.Header.Set(name, value)
					rsp, body := plain.ask(t, h2, req)
					assert.Contains(t, []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound}, rsp.StatusCode, path)
					assert.NotContains(t, body, "HelloWorld", path)
				}
				if addr == s.agent.addr {
					continue
				}
				for _, method := range []string{http.MethodGet, http.MethodPost} {
					req := request(t, method, addr, "/functions/helloworld", "")
					req.Header.Set(name, value)
					rsp, body := plain.ask(t, h2, req)
					if browser {
						forbidden(t, rsp, body) // the function would have run
					} else {
						unauthenticated(t, rsp, body)
					}
				}
			}
		}
		for _, method := range methods() {
			status, message := plain.rpc(t, addr, "evil.example", method)
			if method == proto.Functions_Join_FullMethodName || method == proto.Functions_Renew_FullMethodName {
				assert.NotEqual(t, "0", status, "what it takes is in the call itself")
				continue
			}
			assert.Equal(t, permissionDenied, status, method)
			assert.Contains(t, message, "evil.example")
		}
	}
	status, answer := fetch(t, http.MethodGet, "http://"+s.proxy.http+"/functions/helloworld", "")
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "Hello, World!\n", answer, "nothing has happened")
}
