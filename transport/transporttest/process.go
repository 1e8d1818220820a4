package transporttest

import (
	"archive/zip"
	"cmp"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// compile returns the body of a function, or why it does not compile, with the reason
// that its row gives.
func compile(fn *proto.FunctionJson, pkg *bundle.Package) (body *ast.BlockStmt, reason string, err error) {
	archive, err := zip.OpenReader(pkg.Path)
	if err != nil {
		return nil, proto.ReasonAgent, err
	}
	defer func() { _ = archive.Close() }()
	files, err := fs.Glob(archive, path.Join(fn.GetPackagePath(), "*.go"))
	if err != nil {
		return nil, proto.ReasonAgent, err
	}
	for _, name := range files {
		source, err := fs.ReadFile(archive, name)
		if err != nil {
			return nil, proto.ReasonAgent, err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, source, parser.SkipObjectResolution)
		var list scanner.ErrorList
		if errors.As(err, &list) {
			return nil, proto.ReasonCheck, list[0]
		}
		for _, decl := range parsed.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == cmp.Or(fn.GetTarget(), fn.GetName()) {
				body = f.Body
			}
		}
	}
	if body == nil {
		return nil, proto.ReasonCheck, fmt.Errorf("no file of the package declares func %s", cmp.Or(fn.GetTarget(), fn.GetName()))
	}
	return body, "", nil
}

// service is where a version of a function is called.
type service struct {
	url    string
	server *http.Server
}

// close closes a service, which may be nil.
func (s *service) close() {
	if s != nil {
		_ = s.server.Close()
	}
}

// serve opens a service of a function. which is called with f.mu held.
func (f *Fake) serve(fn *function, which func() *version) (*service, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, proto.Errorf(proto.ErrExhausted, "open a port: %w", err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s := &service{url: "http://localhost:" + port, server: &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.answer(fn, which, w, r) }),
		ReadHeaderTimeout: time.Minute,
	}}
	f.services.Go(func() { _ = s.server.Serve(l) }) // until it is closed
	return s, nil
}

// answer answers a call of a function.
func (f *Fake) answer(fn *function, which func() *version, w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	v := which()
	below, found := strings.CutPrefix(r.URL.Path, "/"+fn.path)
	if v == nil || !found {
		f.mu.Unlock()
		http.NotFound(w, r)
		return
	}
	if fn.paused {
		f.mu.Unlock()
		w.Header().Set("Retry-After", "30")
		http.Error(w, "the function is paused", http.StatusServiceUnavailable)
		return
	}
	v.requests++
	f.mu.Unlock()
	c := call{
		path: below, env: maps.Clone(v.fn.GetEnv()), answer: w,
		print: func(stream, text string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			fn.print(v, stream, r.Header.Get("X-Request-Id"), text)
		},
	}
	if c.env == nil {
		c.env = make(map[string]string)
	}
	maps.Copy(c.env, v.fn.GetSecrets())
	if code, exits := c.run(v.body.List); exits {
		f.crash(fn, v, code)
		panic(http.ErrAbortHandler) // closes the connection, as the exit of a process does
	}
}

// call is one call of a function. It runs the statements that the fake knows: prints of
// texts and of environment variables to the answer, to stdout and to stderr, exits of
// the process, and conditions on the path.
type call struct {
	path   string // below the function's own
	env    map[string]string
	answer io.Writer
	print  func(stream, text string)
}

// run runs statements, and reports whether one of them is an exit of the process.
func (c *call) run(body []ast.Stmt) (code int32, exits bool) {
	for _, s := range body {
		switch s := s.(type) {
		case *ast.IfStmt:
			if types.ExprString(s.Cond) != fmt.Sprintf("r.URL.Path == %q", c.path) {
				continue
			}
			if code, exits := c.run(s.Body.List); exits {
				return code, true
			}
		case *ast.ExprStmt:
			if made, ok := s.X.(*ast.CallExpr); ok {
				if code, exits := c.do(types.ExprString(made.Fun), made.Args); exits {
					return code, true
				}
			}
		}
	}
	return 0, false
}

// do runs one statement.
func (c *call) do(what string, args []ast.Expr) (code int32, exits bool) {
	switch what {
	case "os.Exit":
		n, _ := strconv.ParseInt(c.text(args), 10, 32)
		return int32(n), true
	case "fmt.Println":
		c.print("stdout", c.text(args))
	case "fmt.Fprintln":
		switch text := c.text(args[1:]); types.ExprString(args[0]) {
		case "os.Stdout":
			c.print("stdout", text)
		case "os.Stderr":
			c.print("stderr", text)
		default:
			_, _ = io.WriteString(c.answer, text+"\n")
		}
	}
	return 0, false
}

// text is what a statement prints.
func (c *call) text(args []ast.Expr) string {
	var words []string
	for _, arg := range args {
		switch arg := arg.(type) {
		case *ast.BasicLit:
			word, err := strconv.Unquote(arg.Value)
			if err != nil {
				word = arg.Value // a number
			}
			words = append(words, word)
		case *ast.CallExpr:
			if types.ExprString(arg.Fun) == "os.Getenv" {
				words = append(words, c.env[c.text(arg.Args)])
			}
		}
	}
	return strings.Join(words, " ")
}

// start starts the process of a version. f.mu is held.
func (f *Fake) start(fn *function, v *version) {
	f.pids++
	v.pid, v.started, v.requests = f.pids, time.Now().UTC(), 0
	fn.print(v, "stdout", "", "deploying at /"+fn.path)
}

// crash records the exit of a version's process and starts another in its place.
func (f *Fake) crash(fn *function, v *version, code int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fn.stopped {
		return
	}
	var words []string
	for _, l := range fn.lines {
		words = append(words, l.GetText())
	}
	fn.crashes = append(fn.crashes, &proto.Crash{
		Version: v.number, Time: time.Now().UTC().Format(time.RFC3339), Cause: fmt.Sprintf("exit status %d", code),
		ExitCode: code, Pid: v.pid, Lived: time.Since(v.started).String(), Output: strings.Join(words, "\n"), AtAgent: FakeAddr,
	})
	v.restarts++
	f.start(fn, v)
	f.publish(fn)
}

// print adds a line to what a function has printed. The fake's mu is held.
func (fn *function) print(v *version, stream, id, text string) {
	fn.lines = append(fn.lines, &proto.LogLine{
		Time: time.Now().UTC().Format(time.RFC3339Nano), Function: fn.row.GetName(), Version: v.number,
		Instance: v.pid, Stream: stream, Id: id, Text: text, AtAgent: FakeAddr,
	})
	if !fn.stopped {
		close(fn.changed)
		fn.changed = make(chan struct{})
	}
}

// Crashes implements transport.Interface.
func (f *Fake) Crashes(ctx context.Context, fnName string) ([]*proto.Crash, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn, err := f.find(ctx, fnName)
	if err != nil {
		return nil, err
	}
	list := make([]*proto.Crash, 0, len(fn.crashes))
	for _, c := range slices.Backward(fn.crashes) {
		list = append(list, protobuf.CloneOf(c))
	}
	return list, nil
}

// Logs implements transport.Interface.
func (f *Fake) Logs(ctx context.Context, req *proto.LogsRequest, on func(*proto.LogLines) error) error {
	after, err := req.After(time.Now())
	if err != nil {
		return err
	}
	f.mu.Lock()
	fn, err := f.printed(ctx, req.GetName())
	f.mu.Unlock()
	if err != nil {
		return err
	}
	tail := int(req.GetTail())
	for read := 0; ; tail = 0 {
		f.mu.Lock()
		lines := slices.DeleteFunc(slices.Clone(fn.lines[read:]), func(l *proto.LogLine) bool { return !asked(req, after, l) })
		read = len(fn.lines)
		changed, stopped := fn.changed, fn.stopped
		f.mu.Unlock()
		if tail > 0 && len(lines) > tail {
			lines = lines[len(lines)-tail:]
		}
		if len(lines) > 0 {
			if err := on(protobuf.CloneOf(&proto.LogLines{Lines: lines})); err != nil {
				return err
			}
		}
		if !req.GetFollow() || stopped {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// asked reports whether a line is one that a request asks for.
func asked(req *proto.LogsRequest, after time.Time, l *proto.LogLine) bool {
	at, err := time.Parse(time.RFC3339Nano, l.GetTime())
	return err == nil && !at.Before(after) &&
		(req.GetVersion() == 0 || req.GetVersion() == l.GetVersion()) &&
		(req.GetId() == "" || req.GetId() == l.GetId()) &&
		strings.Contains(l.GetText(), req.GetGrep())
}
