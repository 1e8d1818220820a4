package e2e

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stack is an agent, and a proxy that learns of it from the first call that
// names it.
type stack struct {
	agent agent
	proxy gateway
}

func startStack(t *testing.T) stack {
	t.Helper()
	return stack{startAgent(t, "", ""), startProxy(t, "")}
}

// door is a way to ask: an address and how to talk to it.
type door struct {
	name, addr, kind string
	proxy            bool
}

func (s stack) doors() []door {
	return []door{
		{"proxy over rpc", s.proxy.rpc, "rpc", true},
		{"proxy over http", s.proxy.http, "http", true},
		{"agent over rpc", s.agent.addr, "rpc", false},
		{"agent over http", s.agent.addr, "http", false},
	}
}

// cli runs the command line in a folder, at a door.
func (d door) cli(t *testing.T, dir string, args ...string) result {
	t.Helper()
	return proxyCli(t, dir, append([]string{"-proxy", d.addr, "-transport", d.kind}, args...)...)
}

// write writes files into a folder, their names relative to it.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		at := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o700))
		require.NoError(t, os.WriteFile(at, []byte(text), 0o600))
	}
}

// folder writes files into a folder of their own.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, files)
	return dir
}

// closedPort is an address at which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

const hello = `package hello

import (
	"fmt"
	"net/http"
)

// HelloWorld is the function to deploy: exported, with the signature of an HTTP handler.
func HelloWorld(w http.ResponseWriter, r *http.Request) {
	fmt.Fprint(w, "Hello, World!\n")
}
`

// line is what the command line prints of a function.
func line(name, url, status string) string {
	return fmt.Sprintf("name:%q  url:%q  status:%q\n", name, url, status)
}

// The session that the project is about, by every way in.
func TestSession(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	dir := folder(t, map[string]string{
		"example/hello/helloWorld.go": hello,
		"deploy.json": `{"deploy": [{"packageDir": "./example/hello", "name": "HelloWorld",` +
			` "filePath": "./example/hello/helloWorld.go", "agentAddr": ["` + s.agent.addr + `"]}]}`,
		"list.json": `{"list": {"agentAddr": ["http://` + s.agent.addr + `"]}}`,
	})
	elsewhere := t.TempDir() // paths count from the file's folder
	for _, d := range s.doors() {
		t.Run(d.name, func(t *testing.T) {
			r := d.cli(t, elsewhere, "def", filepath.Join(dir, "deploy.json"))
			require.Zero(t, r.code, r.stderr)
			m := regexp.MustCompile(`^name:"HelloWorld"  url:"(.*)"  status:"Deploying"\n$`).FindStringSubmatch(r.stdout)
			require.NotNil(t, m, r.stdout)
			url := m[1]
			if d.proxy {
				assert.Equal(t, "http://"+s.proxy.http+"/functions/helloworld", url)
			} else {
				assert.Regexp(t, `^http://localhost:5\d\d\d/helloworld$`, url)
			}
			eventually(t, func() bool {
				r = d.cli(t, elsewhere, "def", filepath.Join(dir, "list.json"))
				require.Zero(t, r.code, r.stderr)
				return r.stdout == line("HelloWorld", url, "Deployed")
			}, "%+v", r)
			status, answer := fetch(t, http.MethodGet, url, "")
			assert.Equal(t, http.StatusOK, status)
			assert.Equal(t, "Hello, World!\n", answer)
			r = d.cli(t, elsewhere, "stop", "HelloWorld") // what is there unchanged is not deployed again
			assert.Zero(t, r.code, r.stderr)
		})
	}
}

// inspector says in its answer what has reached it.
const inspector = `package inspector

import (
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

var Version = "unset"

func Inspect(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/settings":
		data, err := os.ReadFile("data/greeting.txt")
		fmt.Fprintln(w, os.Getenv("COLOUR"), Version, tagged, string(data), err)
	case "/pid":
		fmt.Fprint(w, os.Getpid())
	case "/slow":
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
	case "/request":
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Answer", "yes")
		status, _ := strconv.Atoi(r.URL.Query().Get("status"))
		w.WriteHeader(status)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.Header.Get("X-Ask"), body)
	default:
		fmt.Fprintf(w, "%s?%s", r.URL.EscapedPath(), r.URL.RawQuery)
	}
}
`

func writeInspector(t *testing.T, dir string) {
	t.Helper()
	write(t, dir, map[string]string{
		"inspector.go":      inspector,
		"tagged.go":         "//go:build special\n\npackage inspector\n\nconst tagged = \"tagged\"\n",
		"untagged.go":       "//go:build !special\n\npackage inspector\n\nconst tagged = \"untagged\"\n",
		"data/greeting.txt": "hi",
	})
}

// raw sends a request target as it is, which net/http would tidy up.
func raw(t *testing.T, addr, target string) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", target)
	require.NoError(t, err)
	rsp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err, target)
	defer rsp.Body.Close()
	data, err := io.ReadAll(rsp.Body)
	require.NoError(t, err)
	return rsp.StatusCode, string(data)
}

func TestFunctionSeesWhatItsCallerSends(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	dir := t.TempDir()
	writeInspector(t, dir)
	write(t, dir, map[string]string{"deploy.json": `{"deploy": [{"name": "Inspect", "packageDir": ".", "agentAddr": "` + s.agent.addr + `",
		"kind": "http", "env": {"COLOUR": "green"}, "include": ["data/*.txt"], "tags": ["special"],
		"ldflags": "-X ryo.local/inspector.Version=v7", "timeout": "400ms", "memory": "256MiB"}]}`})
	r := proxyCli(t, dir, "-proxy", s.proxy.rpc, "def", "-wait", "deploy.json")
	require.Zero(t, r.code, r.stderr)
	direct := rows(t, http.MethodGet, "http://"+s.agent.addr+"/details", "")[0].URL
	through := "http://" + s.proxy.http + "/functions/inspect"

	t.Run("settings reach the function", func(t *testing.T) {
		_, answer := fetch(t, http.MethodGet, through+"/settings", "")
		assert.Equal(t, "green v7 tagged hi <nil>\n", answer)
	})
	t.Run("the path below the mount arrives byte for byte", func(t *testing.T) {
		for _, rest := range []string{
			"", "/", "?a=1", "/a/b?q=1", "/a/", "//", "//x//y/", "/a/../b", "/./a", "/..", "/a%2Fb", "/a%2fb/%2e%2e/c", "/%41", "/%20+",
			"/a;b=c,d", "/ä%C3%A4", "/inspect/Inspect", "/functions/x", "?city=boston", "?u=http://h/functions", "?q=a;b&c=%zz&&", "/?", "/a?b?c",
		} {
			want := rest
			if !strings.HasPrefix(want, "/") {
				want = "/" + want
			}
			if !strings.Contains(want, "?") {
				want += "?"
			}
			// What a URL cannot hold unescaped arrives escaped.
			want = strings.ReplaceAll(want, "/ä", "/%C3%A4")
			for _, base := range []string{through, direct} {
				addr, path, _ := strings.Cut(strings.TrimPrefix(base, "http://"), "/")
				status, answer := raw(t, addr, "/"+path+rest)
				assert.Equal(t, http.StatusOK, status, "%s%s: %s", base, rest, answer)
				assert.Equal(t, want, answer, "%s%s", base, rest)
			}
		}
	})
	t.Run("the proxy takes the name in any case", func(t *testing.T) {
		for _, name := range []string{"inspect", "Inspect", "INSPECT", "iNSPECT"} {
			status, answer := fetch(t, http.MethodGet, "http://"+s.proxy.http+"/functions/"+name+"/A/b?C=d", "")
			assert.Equal(t, http.StatusOK, status)
			assert.Equal(t, "/A/b?C=d", answer)
		}
	})
	t.Run("nothing else is served on its port", func(t *testing.T) {
		addr, _, _ := strings.Cut(strings.TrimPrefix(direct, "http://"), "/")
		for _, path := range []string{"/", "/inspector", "/other", "/deploy"} {
			status, _ := raw(t, addr, path)
			assert.Equal(t, http.StatusNotFound, status, path)
		}
	})
	t.Run("method, headers, body and status pass both ways", func(t *testing.T) {
		for _, base := range []string{through, direct} {
			for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"} {
				req, err := http.NewRequestWithContext(t.Context(), method, base+"/request?status=418", strings.NewReader("body"))
				require.NoError(t, err)
				req.Header.Set("X-Ask", "please")
				client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
				rsp, err := client.Do(req)
				require.NoError(t, err)
				answer, _ := io.ReadAll(rsp.Body)
				rsp.Body.Close()
				assert.Equal(t, http.StatusTeapot, rsp.StatusCode)
				assert.Equal(t, "yes", rsp.Header.Get("X-Answer"))
				assert.Equal(t, method+" please body", string(answer))
			}
		}
	})
	t.Run("a function that takes too long is answered for", func(t *testing.T) {
		status, answer := fetch(t, http.MethodGet, through+"/slow", "")
		assert.Equal(t, http.StatusGatewayTimeout, status)
		assert.Equal(t, "timeout", errorOf(t, answer).Code)
	})
	t.Run("the command line calls it", func(t *testing.T) {
		for _, d := range s.doors() {
			r := d.cli(t, dir, "invoke", "inspect", "-X", "PUT", "-path", "/request?status=200", "-H", "X-Ask: now", "-d", "text")
			assert.Equal(t, "PUT now text", r.stdout, d.name)
			assert.Zero(t, r.code)
			r = d.cli(t, dir, "invoke", "Inspect", "-path", "/request?status=500")
			assert.Equal(t, 1, r.code)
			assert.Contains(t, r.stderr, "500")
		}
	})
}

// told is the error that an answer holds.
type told struct{ Code, Message, Hint, Component, Reason, RequestID string }

func errorOf(t *testing.T, answer string) told {
	t.Helper()
	var body struct{ Error *told }
	require.NoError(t, json.Unmarshal([]byte(answer), &body), answer)
	require.NotNil(t, body.Error, answer)
	assert.NotEmpty(t, body.Error.Code, answer)
	assert.NotEmpty(t, body.Error.Message, answer)
	return *body.Error
}

// upload makes a body of multipart/form-data.
func upload(t *testing.T, definition string, packages ...[]byte) (contentType string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	if definition != "" {
		require.NoError(t, form.WriteField("definition", definition))
	}
	for _, data := range packages {
		part, err := form.CreateFormFile("package", "package.zip")
		require.NoError(t, err)
		_, err = part.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, form.Close())
	return form.FormDataContentType(), b.Bytes()
}

func zipped(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		f, err := z.Create(name)
		require.NoError(t, err)
		_, err = io.WriteString(f, text)
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return b.Bytes()
}

// send makes a call with a body of a certain type.
func send(t *testing.T, method, url, contentType string, body []byte) (status int, answer string, header http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", contentType)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	rsp, err := client.Do(req)
	require.NoError(t, err)
	defer rsp.Body.Close()
	data, err := io.ReadAll(rsp.Body)
	require.NoError(t, err)
	return rsp.StatusCode, string(data), rsp.Header
}

// Every call of the contract's table, at a proxy and at an agent alike.
func TestHTTP(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	dir := folder(t, map[string]string{"helloWorld.go": hello})
	file := filepath.Join(dir, "helloWorld.go")
	form := "application/x-www-form-urlencoded" // as curl -d says

	for name, addr := range map[string]string{"proxy": s.proxy.http, "agent": s.agent.addr} {
		base := "http://" + addr
		wantURL := `^` + regexp.QuoteMeta(base) + `/functions/helloworld$`
		if name == "agent" {
			wantURL = `^http://localhost:5\d\d\d/helloworld$`
		}
		check := func(t *testing.T, answer, status string) {
			t.Helper()
			var list []map[string]any
			require.NoError(t, json.Unmarshal([]byte(answer), &list), answer)
			require.Len(t, list, 1, answer)
			row := list[0]
			require.Equal(t, status, row["status"], answer)
			assert.Equal(t, "HelloWorld", row["name"])
			assert.Regexp(t, wantURL, row["url"])
			assert.Regexp(t, `^http://localhost:5\d\d\d$`, row["proxy"])
			assert.Equal(t, s.agent.addr, row["atAgent"])
		}
		post := func(t *testing.T, path, body string) string {
			t.Helper()
			status, answer, header := send(t, http.MethodPost, base+path, form, []byte(body))
			require.Equal(t, http.StatusOK, status, answer)
			assert.Equal(t, "application/json", header.Get("Content-Type"))
			return answer
		}
		t.Run(name, func(t *testing.T) {
			t.Run("nothing is deployed", func(t *testing.T) {
				status, answer := fetch(t, http.MethodGet, base+"/details", "")
				assert.Equal(t, http.StatusOK, status)
				assert.Equal(t, "[]", strings.TrimSpace(answer))
				assert.Equal(t, "[]", strings.TrimSpace(post(t, "/list", `{"atAgent": "`+s.agent.addr+`"}`)))
			})
			t.Run("deploy", func(t *testing.T) {
				answer := post(t, "/deploy", fmt.Sprintf(`[{"dir": %q, "name": "HelloWorld", "filePath": %q, "toAgent": %q}]`, dir, file, s.agent.addr))
				check(t, answer, "Deploying")
			})
			t.Run("aliases", func(t *testing.T) {
				for _, body := range []string{
					`[{"packageDir": %[1]q, "name": "HelloWorld", "toAgent": [%[2]q]}]`,
					`[{"packageDir": [%[1]q], "entrypoint": "HelloWorld", "agentAddr": %[2]q}]`,
					`[{"dir": %[1]q, "name": "HelloWorld", "agentAddr": [%[2]q], "file_path": "helloWorld.go"}]`,
					`[{"dir": %[1]q, "packageDir": %[1]q, "name": "HelloWorld", "entrypoint": "HelloWorld", "toAgent": [%[2]q], "agentAddr": %[2]q}]`,
					`[{"filePath": %[1]q"/helloWorld.go", "name": "HelloWorld", "agentAddr": "http://"%[2]q}]`,
				} {
					// Two strings side by side are one.
					body = strings.NewReplacer(`""`, "").Replace(fmt.Sprintf(body, dir, s.agent.addr))
					check(t, post(t, "/deploy", body), "Deploying")
				}
			})
			t.Run("wait", func(t *testing.T) {
				answer := post(t, "/deploy?wait=true", fmt.Sprintf(`[{"dir": %q, "name": "HelloWorld", "toAgent": %q}]`, dir, s.agent.addr))
				check(t, answer, "Deployed")
			})
			t.Run("details and list", func(t *testing.T) {
				status, answer := fetch(t, http.MethodGet, base+"/details", "")
				require.Equal(t, http.StatusOK, status)
				check(t, answer, "Deployed")
				check(t, post(t, "/list", `{"atAgent": "`+s.agent.addr+`"}`), "Deployed")
				check(t, post(t, "/list", `{"agentAddr": ["http://`+s.agent.addr+`"]}`), "Deployed")
			})
			t.Run("log", func(t *testing.T) {
				for _, query := range []string{"entrypoint=HelloWorld", "name=HelloWorld", "entrypoint=helloworld"} {
					status, answer := fetch(t, http.MethodGet, base+"/log?"+query, "")
					require.Equal(t, http.StatusOK, status, answer)
					var logs struct {
						Function json.RawMessage
						Logs     string
					}
					require.NoError(t, json.Unmarshal([]byte(answer), &logs))
					assert.True(t, strings.HasPrefix(logs.Logs, "deploying at /helloworld\n"), logs.Logs)
					check(t, "["+string(logs.Function)+"]", "Deployed")
				}
			})
			t.Run("multipart", func(t *testing.T) {
				contentType, body := upload(t, `[{"name": "HelloWorld", "toAgent": ["`+s.agent.addr+`"]}]`,
					zipped(t, map[string]string{"helloWorld.go": strings.Replace(hello, "World!", "zip!", 1)}))
				status, answer, _ := send(t, http.MethodPost, base+"/deploy?wait=true", contentType, body)
				require.Equal(t, http.StatusOK, status, answer)
				check(t, answer, "Deployed")
				_, said := fetch(t, http.MethodGet, rows(t, http.MethodGet, base+"/details", "")[0].URL, "")
				assert.Equal(t, "Hello, zip!\n", said)
			})
			t.Run("packages", func(t *testing.T) {
				pkg := zipped(t, map[string]string{"helloWorld.go": strings.Replace(hello, "World!", name+"!", 1)})
				digest := fmt.Sprintf("sha256:%x", sha256.Sum256(pkg))
				for _, want := range []int{http.StatusNotFound, http.StatusOK} {
					status, _, _ := send(t, http.MethodHead, base+"/packages/"+digest, "", nil)
					assert.Equal(t, want, status)
					status, answer, _ := send(t, http.MethodPut, base+"/packages/"+digest, "application/zip", pkg)
					assert.Equal(t, http.StatusOK, status)
					assert.JSONEq(t, `{"digest": "`+digest+`"}`, answer)
				}
				check(t, post(t, "/deploy?wait", `[{"name": "HelloWorld", "package": "`+digest+`", "toAgent": "`+s.agent.addr+`"}]`), "Deployed")
				_, said := fetch(t, http.MethodGet, rows(t, http.MethodGet, base+"/details", "")[0].URL, "")
				assert.Equal(t, "Hello, "+name+"!\n", said)
			})
			t.Run("watch", func(t *testing.T) {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/watch", nil)
				require.NoError(t, err)
				client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
				rsp, err := client.Do(req)
				require.NoError(t, err)
				defer rsp.Body.Close()
				assert.Equal(t, "text/event-stream", rsp.Header.Get("Content-Type"))
				lines := bufio.NewScanner(rsp.Body)
				require.True(t, lines.Scan(), lines.Err())
				data, ok := strings.CutPrefix(lines.Text(), "data:")
				require.True(t, ok, lines.Text())
				var event struct {
					Functions json.RawMessage
					Snapshot  bool
				}
				require.NoError(t, json.Unmarshal([]byte(data), &event), data)
				assert.True(t, event.Snapshot)
				check(t, string(event.Functions), "Deployed")
			})
			t.Run("faults", func(t *testing.T) { testFaults(t, base, dir) })
			t.Run("stop", func(t *testing.T) {
				answer := post(t, "/stop", `{"name": "HelloWorld"}`)
				var r row
				require.NoError(t, json.Unmarshal([]byte(answer), &r))
				assert.Equal(t, "HelloWorld", r.Name)
				assert.Equal(t, "Stopped", r.Status)
				assert.Empty(t, rows(t, http.MethodGet, base+"/details", ""))
				status, answer := fetch(t, http.MethodPost, base+"/stop", `{"entrypoint": "HelloWorld"}`)
				assert.Equal(t, http.StatusNotFound, status)
				assert.Equal(t, "not_found", errorOf(t, answer).Code)
			})
			t.Run("health", func(t *testing.T) {
				for _, path := range []string{"/healthz", "/readyz"} {
					status, _ := fetch(t, http.MethodGet, base+path, "")
					assert.Equal(t, http.StatusOK, status)
				}
			})
		})
	}
}

// testFaults sends calls that must be refused.
func testFaults(t *testing.T, base, dir string) {
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		code, says         string
	}{
		"unknown call":            {"GET", "/nope", "", 404, "not_found", "/nope"},
		"other method":            {"GET", "/deploy", "", 405, "unsupported", "/deploy"},
		"other method of details": {"DELETE", "/details", "", 405, "unsupported", "/details"},
		"no body":                 {"POST", "/deploy", "", 400, "invalid", "array"},
		"no functions":            {"POST", "/deploy", "[]", 400, "invalid", "no function"},
		"no array":                {"POST", "/deploy", `{"name": "F"}`, 400, "invalid", "array"},
		"no JSON":                 {"POST", "/deploy", `[{"name": "F"`, 400, "invalid", "JSON"},
		"null":                    {"POST", "/deploy", `[null]`, 400, "invalid", "null"},
		"number":                  {"POST", "/deploy", `[7]`, 400, "invalid", "object"},
		"wrong type":              {"POST", "/deploy", `[{"name": 7, "dir": "/"}]`, 400, "invalid", "name"},
		"unknown key":             {"POST", "/deploy", `[{"nmae": "F"}]`, 400, "invalid", `did you mean "name"?`},
		"disagreeing names":       {"POST", "/deploy", `[{"name": "F", "entrypoint": "G", "dir": "/x"}]`, 400, "invalid", `"name" and "entrypoint" disagree`},
		"disagreeing folders":     {"POST", "/deploy", `[{"name": "F", "packageDir": "/y", "dir": "/x"}]`, 400, "invalid", `"packageDir" and "dir" disagree`},
		"disagreeing agents":      {"POST", "/deploy", `[{"name": "F", "dir": "/x", "toAgent": ["a:1"], "agentAddr": "b:1"}]`, 400, "invalid", `"toAgent" and "agentAddr" disagree`},
		"two folders":             {"POST", "/deploy", `[{"name": "F", "packageDir": ["/y", "/x"]}]`, 400, "invalid", "packageDir"},
		"no name":                 {"POST", "/deploy", `[{"dir": "` + dir + `"}]`, 400, "invalid", "name"},
		"no source":               {"POST", "/deploy", `[{"name": "F"}]`, 400, "invalid", "source"},
		"relative folder":         {"POST", "/deploy", `[{"name": "F", "dir": "hello"}]`, 400, "invalid", "hello"},
		"missing folder":          {"POST", "/deploy", `[{"name": "F", "dir": "` + dir + `/no"}]`, 400, "invalid", dir + "/no"},
		"bad address":             {"POST", "/deploy", `[{"name": "F", "dir": "` + dir + `", "toAgent": "nowhere"}]`, 400, "invalid", "nowhere"},
		"unknown package":         {"POST", "/deploy", `[{"name": "F", "package": "sha256:` + strings.Repeat("0", 64) + `"}]`, 404, "not_found", "sha256:000"},
		"bad digest":              {"POST", "/deploy", `[{"name": "F", "package": "../../x"}]`, 400, "invalid", "../../x"},
		"bad wait":                {"POST", "/deploy?wait=perhaps", `[]`, 400, "invalid", "perhaps"},
		"unknown query":           {"POST", "/deploy?wiat=true", `[]`, 400, "invalid", "wait"},
		"path of another":         {"POST", "/deploy", `[{"name": "HelloworlD", "dir": "` + dir + `"}]`, 409, "conflict", "HelloWorld"},
		"one path twice":          {"POST", "/deploy", `[{"name": "Two", "dir": "` + dir + `"}, {"name": "TWO", "dir": "` + dir + `"}]`, 409, "conflict", "TWO"},
		"stop nothing":            {"POST", "/stop", `{}`, 400, "invalid", "name"},
		"stop no JSON":            {"POST", "/stop", `nonsense`, 400, "invalid", "JSON"},
		"stop a stranger":         {"POST", "/stop", `{"name": "HelloWolrd"}`, 404, "not_found", "HelloWolrd"},
		"log of nothing":          {"GET", "/log", "", 400, "invalid", "name"},
		"log of a stranger":       {"GET", "/log?entrypoint=Nobody", "", 404, "not_found", "Nobody"},
		"log with another key":    {"GET", "/log?entrpoint=HelloWorld", "", 400, "invalid", "entrypoint"},
		"list of nothing":         {"POST", "/list", "", 400, "invalid", "JSON"},
		"list of no agent":        {"POST", "/list", `{}`, 400, "invalid", "address"},
		"list of a bad address":   {"POST", "/list", `{"atAgent": "nowhere"}`, 400, "invalid", "nowhere"},
		"details of something":    {"GET", "/details?name=HelloWorld", "", 400, "invalid", "name"},
		"too much":                {"POST", "/deploy", `[{"name": "` + strings.Repeat("x", 1<<20) + `"}]`, 413, "too_large", "1048576"},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer, header := send(t, c.method, base+c.path, "application/json", []byte(c.body))
			assert.Equal(t, c.status, status, answer)
			assert.Equal(t, "application/json", header.Get("Content-Type"))
			e := errorOf(t, answer)
			assert.Equal(t, c.code, e.Code)
			assert.Contains(t, e.Message+" "+e.Hint, c.says)
		})
	}
}

// Addresses, replicas and placement: what a proxy is for.
func TestReplicas(t *testing.T) {
	t.Parallel()
	one, two := startAgent(t, "", ""), startAgent(t, "", "")
	state := t.TempDir()
	p := startProxy(t, state, "-agents", one.addr)
	dir := t.TempDir()
	writeInspector(t, dir)
	port := strings.TrimPrefix(two.addr, "localhost")
	write(t, dir, map[string]string{
		"both.json":  `{"deploy": [{"name": "Inspect", "packageDir": ".", "agentAddr": ["http://` + one.addr + `", "` + port + `"]}]}`,
		"hello.json": `{"deploy": [{"name": "HelloWorld", "filePath": "hello/fn.go"}]}`,
	})
	write(t, filepath.Join(dir, "hello"), map[string]string{"fn.go": hello})
	url := "http://" + p.http + "/functions/inspect"
	pids := func(t *testing.T) []string {
		t.Helper()
		var seen []string
		for range 8 {
			status, pid := fetch(t, http.MethodGet, url+"/pid", "")
			require.Equal(t, http.StatusOK, status, pid)
			if !slices.Contains(seen, pid) {
				seen = append(seen, pid)
			}
		}
		return seen
	}

	r := proxyCli(t, dir, "-proxy", p.http, "-transport", "http", "def", "-wait", "both.json")
	require.Zero(t, r.code, r.stderr)
	assert.Equal(t, strings.Repeat(line("Inspect", url, "Deployed"), 2), r.stdout, "a row for each agent")
	var at []string
	for _, row := range rows(t, http.MethodGet, "http://"+p.http+"/details", "") {
		at = append(at, row.AtAgent)
		assert.Equal(t, url, row.URL)
	}
	assert.ElementsMatch(t, []string{one.addr, two.addr}, at)
	assert.Len(t, pids(t), 2, "calls go to both replicas")
	r = proxyCli(t, dir, "-proxy", p.rpc, "list", two.addr)
	assert.Equal(t, line("Inspect", url, "Deployed"), r.stdout)

	// A proxy remembers the agents that calls named.
	p.end()
	p = startProxy(t, state)
	url = "http://" + p.http + "/functions/inspect"
	eventually(t, func() bool {
		ready := 0
		for _, row := range rows(t, http.MethodGet, "http://"+p.http+"/details", "") {
			if row.Status == "Deployed" && row.Error == "" {
				ready++
			}
		}
		return ready == 2
	}, "two replicas")
	assert.Len(t, pids(t), 2)

	t.Run("a function without an agent goes to the least loaded", func(t *testing.T) {
		// One more function makes agent one the busier.
		mustDeploy(t, p.http, "Busy", source(t, says("Busy", "")), one.addr)
		r := proxyCli(t, dir, "-proxy", p.rpc, "def", "-wait", "hello.json")
		require.Zero(t, r.code, r.stderr)
		row, _ := find(rows(t, http.MethodGet, "http://"+p.http+"/details", ""), "HelloWorld")
		assert.Equal(t, two.addr, row.AtAgent)
	})
	t.Run("fewer agents stop the other replica", func(t *testing.T) {
		mustDeploy(t, p.http, "Inspect", dir, two.addr)
		eventually(t, func() bool {
			_, there := find(rows(t, http.MethodGet, "http://"+one.addr+"/details", ""), "Inspect")
			return !there
		}, "agent one keeps its replica")
		assert.Len(t, pids(t), 1)
	})
	t.Run("stop", func(t *testing.T) {
		r := proxyCli(t, dir, "-proxy", p.rpc, "stop", "inspect", "HelloWorld", "Busy")
		require.Zero(t, r.code, r.stderr)
		assert.Equal(t, 3, strings.Count(r.stdout, `status:"Stopped"`), r.stdout)
		for _, addr := range []string{p.http, one.addr, two.addr} {
			assert.Empty(t, rows(t, http.MethodGet, "http://"+addr+"/details", ""))
		}
	})
	t.Run("an agent that does not answer", func(t *testing.T) {
		gone := closedPort(t)
		r := proxyCli(t, dir, "-proxy", p.rpc, "list", gone)
		assert.Equal(t, 4, r.code, r.stderr)
		assert.Contains(t, r.stderr, gone)
		r = proxyCli(t, dir, "-proxy", p.rpc, "deploy", "-wait", "-agent", gone+","+two.addr, "hello")
		assert.Equal(t, 1, r.code, "%+v", r)
		assert.Equal(t, 2, strings.Count(r.stdout, `status:"Failed"`), "all or none: %s", r.stdout)
		assert.Contains(t, r.stderr, gone)
	})
}

// A proxy that knows no agent says so.
func TestNoAgent(t *testing.T) {
	t.Parallel()
	p := startProxy(t, "")
	dir := source(t, says("F", ""))
	status, answer := fetch(t, http.MethodPost, "http://"+p.http+"/deploy", fmt.Sprintf(`[{"name": "F", "dir": %q}]`, dir))
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Contains(t, errorOf(t, answer).Message, "agent")
	assert.NotEmpty(t, errorOf(t, answer).Hint)
	r := proxyCli(t, dir, "-proxy", p.rpc, "deploy", "-wait", ".")
	assert.Equal(t, 4, r.code, r.stderr)
	assert.Empty(t, r.stdout)
	r = proxyCli(t, dir, "-proxy", p.rpc, "list")
	assert.Zero(t, r.code, r.stderr)
	assert.Empty(t, r.stdout)
}

// runProgram runs a program to its end with additional variables.
func runProgram(t *testing.T, name string, env []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := command(ctx, name, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(cmd.Env, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run()
	require.NotNil(t, cmd.ProcessState)
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{
		"agent":    {"-port", "-dir", "-ports", "-host"},
		"proxy":    {"-http", "-rpc", "-agents", "-dir", "-url"},
		"proxyCli": {"-proxy", "-transport"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, arg := range []string{"-h", "-help", "--help"} {
				r := runProgram(t, name, nil, arg)
				assert.Zero(t, r.code)
				assert.Empty(t, r.stderr)
				assert.Contains(t, r.stdout, "Usage: "+name)
				for _, flag := range append(flags, "-version") {
					assert.Regexp(t, `(?m)^\s+`+flag+`\b`, r.stdout, arg)
				}
				for _, flag := range flags {
					assert.Contains(t, r.stdout, "RYO_"+strings.ToUpper(flag[1:]), arg)
				}
			}
			for _, arg := range []string{"-version", "--version"} {
				r := runProgram(t, name, nil, arg)
				assert.Zero(t, r.code)
				assert.Empty(t, r.stderr)
				assert.Regexp(t, `^`+name+` \S+.*\n$`, r.stdout)
			}
		})
	}
	t.Run("commands", func(t *testing.T) {
		t.Parallel()
		help := runProgram(t, "proxyCli", nil, "help").stdout
		for _, verb := range []string{"def", "deploy", "list", "details", "stop", "log", "invoke"} {
			assert.Regexp(t, `(?m)^  `+verb+`\b`, help)
			r := runProgram(t, "proxyCli", nil, verb, "-help")
			assert.Zero(t, r.code)
			assert.Empty(t, r.stderr)
			assert.Contains(t, r.stdout, "Usage: proxyCli "+verb)
		}
	})
}

func TestMistakesOnTheCommandLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for _, c := range []struct {
		program string
		args    []string
		code    int
		says    []string
	}{
		{"agent", []string{"-prot", ":1"}, 2, []string{"-prot", "did you mean -port"}},
		{"agent", []string{"start"}, 2, []string{`"start"`}},
		{"agent", []string{"-port"}, 2, []string{"-port"}},
		{"agent", []string{"-insecure=perhaps"}, 2, []string{"perhaps"}},
		{"agent", []string{"-ports", "5", "-dir", dir, "-port", "127.0.0.1:0"}, 2, []string{"-ports", `"5"`}},
		{"agent", []string{"-dir", dir, "-port", taken.Addr().String()}, 1, []string{taken.Addr().String(), "-port"}},
		{"agent", []string{"-dir", dir, "-port", "nonsense:port"}, 1, []string{"-port", "nonsense:port"}},
		{"proxy", []string{"--agnets", "a:1"}, 2, []string{"-agnets", "did you mean -agents"}},
		{"proxy", []string{"serve"}, 2, []string{`"serve"`}},
		{"proxy", []string{"-agents", "no-port", "-dir", dir, "-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0"}, 2, []string{"no-port"}},
		{"proxy", []string{"-url", "ftp:/x", "-dir", dir, "-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0"}, 2, []string{"ftp:/x"}},
		{"proxy", []string{"-dir", dir, "-http", taken.Addr().String(), "-rpc", "127.0.0.1:0"}, 1, []string{taken.Addr().String(), "-http"}},
		{"proxyCli", []string{"-prxy", "a:1", "list"}, 2, []string{"-prxy", "did you mean -proxy"}},
		{"proxyCli", []string{"lsit"}, 2, []string{`"lsit"`, "did you mean list"}},
		{"proxyCli", []string{"deploy", "-nmae", "F"}, 2, []string{"-nmae", "did you mean -name"}},
		{"proxyCli", []string{"-transport", "carrier-pigeon", "list"}, 2, []string{"carrier-pigeon", "rpc", "http"}},
		{"proxyCli", []string{"-o", "xml", "list"}, 2, []string{"xml", "json"}},
		{"proxyCli", []string{"-proxy", "nowhere", "list"}, 2, []string{"nowhere"}},
		{"proxyCli", []string{"def"}, 2, []string{"FILE"}},
		{"proxyCli", []string{"stop"}, 2, []string{"NAME"}},
		{"proxyCli", []string{"log"}, 2, []string{"NAME"}},
		{"proxyCli", []string{"log", "A", "B"}, 2, []string{"B"}},
		{"proxyCli", []string{"details", "A"}, 2, []string{"A"}},
		{"proxyCli", []string{"invoke"}, 2, []string{"NAME"}},
	} {
		t.Run(c.program+" "+strings.ReplaceAll(strings.Join(c.args, " "), dir, "DIR"), func(t *testing.T) {
			r := runProgram(t, c.program, nil, c.args...)
			assert.Equal(t, c.code, r.code, "%+v", r)
			assert.Empty(t, r.stdout)
			for _, text := range c.says {
				assert.Contains(t, r.stderr, text)
			}
			if c.code == 2 {
				assert.Equal(t, 1, strings.Count(r.stderr, "\n"), "one line: %s", r.stderr)
			}
		})
	}
}

// banner is what a server printed for its user: where it listens.
func banner(s *server) string {
	return regexp.MustCompile(`(?m)^(HTTP|GRPC server) started on .*\n`).FindString(s.String()) +
		regexp.MustCompile(`(?m)^GRPC server started on .*\n`).FindString(s.String())
}

// Flags, the variables that stand in for them, the folders they name, and the
// lines that tell users where the programs are.
func TestFlagsAndVariables(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	serve := func(t *testing.T, name string, env []string, args ...string) *server {
		t.Helper()
		cmd := command(context.Background(), name, args...)
		cmd.Dir = t.TempDir()
		cmd.Env = append(cmd.Env, env...)
		return launch(t, cmd)
	}
	ports := freePorts(t, 4)
	a := serve(t, "agent", []string{
		"RYO_PORT=:0", "RYO_DIR=" + state, "RYO_CACHE=" + cache(t), "RYO_PORTS=" + ports, "RYO_HOST=",
	})
	port := a.said(`(?m)^HTTP started on :(\d+)$`)
	assert.Equal(t, "HTTP started on :"+port+"\nGRPC server started on [::]:"+port+"\n", banner(a))
	at := "localhost:" + port

	p := serve(t, "proxy", []string{
		"RYO_HTTP=:0", "RYO_RPC=:0", "RYO_DIR=/nowhere", "RYO_AGENTS=" + at, "RYO_URL=https://faas.example.com",
	}, "-dir", state) // flags count more than variables
	web, rpc := p.said(`(?m)^HTTP started on :(\d+)$`), p.said(`(?m)^GRPC server started on \[::\]:(\d+)$`)
	assert.Equal(t, "HTTP started on :"+web+"\nGRPC server started on [::]:"+rpc+"\n", banner(p))
	assert.NotEqual(t, web, rpc)

	dir := source(t, hello)
	t.Run("the proxy's url is -url", func(t *testing.T) {
		const url = "https://faas.example.com/functions/helloworld"
		for _, d := range []door{{addr: "localhost:" + rpc, kind: "rpc"}, {addr: "localhost:" + web, kind: "http"}} {
			r := runProgram(t, "proxyCli", []string{"RYO_PROXY=" + d.addr, "RYO_TRANSPORT=" + d.kind}, "deploy", "-wait", dir)
			assert.Equal(t, line("HelloWorld", url, "Deployed"), r.stdout, r.stderr)
			r = runProgram(t, "proxyCli", []string{"RYO_PROXY=" + d.addr, "RYO_TRANSPORT=" + d.kind, "RYO_OUTPUT=json"}, "list")
			var list []row
			require.NoError(t, json.Unmarshal([]byte(r.stdout), &list), r.stdout)
			assert.Equal(t, url, list[0].URL)
			r = runProgram(t, "proxyCli", []string{"RYO_PROXY=localhost:1", "RYO_TRANSPORT=x"}, "list", "-proxy", d.addr, "-transport", d.kind)
			assert.Equal(t, line("HelloWorld", url, "Deployed"), r.stdout)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost:"+web+"/details", nil)
		require.NoError(t, err)
		req.Host = "faas.example.com"
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		rsp, err := client.Do(req)
		require.NoError(t, err)
		rsp.Body.Close()
		assert.Equal(t, http.StatusOK, rsp.StatusCode, "the name in -url is one of its own")
	})
	t.Run("the agent's ports are those of -ports", func(t *testing.T) {
		row := rows(t, http.MethodGet, "http://"+at+"/details", "")[0]
		first, _, _ := strings.Cut(ports, "-")
		low, err := strconv.Atoi(first)
		require.NoError(t, err)
		got, err := strconv.Atoi(strings.TrimPrefix(row.Proxy, "http://localhost:"))
		require.NoError(t, err)
		assert.True(t, low <= got && got < low+4, row.Proxy)
	})
	t.Run("state lies in -dir", func(t *testing.T) {
		assert.DirExists(t, filepath.Join(state, "agent"))
		assert.DirExists(t, filepath.Join(state, "proxy"))
	})
	t.Run("one folder belongs to one agent", func(t *testing.T) {
		r := runProgram(t, "agent", nil, "-port", "127.0.0.1:0", "-dir", state, "-cache", cache(t))
		assert.Equal(t, 1, r.code)
		assert.Contains(t, r.stderr, strconv.Itoa(a.cmd.Process.Pid))
	})
	t.Run("the url's host is the one that the caller addressed", func(t *testing.T) {
		q := startProxy(t, "", "-agents", at)
		eventually(t, func() bool { return len(rows(t, http.MethodGet, "http://"+q.http+"/details", "")) == 1 }, "no row")
		_, port, _ := net.SplitHostPort(q.http)
		_, rpcPort, _ := net.SplitHostPort(q.rpc)
		for _, host := range []string{"localhost", "127.0.0.1", "[::ffff:127.0.0.1]"} {
			want := "http://" + host + ":" + port + "/functions/helloworld"
			assert.Equal(t, want, rows(t, http.MethodGet, "http://"+host+":"+port+"/details", "")[0].URL)
			r := runProgram(t, "proxyCli", nil, "-proxy", host+":"+rpcPort, "list")
			assert.Equal(t, line("HelloWorld", want, "Deployed"), r.stdout, r.stderr)
		}
	})
	t.Run("the user's state directory is the default of -dir", func(t *testing.T) {
		home := t.TempDir()
		serve(t, "proxy", []string{"XDG_STATE_HOME=" + home}, "-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0")
		assert.DirExists(t, filepath.Join(home, "ryo-faas", "proxy"))
		home = t.TempDir()
		serve(t, "agent", []string{"XDG_STATE_HOME=", "HOME=" + home, "RYO_CACHE=" + cache(t)}, "-port", "127.0.0.1:0")
		assert.DirExists(t, filepath.Join(home, ".local", "state", "ryo-faas", "agent"))
		left, err := os.ReadDir(home)
		require.NoError(t, err)
		assert.Len(t, left, 1, "nothing else is written in the user's home: %v", left)
	})
}

// freePorts is a range of ports that nobody listens on, outside the range from
// which the system takes those of outgoing connections.
func freePorts(t *testing.T, n int) string {
	t.Helper()
	for first := 20000 + os.Getpid()%1000*10; ; first += n {
		free := true
		for port := first; port < first+n && free; port++ {
			l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
			if free = err == nil; free {
				l.Close()
			}
		}
		if free {
			return fmt.Sprintf("%d-%d", first, first+n-1)
		}
		require.Less(t, first, 32000)
	}
}

// What scripts see: the exit codes, and the same answers as text and JSON.
func TestVerbs(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	at := s.agent.addr
	dir := folder(t, map[string]string{
		"hello/helloWorld.go": hello,
		"two/a.go":            strings.Replace(hello, "HelloWorld(", "One(", 1) + "\nfunc Two(w http.ResponseWriter, r *http.Request) { panic(1) }\n",
		"undefined/a.go":      "package p\n\nimport \"net/http\"\n\nfunc Undefined(w http.ResponseWriter, r *http.Request) {\n\tw.Wirte(nil)\n}\n",
		"signature/a.go":      "package p\n\nimport \"net/http\"\n\nfunc Signature(w http.ResponseWriter, r http.Request) {}\n",
		"exits/a.go":          "package p\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n\t\"os\"\n)\n\nfunc init() { fmt.Println(\"no database\"); os.Exit(7) }\n\nfunc Exits(w http.ResponseWriter, r *http.Request) {}\n",
		"hangs/a.go":          "package p\n\nimport \"net/http\"\n\nfunc init() { select {} }\n\nfunc Hangs(w http.ResponseWriter, r *http.Request) {}\n",
		"all.json": `{
			"deploy": [{"name": "HelloWorld", "packageDir": "hello", "agentAddr": "` + at + `"}],
			"list": {"agentAddr": "` + at + `"},
			"log": {"name": ["HelloWorld"]},
			"stop": {"name": "HelloWorld"}}`,
		"stop.json":  `{"stop": {"name": ["HelloWorld"]}}`,
		"log.json":   `{"log": {"name": ["HelloWorld"]}}`,
		"mixed.json": `{"deploy": [{"name": "HelloWorld", "packageDir": "hello", "agentAddr": "` + at + `"}, {"name": "Undefined", "packageDir": "undefined", "agentAddr": "` + at + `"}]}`,
	})
	url := "http://" + s.proxy.http + "/functions/"
	cli := func(t *testing.T, args ...string) result {
		t.Helper()
		return proxyCli(t, dir, append([]string{"-proxy", s.proxy.rpc}, args...)...)
	}

	t.Run("all sections of a file", func(t *testing.T) {
		r := cli(t, "def", "-wait", "all.json")
		require.Zero(t, r.code, r.stderr)
		assert.Equal(t, line("HelloWorld", url+"helloworld", "Deployed")+
			line("HelloWorld", url+"helloworld", "Deployed")+
			"deploying at /helloworld\n"+
			line("HelloWorld", url+"helloworld", "Stopped"), r.stdout)
	})
	t.Run("unreachable", func(t *testing.T) {
		gone := closedPort(t)
		for _, kind := range []string{"rpc", "http"} {
			for _, args := range [][]string{{"list"}, {"details"}, {"stop", "F"}, {"log", "F"}, {"invoke", "F"}, {"deploy", "hello"}, {"def", "all.json"}} {
				r := proxyCli(t, dir, append(args, "-proxy", gone, "-transport", kind)...)
				assert.Equal(t, 4, r.code, "%s %s", args, r.stderr)
				assert.Empty(t, r.stdout)
				assert.Contains(t, r.stderr, gone)
				assert.Contains(t, r.stderr, "hint:")
			}
		}
	})
	t.Run("deploy without a name", func(t *testing.T) {
		r := cli(t, "deploy", "-agent", at, "-wait", "hello")
		assert.Zero(t, r.code, r.stderr)
		assert.Equal(t, line("HelloWorld", url+"helloworld", "Deployed"), r.stdout)
		r = cli(t, "deploy", "-agent", at, "two")
		assert.Equal(t, 2, r.code)
		assert.Empty(t, r.stdout)
		assert.Contains(t, r.stderr, "One")
		assert.Contains(t, r.stderr, "Two")
		assert.Contains(t, r.stderr, "-name")
	})
	t.Run("json says what HTTP says", func(t *testing.T) {
		for _, d := range s.doors() {
			var got []row
			r := d.cli(t, dir, "-o", "json", "details")
			require.NoError(t, json.Unmarshal([]byte(r.stdout), &got), r.stdout)
			base := "http://" + s.proxy.http
			if !d.proxy {
				base = "http://" + s.agent.addr
			}
			assert.Equal(t, rows(t, http.MethodGet, base+"/details", ""), got, d.name)
			r = d.cli(t, dir, "list", "-o", "json", "http://"+at)
			var again []row
			require.NoError(t, json.Unmarshal([]byte(r.stdout), &again), r.stdout)
			assert.Equal(t, got, again)
			r = d.cli(t, dir, "log", "HelloWorld", "-o=json")
			var logs struct {
				Function row
				Logs     string
			}
			require.NoError(t, json.Unmarshal([]byte(r.stdout), &logs), r.stdout)
			assert.Regexp(t, "^(deploying at /helloworld\n)+$", logs.Logs, "of each deploy")
			assert.Equal(t, got[0], logs.Function)
		}
	})
	t.Run("log and stop by name and by file", func(t *testing.T) {
		for _, args := range [][]string{{"log", "HelloWorld"}, {"def", "log.json"}} {
			r := cli(t, args...)
			assert.Regexp(t, "^(deploying at /helloworld\n)+$", r.stdout)
			assert.Zero(t, r.code)
		}
		r := cli(t, "stop", "Nobody", "HelloWorld")
		assert.Equal(t, 6, r.code)
		assert.Equal(t, line("HelloWorld", url+"helloworld", "Stopped"), r.stdout)
		assert.Contains(t, r.stderr, "Nobody")
		for _, args := range [][]string{
			{"stop", "HelloWorld"}, {"def", "stop.json"}, {"invoke", "HelloWorld"},
		} {
			for _, d := range s.doors() {
				r := d.cli(t, dir, args...)
				assert.Equal(t, 5, r.code, "%s %s: %+v", d.name, args, r)
				assert.Empty(t, r.stdout)
				assert.Contains(t, r.stderr, "HelloWorld")
			}
		}
		for _, d := range s.doors() {
			r := d.cli(t, dir, "log", "Nobody")
			assert.Equal(t, 5, r.code, "%s: %+v", d.name, r)
			if !d.proxy { // what a function printed outlives it
				r = d.cli(t, dir, "log", "HelloWorld")
				assert.Regexp(t, "^(deploying at /helloworld\n)+$", r.stdout)
			}
		}
	})
	t.Run("code that is refused", func(t *testing.T) {
		for _, d := range s.doors() {
			r := d.cli(t, dir, "deploy", "-wait", "-agent", at, "-name", "Signature", "signature")
			assert.Equal(t, 3, r.code)
			assert.Empty(t, r.stdout)
			assert.Contains(t, r.stderr, "signature/a.go:5:41: parameter 2 of Signature is net/http.Request, want *net/http.Request (missing *)")
			r = d.cli(t, dir, "deploy", "-wait", "-agent", at, "undefined")
			assert.Equal(t, 3, r.code)
			assert.Contains(t, r.stdout, `status:"Failed"`)
			assert.Contains(t, r.stderr, "undefined/a.go:6:4: w.Wirte undefined")
		}
	})
	t.Run("partly failed", func(t *testing.T) {
		r := cli(t, "def", "-wait", "mixed.json")
		assert.Equal(t, 6, r.code)
		assert.Equal(t, line("HelloWorld", url+"helloworld", "Deployed")+line("Undefined", url+"undefined", "Failed"), r.stdout)
	})
	t.Run("a function that does not start", func(t *testing.T) {
		r := cli(t, "deploy", "-wait", "-agent", at, "exits")
		assert.Equal(t, 8, r.code, "%+v", r)
		assert.Contains(t, r.stderr, "exit status 7")
		assert.Contains(t, r.stderr, "no database")
	})
	t.Run("interrupted", func(t *testing.T) {
		cmd := command(t.Context(), "proxyCli", "-proxy", s.proxy.rpc, "deploy", "-wait", "-agent", at, "hangs")
		cmd.Dir = dir
		stderr, err := cmd.StderrPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		var text strings.Builder
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			text.WriteString(lines.Text() + "\n")
			if strings.HasPrefix(lines.Text(), "starting Hangs") {
				require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
			}
		}
		_ = cmd.Wait()
		assert.Equal(t, 130, cmd.ProcessState.ExitCode(), text.String())
		r := cli(t, "stop", "Hangs")
		assert.Zero(t, r.code, r.stderr)
	})
}
