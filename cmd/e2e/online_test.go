package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// nginxConf is what nginx needs besides the part of docs/online.md to run as anybody, anywhere.
// %[1]s is its folder, %[2]s a user line, %[3]s that part.
const nginxConf = `daemon off;
%[2]s
pid %[1]s/pid;
error_log stderr warn;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
%[3]s
}
`

// startNginx starts nginx with a part of a configuration and waits until it listens.
func startNginx(t *testing.T, addr, part string) {
	t.Helper()
	startNginxAs(t, "root", addr, part)
}

// startNginxAs is startNginx as a user who calls the servers behind it, where the test is
// root's.
func startNginxAs(t *testing.T, name, addr, part string) {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/nginx") // where Debian has it, and only root looks
	}
	if err != nil {
		t.Skip("nginx is not installed (Debian: nginx-light)")
	}
	dir, line := t.TempDir(), ""
	if os.Geteuid() == 0 {
		line = "user " + name + ";" // its folder is root's
	}
	write(t, dir, tree{"nginx.conf": fmt.Sprintf(nginxConf, dir, line, part)})
	cmd := exec.CommandContext(context.Background(), path, "-e", "stderr", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stderr, &stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("nginx said:\n%s", &stderr)
		}
	})
	eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, "nginx listens")
}

// from makes a call from an address of the loopback network.
func from(t *testing.T, client string, req *http.Request) (status int, body string) {
	t.Helper()
	var d dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		local := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(client)}}
		return local.DialContext(ctx, network, addr)
	}
	rsp, body := d.ask(t, false, req)
	return rsp.StatusCode, body
}

// A gateway that says nothing of its callers lets nobody through to the main port: it is
// another user's.
func TestBehindNginxNobodyControls(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("it takes root to run nginx as another user")
	}
	nobody, err := user.LookupId("65534")
	require.NoError(t, err)
	group, err := user.LookupGroupId(nobody.Gid)
	require.NoError(t, err)
	p := startProxy(t, "")
	front := testkit.Address(t)
	startNginxAs(t, nobody.Username+" "+group.Name, front, "server { listen "+front+"; location / { proxy_pass http://"+strings.Replace(p.http, "localhost", "127.0.0.1", 1)+"; } }\n")
	for _, c := range routes {
		status, body := from(t, "127.0.0.1", request(t, c.method, front, c.path, c.body))
		assert.Equal(t, http.StatusUnauthorized, status, "%s %s: %s", c.method, c.path, body)
	}
	status, _ := fetch(t, http.MethodGet, "http://"+front+"/healthz", "")
	assert.Equal(t, http.StatusOK, status)
}

// The gateway of docs/online.md, a real one, before the port that it says may be published.
func TestPutOnlineBehindNginx(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(repository(t), "docs", "online.md"))
	require.NoError(t, err)
	parts := regexp.MustCompile("(?s)```nginx\n(.*?)```").FindSubmatch(text)
	require.NotNil(t, parts, "the page has a configuration of nginx")

	a := startAgent(t, "", "")
	p := startProxy(t, "", "-functions", "127.0.0.1:0", "-trusted-proxies", "127.0.0.1")
	functions := p.said(`Functions started on (\S+)`)
	front, plain := testkit.Address(t), testkit.Address(t)
	part := string(parts[1]) + "\nserver { listen " + plain + "; location / { proxy_pass http://localhost:8080; } }\n"
	for was, is := range map[string]string{"listen 80;": "listen " + front + ";", "localhost:8080": functions} {
		require.Contains(t, part, was)
		part = strings.ReplaceAll(part, was, is)
	}
	startNginx(t, front, part)

	dir := source(t, obeys("Shown", "open"))
	r := proxyCli(t, dir, "-proxy", p.rpc, "deploy", "-wait", "-agent", a.addr, "-name", "Shown", "-auth", "public", "-routes", "own.example,www.example/app", ".")
	require.Zero(t, r.code, r.stderr)
	mustDeploy(t, p.http, "Hidden", source(t, obeys("Hidden", "secret")), a.addr)
	status, body := fetch(t, http.MethodGet, "http://"+p.http+"/functions/hidden", "")
	require.Equal(t, "secret", body, status)

	for _, addr := range []string{front, plain, functions} {
		url := "http://" + addr
		status, body := fetch(t, http.MethodGet, url+"/functions/shown", "")
		assert.Equal(t, http.StatusOK, status)
		assert.Equal(t, "open", body)
		for _, path := range []string{"/functions/hidden", "/functions/missing", "/functions/shown@1", "/functions/hidden@1"} {
			status, body := fetch(t, http.MethodGet, url+path, "")
			assert.Equal(t, http.StatusNotFound, status, path)
			assert.Equal(t, "there is no such public function", errorOf(t, body).Message, path)
		}
		for _, c := range routes {
			req := request(t, c.method, addr, c.path, c.body)
			req.Host = "localhost"
			status, body := from(t, "127.0.0.1", req)
			assert.Equal(t, http.StatusNotFound, status, "%s %s: %s", c.method, c.path, body)
		}
		for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
			status, body := fetch(t, http.MethodGet, url+path, "")
			assert.Equal(t, http.StatusNotFound, status, "%s: %s", path, body)
		}
	}

	t.Run("routes of a function's own", func(t *testing.T) {
		for _, addr := range []string{front, functions} {
			for at, want := range map[string]string{"own.example/query?a=1": "a=1", "www.example/app/query?b": "b", "www.example/app": "open", "own.example": "open"} {
				host, path, _ := strings.Cut(at, "/")
				req := request(t, http.MethodGet, addr, "/"+path, "")
				req.Host = host
				status, body := from(t, "127.0.0.1", req)
				assert.Equal(t, http.StatusOK, status, body)
				assert.Equal(t, want, body, at)
			}
			for _, at := range []string{"www.example/", "own.example/functions/hidden", "other.example/"} {
				host, path, _ := strings.Cut(at, "/")
				req := request(t, http.MethodGet, addr, "/"+path, "")
				req.Host = host
				status, body := from(t, "127.0.0.1", req)
				assert.Equal(t, http.StatusNotFound, status, at)
				assert.Equal(t, "there is no such public function", errorOf(t, body).Message)
			}
		}
		r := proxyCli(t, dir, "-proxy", p.rpc, "deploy", "-wait", "-agent", a.addr, "-name", "Hidden", "-routes", "OWN.example", source(t, obeys("Hidden", "secret")))
		assert.Equal(t, 1, r.code)
		assert.Contains(t, r.stderr, `the route own.example belongs to function "Shown"`)
		r = proxyCli(t, dir, "-proxy", p.rpc, "deploy", "-wait", "-agent", a.addr, "-name", "Hidden", "-routes", "hidden.example", source(t, obeys("Hidden", "secret")))
		require.Zero(t, r.code, r.stderr)
		req := request(t, http.MethodGet, functions, "/", "")
		req.Host = "hidden.example"
		status, body := from(t, "127.0.0.1", req)
		assert.Equal(t, http.StatusNotFound, status, "a route does not publish: %s", body)
	})
	t.Run("private functions take a token", func(t *testing.T) {
		made := func(args ...string) string {
			r := proxyCli(t, dir, append([]string{"-proxy", p.rpc, "token", "create"}, args...)...)
			require.Zero(t, r.code, r.stderr)
			return strings.TrimSpace(r.stdout)
		}
		hidden, other, reads := made("-scope", "invoke", "-function", "Hidden"), made("-scope", "invoke", "-function", "Shown"), made("-scope", "read")
		wrong := hidden[:len(hidden)-1] + "-" // which no token has
		for _, addr := range []string{front, functions} {
			for _, c := range []struct {
				token, path string
				want        int
			}{
				{hidden, "/functions/hidden/headers", http.StatusOK}, {hidden, "/functions/missing", http.StatusForbidden}, {hidden, "/details", http.StatusNotFound},
				{other, "/functions/hidden", http.StatusForbidden}, {reads, "/functions/hidden", http.StatusForbidden}, {reads, "/details", http.StatusNotFound},
				{wrong, "/functions/hidden", http.StatusUnauthorized}, {hidden, "/functions/shown", http.StatusOK},
			} {
				req := request(t, http.MethodGet, addr, c.path, "")
				req.Header.Set("Authorization", "Bearer "+c.token)
				status, body := from(t, "127.0.0.9", req)
				assert.Equal(t, c.want, status, "%s: %s", c.path, body)
				assert.NotContains(t, body, c.token, "no function sees it")
			}
		}
	})
	t.Run("functions see who calls", func(t *testing.T) {
		seen := func(client, addr string) http.Header {
			req := request(t, http.MethodGet, addr, "/functions/shown/headers", "")
			req.Host = "api.example"
			req.Header.Set("X-Forwarded-For", "192.0.2.7")
			req.Header.Set("X-Forwarded-Proto", "https")
			req.Header.Set("X-Forwarded-Host", "evil.example")
			req.Header.Set("Forwarded", "for=192.0.2.7")
			status, body := from(t, client, req)
			require.Equal(t, http.StatusOK, status, body)
			var h http.Header
			require.NoError(t, json.Unmarshal([]byte(body), &h), body)
			return h
		}
		for addr, want := range map[string][3]string{
			front:     {"127.0.0.9", "http", "api.example"},
			functions: {"127.0.0.9", "http", "api.example"}, // itself: it is not trusted
		} {
			h := seen("127.0.0.9", addr)
			assert.Equal(t, want, [3]string{h.Get("X-Forwarded-For"), h.Get("X-Forwarded-Proto"), h.Get("X-Forwarded-Host")})
			assert.Empty(t, h.Get("Forwarded"))
		}
		assert.Equal(t, "192.0.2.7", seen("127.0.0.1", functions).Get("X-Forwarded-For"), "a gateway that is trusted")
	})
	t.Run("websockets and streams", func(t *testing.T) {
		require.NoError(t, chat("http://"+front+"/functions/shown/socket"))
		rsp, err := http.Get("http://" + front + "/functions/shown/events?every=100ms")
		require.NoError(t, err)
		defer rsp.Body.Close()
		line, err := bufio.NewReader(rsp.Body).ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, "data: 0\n", line, "the first comes before the last")
		large := strings.Repeat("x", 3<<20) // nginx's own limit is 1 MiB
		status, body := fetch(t, http.MethodPost, "http://"+front+"/functions/shown/echo", large)
		assert.Equal(t, http.StatusOK, status)
		assert.Len(t, body, len(large))
	})
}

// With a certificate each port speaks TLS, and the published one nothing else.
func TestPutOnlineWithTLS(t *testing.T) {
	t.Parallel()
	authority, dir := testkit.NewAuthority(t), t.TempDir()
	issued := authority.Issue(t, "localhost", "api.example")
	write(t, dir, tree{"cert.pem": string(issued.Cert), "key.pem": string(issued.Key), "ca.pem": string(authority.PEM())})
	file := func(name string) string { return filepath.Join(dir, name) }
	a := startAgent(t, "", "")
	p := startProxy(t, "", "-functions", "127.0.0.1:0", "-tls-cert", file("cert.pem"), "-tls-key", file("key.pem"))
	functions := p.said(`Functions started on (\S+)`)

	fn := source(t, obeys("Shown", "open"))
	for kind, addr := range map[string]string{"rpc": p.rpc, "http": p.http} {
		args := []string{"-proxy", "https://" + addr, "-transport", kind}
		r := proxyCli(t, fn, append(args, "list")...)
		assert.Equal(t, 4, r.code)
		assert.Contains(t, r.stderr, "unknown authority")
		assert.Contains(t, r.stderr, "-ca")
		args = append(args, "-ca", file("ca.pem"))
		r = proxyCli(t, fn, append(args, "deploy", "-wait", "-agent", a.addr, "-name", "Shown", "-auth", "public", ".")...)
		require.Zero(t, r.code, r.stderr)
		assert.Equal(t, line("Shown", "https://"+p.http+"/functions/shown", "Deployed"), r.stdout)
		r = proxyCli(t, fn, append(args, "invoke", "Shown")...)
		assert.Equal(t, "open", r.stdout, r.stderr)
	}
	r := proxyCli(t, fn, "-proxy", p.rpc, "-ca", file("key.pem"), "list")
	assert.Equal(t, 2, r.code)
	assert.Contains(t, r.stderr, "no certificate")

	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.Pool(), ServerName: "api.example"}, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	rsp, err := tr.RoundTrip(request(t, http.MethodGet, functions, "/functions/shown/headers", "")) // by http
	require.NoError(t, err)
	defer rsp.Body.Close()
	assert.Equal(t, http.StatusPermanentRedirect, rsp.StatusCode)
	assert.Equal(t, "https://"+functions+"/functions/shown/headers", rsp.Header.Get("Location"))

	req := request(t, http.MethodGet, functions, "/functions/shown/headers", "")
	req.URL.Scheme = "https"
	rsp, err = tr.RoundTrip(req)
	require.NoError(t, err)
	defer rsp.Body.Close()
	assert.Equal(t, 2, rsp.ProtoMajor)
	assert.NotEmpty(t, rsp.Header.Get("Strict-Transport-Security"))
	var h http.Header
	require.NoError(t, json.NewDecoder(rsp.Body).Decode(&h))
	assert.Equal(t, "https", h.Get("X-Forwarded-Proto"))
}
