package transport_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
)

const helloSource = `package hello

import "net/http"

func HelloWorld(w http.ResponseWriter, r *http.Request) {}
`

// source writes the package of HelloWorld and returns its folder.
func source(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "hello")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "helloWorld.go"), []byte(helloSource), 0o644))
	return dir
}

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

var bothKinds = []transport.Kind{transport.RPC, transport.HTTP}

// someKey is the key of no program.
var someKey = strings.Repeat("0", 64)

// connect returns a client that is closed with the test.
func connect(t *testing.T, kind transport.Kind, addr string, opts ...transport.Option) *transport.Client {
	t.Helper()
	cli := transport.NewAgent(kind, addr, opts...)
	t.Cleanup(func() { assert.NoError(t, cli.Close()) })
	return cli
}

// everyCall makes each call of a client and returns the errors.
func everyCall(ctx context.Context, t *testing.T, cli *transport.Client) map[string]error {
	t.Helper()
	errs := make(map[string]error)
	_, errs["deploy"] = cli.Deploy(ctx, &proto.FunctionJson{Name: "HelloWorld", Dir: source(t)})
	_, errs["stop"] = cli.Stop(ctx, "HelloWorld")
	_, errs["list"] = cli.List(ctx, "localhost:9000")
	_, errs["log"] = cli.Log(ctx, "HelloWorld")
	_, errs["details"] = cli.Details(ctx)
	errs["watch"] = cli.Watch(ctx, func(*proto.WatchEvent) error { return nil })
	_, errs["versions"] = cli.Versions(ctx, "HelloWorld")
	_, errs["source"] = cli.Source(ctx, "HelloWorld", 1)
	_, errs["rollback"] = cli.Rollback(ctx, "HelloWorld", 1)
	_, errs["shift"] = cli.Shift(ctx, "HelloWorld", 50)
	_, errs["crashes"] = cli.Crashes(ctx, "HelloWorld")
	errs["logs"] = cli.Logs(ctx, &proto.LogsRequest{Name: "HelloWorld"}, func(*proto.LogLines) error { return nil })
	_, errs["usage"] = cli.Usage(ctx, "")
	_, errs["wake"] = cli.Wake(ctx, "HelloWorld", 1)
	_, errs["build"] = cli.Build(ctx, &proto.FunctionJson{Name: "HelloWorld", Dir: source(t)})
	_, _, errs["open program"] = cli.OpenProgram(ctx, someKey)
	errs["keep program"] = cli.KeepProgram(ctx, &proto.Program{Key: someKey}, strings.NewReader("program"))
	return errs
}

func TestBadAddressIsReportedByTheFirstCall(t *testing.T) {
	for _, c := range []struct {
		kind transport.Kind
		addr string
	}{{transport.RPC, "nowhere"}, {transport.HTTP, "ftp://localhost:9002"}, {"smoke", "localhost:9000"}} {
		for call, err := range everyCall(t.Context(), t, connect(t, c.kind, c.addr)) {
			require.ErrorIs(t, err, proto.ErrInvalid, "%s to %s", call, c.addr)
		}
	}
}

func TestAddressWithoutServerFailsAtOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	for _, kind := range bothKinds {
		start := time.Now()
		for call, err := range everyCall(t.Context(), t, connect(t, kind, addr)) {
			require.ErrorIs(t, err, proto.ErrUnavailable, "%s: %s", kind, call)
			assert.Contains(t, err.Error(), "cannot reach "+addr+": ", "%s: %s", kind, call)
			assert.Contains(t, err.Error(), "connection refused", "%s: %s", kind, call)
			assert.NotEmpty(t, proto.AsError(err).Hint)
		}
		assert.Less(t, time.Since(start), time.Minute/2)
		_, err := connect(t, kind, "no-such-host.invalid:9000").Details(t.Context())
		require.ErrorIs(t, err, proto.ErrUnavailable)
		assert.Contains(t, err.Error(), "no-such-host.invalid:9000")
	}
}

func TestClientsComeBackWithTheServer(t *testing.T) {
	fake := transporttest.NewFake(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	for _, kind := range bothKinds {
		cli := connect(t, kind, addr)
		_, err := cli.Details(t.Context())
		require.ErrorIs(t, err, proto.ErrUnavailable)

		l, err := net.Listen("tcp", addr)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() {
			served <- server.Serve(ctx, fake, server.Config{Listeners: []net.Listener{l}, Store: fake.Store()})
		}()
		require.Eventually(t, func() bool { _, err := cli.Details(t.Context()); return err == nil }, time.Minute, 10*time.Millisecond)
		cancel()
		require.NoError(t, <-served)
	}
}

// talker is a server that sends each caller the same bytes and no more.
func talker(t *testing.T, says string, hangUp bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var callers sync.WaitGroup
	callers.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			callers.Go(func() {
				_, _ = io.WriteString(conn, says)
				if !hangUp {
					_, _ = io.Copy(io.Discard, conn)
				}
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		assert.NoError(t, l.Close())
		callers.Wait()
	})
	return l.Addr().String()
}

func TestStrangersAreTold(t *testing.T) {
	page := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<html>Welcome</html>")
	}
	handlers := map[string]http.HandlerFunc{
		"a web page":       page,
		"a page not found": http.NotFound,
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://example.com/", http.StatusFound)
		},
		"another JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"message": "hi"}`) },
		"another JSON error": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			_, _ = io.WriteString(w, `{"error": "no"}`)
		},
	}
	for name, handler := range handlers {
		for _, http2 := range []bool{false, true} {
			web := httptest.NewUnstartedServer(handler)
			web.Config.Protocols = new(http.Protocols)
			web.Config.Protocols.SetHTTP1(true)
			web.Config.Protocols.SetUnencryptedHTTP2(http2)
			web.Start()
			t.Cleanup(web.Close)
			for _, kind := range bothKinds {
				for call, err := range everyCall(t.Context(), t, connect(t, kind, web.URL)) {
					require.Error(t, err, "%s over %s, %s", name, kind, call)
					assert.ErrorIs(t, err, proto.ErrUnavailable, "%s over %s, %s", name, kind, call)
					assert.Contains(t, err.Error(), "neither a proxy nor an agent", "%s over %s, %s", name, kind, call)
				}
			}
		}
	}
	for name, says := range map[string]string{"an SSH server": "SSH-2.0-OpenSSH_9.9\r\n", "noise": strings.Repeat("\x00\xff", 100) + "\r\n"} {
		addr := talker(t, says, false)
		for _, kind := range bothKinds {
			for call, err := range everyCall(t.Context(), t, connect(t, kind, addr)) {
				assert.ErrorIs(t, err, proto.ErrUnavailable, "%s over %s, %s", name, kind, call)
				assert.Contains(t, err.Error(), addr, "%s over %s, %s", name, kind, call)
			}
		}
	}
	addr := talker(t, "", true)
	for _, kind := range bothKinds {
		for call, err := range everyCall(t.Context(), t, connect(t, kind, addr)) {
			assert.ErrorIs(t, err, proto.ErrUnavailable, "one that hangs up over %s, %s", kind, call)
		}
	}
}

func TestASilentServerFailsWithTheContext(t *testing.T) {
	addr := talker(t, "", false)
	for _, kind := range bothKinds {
		cli := connect(t, kind, addr)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		for call, err := range everyCall(ctx, t, cli) {
			require.ErrorIs(t, err, proto.ErrTimeout, "%s: %s", kind, call)
			require.ErrorIs(t, err, context.DeadlineExceeded, "%s: %s", kind, call)
		}
		cancel()
	}
}

func TestAnswersAreBounded(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Ryo-Api", "v1")
		_, _ = io.Copy(w, io.LimitReader(zeros{}, 64<<20))
	}))
	t.Cleanup(web.Close)
	_, err := connect(t, transport.HTTP, web.URL).Details(t.Context())
	require.ErrorIs(t, err, proto.ErrTooLarge)
}

func TestProxiesOfTheEnvironmentAreNotUsed(t *testing.T) {
	fake := transporttest.NewFake(t)
	addr := transporttest.Serve(t, fake, server.Config{Store: fake.Store(), Hosts: []string{"node-a"}})
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	for _, kind := range bothKinds {
		_, err := connect(t, kind, addr).Details(t.Context())
		require.NoError(t, err)
	}
}

func TestProgressOfADeploy(t *testing.T) {
	fake := transporttest.NewFake(t)
	addr := transporttest.Serve(t, fake, server.Config{Store: fake.Store()})
	fn := &proto.FunctionJson{Name: "HelloWorld", Dir: source(t)}
	for i, kind := range bothKinds {
		var seen []transport.Progress
		cli := connect(t, kind, addr, transport.WithProgress(func(p transport.Progress) { seen = append(seen, p) }))
		require.NoError(t, os.WriteFile(fn.GetDir()+"/helloWorld.go", []byte(helloSource+strings.Repeat("\n", i)), 0o644))
		for range 2 {
			_, err := cli.Deploy(t.Context(), fn)
			require.NoError(t, err)
		}
		require.Len(t, seen, 3, "the second deploy uploads nothing")
		assert.Equal(t, transport.Progress{Function: "HelloWorld", Stage: transport.Packing}, seen[0])
		assert.Equal(t, transport.Uploading, seen[1].Stage)
		assert.Equal(t, seen[1].Total, seen[1].Done)
		assert.Equal(t, transport.Packing, seen[2].Stage)
	}
}

func TestAPlanUploadsNothing(t *testing.T) {
	for _, kind := range bothKinds {
		fake := transporttest.NewFake(t)
		var seen []transport.Progress
		cli := connect(t, kind, transporttest.Serve(t, fake, server.Config{Store: fake.Store()}), transport.WithProgress(func(p transport.Progress) { seen = append(seen, p) }))
		rows, err := cli.Deploy(t.Context(), &proto.FunctionJson{Name: "HelloWorld", Dir: source(t), Plan: true})
		require.NoError(t, err)
		assert.Equal(t, "create", rows[0].GetChange())
		assert.Equal(t, []transport.Progress{{Function: "HelloWorld", Stage: transport.Packing}}, seen)
		assert.False(t, fake.Store().Has(rows[0].GetPackage()))
	}
}

func TestClientDeploysRelativeFolders(t *testing.T) {
	fake := transporttest.NewFake(t)
	cli := connect(t, transport.HTTP, transporttest.Serve(t, fake, server.Config{Store: fake.Store()}))
	t.Chdir(source(t) + "/..")
	for _, fn := range []*proto.FunctionJson{
		{Name: "HelloWorld", Dir: "hello"},
		{Name: "HelloWorld", FilePath: "hello/helloWorld.go"},
		{Name: "HelloWorld", Dir: "hello", FilePath: "helloWorld.go"},
	} {
		fn.Wait = true
		rows, err := cli.Deploy(t.Context(), fn)
		require.NoError(t, err, "%s", fn)
		assert.Equal(t, string(proto.Deployed), rows[0].GetStatus(), "%s", fn)
	}
}
