package e2e

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// Packages of functions.
var (
	write  = testkit.Write
	folder = testkit.Files
	source = testkit.Source
	says   = testkit.Says
)

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

// inspector says in its answer what has reached it.
const inspector = `package inspector

import (
	"crypto/rand"
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

var Version = "unset"

var process = rand.Text() // its own

func Inspect(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/settings":
		data, err := os.ReadFile("data/greeting.txt")
		fmt.Fprintln(w, os.Getenv("COLOUR"), Version, tagged, string(data), err)
	case "/process":
		fmt.Fprint(w, process)
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
	case "/caller":
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		_, port, _ := net.SplitHostPort(r.Context().Value(http.LocalAddrContextKey).(net.Addr).String())
		fmt.Fprintln(w, host, err, r.Header.Get("X-Forwarded-Prefix"), r.RequestURI, port == "" || port == os.Getenv("PORT"))
	case "/upload":
		_, h, err := r.FormFile("f")
		fmt.Fprintln(w, h.Size, err)
	case "/left":
		files, err := filepath.Glob(filepath.Join(os.TempDir(), "multipart-*"))
		fmt.Fprintln(w, len(files), err)
	case "/refuse":
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	case "/wrong":
		w.WriteHeader(1000)
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

// obeys is the source of a function that answers with a text and does what the
// path asks for.
func obeys(name, text string) string {
	return fmt.Sprintf(`package fn

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

var kept [][]byte

func %[1]s(w http.ResponseWriter, r *http.Request) {
	out := http.NewResponseController(w)
	query := r.URL.Query()
	switch r.URL.Path {
	case "/":
		fmt.Fprint(w, %[2]q)
	case "/echo":
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	case "/query":
		fmt.Fprint(w, r.URL.RawQuery)
	case "/headers":
		w.Header().Set("Connection", "X-Private")
		w.Header().Set("X-Private", "1")
		json.NewEncoder(w).Encode(r.Header)
	case "/wait":
		d, _ := time.ParseDuration(query.Get("for"))
		out.Flush()
		time.Sleep(d)
		fmt.Fprint(w, %[2]q)
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		d, _ := time.ParseDuration(query.Get("every"))
		for i := range 5 {
			fmt.Fprintf(w, "data: %%d\n\n", i)
			out.Flush()
			time.Sleep(d)
		}
	case "/socket":
		conn, buffered, err := out.Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(conn, buffered)
	case "/trailer":
		w.Header().Set("Trailer", "Sum")
		fmt.Fprint(w, "body")
		w.Header().Set("Sum", "42")
	case "/cut":
		if n := query.Get("length"); n != "" {
			w.Header().Set("Content-Length", n)
		}
		fmt.Fprint(w, "part")
		out.Flush()
		os.Exit(7)
	case "/exit":
		os.Exit(7)
	case "/hog":
		for {
			block := make([]byte, 8<<20)
			for i := 0; i < len(block); i += 4096 {
				block[i] = 1
			}
			kept = append(kept, block)
		}
	case "/children":
		for _, own := range []bool{false, true} {
			child := exec.Command("sleep", "600")
			child.SysProcAttr = &syscall.SysProcAttr{Setpgid: own}
			if err := child.Start(); err != nil {
				fmt.Fprint(w, err)
			}
			fmt.Fprintln(w, child.Process.Pid)
		}
	case "/lines":
		for i := range 200_000 {
			fmt.Println("line", i)
		}
	case "/long":
		fmt.Println(strings.Repeat("x", 1<<20))
		fmt.Println("after the long line")
	case "/binary":
		for i := range 1024 {
			os.Stdout.Write([]byte{byte(i), 0, 0xff, 0x1b})
		}
		fmt.Println("\nafter the binary")
	default:
		http.NotFound(w, r)
	}
}
`, name, text)
}

// late is a function that takes a while to be ready.
func late(name, text string, by time.Duration) string {
	return strings.Replace(says(name, text), "\t\"net/http\"\n", "\t\"net/http\"\n\t\"time\"\n", 1) +
		fmt.Sprintf("\nfunc init() { time.Sleep(%d) }\n", by)
}
