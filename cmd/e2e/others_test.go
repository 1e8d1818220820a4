//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// nats is a NATS server that is not ours.
type nats struct {
	t            *testing.T
	program, dir string
	addr         string
	cmd          *exec.Cmd
	output       bytes.Buffer
}

func newNATS(t *testing.T) *nats {
	t.Helper()
	n := &nats{t: t, dir: t.TempDir(), addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(testkit.Ports(t)))}
	n.program = filepath.Join(n.dir, "nats-server")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-ldflags=-w", "-o", n.program, "github.com/nats-io/nats-server/v2").CombinedOutput()
	require.NoError(t, err, "%s", output)
	conf := fmt.Sprintf("listen: %q\njetstream { store_dir: %q, max_file_store: 64GB, sync_interval: always }\n", n.addr, filepath.Join(n.dir, "data"))
	require.NoError(t, os.WriteFile(filepath.Join(n.dir, "nats.conf"), []byte(conf), 0o600))
	return n
}

func (n *nats) start() {
	n.t.Helper()
	n.cmd = exec.CommandContext(n.t.Context(), n.program, "-c", filepath.Join(n.dir, "nats.conf"))
	n.cmd.Stdout, n.cmd.Stderr = &n.output, &n.output
	require.NoError(n.t, n.cmd.Start())
	n.t.Cleanup(func() {
		if n.kill(); n.t.Failed() {
			n.t.Log(n.output.String())
		}
	})
	eventually(n.t, func() bool {
		conn, err := net.Dial("tcp", n.addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, "the NATS server answers")
}

func (n *nats) kill() {
	_ = n.cmd.Process.Kill()
	_ = n.cmd.Wait()
}

// A NATS server of somebody else's is an engine: what was acknowledged is there for the next
// proxy, which keeps nothing itself, and what was running runs while the server is away.
func TestAProxyOverANATSServer(t *testing.T) {
	t.Parallel()
	n := newNATS(t)
	n.start()
	a := newSite(t).start(t)
	flags := []string{"-agents", a.addr, "-engine", "nats://" + n.addr}
	p := startProxy(t, "", flags...)
	work(t, a, p, "")
	id := acceptLater(t, "http://"+p.http+"/async/work", "one")
	assert.Equal(t, "done", seeLater(t, p, id, "?wait=1m").State)

	n.kill()
	eventually(t, func() bool {
		status, _ := fetch(t, http.MethodPost, "http://"+p.http+"/async/work", "x")
		return status == http.StatusServiceUnavailable
	}, "a call that cannot be stored is refused")
	status, answer := fetch(t, http.MethodPost, "http://"+p.http+"/functions/work", "two")
	require.Equal(t, http.StatusOK, status, answer)
	assert.Equal(t, "did two", answer)
	status, answer = fetch(t, http.MethodPost, "http://"+p.http+"/stop", `{"name": "Work"}`)
	assert.Equal(t, http.StatusServiceUnavailable, status, answer)

	n.start()
	eventually(t, func() bool {
		status, answer, err := tryFetch(http.MethodPost, "http://"+p.http+"/async/work", "three")
		return err == nil && status == http.StatusAccepted && answer != ""
	}, "it goes on")
	p.end()
	p = startProxy(t, "", flags...)
	assert.Equal(t, "done", seeLater(t, p, id, "").State, "the next proxy knows it")
	eventually(t, func() bool {
		status, answer, err := tryFetch(http.MethodPost, "http://"+p.http+"/functions/work", "four")
		return err == nil && status == http.StatusOK && answer == "did four"
	}, "the next proxy calls the function")
	assert.Len(t, rows(t, http.MethodGet, "http://"+p.http+"/versions?name=Work", ""), 1)
}
