package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// invocation is a request to a function.
type invocation struct {
	name, data, method, path string
	headers                  []string
	limit                    time.Duration // 0: the gateway's
	hasData                  bool
	logs                     bool // what the function printed about the call is shown
	priority                 string
	later                    bool // the call is made later,
	wait                     bool // and its end is waited for
}

func (a *app) invokeCommand() *cobra.Command {
	var in invocation
	cmd := &cobra.Command{
		Use:   "invoke NAME",
		Short: "calls a function and prints its answer",
		Long: `
Calls the function once. The body of the answer goes to stdout as it is; the status,
and the time until the answer began, go to stderr. A status of 400 or more gives exit
code 1. NAME@3 calls version 3.

Then the lines that the function printed about this call go to stderr, the last 100 at
most: those that are JSON with the call's id, as proxyCli log -help says.

With -async the proxy stores the call, prints its id, and makes it later, again if it
fails; proxyCli calls shows what becomes of it. With -wait the answer is printed instead,
when it has come.`,
		Example: `
  proxyCli invoke HelloWorld
  proxyCli invoke HelloWorld -d '{"name":"Go"}' -H 'Accept: text/plain'
  proxyCli invoke Tasks -X DELETE -path '/tasks/7?force=true'
  proxyCli invoke Resize -d @cat.png > small.png
  proxyCli invoke Report -async -H 'X-Ryo-Delay: 10m'`,
		Args:              exactlyOne("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			in.name, in.hasData = args[0], cmd.Flags().Changed("data")
			switch {
			case in.priority != "" && !in.later:
				return usagef(cmd, "-priority is for -async: without it, a call is made at once")
			case in.wait && !in.later:
				return usagef(cmd, "-wait is for -async: without it, a call is waited for in any case")
			case in.later && in.limit > 0 && !in.wait:
				return usagef(cmd, "-timeout with -async is how long -wait waits")
			}
			if in.data == "@-" && a.isTerminal(a.stdin) {
				return usagef(cmd, "%s @- reads the standard input, which is a terminal", asWritten(cmd.Flag("data"), in.data))
			}
			return a.invoke(cmd, in)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVarP(&in.data, "data", "d", "", "`DATA` body to send; @FILE sends a file, @- the standard input")
	fs.StringVarP(&in.method, "method", "X", "", "`METHOD` request method (default: POST with -data, else GET)")
	fs.StringArrayVarP(&in.headers, "header", "H", nil, "`'K: V'` request header; may be repeated")
	fs.StringVar(&in.path, "path", "", "`PATH` path below the function, with its query, such as /a/b?q=1")
	fs.DurationVar(&in.limit, "timeout", 0, "`DURATION` cancel the call after this time, such as 10s (default: the gateway's limit)")
	fs.BoolVar(&in.logs, "logs", true, "print what the function printed about the call")
	fs.BoolVar(&in.later, "async", false, "store the call and print its id; it is made later")
	fs.StringVar(&in.priority, "priority", "", "`PRIORITY` with -async: high, normal or low (default: normal)")
	fs.BoolVar(&in.wait, "wait", false, "with -async: wait for the end of the call, and print its answer")
	offer(cmd, "priority", "high", "normal", "low")
	return cmd
}

func (a *app) invoke(cmd *cobra.Command, in invocation) error {
	ctx := cmd.Context()
	if in.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, in.limit)
		defer cancel()
	}
	body, err := a.payload(in)
	if err != nil {
		return usagef(cmd, "%s: %v", asWritten(cmd.Flag("data"), in.data), err)
	}
	defer func() { _ = body.Close() }()
	base, err := a.functionURL(ctx, in.name)
	if err != nil {
		return err
	}
	if in.later {
		if base, err = asyncURL(base); err != nil {
			return err
		}
	}
	req, err := in.request(ctx, cmd.Flags(), base, body)
	if err != nil {
		return usagef(cmd, "%v", err)
	}
	if a.token != "" && req.Header.Get("Authorization") == "" && a.servesFunctions(base) {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	if in.later {
		if in.priority != "" {
			req.Header.Set("X-Ryo-Priority", in.priority)
		}
		return a.invokeLater(ctx, in, base, req)
	}
	id := identify(req)
	begin := time.Now()
	res, err := plainClient(a.tls).Do(req)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			a.linesOfCall(cmd.Context(), in, id, begin)
		}
		return in.unanswered(base, err)
	}
	defer func() { _ = res.Body.Close() }()
	defer func() { a.linesOfCall(cmd.Context(), in, cmp.Or(res.Header.Get(proto.RequestIDHeader), id), begin) }()
	a.note("HTTP %s  %s", res.Status, time.Since(begin).Round(100*time.Microsecond))
	return a.printAnswer(in, base, res)
}

// printAnswer prints the body of an answer. One that says that the call failed is an error.
func (a *app) printAnswer(in invocation, base string, res *http.Response) error {
	to := a.stdout
	if a.isTerminal(a.stdout) {
		to = &cleaner{to: a.stdout}
	}
	if _, err := io.Copy(to, res.Body); err != nil {
		return in.unanswered(base, err)
	}
	if res.StatusCode == http.StatusNotFound && res.Header.Get("Ryo-Api") != "" { // the platform's answer, not the function's
		return reported(exitNotFound)
	}
	if res.StatusCode >= http.StatusBadRequest {
		return reported(exitOther)
	}
	return nil
}

// executionHeader names the call for functions-framework-go, which writes it into lines of
// its logger. A proxy sets it, an agent is not asked.
const executionHeader = "Function-Execution-Id"

// identify gives the call an id, if it has none, and returns it.
func identify(req *http.Request) string {
	id := proto.RequestID(req.Header.Get(proto.RequestIDHeader))
	for _, name := range []string{proto.RequestIDHeader, executionHeader} {
		if req.Header.Get(name) == "" {
			req.Header.Set(name, id)
		}
	}
	return id
}

const (
	ownLines     = 100             // of a call are shown: more hide its answer
	ownLinesWait = 2 * time.Second // for them; the answer is there already
)

// linesOfCall prints what the function printed about a call, if its lines say so. They have
// all been written when the function has answered.
func (a *app) linesOfCall(ctx context.Context, in invocation, id string, begin time.Time) {
	if !in.logs || a.quiet {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, ownLinesWait)
	defer cancel()
	name, _, _ := strings.Cut(in.name, "@")
	a.printOwnLines(ctx, name, id, begin)
}

// linesOfLater prints what the function printed about a call that was made later.
func (a *app) linesOfLater(ctx context.Context, c *proto.Call) {
	begin, err := time.Parse(time.RFC3339Nano, c.GetStarted())
	if err != nil || c.GetRequestId() == "" || a.quiet {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, ownLinesWait)
	defer cancel()
	a.printOwnLines(ctx, c.GetFunction(), c.GetRequestId(), begin)
}

func (a *app) printOwnLines(ctx context.Context, name, id string, begin time.Time) {
	n := 0
	err := a.ask(func(client *transport.Client) error {
		// The clock of an agent may differ, but not how it passes.
		req := &proto.LogsRequest{Name: name, Id: id, Tail: ownLines, Since: (time.Since(begin) + time.Second).String()}
		return client.Logs(ctx, req, func(batch *proto.LogLines) error {
			for _, line := range batch.GetLines() {
				n++
				a.note("log: %s", line.GetText())
			}
			return nil
		})
	})
	switch {
	case n >= ownLines:
		a.note("proxyCli log %s -id %s shows whether there is more", name, id)
	case err != nil && !errors.Is(err, proto.ErrForbidden) && !errors.Is(err, proto.ErrNotFound):
		a.note("what the function printed cannot be read: %s", firstLine(err.Error()))
	}
}

// servesFunctions reports whether the url of a function is of the gateway of the proxy
// that is asked, so that the token may go there. Nobody else is sent it: at an agent's
// url the function itself would see it.
func (a *app) servesFunctions(base string) bool {
	u, err := url.Parse(base)
	host, _, _ := net.SplitHostPort(a.proxy)
	if err != nil || u.Hostname() != host || !strings.HasPrefix(u.Path, functionsPath) && !strings.HasPrefix(u.Path, asyncPath) {
		return false
	}
	ip := net.ParseIP(host)
	return u.Scheme == "https" || a.insecure || host == "localhost" || ip != nil && ip.IsLoopback()
}

// dialLimit bounds the wait for a connection; the wait for an answer is limited
// by the gateway, which knows the function's timeout, and by -timeout.
const dialLimit = 10 * time.Second

// plainClient returns a function's answer as it is: it follows no redirect and
// decompresses nothing.
func plainClient(cfg *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:        (&net.Dialer{Timeout: dialLimit}).DialContext,
			TLSClientConfig:    cfg,
			DisableCompression: true,
			DisableKeepAlives:  true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// payload is the body of a request.
type payload struct {
	io.ReadCloser
	length    int64 // -1: unknown
	mediaType string
}

// payload opens what -data names.
func (a *app) payload(in invocation) (payload, error) {
	const binary = "application/octet-stream"
	file, isFile := strings.CutPrefix(in.data, "@")
	switch {
	case in.data == "":
		return payload{ReadCloser: http.NoBody}, nil
	case !isFile:
		mediaType := "text/plain; charset=utf-8"
		if json.Valid([]byte(in.data)) {
			mediaType = "application/json"
		}
		return payload{io.NopCloser(strings.NewReader(in.data)), int64(len(in.data)), mediaType}, nil
	case file == "-":
		return payload{io.NopCloser(a.stdin), -1, binary}, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return payload{}, err
	}
	p := payload{f, -1, cmp.Or(mime.TypeByExtension(filepath.Ext(file)), binary)}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		p.length = info.Size()
	}
	return p, nil
}

// functionURL asks for the url of a function, or of its version 3, as NAME@3.
func (a *app) functionURL(ctx context.Context, called string) (string, error) {
	name, number, versioned := strings.Cut(called, "@")
	version, err := proto.ParseCount(number)
	if versioned && (err != nil || version == 0) {
		return "", proto.Errorf(proto.ErrInvalid, "%q: %q is not the number of a version", called, number).
			WithHint("proxyCli versions " + name + " shows them")
	}
	rows, err := answer(a, func(client *transport.Client) ([]*proto.FunctionJsonRsp, error) { return client.Details(ctx) })
	if err != nil {
		return "", err
	}
	var found *proto.FunctionJsonRsp
	names := []string{}
	for _, r := range rows {
		names = append(names, r.GetName())
		if proto.Path(r.GetName()) != proto.Path(name) {
			continue
		}
		if found == nil || proto.Status(r.GetStatus()) == proto.Deployed {
			found = r
		}
	}
	switch {
	case found == nil:
		return "", a.notFound(ctx, name, names)
	case found.GetUrl() == "":
		return "", proto.Errorf(proto.ErrUnavailable, "function %q is %s and has no url yet", found.GetName(), found.GetStatus()).
			WithHint("proxyCli list shows how it stands")
	}
	if !versioned {
		return found.GetUrl(), nil
	}
	if ofProxy(found.GetUrl()) { // a proxy's, which serves every version
		return found.GetUrl() + "@" + number, nil
	}
	for _, s := range found.GetServing() {
		if s.GetVersion() == version {
			return s.GetProxy() + "/" + proto.Path(name), nil
		}
	}
	return "", proto.Errorf(proto.ErrNotFound, "version %d of %s is not open at this agent", version, found.GetName()).
		WithHint("ask a proxy, which opens every version that is kept")
}

// notFound is the error for a function that is none of those with names.
func (a *app) notFound(ctx context.Context, name string, names []string) error {
	stopped, _ := answer(a, func(client *transport.Client) ([]*proto.FunctionJsonRsp, error) { return client.Stopped(ctx, "") })
	for _, r := range stopped {
		if proto.Path(r.GetName()) == proto.Path(name) {
			return proto.Errorf(proto.ErrNotFound, "function %q is stopped", r.GetName()).
				WithHint("proxyCli rollback " + r.GetName() + " starts it again")
		}
	}
	hint := "proxyCli list shows what is deployed"
	if near := proto.Nearest(name, names); near != "" {
		hint = "did you mean " + near + "? " + hint
	}
	return proto.Errorf(proto.ErrNotFound, "function %q not found at %s", name, a.proxy).WithHint(hint)
}

// request builds the call. The path reaches the function byte for byte.
func (in *invocation) request(ctx context.Context, flags *pflag.FlagSet, base string, body payload) (*http.Request, error) {
	path := strings.ReplaceAll(in.path, "#", "%23") // a fragment would not be sent
	if path != "" && path[0] != '/' && path[0] != '?' {
		path = "/" + path
	}
	method := in.method
	if method == "" {
		method = http.MethodGet
		if in.hasData {
			method = http.MethodPost
		}
	}
	if _, err := http.NewRequestWithContext(ctx, method, base, http.NoBody); err != nil {
		return nil, fmt.Errorf("%s: %q is not a method; GET, POST and DELETE are", asWritten(flags.Lookup("method"), in.method), method)
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, body.ReadCloser)
	if err != nil {
		return nil, fmt.Errorf("-path: %q is not a path of a url; %% is followed by two hexadecimal digits, and written %%25 itself", in.path)
	}
	req.ContentLength = body.length
	if body.mediaType != "" {
		req.Header.Set("Content-Type", body.mediaType)
	}
	given := map[string]bool{}
	for _, h := range in.headers {
		k, v, ok := strings.Cut(h, ":")
		k, v = http.CanonicalHeaderKey(strings.TrimSpace(k)), strings.TrimSpace(v)
		switch {
		case !ok || k == "":
			return nil, fmt.Errorf("%s %q is not of the form 'K: V'", asWritten(flags.Lookup("header"), h), h)
		case k == "Host":
			req.Host = v
			continue
		case !given[k]:
			req.Header.Del(k) // the first replaces a default, others are added
			given[k] = true
		}
		req.Header.Add(k, v)
	}
	return req, nil
}

// unanswered is the error, with its kind, of a call without a whole answer.
func (in *invocation) unanswered(base string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return proto.Errorf(proto.ErrTimeout, "%s did not finish within %s", in.name, in.limit)
	}
	if _, ours := errors.AsType[*fs.PathError](err); ours {
		return err // of the file that is sent, or stdout
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the method and the url
	}
	return proto.Errorf(proto.ErrUnavailable, "no whole answer from %s: %w", base, err).
		WithHint("proxyCli list shows how the function stands, proxyCli log " + in.name + " what it printed")
}
