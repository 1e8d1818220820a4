package remote

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/process"
)

// answer is what a call of a function gets, over its unix socket or its port.
func answer(t *testing.T, row *proto.FunctionJsonRsp, unix bool) (status int, body string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	if unix {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", row.GetSocket())
		}
	}
	res, err := (&http.Client{Transport: transport, Timeout: patience}).Get(row.GetUrl())
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(text)
}

func TestAPauseOutlivesTheAgent(t *testing.T) {
	dir := t.TempDir()
	a := start(t, dir)
	row := a.deploy(t, "Hello", strings.Replace(says("Hello", "hi"), "{ fmt", `{
	if r.URL.Path == "/slow" {
		println("began")
		<-r.Context().Done()
	}
	fmt`, 1))
	pid := int(row.GetPid())
	slow := make(chan error, 1)
	ctx, hangUp := context.WithCancel(t.Context())
	go func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, row.GetUrl()+"/slow", http.NoBody)
		if err == nil {
			_, err = http.DefaultClient.Do(req)
		}
		slow <- err
	}()
	require.Eventually(t, func() bool {
		logs, err := a.Log(t.Context(), "Hello")
		return err == nil && strings.Contains(logs.GetLogs(), "began")
	}, patience, time.Millisecond)

	rows, err := a.Pause(t.Context(), "Hello")
	require.NoError(t, err)
	assert.True(t, rows[0].GetPaused())
	assert.Zero(t, rows[0].GetInstances())
	refused := func() {
		t.Helper()
		for _, unix := range []bool{false, true} {
			status, body := answer(t, row, unix)
			assert.Equal(t, http.StatusServiceUnavailable, status)
			assert.Contains(t, body, "function Hello is paused")
			assert.NotContains(t, body, `"requestId":""`)
			assert.Contains(t, body, "proxyCli resume Hello")
		}
	}
	refused()
	require.NoError(t, syscall.Kill(pid, 0), "its calls are finished")
	hangUp()
	require.ErrorIs(t, <-slow, context.Canceled)
	require.Eventually(t, func() bool { return syscall.Kill(pid, 0) != nil }, patience, time.Millisecond)
	_, err = a.Wake(t.Context(), "Hello", 0)
	require.NoError(t, err)
	refused()

	a.end()
	a = start(t, dir)
	row = a.until(t, "Hello", func(r *proto.FunctionJsonRsp) bool { return r.GetSocket() != "" })
	assert.Equal(t, string(proto.Deployed), row.GetStatus())
	assert.True(t, row.GetPaused())
	refused()
	assert.Zero(t, a.row(t, "Hello").GetInstances())
	rows, err = a.Resume(t.Context(), "Hello")
	require.NoError(t, err)
	assert.False(t, rows[0].GetPaused())
	status, body := answer(t, row, true)
	assert.Equal(t, http.StatusOK, status, body)
	assert.Equal(t, "hi", body)
	a.until(t, "Hello", func(r *proto.FunctionJsonRsp) bool { return r.GetInstances() == 1 })
}

func TestNothingToPause(t *testing.T) {
	a := start(t, t.TempDir())
	a.deploy(t, "Broken", "package fn\n\nfunc Broken() {}\n")
	_, err := a.Pause(t.Context(), "Broken")
	require.ErrorIs(t, err, proto.ErrConflict)
	rows, err := a.Resume(t.Context(), "Broken")
	require.NoError(t, err)
	assert.Equal(t, string(proto.Failed), rows[0].GetStatus())
}

// A caller that was accepted just before the end of a pause has not sent its request yet.
func TestTheLastCallerOfAPauseGetsAnAnswer(t *testing.T) {
	sockets, err := process.Listen("127.0.0.1:0", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	defer sockets.Close()
	f := &function{name: "Hello"}
	stop, err := f.turnAway(sockets)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", sockets.Addr())
	require.NoError(t, err)
	defer conn.Close()
	// It has been accepted when a later one has been answered.
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + sockets.Addr())
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	stop()
	late, err := net.Dial("tcp", sockets.Addr())
	require.NoError(t, err)
	defer late.Close()
	_, err = io.WriteString(late, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	require.NoError(t, err)
	require.NoError(t, late.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	_, err = late.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "it waits for the function")
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	require.NoError(t, err)
	answered, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer answered.Body.Close()
	assert.Equal(t, http.StatusServiceUnavailable, answered.StatusCode)
	f.work.Wait()
}
