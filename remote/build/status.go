package build

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

// sayEvery is the least time between two counts, and before the first of a phase:
// quick builds print none.
const sayEvery = time.Second

// packageLine is how go list says a package, for packages.
const packageLine = "{{.ImportPath}} {{with .Module}}{{.Path}} {{.Version}}{{end}}"

var (
	// packageName is a package that go build -v says it compiles.
	packageName = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+\n$`)
	downloads   = regexp.MustCompile(`^go: downloading (\S+) (\S+)\n$`)
)

// status turns what the go command says into the build's progress. Errors are passed on
// as they are. Its methods may be called concurrently.
type status struct {
	*live
	errors  func(line string) string // how others than counts are shown
	filling func(done, total int)    // may be nil

	mu      sync.Mutex      // guards the fields below
	said    time.Time       // the last count, or when the phase began
	heard   time.Time       // the last line of the go command
	modules map[string]bool // that it has begun to fetch: "path version"
	module  string          // the last of them
	total   map[string]bool // packages to compile; empty: not known
	done    int             // packages that it has begun to compile
}

func newStatus(to io.Writer, errors func(string) string, filling func(done, total int)) *status {
	s := &status{errors: errors, filling: filling, said: time.Now(), modules: make(map[string]bool)}
	s.live = newLive(to, s.show)
	return s
}

// show is what to say of a line of the go command.
func (s *status) show(line string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = time.Now()
	if m := downloads.FindStringSubmatch(line); m != nil {
		s.module = m[1] + " " + m[2]
		s.modules[s.module] = true
		return ""
	}
	if !packageName.MatchString(line) {
		return s.errors(line)
	}
	if len(s.total) > 0 && !s.total[strings.TrimSuffix(line, "\n")] {
		return ""
	}
	s.done++
	if len(s.total) > 0 {
		s.done = min(s.done, len(s.total)) // what was seeded may be compiled all the same
	}
	if s.filling != nil {
		s.filling(s.done, len(s.total))
	}
	return s.count("packages built", s.done, len(s.total))
}

// count is a line with a count, if it is time for one. The caller holds mu.
func (s *status) count(what string, done, total int) string {
	if time.Since(s.said) < sayEvery {
		return ""
	}
	s.said = time.Now()
	if total == 0 {
		return fmt.Sprintf("%s %d\n", what, done)
	}
	return fmt.Sprintf("%s %d of %d\n", what, done, total)
}

// fetching reports how many of the folders exist, until stop is called. It calls
// cancel when nothing arrives for as long as patience lasts.
func (s *status) fetching(folders []string, patience time.Duration, cancel func()) (stop func()) {
	s.mu.Lock()
	s.said, s.heard = time.Now(), time.Now()
	s.mu.Unlock()
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(sayEvery)
		defer tick.Stop()
		had := 0
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			have := 0
			for _, folder := range folders {
				if exists(folder) {
					have++
				}
			}
			if text := s.fetched(have, len(folders), have != had); text != "" {
				s.say(text)
			}
			had = have
			if s.silent() > patience {
				cancel()
				return
			}
		}
	})
	return func() { close(done); watching.Wait() }
}

// fetched counts modules; news says that there is one more.
func (s *status) fetched(have, total int, news bool) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if news {
		s.heard = time.Now()
	}
	if total == 0 { // go.mod did not name what it takes
		have = len(s.modules)
	}
	return s.count("modules fetched", have, total)
}

// silent is how long nothing has come.
func (s *status) silent() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.heard)
}

// last names the module that was asked for last.
func (s *status) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(s.module, "none was asked for")
}

// expect says what is to be compiled: the packages of modules that have just been
// fetched, or all packages when the cache is filled. Others may be in the cache.
func (s *status) expect(list *packages) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done, s.total, s.said = 0, make(map[string]bool), time.Now()
	for line := range strings.Lines(list.text.String()) {
		name, of, _ := strings.Cut(strings.TrimSpace(line), " ")
		if s.filling != nil || s.modules[of] {
			s.total[name] = true
		}
	}
}

// begin says that some packages need not be compiled any more.
func (s *status) begin(done int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = min(done, len(s.total))
	s.filling(s.done, len(s.total))
}

// maxList bounds what is kept of a list of packages, in bytes: tens of thousands.
const maxList = 4 << 20

// packages takes what go list says, in lines of packageLine.
type packages struct{ text bytes.Buffer }

func (l *packages) Write(p []byte) (int, error) {
	l.text.Write(p[:min(len(p), maxList-l.text.Len())])
	return len(p), nil
}
