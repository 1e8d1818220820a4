package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// nginxConf makes nginx do what the proxy does: the same path, the same forwarding
// headers, no access log, and connections to the function that are kept. Limits
// on calls per connection are too high to matter. %[1]s is its folder, %[2]s its user
// line, %[3]s its address, %[4]s the function's.
const nginxConf = `daemon off;
worker_processes 1;
%[2]s
pid %[1]s/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	keepalive_requests 1000000000;
	upstream function {
		server %[4]s;
		keepalive 128;
		keepalive_requests 1000000000;
	}
	server {
		listen %[3]s;
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

// findNginx returns the path of the nginx program, which Debian puts where only
// root looks.
func findNginx() (string, bool) {
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, true
		}
	}
	return "", false
}

// startNginx starts nginx before the upstream, "host:port" or "unix:path", and
// returns its address.
func (s *stack) startNginx(ctx context.Context, path, name, upstream string) (*process, string, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, "", err
	}
	dir := filepath.Join(s.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, "", err
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // else the worker could not open the function's unix socket
	}
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, user, addr, upstream), 0o600); err != nil {
		return nil, "", err
	}
	log := filepath.Join(dir, "log")
	p, _, err := start(log, path, "-p", dir, "-c", conf)
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	url := "http://" + addr + "/functions/helloworld"
	if err := poll(ctx, 10*time.Millisecond, func() error { return s.get(url, "") }); err != nil {
		p.stop()
		text, _ := os.ReadFile(log)
		return nil, "", fmt.Errorf("start nginx: %w\n%s", err, text)
	}
	return p, addr, nil
}
