package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

const helloSource = `package hello

import "net/http"

func HelloWorld(w http.ResponseWriter, r *http.Request) {}
`

var bothKinds = []transport.Kind{transport.RPC, transport.HTTP}

// connect returns a client that is closed with the test.
func connect(t *testing.T, kind transport.Kind, addr string) *transport.Client {
	t.Helper()
	cli := transport.NewAgent(kind, addr)
	t.Cleanup(func() { assert.NoError(t, cli.Close()) })
	return cli
}

// source writes the package of HelloWorld and returns its folder.
func source(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "hello")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "helloWorld.go"), []byte(helloSource), 0o644))
	return dir
}

// archive is the package of HelloWorld.
func archive(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	_, err := bundle.Pack(t.Context(), &proto.FunctionJson{Name: "HelloWorld", Dir: source(t)}, &b)
	require.NoError(t, err)
	return b.Bytes()
}

// answer makes an HTTP call and returns the answer's status and JSON.
func answer(t *testing.T, method, url, kind, body string) (int, any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	rsp, err := client(t).Do(req)
	require.NoError(t, err)
	defer func() { _ = rsp.Body.Close() }()
	assert.Equal(t, "application/json", rsp.Header.Get("Content-Type"))
	var v any
	require.NoError(t, json.NewDecoder(rsp.Body).Decode(&v))
	return rsp.StatusCode, v
}

// The contract's own examples, with the fake's addresses.
func TestContractsExamples(t *testing.T) {
	fake := transporttest.NewFake(t)
	base := "http://" + serve(t, fake, fake, server.Config{})
	dir := source(t)
	definition := fmt.Sprintf(`[{"dir": %q, "name": "HelloWorld", "filePath": %q, "toAgent": "localhost:9000"}]`, dir, filepath.Join(dir, "helloWorld.go"))
	has := func(v any, status string) {
		t.Helper()
		row, ok := v.(map[string]any)
		require.True(t, ok, "%v", v)
		for key, want := range map[string]string{"name": "HelloWorld", "status": status, "atAgent": "localhost:9000"} {
			assert.Equal(t, want, row[key], key)
		}
		assert.Regexp(t, `^http://localhost:\d+$`, row["proxy"])
		assert.Equal(t, fmt.Sprint(row["proxy"], "/helloworld"), row["url"])
	}
	hasOne := func(code int, v any) func(status string) {
		t.Helper()
		require.Equal(t, http.StatusOK, code, "%v", v)
		require.Len(t, v, 1)
		return func(status string) { t.Helper(); has(v.([]any)[0], status) }
	}

	code, v := answer(t, "GET", base+"/details", "", "")
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, []any{}, v, "none is an empty list")

	hasOne(answer(t, "POST", base+"/deploy", "application/json", definition))("Deploying")
	hasOne(answer(t, "POST", base+"/deploy?wait=true", "", definition))("Deployed")
	hasOne(answer(t, "GET", base+"/details", "", ""))("Deployed")
	hasOne(answer(t, "POST", base+"/list", "", `{"atAgent": "localhost:9000"}`))("Deployed")
	hasOne(answer(t, "POST", base+"/list", "", `{"agentAddr": ["http://localhost:9000"]}`))("Deployed")

	code, v = answer(t, "GET", base+"/log?entrypoint=HelloWorld", "", "")
	require.Equal(t, http.StatusOK, code)
	assert.True(t, strings.HasPrefix(v.(map[string]any)["logs"].(string), "deploying at /helloworld\n"))
	has(v.(map[string]any)["function"], "Deployed")

	code, v = answer(t, "POST", base+"/stop", "", `{"name": "HelloWorld"}`)
	require.Equal(t, http.StatusOK, code)
	has(v, "Stopped")
}

// form returns a multipart body of parts, each a name and its content.
func form(t *testing.T, parts ...[2]string) (kind, body string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		part, err := w.CreateFormFile(p[0], "x")
		require.NoError(t, err)
		_, err = io.WriteString(part, p[1])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return w.FormDataContentType(), b.String()
}

func TestMultipartDeploy(t *testing.T) {
	fake := transporttest.NewFake(t)
	base := "http://" + serve(t, fake, fake, server.Config{})
	pkg := [2]string{"package", string(archive(t))}
	definition := [2]string{"definition", `[{"name": "HelloWorld", "filePath": "/home/me/hello/helloWorld.go"}]`}
	for _, parts := range [][][2]string{{definition, pkg}, {pkg, definition}} {
		kind, body := form(t, parts...)
		code, v := answer(t, "POST", base+"/deploy?wait=1", kind, body)
		require.Equal(t, http.StatusOK, code, "%v", v)
		assert.Equal(t, "Deployed", v.([]any)[0].(map[string]any)["status"])
	}

	many := make([][2]string, 65)
	for i := range many {
		many[i] = pkg
	}
	for name, c := range map[string]struct {
		parts   [][2]string
		code    int
		message string
	}{
		"no package":        {[][2]string{definition}, 400, "has no package: 0 came for 1 functions"},
		"no definition":     {[][2]string{pkg}, 400, "1 packages came for 0 functions"},
		"two packages":      {[][2]string{pkg, definition, pkg}, 400, "2 packages came for 1 functions"},
		"two definitions":   {[][2]string{definition, definition, pkg}, 400, "two parts"},
		"a dir":             {[][2]string{{"definition", `[{"name": "HelloWorld", "dir": "/x"}]`}, pkg}, 400, "has a dir"},
		"a wrong name":      {[][2]string{{"definitoin", "[]"}, pkg}, 400, `unknown key "definitoin"`},
		"no archive":        {[][2]string{definition, {"package", "not a zip"}}, 400, ""},
		"a bad definition":  {[][2]string{{"definition", `{`}, pkg}, 400, "not a JSON array"},
		"too many":          {many, 413, "more than 64 packages"},
		"a long definition": {[][2]string{{"definition", `[` + strings.Repeat(" ", 1<<20) + `]`}}, 413, "larger than"},
	} {
		kind, body := form(t, c.parts...)
		code, v := answer(t, "POST", base+"/deploy", kind, body)
		assert.Equal(t, c.code, code, "%s: %v", name, v)
		assert.Contains(t, fmt.Sprint(v), c.message, name)
	}
	kind, body := form(t, definition, pkg)
	code, v := answer(t, "POST", base+"/deploy", kind, body[:len(body)-40])
	assert.Equal(t, http.StatusBadRequest, code, "cut: %v", v)
	code, v = answer(t, "POST", base+"/deploy", "multipart/form-data", body)
	assert.Equal(t, http.StatusBadRequest, code, "no boundary: %v", v)
}

func TestBadInputIsRefusedAndTheServerGoesOn(t *testing.T) {
	fake := transporttest.NewFake(t)
	base := "http://" + serve(t, fake, fake, server.Config{})
	dir := source(t)
	huge := strings.Repeat(" ", 1<<20+1)
	for _, c := range []struct {
		method, path, body string
		code               int
		word               string
	}{
		{"POST", "/deploy", ``, 400, "invalid"},
		{"POST", "/deploy", `{}`, 400, "invalid"},
		{"POST", "/deploy", `[]`, 400, "invalid"},
		{"POST", "/deploy", `[null]`, 400, "invalid"},
		{"POST", "/deploy", `[{}]`, 400, "invalid"},
		{"POST", "/deploy", `[{"name": "Hello;rm", "dir": "` + dir + `"}]`, 400, "invalid"},
		{"POST", "/deploy", `[{"name": "HelloWorld", "dir": "hello"}]`, 400, "invalid"},
		{"POST", "/deploy", `[{"name": "HelloWorld", "filePath": "hello/helloWorld.go"}]`, 400, "invalid"},
		{"POST", "/deploy", `[{"name": "HelloWorld", "dir": "/nowhere/at/all"}]`, 400, "invalid"},
		{"POST", "/deploy", `[{"name": "HelloWorld"}]`, 400, "invalid"},
		{"POST", "/deploy", `[{"name": "HelloWorld", "package": "sha256:` + strings.Repeat("0", 64) + `"}]`, 404, "not_found"},
		{"POST", "/deploy", `[{"name": "HelloWorld", "package": "../../x"}]`, 400, "invalid"},
		{"POST", "/deploy?wait=maybe", `[]`, 400, "invalid"},
		{"POST", "/deploy?wiat=true", `[]`, 400, "invalid"},
		{"POST", "/deploy", huge, 413, "too_large"},
		{"POST", "/list", huge, 413, "too_large"},
		{"POST", "/list", `{"atAgent": 9000}`, 400, "invalid"},
		{"POST", "/list", ``, 400, "invalid"},
		{"POST", "/list", `{}`, 400, "invalid"},
		{"POST", "/list", `{"atAgent": "elsewhere:9000"}`, 404, "not_found"},
		{"POST", "/stop", `{"nam": "HelloWorld"}`, 400, "invalid"},
		{"POST", "/stop", `{"name": "Missing"}`, 404, "not_found"},
		{"GET", "/log?entrypoint=Missing", ``, 404, "not_found"},
		{"GET", "/log", ``, 400, "invalid"},
		{"GET", "/log?entry=x", ``, 400, "invalid"},
		{"GET", "/details?name=HelloWorld", ``, 400, "invalid"},
		{"PUT", "/packages/x", `zip`, 400, "invalid"},
		{"PUT", "/packages/" + "sha256:" + strings.Repeat("0", 64), `zip`, 400, "invalid"},
		{"GET", "/watch?name=HelloWorld", ``, 400, "invalid"},
		{"GET", "/functions/helloworld", ``, 404, "not_found"},
		{"GET", "/details/", ``, 404, "not_found"},
		{"POST", "/../etc/passwd", ``, 404, "not_found"},
		{"GET", "/deploy", ``, 405, "unsupported"},
		{"DELETE", "/details", ``, 405, "unsupported"},
		{"BREW", "/list", ``, 405, "unsupported"},
	} {
		code, v := answer(t, c.method, base+c.path, "", c.body)
		assert.Equal(t, c.code, code, "%s %s %.80s: %v", c.method, c.path, c.body, v)
		e, _ := v.(map[string]any)["error"].(map[string]any)
		assert.Equal(t, c.word, e["code"], "%s %s: %v", c.method, c.path, v)
		assert.NotEmpty(t, e["message"], "%s %s", c.method, c.path)
		assert.Contains(t, e, "hint")
	}
	code, v := answer(t, "GET", base+"/details", "", "")
	assert.Equal(t, http.StatusOK, code)
	assert.Empty(t, v)
}

// faulty is an implementer with faults.
type faulty struct{ transport.Interface }

func (faulty) Details(context.Context) ([]*proto.FunctionJsonRsp, error) { panic("details") }

func (faulty) Watch(context.Context, func(*proto.WatchEvent) error) error { panic("watch") }

func (faulty) List(_ context.Context, atAgent string) ([]*proto.FunctionJsonRsp, error) {
	return nil, errors.New("no kind for " + atAgent)
}

func (faulty) Log(context.Context, string) (*proto.FunctionLogs, error) {
	return &proto.FunctionLogs{Logs: strings.Repeat("x", 17<<20)}, nil
}

func TestFaultsOfAnImplementerStayInTheirCall(t *testing.T) {
	fake := transporttest.NewFake(t)
	addr := serve(t, faulty{fake}, fake, server.Config{})
	for _, kind := range []transport.Kind{transport.RPC, transport.HTTP} {
		cli := transport.NewAgent(kind, addr)
		t.Cleanup(func() { assert.NoError(t, cli.Close()) })
		for range 2 {
			_, err := cli.Details(t.Context())
			require.ErrorIs(t, err, proto.ErrInternal, "%s", kind)
			require.ErrorIs(t, cli.Watch(t.Context(), func(*proto.WatchEvent) error { return nil }), proto.ErrInternal, "%s", kind)
			_, err = cli.List(t.Context(), "a:1")
			require.ErrorIs(t, err, proto.ErrInternal, "%s", kind)
			assert.Equal(t, "no kind for a:1", err.Error())
		}
		_, err := cli.Log(t.Context(), "F")
		require.ErrorIs(t, err, proto.ErrTooLarge, "%s", kind)
		_, err = cli.Stop(t.Context(), "Missing")
		require.ErrorIs(t, err, proto.ErrNotFound)
	}
}

// crowded is an implementer with many rows.
type crowded struct{ transport.Interface }

func (crowded) Details(context.Context) ([]*proto.FunctionJsonRsp, error) {
	rows := make([]*proto.FunctionJsonRsp, 2000)
	for i := range rows {
		rows[i] = &proto.FunctionJsonRsp{Name: fmt.Sprintf("Function%d", i), Status: "Failed", Error: strings.Repeat("e", 4<<10)}
	}
	return rows, nil
}

func TestListsHoldTwoThousandRows(t *testing.T) {
	fake := transporttest.NewFake(t)
	addr := serve(t, crowded{fake}, fake, server.Config{})
	for _, kind := range []transport.Kind{transport.RPC, transport.HTTP} {
		cli := transport.NewAgent(kind, addr)
		t.Cleanup(func() { assert.NoError(t, cli.Close()) })
		rows, err := cli.Details(t.Context())
		require.NoError(t, err)
		assert.Len(t, rows, 2000)
	}
}

// asked is an implementer that says which caller asked.
type asked struct{ transport.Interface }

func (asked) Details(ctx context.Context) ([]*proto.FunctionJsonRsp, error) {
	caller := server.CallerFrom(ctx)
	if len(caller.RequestID) == 26 { // a new one
		caller.RequestID = "mine"
	}
	caller.Peer = "" // its port is any
	return []*proto.FunctionJsonRsp{{Name: fmt.Sprintf("%+v", caller)}}, nil
}

func TestCallersAreKnown(t *testing.T) {
	fake := transporttest.NewFake(t)
	far, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	near := serve(t, asked{fake}, fake, server.Config{Listeners: []net.Listener{abroad{far}}, Insecure: true})
	for _, c := range []struct {
		kind transport.Kind
		addr string
		want string
	}{
		{transport.RPC, near, "{Kind:rpc Host:" + near + " Own:true Who:local Token:<nil> sent:<nil> Secure:false Peer: Agent: uncertified:<nil> invoke:<nil> RequestID:mine}"},
		{transport.HTTP, near, "{Kind:http Host:" + near + " Own:true Who:local Token:<nil> sent:<nil> Secure:false Peer: Agent: uncertified:<nil> invoke:<nil> RequestID:mine}"},
		{transport.RPC, far.Addr().String(), "{Kind:rpc Host:" + far.Addr().String() + " Own:false Who:192.0.2.7 Token:<nil> sent:<nil> Secure:false Peer: Agent: uncertified:<nil> invoke:<nil> RequestID:mine}"},
	} {
		cli := transport.NewAgent(c.kind, c.addr)
		t.Cleanup(func() { assert.NoError(t, cli.Close()) })
		rows, err := cli.Details(t.Context())
		require.NoError(t, err)
		assert.Equal(t, c.want, rows[0].GetName())
	}
	assert.Zero(t, server.CallerFrom(t.Context()))
}

func TestDirIsReadForStrangersBelowTheSourceRootOnly(t *testing.T) {
	fake := transporttest.NewFake(t)
	far, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	inside, outside := source(t), source(t)
	root, err := filepath.EvalSymlinks(filepath.Dir(inside))
	require.NoError(t, err)
	link := filepath.Join(root, "link")
	require.NoError(t, os.Symlink(outside, link))
	near := serve(t, fake, fake, server.Config{Listeners: []net.Listener{abroad{far}}, Insecure: true, SourceRoot: root})
	for _, c := range []struct {
		addr, source string
		code         int
	}{
		{near, `"dir": "` + outside + `"`, 200},
		{far.Addr().String(), `"dir": "` + inside + `"`, 200},
		{far.Addr().String(), `"filePath": "` + inside + `/helloWorld.go"`, 200},
		{far.Addr().String(), `"dir": "` + outside + `"`, 403},
		{far.Addr().String(), `"filePath": "` + outside + `/helloWorld.go"`, 403},
		{far.Addr().String(), `"dir": "` + link + `"`, 403},
		{far.Addr().String(), `"dir": "` + root + `/../` + filepath.Base(outside) + `"`, 403},
	} {
		code, v := answer(t, "POST", "http://"+c.addr+"/deploy?wait=true", "", `[{"name": "HelloWorld", `+c.source+`}]`)
		assert.Equal(t, c.code, code, "%s: %v", c.source, v)
	}
}

// A package may bring files of its module along that lie above its folder.
func TestTheSourceRootHoldsForTheWholeModule(t *testing.T) {
	fake := transporttest.NewFake(t)
	far, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	dir := source(t)
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(dir), "go.mod"), []byte("module m\n"), 0o600))
	serve(t, fake, fake, server.Config{Listeners: []net.Listener{abroad{far}}, Insecure: true, SourceRoot: dir})
	code, v := answer(t, "POST", "http://"+far.Addr().String()+"/deploy", "", `[{"name": "HelloWorld", "dir": "`+dir+`"}]`)
	assert.Equal(t, http.StatusForbidden, code, v)
}

func TestHealthAndReadiness(t *testing.T) {
	fake := transporttest.NewFake(t)
	var down error
	addr := serve(t, fake, fake, server.Config{
		Ready: func() error { return down }, About: map[string]any{"isolation": "full", "status": "not this one's"},
	})
	code, _ := answer(t, "GET", "http://"+addr+"/healthz", "", "")
	assert.Equal(t, http.StatusOK, code)
	code, v := answer(t, "GET", "http://"+addr+"/readyz", "", "")
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, map[string]any{"status": "ready", "isolation": "full"}, v)
	down = errors.New("no toolchain")
	code, v = answer(t, "GET", "http://"+addr+"/readyz", "", "")
	assert.Equal(t, http.StatusServiceUnavailable, code)
	assert.Contains(t, fmt.Sprint(v), "no toolchain")
}

// The connection of a peer that sends its headers too slowly is closed; one that sends
// too many is refused.
func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	fake := transporttest.NewFake(t)
	addr := serve(t, fake, fake, server.Config{})
	assert.Contains(t, string(raw(t, addr, "GET /details HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("x", 80<<10)+"\r\n\r\n")), "431")

	start := time.Now()
	assert.NotContains(t, string(raw(t, addr, "GET /details HTTP/1.1\r\nHost: localhost\r\nX: ")), "200 OK")
	assert.Less(t, time.Since(start), 20*time.Second)
	code, _ := answer(t, "GET", "http://"+addr+"/details", "", "")
	assert.Equal(t, http.StatusOK, code)
}

// zeros is an endless body; it counts what was taken.
type zeros struct{ taken atomic.Int64 }

func (z *zeros) Read(p []byte) (int, error) {
	z.taken.Add(int64(len(p)))
	clear(p)
	return len(p), nil
}

func TestAHugeBodyIsNotRead(t *testing.T) {
	fake := transporttest.NewFake(t)
	addr := serve(t, fake, fake, server.Config{})
	for _, c := range []struct{ method, path string }{{"POST", "/list"}, {"GET", "/details"}, {"POST", "/nowhere"}, {"PUT", "/packages/x"}} {
		body := new(zeros)
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+addr+c.path, body)
		require.NoError(t, err)
		rsp, err := client(t).Do(req)
		if err == nil { // else the server hung up, which will do
			assert.NoError(t, rsp.Body.Close())
		}
		assert.Less(t, body.taken.Load(), int64(64<<20), c.path)
	}
	code, _ := answer(t, "GET", "http://"+addr+"/details", "", "")
	assert.Equal(t, http.StatusOK, code)
}

func TestAnEndlessGRPCMessageIsRefused(t *testing.T) {
	fake := transporttest.NewFake(t)
	cli := proto.NewFunctionsClient(dial(t, serve(t, fake, fake, server.Config{}), "localhost"))
	_, err := cli.Stop(t.Context(), &proto.StopRequest{Name: strings.Repeat("x", 5<<20)})
	assert.Equal(t, codes.ResourceExhausted, status.Code(err))
	_, err = cli.Details(t.Context(), &proto.DetailsRequest{})
	require.NoError(t, err)
}

// Nobody who takes no right fills the memory.
func TestWhatAnybodyMaySendIsSmall(t *testing.T) {
	fake := transporttest.NewFake(t)
	addr := serve(t, fake, fake, server.Config{})
	cli := proto.NewFunctionsClient(dial(t, addr, "localhost"))
	for size, want := range map[int]struct {
		rpc  codes.Code
		http int
	}{wire.MaxOpen / 2: {codes.Unimplemented, http.StatusMethodNotAllowed}, wire.MaxOpen: {codes.ResourceExhausted, http.StatusRequestEntityTooLarge}} {
		_, err := cli.Join(t.Context(), &proto.JoinRequest{Id: strings.Repeat("x", size)})
		assert.Equal(t, want.rpc, status.Code(err), "%v", err)
		code, body := answer(t, "POST", "http://"+addr+"/agents/join", "application/json", `{"id": "`+strings.Repeat("x", size)+`"}`)
		assert.Equal(t, want.http, code, body)
	}
}

func TestUploadIsNotHeldInMemory(t *testing.T) {
	fake := transporttest.NewFake(t)
	addr := serve(t, fake, fake, server.Config{})
	stream, err := proto.NewFunctionsClient(dial(t, addr, "localhost")).Upload(t.Context())
	require.NoError(t, err)
	// One that is larger than a package may be is refused before it ends.
	chunk := &proto.PackageChunk{Digest: "sha256:" + strings.Repeat("0", 64), Data: make([]byte, 1<<20)}
	var sent int64
	for err == nil && sent < 1<<30 {
		err = stream.Send(chunk)
		sent += 1 << 20
	}
	assert.Less(t, sent, 2*bundle.DefaultLimits.Archive)
	_, err = stream.CloseAndRecv()
	assert.Equal(t, codes.ResourceExhausted, status.Code(err), "%v", err)
}

func TestUploadInOneChunkOrMany(t *testing.T) {
	fake := transporttest.NewFake(t)
	cli := proto.NewFunctionsClient(dial(t, serve(t, fake, fake, server.Config{}), "localhost"))
	zip := archive(t)
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(zip))
	for _, size := range []int{len(zip), 1} {
		stream, err := cli.Upload(t.Context())
		require.NoError(t, err)
		for at := 0; at < len(zip); at += size {
			if err = stream.Send(&proto.PackageChunk{Digest: digest, Data: zip[at : at+size]}); err != nil {
				break // it was stored already
			}
		}
		ref, err := stream.CloseAndRecv()
		require.NoError(t, err)
		assert.Equal(t, digest, ref.GetDigest())
	}
	stream, err := cli.Upload(t.Context())
	require.NoError(t, err)
	_, err = stream.CloseAndRecv()
	assert.Equal(t, codes.InvalidArgument, status.Code(err), "an upload without a chunk: %v", err)
}

func TestEventsAreNotHeldBack(t *testing.T) {
	fake := transporttest.NewFake(t)
	addr := serve(t, fake, fake, server.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+addr+"/watch", nil)
	require.NoError(t, err)
	rsp, err := client(t).Do(req)
	require.NoError(t, err)
	defer func() { _ = rsp.Body.Close() }()
	assert.Equal(t, "text/event-stream", rsp.Header.Get("Content-Type"))
	lines := bufio.NewScanner(rsp.Body)
	require.True(t, lines.Scan())
	assert.JSONEq(t, `{"functions": [], "snapshot": true, "heartbeat": 2}`, strings.TrimPrefix(lines.Text(), "data: "))
}

// slow is an implementer whose Details lasts until it is told to go on.
type slow struct {
	transport.Interface
	begun, goOn chan struct{}
}

func (s slow) Details(ctx context.Context) ([]*proto.FunctionJsonRsp, error) {
	close(s.begun)
	<-s.goOn
	return s.Interface.Details(ctx)
}

func TestServeClosesStreamsAndDrainsCalls(t *testing.T) {
	for _, kind := range []transport.Kind{transport.RPC, transport.HTTP} {
		fake := transporttest.NewFake(t)
		impl := slow{fake, make(chan struct{}), make(chan struct{})}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		served := make(chan error, 1)
		go func() {
			served <- server.Serve(ctx, impl, server.Config{Listeners: []net.Listener{l}, Store: fake.Store()})
		}()
		cli := transport.NewAgent(kind, l.Addr().String())
		t.Cleanup(func() { assert.NoError(t, cli.Close()) })

		watched, called := make(chan error, 1), make(chan error, 1)
		snapshot := make(chan struct{})
		go func() {
			watched <- cli.Watch(t.Context(), func(*proto.WatchEvent) error { close(snapshot); return nil })
		}()
		go func() { _, err := cli.Details(t.Context()); called <- err }()
		<-snapshot
		<-impl.begun
		cancel()
		require.ErrorIs(t, <-watched, proto.ErrUnavailable, "%s", kind)
		select {
		case err := <-served:
			require.Fail(t, "stopped before its last call", "%v", err)
		default:
		}
		close(impl.goOn)
		require.NoError(t, <-called, "%s", kind)
		require.NoError(t, <-served)
		_, err = cli.Stop(t.Context(), "Missing")
		require.ErrorIs(t, err, proto.ErrUnavailable, "%s", kind)
	}
}

func TestServeReturnsTheErrorOfAListener(t *testing.T) {
	fake := transporttest.NewFake(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.Error(t, server.Serve(t.Context(), fake, server.Config{Listeners: []net.Listener{l}, Store: fake.Store()}))
}

// One address speaks gRPC, HTTP/1 and HTTP/2 without TLS.
func TestEveryListenerSpeaksHTTP2(t *testing.T) {
	fake := transporttest.NewFake(t)
	addr := serve(t, fake, fake, server.Config{})
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(h2.CloseIdleConnections)
	rsp, err := (&http.Client{Transport: h2}).Get("http://" + addr + "/details")
	require.NoError(t, err)
	defer func() { _ = rsp.Body.Close() }()
	assert.Equal(t, 2, rsp.ProtoMajor)
	body, err := io.ReadAll(rsp.Body)
	require.NoError(t, err)
	assert.Equal(t, "[]\n", string(body))
}
