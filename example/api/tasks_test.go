package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestTasks is a session: each call sees what the ones before it did.
func TestTasks(t *testing.T) {
	session := []struct {
		name         string
		method, path string
		body         string
		status       int
		want         string // the body, without its line end; "" is not compared
	}{
		{"starts empty", "GET", "/", "", 200, `[]`},
		{"adds", "POST", "/", `{"title": "buy milk"}`, 201, `{"id":1,"title":"buy milk","done":false}`},
		{"adds another", "POST", "/", `{"title": "drink it"}`, 201, `{"id":2,"title":"drink it","done":false}`},
		{"gets", "GET", "/2", "", 200, `{"id":2,"title":"drink it","done":false}`},
		{"replaces", "PUT", "/1", `{"title": "buy milk", "done": true}`, 200, `{"id":1,"title":"buy milk","done":true}`},
		{"filters", "GET", "/?done=true", "", 200, `[{"id":1,"title":"buy milk","done":true}]`},
		{"lists in order", "GET", "/", "", 200, `[{"id":1,"title":"buy milk","done":true},{"id":2,"title":"drink it","done":false}]`},
		{"removes", "DELETE", "/1", "", 204, ""},
		{"has removed it", "GET", "/1", "", 404, `{"error":"there is no task \"1\""}`},
		{"refuses an id that is no number", "GET", "/one", "", 404, `{"error":"there is no task \"one\""}`},
		{"refuses a query that means nothing", "GET", "/?done=maybe", "", 400, `{"error":"done is true or false"}`},
		{"refuses a task without a title", "POST", "/", `{"title": " "}`, 400, `{"error":"a task needs a title"}`},
		{"refuses a field it does not know", "PUT", "/2", `{"titel": "x"}`, 400, ""},
		{"refuses a body over the limit", "POST", "/", `{"title": "` + strings.Repeat("x", maxBody) + `"}`, 400, ""},
		{"refuses other methods", "PATCH", "/2", "", 405, `{"error":"PATCH is not one of DELETE, GET, PUT"}`},
		{"refuses other paths", "GET", "/2/notes", "", 404, `{"error":"there is nothing at /2/notes"}`},
	}
	for _, call := range session {
		t.Run(call.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			Tasks(w, httptest.NewRequest(call.method, call.path, strings.NewReader(call.body)))

			assert.Equal(t, call.status, w.Code, w.Body.String())
			if call.want != "" {
				assert.Equal(t, call.want+"\n", w.Body.String())
			}
			if call.status == http.StatusMethodNotAllowed {
				assert.Equal(t, "DELETE, GET, PUT", w.Header().Get("Allow"))
			}
		})
	}
}

func TestTasksAreLimited(t *testing.T) {
	l := &list{tasks: map[int]task{}}
	for id := range maxTasks {
		l.tasks[id] = task{ID: id}
	}
	w := httptest.NewRecorder()
	newAPI(l).ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader(`{"title": "one more"}`)))

	assert.Equal(t, http.StatusInsufficientStorage, w.Code)
}
