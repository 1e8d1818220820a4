package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// suiteClient names the program of the framework's public conformance suite,
// github.com/GoogleCloudPlatform/functions-framework-conformance/client.
const suiteClient = "CONFORMANCE_CLIENT"

func init() { //nolint:gochecknoinits // the table of programs cannot refer to one that starts others of it
	mains["suite"], mains["platform"] = suiteMain, platformMain
}

// suiteFunctions are what the suite calls. They leave what they received in the
// file that the suite looks into.
const suiteFunctions = `package fn

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"time"

	"cloud.google.com/go/functions/metadata"
	"github.com/GoogleCloudPlatform/functions-framework-go/functions"
	cloudevents "github.com/cloudevents/sdk-go/v2"
)

func init() {
	functions.HTTP("DeclaredHTTP", HTTP)
	functions.CloudEvent("DeclaredEvent", CloudEvent)
}

func leave(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(os.Getenv("OUT"), text, 0o600)
}

func HTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = os.WriteFile(os.Getenv("OUT"), body, 0o600)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func Concurrent(w http.ResponseWriter, r *http.Request) { <-time.After(time.Second) }

func CloudEvent(_ context.Context, e cloudevents.Event) error { return leave(e) }

func Legacy(ctx context.Context, data any) error {
	meta, err := metadata.FromContext(ctx)
	if err != nil {
		return err
	}
	return leave(map[string]any{"data": data, "context": meta})
}

type Payload struct {
	Payload any ` + "`json:\"payload\"`" + `
}

func Typed(in any) (Payload, error) { return Payload{in}, nil }
`

// The framework's own suite passes against functions that the platform serves, in
// a network of their own, since it calls port 8080 and nothing else.
func TestFrameworkSuite(t *testing.T) {
	client := os.Getenv(suiteClient)
	if client == "" {
		t.Skip(suiteClient + " does not name the suite's client")
	}
	dir := source(t, suiteFunctions)
	for fn, args := range map[string][]string{
		"HTTP":          {"-type=http"},
		"DeclaredHTTP":  {"-type=http"},
		"CloudEvent":    {"-type=cloudevent"},
		"DeclaredEvent": {"-type=cloudevent"},
		"Legacy":        {"-type=legacyevent"},
		"Typed":         {"-type=http", "-declarative-type=typed"},
		"Concurrent":    {"-type=http", "-validate-concurrency=true"},
	} {
		t.Run(fn, func(t *testing.T) {
			t.Parallel()
			tmp := t.TempDir()
			out := filepath.Join(tmp, "out.json")
			cmd := exec.CommandContext(t.Context(), os.Args[0], append(args, "-buildpacks=false", "-start-delay=1", "-output-file="+out,
				"-cmd="+strings.Join([]string{os.Args[0], fn, dir, out}, " "))...)
			cmd.Dir = tmp
			cmd.Env = append(os.Environ(), program+"=suite", "TMPDIR="+tmp)
			// What is left of the platform ends with the first process of its namespace.
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
				UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
			}
			said, err := cmd.CombinedOutput()
			if err != nil {
				logs, _ := filepath.Glob(filepath.Join(tmp, "*.txt"))
				for _, log := range logs {
					text, _ := os.ReadFile(log)
					said = append(said, text...)
				}
			}
			require.NoError(t, err, "%s", said)
		})
	}
}

// suiteMain becomes the suite's client once the namespaces are made habitable.
func suiteMain(args []string, _ io.Reader, _, stderr io.Writer) int {
	err := errors.Join(
		loopbackUp(),
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("proc", "/proc", "proc", 0, ""), // the agent looks for its processes there
	)
	if err == nil {
		client := os.Getenv(suiteClient)
		err = syscall.Exec(client, append([]string{client}, args[1:]...), append(os.Environ(), program+"=platform"))
	}
	fmt.Fprintln(stderr, err)
	return 1
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// platformMain is the command that the suite starts: FUNCTION DIR OUT. It listens
// at once and lets callers wait until the function is deployed.
func platformMain(args []string, _ io.Reader, _, stderr io.Writer) int {
	fn, dir, out := args[1], args[2], args[3]
	ready := make(chan *httputil.ReverseProxy, 1)
	failed := make(chan error, 2)
	go func() {
		functions, err := deployForSuite(fn, dir, out)
		if err != nil {
			failed <- err
			return
		}
		target := functions.JoinPath(strings.ToLower(fn))
		ready <- &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	}()
	go func() {
		failed <- http.ListenAndServe("localhost:8080", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			forward := <-ready
			ready <- forward
			forward.ServeHTTP(w, r)
		}))
	}()
	fmt.Fprintln(stderr, <-failed)
	return 1
}

// deployForSuite starts an agent and a proxy, deploys the function and returns
// where the proxy serves functions.
func deployForSuite(fn, dir, out string) (*url.URL, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	state, err := os.MkdirTemp("", "")
	if err != nil {
		return nil, err
	}
	agent, err := startForSuite("agent", "-port", "127.0.0.1:9000", "-dir", filepath.Join(state, "a"), "-cache", filepath.Join(cache, "ryo-faas-test"))
	if err != nil {
		return nil, err
	}
	proxy, err := startForSuite("proxy", "-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0", "-dir", filepath.Join(state, "p"), "-agents", agent)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal([]map[string]any{{"name": fn, "dir": dir, "env": map[string]string{"OUT": out}}})
	if err != nil {
		return nil, err
	}
	status, answer, err := tryFetch(http.MethodPost, "http://"+proxy+"/deploy?wait=true", string(body))
	if err == nil && (status != http.StatusOK || !strings.Contains(answer, `"status":"Deployed"`)) {
		err = fmt.Errorf("deploy %s: %d %s", fn, status, answer)
	}
	return &url.URL{Scheme: "http", Host: proxy, Path: "/functions"}, err
}

// startForSuite starts an agent or a proxy and returns its HTTP address.
func startForSuite(name string, args ...string) (string, error) {
	cmd := command(context.Background(), name, args...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return "", err
	}
	started := regexp.MustCompile(`HTTP started on \S*:(\d+)\n(?s:.*)GRPC server started`)
	var said bytes.Buffer
	for part := make([]byte, 512); ; {
		n, err := stdout.Read(part)
		said.Write(part[:n])
		if m := started.FindSubmatch(said.Bytes()); m != nil {
			return "localhost:" + string(m[1]), nil
		}
		if err != nil {
			return "", fmt.Errorf("%s said %q: %w", name, said.String(), err)
		}
	}
}
