package server

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// examples are the requests that people make by hand, as GET / shows them.
var examples = []example{
	{"GET", "/details", "the functions that are deployed"},
	{"POST", "/deploy?wait=true", `deploys: [{"name": "HelloWorld", "dir": "/abs/example/hello"}]`},
	{"GET", "/log?entrypoint=NAME", "what a function printed last"},
	{"GET", "/logs?name=NAME&follow", "its lines, as they come"},
	{"GET", "/usage", "what the functions' processes use"},
	{"GET", "/crashes?name=NAME", "how a function's processes exited by themselves"},
	{"GET", "/versions?name=NAME", "the versions of a function that are kept"},
	{"POST", "/rollback", `{"name": "HelloWorld", "to": 1}: an earlier version serves again`},
	{"POST", "/shift", `{"name": "HelloWorld", "canary": 50}: the canary gets 50 %`},
	{"POST", "/pause", `{"name": "HelloWorld"}: callers get 503 until it is resumed`},
	{"POST", "/resume", `{"name": "HelloWorld"}: a paused function serves again`},
	{"POST", "/stop", `{"name": "HelloWorld"}: stops a function and keeps its versions`},
	{"POST", "/remove", `{"name": "HelloWorld"}: removes it with versions and log`},
	{"POST", "/list", `{"atAgent": "localhost:9000"}: the functions of one agent`},
	{"GET", "/watch", "all rows, then each that changes, as events"},
	{"GET", "/schedules", "when functions are called by their schedules, and were (a proxy alone)"},
	{"GET", "/whoami", "who you are to this program"},
	{"GET", "/tokens", "the tokens that hold"},
	{"GET", "/audit", "who changed what"},
}

// example is a request as GET / shows it.
type example struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Does   string `json:"does"`
}

func (m Mount) example() example {
	e := example{"ANY", m.Path, m.Does}
	if m.Methods != nil {
		e.Method = m.Methods[0]
	}
	if strings.HasSuffix(m.Path, "/") {
		e.Path += cmp.Or(m.Rest, "NAME")
	}
	return e
}

// front answers GET /: what this is and where to go, as text for people, or as JSON
// for callers that accept it.
func (s *server) front(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Vary", "Accept")
	shown := slices.Clone(examples)
	for _, o := range ownPaths {
		if o.does != "" && o.path != frontPath {
			shown = append(shown, example{http.MethodGet, o.path, o.does})
		}
	}
	for _, m := range s.cfg.Mounts {
		if m.Does != "" {
			shown = append(shown, m.example())
		}
	}
	if accepts(r.Header, "application/json") {
		page, err := json.Marshal(map[string]any{"program": s.cfg.Program, "version": s.cfg.Version, "calls": shown})
		if err != nil {
			wire.WriteError(w, err)
			return
		}
		wire.WriteJSON(w, http.StatusOK, page)
		return
	}
	var page strings.Builder
	fmt.Fprintf(&page, "This is the %s of a function platform, version %s.\n\n", s.cfg.Program, s.cfg.Version)
	for _, e := range shown {
		fmt.Fprintf(&page, "%-4s %-24s %s\n", e.Method, e.Path, e.Does)
	}
	fmt.Fprintf(&page, "\nOn the command line: proxyCli -transport http -proxy %s details\n", r.Host)
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(page.String()))
}
