package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	maxBody  = 64 << 10 // bytes of a request: a title, not a book
	maxTasks = 1000     // in memory
)

// Tasks is the function to deploy.
func Tasks(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	api.ServeHTTP(w, r)
}

// api is made once per process and serves all its calls.
var api = newAPI(&list{tasks: map[int]task{}})

func newAPI(l *list) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/{$}", methods{http.MethodGet: l.find, http.MethodPost: l.add})
	mux.Handle("/{id}", methods{http.MethodGet: l.get, http.MethodPut: l.replace, http.MethodDelete: l.remove})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusNotFound, failure{"there is nothing at " + r.URL.Path})
	})
	return mux
}

// methods has a function for each method of a path; it returns a status, and a value to
// send as JSON.
type methods map[string]func(*http.Request) (int, any)

func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	handle, ok := m[r.Method]
	if !ok {
		allowed := strings.Join(slices.Sorted(maps.Keys(m)), ", ")
		w.Header().Set("Allow", allowed)
		reply(w, http.StatusMethodNotAllowed, failure{r.Method + " is not one of " + allowed})
		return
	}
	status, body := handle(r)
	reply(w, status, body)
}

// failure is the body of an answer that is not 2xx.
type failure struct {
	Error string `json:"error"`
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if status == http.StatusNoContent {
		return
	}
	// An error here means that the caller has canceled.
	_ = json.NewEncoder(w).Encode(body)
}

type task struct {
	ID    int    `json:"id"`
	Title string `json:"title"`
	Done  bool   `json:"done"`
}

type list struct {
	mu    sync.Mutex // guards the fields below
	tasks map[int]task
	last  int
}

// find answers with all tasks, or those with ?done=true or ?done=false, oldest first.
func (l *list) find(r *http.Request) (int, any) {
	want, filter := false, r.URL.Query().Has("done")
	if filter {
		var err error
		if want, err = strconv.ParseBool(r.URL.Query().Get("done")); err != nil {
			return http.StatusBadRequest, failure{"done is true or false"}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	found := []task{} // not nil: the JSON of no tasks is [], not null
	for _, t := range l.tasks {
		if !filter || t.Done == want {
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b task) int { return cmp.Compare(a.ID, b.ID) })
	return http.StatusOK, found
}

func (l *list) add(r *http.Request) (int, any) {
	t, err := decode(r)
	if err != nil {
		return http.StatusBadRequest, failure{err.Error()}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.tasks) == maxTasks {
		return http.StatusInsufficientStorage, failure{fmt.Sprintf("there are %d tasks already; delete some", maxTasks)}
	}
	l.last++
	t.ID = l.last
	l.tasks[t.ID] = t
	return http.StatusCreated, t
}

func (l *list) get(r *http.Request) (int, any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.lookup(r)
	if !ok {
		return noTask(r)
	}
	return http.StatusOK, t
}

func (l *list) replace(r *http.Request) (int, any) {
	t, err := decode(r)
	if err != nil {
		return http.StatusBadRequest, failure{err.Error()}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old, ok := l.lookup(r)
	if !ok {
		return noTask(r)
	}
	t.ID = old.ID
	l.tasks[t.ID] = t
	return http.StatusOK, t
}

func (l *list) remove(r *http.Request) (int, any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.lookup(r)
	if !ok {
		return noTask(r)
	}
	delete(l.tasks, t.ID)
	return http.StatusNoContent, nil
}

// lookup finds the task that the path names. The caller holds l.mu.
func (l *list) lookup(r *http.Request) (task, bool) {
	id, err := strconv.Atoi(r.PathValue("id"))
	t, ok := l.tasks[id]
	return t, ok && err == nil
}

func noTask(r *http.Request) (int, any) {
	return http.StatusNotFound, failure{fmt.Sprintf("there is no task %q", r.PathValue("id"))}
}

// decode reads the task in a request's body.
func decode(r *http.Request) (task, error) {
	var t task
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return task{}, fmt.Errorf("read the task: %w", err)
	}
	if strings.TrimSpace(t.Title) == "" {
		return task{}, fmt.Errorf("a task needs a title")
	}
	return t, nil
}
