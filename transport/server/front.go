package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// useful are the calls that people make by hand, with the words that GET / has for
// them. Those that programs make among each other are left out.
var useful = []called{
	{"GET", "/details", "the functions that are deployed"},
	{"POST", "/deploy?wait=true", `deploys: [{"name": "HelloWorld", "dir": "/abs/example/hello"}]`},
	{"GET", "/log?entrypoint=NAME", "what a function printed last"},
	{"GET", "/logs?name=NAME&follow", "its lines, as they come"},
	{"GET", "/usage", "what the functions' processes use"},
	{"GET", "/crashes?name=NAME", "how a function's processes ended"},
	{"GET", "/versions?name=NAME", "the versions of a function that are kept"},
	{"POST", "/rollback", `{"name": "HelloWorld", "to": 1}: an earlier version serves again`},
	{"POST", "/stop", `{"name": "HelloWorld"}: stops a function`},
	{"GET", "/readyz", "whether this program can do its work"},
}

// called is a call as GET / tells of it.
type called struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Does   string `json:"does"`
}

func (m Mount) called() called {
	c := called{"ANY", m.Path, m.Does}
	if m.Methods != nil {
		c.Method = m.Methods[0]
	}
	if strings.HasSuffix(m.Path, "/") {
		c.Path += "NAME"
	}
	return c
}

// front answers GET /: what this is and where to go, for people, or as JSON for those
// who ask for it.
func (s *server) front(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Vary", "Accept")
	calls := slices.Clone(useful)
	for _, m := range s.cfg.Mounts {
		if m.Does != "" {
			calls = append(calls, m.called())
		}
	}
	if accepts(r.Header, "application/json") {
		page, err := json.Marshal(map[string]any{"program": s.cfg.Program, "version": s.cfg.Version, "calls": calls})
		if err != nil {
			wire.WriteError(w, err)
			return
		}
		wire.WriteJSON(w, http.StatusOK, page)
		return
	}
	var page strings.Builder
	fmt.Fprintf(&page, "This is the %s of a function platform, version %s.\n\n", s.cfg.Program, s.cfg.Version)
	for _, c := range calls {
		fmt.Fprintf(&page, "%-4s %-24s %s\n", c.Method, c.Path, c.Does)
	}
	fmt.Fprintf(&page, "\nOn the command line: proxyCli -transport http -proxy %s details\n", r.Host)
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(page.String()))
}
