package conformance_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/conformance"
)

// page is where the outcome is published.
const page = "../../../docs/conformance.md"

var compare = flag.Bool("compare", false, "also run nginx and haproxy, and write the outcome to docs/conformance.md")

// TestCompare runs the cases against all gateways.
func TestCompare(t *testing.T) {
	if !*compare {
		t.Skip("see make conformance")
	}
	columns := []column{
		play(t, "ours", serve),
		play(t, "nginx", nginx.serve),
		play(t, "haproxy", haproxy.serve),
	}
	columns[1].name, columns[2].name = nginx.version(t), haproxy.version(t)
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	before, _, ok := strings.Cut(string(text), begin)
	require.True(t, ok)
	require.NoError(t, os.WriteFile(page, []byte(before+begin+render(columns)), 0o600))
	t.Logf("%s is written", page)
}

// begin is the line of the page after which everything is generated.
const begin = "<!-- make conformance writes what follows -->\n"

// The page shows all cases, and that we fail those alone which are known.
func TestThePageIsComplete(t *testing.T) {
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	for _, c := range conformance.Cases() {
		row := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(c.Name) + ` \| [^|]*\| (✓|✗) `).FindStringSubmatch(string(text))
		if assert.NotNil(t, row, "%s: %s is not there: make conformance", c.Group, c.Name) && known[c.Group+": "+c.Name] == "" {
			assert.Equal(t, "✓", row[1], c.Name)
		}
	}
}

// column is how one gateway did.
type column struct {
	name string
	errs []error
}

func play(t *testing.T, name string, serve func(*testing.T, []conformance.Route) string) column {
	run, err := conformance.NewRun(conformance.Options{})
	require.NoError(t, err)
	defer run.Close()
	addr := serve(t, run.Routes())
	errs := make([]error, len(run.Cases))
	var playing sync.WaitGroup
	few := make(chan struct{}, 16)
	for i, c := range run.Cases {
		few <- struct{}{}
		playing.Go(func() {
			errs[i] = run.Play(i, addr)
			<-few
			if errs[i] != nil {
				t.Logf("%s: %s: %s: %v", name, c.Group, c.Name, errs[i])
			}
		})
	}
	playing.Wait()
	return column{name, errs}
}

// render makes the tables of the page.
func render(columns []column) string {
	var b strings.Builder
	cases := conformance.Cases()
	count := func(only func(conformance.Case) bool) (all int, passed []any) {
		for _, column := range columns {
			n := 0
			all = 0
			for i, c := range cases {
				if only(c) {
					all++
					if column.errs[i] == nil {
						n++
					}
				}
			}
			passed = append(passed, n)
		}
		return all, passed
	}
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	header := strings.Join(names, " | ") + " |\n| --- | --- |" + strings.Repeat(" --- |", len(columns)) + "\n"
	fmt.Fprintf(&b, "\n| | cases | %s", header)
	line := func(what string, only func(conformance.Case) bool) {
		all, passed := count(only)
		fmt.Fprintf(&b, "| %s | %d |%s\n", what, all, fmt.Sprintf(strings.Repeat(" %d |", len(passed)), passed...))
	}
	line("decided by an RFC", func(c conformance.Case) bool { return c.Source != "" })
	line("our own wishes", func(c conformance.Case) bool { return c.Source == "" })
	group := ""
	for i, c := range cases {
		if c.Group != group {
			group = c.Group
			fmt.Fprintf(&b, "\n| %s | RFC | %s", group, header)
		}
		fmt.Fprintf(&b, "| %s | %s |", c.Name, c.Source)
		for _, column := range columns {
			mark := "✓"
			if column.errs[i] != nil {
				mark = "✗"
			}
			fmt.Fprintf(&b, " %s |", mark)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// program is another gateway.
type program struct {
	name      string
	args      func(conf string) []string
	configure func(dir, addr string, routes []conformance.Route) string
}

func (p program) path(t *testing.T) string {
	for _, name := range []string{p.name, "/usr/sbin/" + p.name} { // Debian puts it where only root looks
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatalf("%s is not installed", p.name)
	return ""
}

func (p program) version(t *testing.T) string {
	out, err := exec.CommandContext(t.Context(), p.path(t), "-v").CombinedOutput()
	require.NoError(t, err)
	return p.name + " " + string(regexp.MustCompile(`\d+\.\d+\.\d+`).Find(out))
}

// serve starts the program, which ends with the test.
func (p program) serve(t *testing.T, routes []conformance.Route) string {
	dir := t.TempDir()
	addr := testkit.Address(t)
	conf := filepath.Join(dir, "conf")
	require.NoError(t, os.WriteFile(conf, []byte(p.configure(dir, addr, routes)), 0o600))
	cmd := exec.CommandContext(t.Context(), p.path(t), p.args(conf)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	var said bytes.Buffer
	cmd.Stderr = &said
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_, err = io.WriteString(conn, "\r\n")
			conn.Close()
		}
		return err == nil
	}, patience, 10*time.Millisecond)
	return addr
}

// nginx and haproxy are configured as somebody would who has read their manual and
// wants streams and websockets to work: no buffering, HTTP/1.1 to the functions, heads as
// long as ours.
var nginx = program{
	name: "nginx",
	args: func(conf string) []string { return []string{"-p", filepath.Dir(conf), "-c", conf} },
	configure: func(dir, addr string, routes []conformance.Route) string {
		var b strings.Builder
		user := ""
		if os.Geteuid() == 0 {
			user = "user root;"
		}
		fmt.Fprintf(&b, `daemon off;
worker_processes 2;
%[2]s
pid %[1]s/pid;
error_log %[1]s/error.log;
events { worker_connections 4096; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	large_client_header_buffers 8 64k;
	client_max_body_size 0;
	proxy_http_version 1.1;
	proxy_buffering off;
	proxy_request_buffering off;
	proxy_buffer_size 64k;
	proxy_buffers 8 64k;
	proxy_busy_buffers_size 128k;
	map $http_upgrade $connection_upgrade {
		default "";
		~*^websocket$ upgrade;
	}
	map $http_upgrade $upgrade {
		default "";
		~*^websocket$ websocket;
	}
	proxy_set_header Host $http_host;
	proxy_set_header Connection $connection_upgrade;
	proxy_set_header Upgrade $upgrade;
	proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
	proxy_set_header X-Forwarded-Proto $scheme;
`, dir, user)
		for _, r := range routes {
			fmt.Fprintf(&b, "upstream %s { server %s; keepalive 16; }\n", r.Name, r.Address)
		}
		fmt.Fprintf(&b, "server { listen %s; location / { return 404; }\n", addr)
		for _, r := range routes {
			limit := ""
			if r.Limit > 0 {
				limit = fmt.Sprintf("proxy_read_timeout %[1]dms; client_body_timeout %[1]dms;", r.Limit.Milliseconds())
			}
			fmt.Fprintf(&b, "location ~ ^/functions/%[1]s(/|$) { proxy_pass http://%[1]s; %[2]s }\n", r.Name, limit)
		}
		b.WriteString("}\n}\n")
		return b.String()
	},
}

var haproxy = program{
	name: "haproxy",
	args: func(conf string) []string { return []string{"-db", "-f", conf} },
	configure: func(_, addr string, routes []conformance.Route) string {
		var b strings.Builder
		fmt.Fprintf(&b, `global
	maxconn 4096
	tune.bufsize 131072
	tune.maxrewrite 4096
	tune.http.maxhdr 512
defaults
	mode http
	option forwardfor
	option abortonclose
	option http-no-delay
	timeout connect 2s
	timeout client 60s
	timeout server 60s
	timeout http-request 10s
	timeout tunnel 60s
frontend all
	bind %s
`, addr)
		for _, r := range routes {
			fmt.Fprintf(&b, "\tuse_backend %[1]s if { path /functions/%[1]s } or { path_beg /functions/%[1]s/ }\n", r.Name)
		}
		b.WriteString("\tdefault_backend none\nbackend none\n\thttp-request deny deny_status 404\n")
		for _, r := range routes {
			limit := ""
			if r.Limit > 0 {
				limit = fmt.Sprintf("\ttimeout server %dms\n", r.Limit.Milliseconds())
			}
			fmt.Fprintf(&b, "backend %s\n%s\tserver s %s\n", r.Name, limit, r.Address)
		}
		return b.String()
	},
}
