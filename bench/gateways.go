package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// nginxConf makes nginx do what the proxy does: the same path, the same forwarding
// headers, no access log, and connections to the function that are kept. Limits
// on calls per connection are too high to matter. %[1]s is its folder, %[2]s its user
// line, %[3]s its address, %[4]s that of TLS, %[5]s the function's.
const nginxConf = `daemon off;
worker_processes 1;
%[2]s
pid %[1]s/nginx.pid;
error_log stderr warn;
worker_rlimit_nofile 16384;
events { worker_connections 8192; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	client_max_body_size 0;
	client_body_buffer_size 16k;
	proxy_request_buffering off;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	keepalive_requests 1000000000;
	upstream function {
		server %[5]s;
		keepalive 512;
		keepalive_requests 1000000000;
	}
	server {
		listen %[3]s;
		listen %[4]s ssl;
		ssl_certificate %[1]s/../tls.pem;
		ssl_certificate_key %[1]s/../tls.pem;
		ssl_protocols TLSv1.3;
		location /functions/ {
			proxy_pass http://function/;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $http_host;
			proxy_set_header X-Forwarded-For $remote_addr;
			proxy_set_header X-Forwarded-Host $http_host;
			proxy_set_header X-Forwarded-Proto $scheme;
			proxy_set_header X-Request-Id $request_id;
		}
	}
}
`

// haproxyConf is the same for haproxy. %[1]s is its address, %[2]s that of TLS, %[3]s the
// folder of the certificate, %[4]s the function's address.
const haproxyConf = `global
	nbthread 1
	maxconn 8192
defaults
	mode http
	timeout connect 2s
	timeout client 120s
	timeout server 60s
frontend callers
	bind %[1]s
	bind %[2]s ssl crt %[3]s/tls.pem ssl-min-ver TLSv1.3
	option forwardfor
	unique-id-format %%{+X}o\ %%ci:%%cp_%%Ts_%%rt
	unique-id-header X-Request-Id
	http-request set-header X-Forwarded-Host %%[req.hdr(host)]
	http-request set-header X-Forwarded-Proto %%[ssl_fc,iif(https,http)]
	http-request set-path %%[path,regsub(^/functions,)]
	default_backend functions
backend functions
	http-reuse always
	server function %[4]s pool-max-conn -1
`

// find returns the path of a program, which Debian may put where only root looks.
func find(name string) (string, bool) {
	for _, path := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(path); err == nil {
			return path, true
		}
	}
	return "", false
}

// gateway is a way to the functions.
type gateway struct {
	name   string
	addr   string
	secure string // where it speaks TLS; "": nowhere
	prefix string // of the paths of functions
	*process
}

// startNginx starts nginx before the upstream of a function, "host:port" or "unix:path".
func (s *stack) startNginx(ctx context.Context, path, name, fn, upstream string) (g gateway, err error) {
	dir, addrs, err := s.place(name)
	if err != nil {
		return g, err
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // else the worker could not open the function's unix socket
	}
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, user, addrs[0], addrs[1], upstream), 0o600); err != nil {
		return g, err
	}
	return s.startGateway(ctx, name, fn, addrs, path, "-p", dir, "-c", conf)
}

func (s *stack) startHaproxy(ctx context.Context, path, name, fn, upstream string) (g gateway, err error) {
	dir, addrs, err := s.place(name)
	if err != nil {
		return g, err
	}
	conf := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(conf, fmt.Appendf(nil, haproxyConf, addrs[0], addrs[1], s.dir, upstream), 0o600); err != nil {
		return g, err
	}
	return s.startGateway(ctx, name, fn, addrs, path, "-db", "-f", conf)
}

// startReverse starts this program as the gateway that Go's library gives.
func (s *stack) startReverse(ctx context.Context, name, fn, upstream string) (g gateway, err error) {
	_, addrs, err := s.place(name)
	if err != nil {
		return g, err
	}
	self, err := os.Executable()
	if err != nil {
		return g, err
	}
	addrs[1] = ""
	return s.startGateway(ctx, name, fn, addrs, self, reverseCommand, addrs[0], upstream)
}

// startSlow starts a second proxy, whose calls all go through Go's HTTP server.
func (s *stack) startSlow(ctx context.Context, name string) (g gateway, err error) {
	dir := s.folder(name)
	p, addrs, err := s.serve(ctx, "proxy", filepath.Base(dir), append(s.proxyArgs(dir), "-fast-lane=false")...)
	if err != nil {
		return g, err
	}
	return gateway{name: name, addr: addrs[0], secure: addrs[0], prefix: "/functions", process: p}, nil
}

// place makes the folder of a gateway, and finds two addresses for it.
func (s *stack) place(name string) (dir string, addrs []string, err error) {
	for range 2 {
		addr, err := freeAddr()
		if err != nil {
			return "", nil, err
		}
		addrs = append(addrs, addr)
	}
	dir = s.folder(name)
	return dir, addrs, os.Mkdir(dir, 0o700)
}

// folder is that of a gateway.
func (s *stack) folder(name string) string {
	return filepath.Join(s.dir, strings.NewReplacer(" ", "", ",", "-", "'", "").Replace(name))
}

// startGateway starts a program and waits until a function answers through it.
func (s *stack) startGateway(ctx context.Context, name, fn string, addrs []string, path string, args ...string) (g gateway, err error) {
	log := filepath.Join(s.folder(name), "log")
	p, _, err := start(log, path, args...)
	if err != nil {
		return g, err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	url := "http://" + addrs[0] + "/functions/" + proto.Path(fn)
	if err := poll(ctx, 10*time.Millisecond, func() error { return s.get(url, "") }); err != nil {
		p.stop()
		text, _ := os.ReadFile(log)
		return g, fmt.Errorf("start %s: %w\n%s", name, err, text)
	}
	return gateway{name: name, addr: addrs[0], secure: addrs[1], prefix: "/functions", process: p}, nil
}

// reverseCommand as the first argument, with an address and an upstream, makes this
// program a gateway of net/http/httputil, tuned as far as its settings go.
const reverseCommand = "reverse"

func serveReverse(addr, upstream string) error {
	to := &url.URL{Scheme: "http", Host: upstream}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Path = r.Out.URL.Path[len("/functions"):]
			r.SetURL(to)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
			r.Out.Header.Set("X-Request-Id", rand.Text())
		},
		Transport:  &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true, IdleConnTimeout: 90 * time.Second, DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext},
		BufferPool: buffers{make(chan []byte, 512)},
	}
	server := &http.Server{Addr: addr, Handler: proxy, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 120 * time.Second}
	return server.ListenAndServe()
}

// buffers is a pool of buffers without an allocation for each.
type buffers struct{ free chan []byte }

func (b buffers) Get() []byte {
	select {
	case p := <-b.free:
		return p
	default:
		return make([]byte, 32<<10)
	}
}

func (b buffers) Put(p []byte) {
	select {
	case b.free <- p:
	default:
	}
}

// sink is a function that reads what it is sent.
const sink = `package sink

import (
	"fmt"
	"io"
	"net/http"
)

func Sink(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	fmt.Fprintln(w, n)
}
`

// writeCertificate writes a certificate for the loopback, with its key, to a file.
func writeCertificate(file string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	for _, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: der}, {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := pem.Encode(io.Writer(f), block); err != nil {
			return err
		}
	}
	return f.Close()
}
