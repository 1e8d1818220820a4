package dashboard

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// Path is below which a Dashboard serves.
const Path = "/ui/"

// Config is what a Dashboard needs to know.
type Config struct {
	// Again returns what makes requests for the caller of one.
	Again func(*http.Request) http.RoundTripper
	// Usage is what becomes of the calls of all functions, and what their processes use.
	Usage   func(context.Context) ([]*proto.Usage, error)
	RPCPort string       // at which agents join
	Version string       // of the proxy
	Logger  hclog.Logger // default: none
}

// Dashboard serves the pages.
type Dashboard struct {
	cfg     Config
	mux     *http.ServeMux
	pages   map[string]*template.Template // by file
	history *history
	key     [sha256.Size]byte // what pages of callers without a token have
	streams streams
	deploys chan struct{} // those that are being read
	reads   chan struct{} // pages that read packages
	edits   chan struct{} // pages that wait for what they deployed
}

//go:embed templates static
var files embed.FS

// New returns a Dashboard. Run keeps its history.
func New(cfg Config) *Dashboard {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	d := &Dashboard{cfg: cfg, mux: http.NewServeMux(), pages: map[string]*template.Template{}, history: newHistory(cfg.Usage), deploys: make(chan struct{}, maxDeploys), reads: make(chan struct{}, maxSources), edits: make(chan struct{}, maxEdits)}
	_, _ = rand.Read(d.key[:]) // never fails
	base := template.Must(template.New("").Funcs(template.FuncMap{"static": staticURL, "fields": apiFields}).ParseFS(files, "templates/base.html", "templates/parts.html"))
	names, _ := fs.Glob(files, "templates/*.html")
	for _, name := range names {
		d.pages[strings.TrimSuffix(path.Base(name), ".html")] = template.Must(template.Must(base.Clone()).ParseFS(files, name))
	}

	d.mux.HandleFunc("GET /ui/static/{file}", serveStatic)
	d.mux.HandleFunc("GET /ui/signin", d.open(d.signIn))
	d.mux.HandleFunc("POST /ui/signin", d.open(d.takeToken))
	d.mux.HandleFunc("POST /ui/signout", d.open(d.signOut))
	d.mux.HandleFunc("GET /ui/docs/{$}", d.either(d.docsPage))
	d.mux.HandleFunc("GET /ui/docs/{page}", d.either(d.docsPage))
	for pattern, page := range map[string]func(*visit) error{
		"GET /ui/{$}":                         d.functionsPage,
		"GET /ui/events":                      d.events,
		"GET /ui/functions/{name}":            d.functionPage,
		"GET /ui/functions/{name}/{tab}":      d.functionPage,
		"POST /ui/functions/{name}/test":      d.tryFunction,
		"GET /ui/functions/{name}/edit":       d.edit,
		"POST /ui/functions/{name}/edit":      d.edit,
		"POST /ui/functions/{name}/do/{verb}": d.change,
		"GET /ui/topology":                    d.topologyPage,
		"GET /ui/deploy":                      d.deployPage,
		"POST /ui/deploy":                     d.deploy,
		"GET /ui/agents":                      d.agentsPage,
		"POST /ui/agents/{verb}":              d.changeAgent,
		"GET /ui/audit":                       d.auditPage,
		"GET /ui/api":                         d.apiPage,
	} {
		d.mux.HandleFunc(pattern, d.let(page))
	}
	d.mux.HandleFunc("/ui/", d.let(func(v *visit) error {
		return proto.Errorf(proto.ErrNotFound, "there is no page %.100q", v.r.URL.Path)
	}))
	return d
}

// Run keeps the history until ctx is done. It is called once.
func (d *Dashboard) Run(ctx context.Context) { d.history.run(ctx) }

// policy lets pages load what is served here, and nothing else: no inline scripts and styles.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP implements http.Handler, for Path and all below.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "noopener-allow-popups")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cache-Control", "no-store")
	if r.URL.Path+"/" == Path {
		http.Redirect(w, r, Path, http.StatusSeeOther)
		return
	}
	d.mux.ServeHTTP(w, r)
}

// statics are the files that are not pages, by name, with a part of their digests in their
// urls: a browser keeps one until it is another.
var statics = sync.OnceValue(func() map[string]static {
	all := map[string]static{}
	entries, _ := fs.ReadDir(files, "static")
	for _, e := range entries {
		data, _ := fs.ReadFile(files, "static/"+e.Name())
		sum := sha256.Sum256(data)
		all[e.Name()] = static{data, hex.EncodeToString(sum[:6])}
	}
	return all
})

type static struct {
	data []byte
	sum  string
}

func staticURL(name string) string { return Path + "static/" + name + "?" + statics()[name].sum }

var staticTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

func serveStatic(w http.ResponseWriter, r *http.Request) {
	file, ok := statics()[r.PathValue("file")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", staticTypes[path.Ext(r.PathValue("file"))])
	if r.URL.RawQuery == file.sum {
		w.Header().Set("Cache-Control", "max-age=31536000, immutable")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file.data))
}

// page is what every page is made of.
type page struct {
	Status  int // of the answer; 0: 200
	Title   string
	At      string // the entry of the navigation
	Live    string // the query of its event stream; "": it has none
	CSRF    string
	Who     string // "": the caller needs no token
	Here    string // the page's own url
	Version string
	Done    string // what a form has done
	May     allowed
	Body    any
}

// allowed is what the caller may do.
type allowed struct{ Read, Invoke, Deploy, Admin bool }

// doneTexts are what forms have done, by the word in the url.
var doneTexts = map[string]string{
	"rollback": "Rolled back.", "canary": "The canary gets another part of the calls.", "promote": "The canary serves all calls.", "drop": "The canary is dropped.",
	"pause": "Paused: callers get 503.", "resume": "Resumed.", "stop": "Stopped. Its versions are kept.", "remove": "Removed, with its versions and its log.",
	"deploy": "Deploying.", "edit": "Deployed.", "drain": "The agent drains: its functions move to others.", "undrain": "The agent gets functions again.",
	"redrive": "Dead calls are back in the queue.", "purge": "Dead calls are removed.", "run": "A run has begun.", "unschedule": "The schedule is paused.", "reschedule": "The schedule goes on.",
}

// show answers with a page.
func (d *Dashboard) show(v *visit, name string, p page) error {
	p.CSRF, p.May, p.Version, p.Here = v.csrf, v.may, d.cfg.Version, v.r.URL.RequestURI()
	p.Done = cmp.Or(p.Done, doneTexts[v.r.URL.Query().Get("done")])
	if v.token != "" {
		p.Who = v.who.GetWho()
	}
	return d.write(v.w, cmp.Or(p.Status, http.StatusOK), name, p)
}

func (d *Dashboard) write(w http.ResponseWriter, status int, name string, p page) error {
	var out bytes.Buffer
	if err := d.pages[name].ExecuteTemplate(&out, "base", p); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, err := w.Write(out.Bytes())
	return ignoreGone(err)
}

// ignoreGone is for answers whose readers have gone.
func ignoreGone(error) error { return nil }

// part returns a piece of a page, for the event stream.
func (d *Dashboard) part(name string, data any) (string, error) {
	var out strings.Builder
	err := d.pages["parts"].ExecuteTemplate(&out, name, data)
	return out.String(), err
}

// failed is the body of a page that says what went wrong.
type failed struct{ Message, Hint, ID string }

// fail answers with an error: a page for people.
func (d *Dashboard) fail(v *visit, err error) {
	e := wire.AsError(err)
	_, status := wire.CodeOf(e.Kind)
	body := failed{e.Message, e.Hint, v.w.Header().Get(proto.RequestIDHeader)}
	p := page{Title: http.StatusText(status), CSRF: v.csrf, May: v.may, Body: body, Version: d.cfg.Version}
	if v.token != "" {
		p.Who = v.who.GetWho()
	}
	if err := d.write(v.w, status, "error", p); err != nil {
		d.cfg.Logger.Error("a page of the dashboard cannot be made", "error", err)
	}
}

// isGone reports whether an error says that nobody waits for the answer.
func isGone(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, proto.ErrCanceled)
}
