package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// frameworkFunctions are functions in all forms that functions-framework-go documents,
// in one package. Those of events answer nothing, so they write what they received to a
// file.
const frameworkFunctions = `package fn

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"

	"cloud.google.com/go/functions/metadata"
	"github.com/GoogleCloudPlatform/functions-framework-go/functions"
	cloudevents "github.com/cloudevents/sdk-go/v2"
)

func init() {
	functions.HTTP("DeclaredHTTP", HTTP)
	functions.CloudEvent("DeclaredEvent", CloudEvent)
	functions.Typed("DeclaredTyped", DeclaredTyped)
}

func HTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header()["X-Twice"] = r.Header["X-Twice"]
	w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	w.WriteHeader(http.StatusTeapot)
	fmt.Fprintf(w, "%s %s\n%s", r.Method, r.URL, body)
}

const together = 10

var (
	arrived atomic.Int32
	all     = make(chan struct{})
)

// Together answers once ten calls are there.
func Together(w http.ResponseWriter, r *http.Request) {
	if arrived.Add(1) == together {
		close(all)
	}
	select {
	case <-all:
	case <-r.Context().Done():
	}
}

func leave(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(os.Getenv("TMPDIR")+"/out", text, 0o600)
}

func CloudEvent(_ context.Context, e cloudevents.Event) error {
	if e.Type() == "unwanted" {
		return fmt.Errorf("event %s is not wanted", e.ID())
	}
	return leave(e)
}

func Background(ctx context.Context, data any) error {
	meta, err := metadata.FromContext(ctx)
	if err != nil {
		return err
	}
	return leave(map[string]any{"data": data, "context": meta})
}

type Message struct {
	Message string ` + "`json:\"message\"`" + `
}

type Payload struct {
	Payload Message ` + "`json:\"payload\"`" + `
}

func Typed(in Message) (Payload, error) { return Payload{in}, nil }

func DeclaredTyped(in Message) (Payload, error) { return Payload{in}, nil }
`

// framework is the package above, deployed whole behind a proxy.
type framework struct {
	functions string // the URL that they lie below
	details   string // the URL that lists them
	agent     agent
}

func deployFramework(t *testing.T) framework {
	t.Helper()
	a := startAgent(t, "", "")
	p := startProxy(t, "", "-agents", a.addr)
	f := framework{"http://" + p.http + "/functions/", "http://" + p.http + "/details", a}
	dir := source(t, frameworkFunctions)
	var list []map[string]any
	for name, kind := range map[string]string{
		"HTTP": "", "DeclaredHTTP": "", "Together": "", "CloudEvent": "", "DeclaredEvent": "", "Background": "",
		"Typed": "", "DeclaredTyped": "typed",
	} {
		entry := map[string]any{"name": name, "dir": dir}
		if kind != "" {
			entry["kind"] = kind
		}
		list = append(list, entry)
	}
	body, err := json.Marshal(list)
	require.NoError(t, err)
	for _, r := range rows(t, http.MethodPost, "http://"+p.http+"/deploy?wait=true", string(body)) {
		require.Equal(t, "Deployed", r.Status, "%s: %s", r.Name, r.Error)
	}
	return f
}

// post calls a function, at a path below it.
func (f framework) post(t *testing.T, path, body string, headers map[string]string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.functions+path, strings.NewReader(body))
	require.NoError(t, err)
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(answer)
}

// takes posts an event to a function and asserts what that received.
func (f framework) takes(t *testing.T, name, path, body string, headers map[string]string, want string) {
	t.Helper()
	out := f.agent.temp(name, "out")
	_ = os.Remove(out)
	resp, answer := f.post(t, strings.ToLower(name)+path, body, headers)
	require.Less(t, resp.StatusCode, 300, answer)
	got, err := os.ReadFile(out)
	require.NoError(t, err)
	assert.JSONEq(t, want, string(got))
}

// What functions-framework-go promises to functions holds for those that the
// platform serves, called through a proxy.
func TestFramework(t *testing.T) {
	t.Parallel()
	f := deployFramework(t)
	t.Run("one program serves the package", func(t *testing.T) {
		programs := map[[sha256.Size]byte]bool{}
		for _, r := range rows(t, http.MethodGet, f.details, "") {
			binary, err := os.ReadFile(fmt.Sprintf("/proc/%d/exe", r.Pid))
			require.NoError(t, err, r.Name)
			programs[sha256.Sum256(binary)] = true
		}
		assert.Len(t, programs, 1)
	})
	t.Run("http", f.testHTTP)
	t.Run("concurrency", f.testConcurrency)
	t.Run("typed", f.testTyped)
	t.Run("cloudevent", f.testCloudEvents)
	t.Run("background event to cloudevent", f.testBackgroundToCloudEvent)
	t.Run("background event", f.testBackground)
	t.Run("cloudevent to background event", f.testCloudEventToBackground)
	t.Run("no events", f.testNoEvents)
}

func (f framework) testHTTP(t *testing.T) {
	for _, name := range []string{"http", "declaredhttp"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, f.functions+name+"/a//b%2Fc?q=1", strings.NewReader(`{"data": "hello"}`))
		require.NoError(t, err)
		req.Header = http.Header{"X-Twice": {"a", "b"}, "Content-Type": {"application/x-test"}}
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
		resp, err := client.Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, http.StatusTeapot, resp.StatusCode)
		assert.Equal(t, "PUT /a//b%2Fc?q=1\n{\"data\": \"hello\"}", string(body))
		assert.Equal(t, []string{"a", "b"}, resp.Header["X-Twice"])
		assert.Equal(t, "application/x-test", resp.Header.Get("Content-Type"))
	}
}

// None of the calls is answered before the last has come.
func (f framework) testConcurrency(t *testing.T) {
	var calls sync.WaitGroup
	for range 10 {
		calls.Go(func() {
			status, answer, err := tryFetch(http.MethodGet, f.functions+"together", "")
			assert.NoError(t, err)
			assert.Equal(t, http.StatusOK, status, answer)
		})
	}
	calls.Wait()
}

func (f framework) testTyped(t *testing.T) {
	for _, name := range []string{"typed", "declaredtyped"} {
		resp, answer := f.post(t, name, `{"message": "100% of <it>"}`, nil)
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		assert.JSONEq(t, `{"payload": {"message": "100% of <it>"}}`, answer)
		_, answer = f.post(t, name, `{}`, nil)
		assert.JSONEq(t, `{"payload": {"message": ""}}`, answer, "nothing is left of the call before")
		resp, _ = f.post(t, name, `{"message": `, nil)
		assert.Equal(t, http.StatusBadRequest, resp.StatusCode)
	}
}

func (f framework) testCloudEvents(t *testing.T) {
	attributes := map[string]string{
		"Ce-Specversion": "1.0", "Ce-Type": "shop.order.placed", "Ce-Source": "/shop", "Ce-Id": "7", "Ce-Subject": "tea",
		"Ce-Time": "2024-05-06T07:08:09Z", "Ce-Traced": "yes", "Content-Type": "application/json",
	}
	const event = `{"specversion": "1.0", "type": "shop.order.placed", "source": "/shop", "id": "7", "subject": "tea",
		"time": "2024-05-06T07:08:09Z", "traced": "yes", "datacontenttype": "application/json", "data": {"quantity": 3}}`
	for _, name := range []string{"CloudEvent", "DeclaredEvent"} {
		f.takes(t, name, "", `{"quantity": 3}`, attributes, event)
		f.takes(t, name, "/any/path", event, map[string]string{"Content-Type": "application/cloudevents+json"}, event)

		unwanted := maps.Clone(attributes)
		unwanted["Ce-Type"] = "unwanted"
		resp, _ := f.post(t, strings.ToLower(name), "{}", unwanted)
		assert.Equal(t, http.StatusInternalServerError, resp.StatusCode)
	}
}

// The same events in both of their shapes. What the clouds call a background event
// is older than CloudEvents.
var shapes = map[string]struct {
	context, data string // of the background event
	source        string // of the CloudEvent, as all below
	subject, typ  string
	payload       string
}{
	"pubsub": {
		`{"eventId": "1", "timestamp": "2024-05-06T07:08:09Z", "eventType": "google.pubsub.topic.publish", "resource":
			{"service": "pubsub.googleapis.com", "name": "projects/p/topics/t", "type": "type.googleapis.com/google.pubsub.v1.PubsubMessage"}}`,
		`{"@type": "type.googleapis.com/google.pubsub.v1.PubsubMessage", "data": "aGVsbG8=", "attributes": {"a": "b"}}`,
		"//pubsub.googleapis.com/projects/p/topics/t", "", "google.cloud.pubsub.topic.v1.messagePublished",
		`{"message": {"@type": "type.googleapis.com/google.pubsub.v1.PubsubMessage", "data": "aGVsbG8=", "attributes": {"a": "b"},
			"messageId": "1", "publishTime": "2024-05-06T07:08:09Z"}}`,
	},
	"storage": {
		`{"eventId": "1", "timestamp": "2024-05-06T07:08:09Z", "eventType": "google.storage.object.finalize", "resource":
			{"service": "storage.googleapis.com", "name": "projects/_/buckets/b/objects/a/file.txt", "type": "storage#object"}}`,
		`{"bucket": "b", "name": "a/file.txt", "kind": "storage#object", "size": "352"}`,
		"//storage.googleapis.com/projects/_/buckets/b", "objects/a/file.txt", "google.cloud.storage.object.v1.finalized",
		`{"bucket": "b", "name": "a/file.txt", "kind": "storage#object", "size": "352"}`,
	},
	"firestore": {
		`{"eventId": "1", "timestamp": "2024-05-06T07:08:09Z", "eventType": "providers/cloud.firestore/eventTypes/document.write",
			"resource": "projects/p/databases/(default)/documents/c/d"}`,
		`{"oldValue": {}, "value": {"fields": {"n": {"integerValue": "1"}}}}`,
		"//firestore.googleapis.com/projects/p/databases/(default)", "documents/c/d", "google.cloud.firestore.document.v1.written",
		`{"oldValue": {}, "value": {"fields": {"n": {"integerValue": "1"}}}}`,
	},
	"firebase auth": {
		`{"eventId": "1", "timestamp": "2024-05-06T07:08:09Z", "eventType": "providers/firebase.auth/eventTypes/user.create", "resource": "projects/p"}`,
		`{"uid": "u", "metadata": {"createdAt": "2024-05-06T07:00:00Z", "lastSignedInAt": "2024-05-06T07:01:00Z"}}`,
		"//firebaseauth.googleapis.com/projects/p", "users/u", "google.firebase.auth.user.v1.created",
		`{"uid": "u", "metadata": {"createTime": "2024-05-06T07:00:00Z", "lastSignInTime": "2024-05-06T07:01:00Z"}}`,
	},
}

var asJSON = map[string]string{"Content-Type": "application/json"}

func (f framework) testBackgroundToCloudEvent(t *testing.T) {
	for name, s := range shapes {
		t.Run(name, func(t *testing.T) {
			subject := ""
			if s.subject != "" {
				subject = `"subject": "` + s.subject + `",`
			}
			event := `{"specversion": "1.0", "id": "1", "type": "` + s.typ + `", "source": "` + s.source + `", ` + subject + `
				"time": "2024-05-06T07:08:09Z", "datacontenttype": "application/json", "data": ` + s.payload + `}`
			f.takes(t, "CloudEvent", "", `{"context": `+s.context+`, "data": `+s.data+`}`, asJSON, event)
			// The oldest form has what is the context beside the data.
			flat := strings.TrimSuffix(s.context, "}") + `, "data": ` + s.data + "}"
			f.takes(t, "DeclaredEvent", "", flat, asJSON, event)
		})
	}
	t.Run("pubsub's own push", func(t *testing.T) {
		f.takes(t, "CloudEvent", "/projects/p/topics/t", `{"subscription": "projects/p/subscriptions/s", "message":
			{"messageId": "1", "publishTime": "2024-05-06T07:08:09Z", "data": "aGVsbG8=", "attributes": {"a": "b"}}}`, asJSON,
			`{"specversion": "1.0", "id": "1", "type": "google.cloud.pubsub.topic.v1.messagePublished", "source": "//pubsub.googleapis.com/projects/p/topics/t",
			"time": "2024-05-06T07:08:09Z", "datacontenttype": "application/json", "data": {"message":
			{"@type": "type.googleapis.com/google.pubusb.v1.PubsubMessage", "data": "aGVsbG8=", "attributes": {"a": "b"},
			"messageId": "1", "publishTime": "2024-05-06T07:08:09Z"}}}`) // the framework spells it so
	})
}

func (f framework) testBackground(t *testing.T) {
	for name, s := range shapes {
		t.Run(name, func(t *testing.T) {
			event := `{"context": ` + s.context + `, "data": ` + s.data + `}`
			f.takes(t, "Background", "", event, asJSON, event)
		})
	}
}

func (f framework) testCloudEventToBackground(t *testing.T) {
	for name, s := range shapes {
		t.Run(name, func(t *testing.T) {
			headers := map[string]string{
				"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Type": s.typ, "Ce-Source": s.source, "Ce-Subject": s.subject,
				"Ce-Time": "2024-05-06T07:08:09Z", "Content-Type": "application/json",
			}
			f.takes(t, "Background", "", s.payload, headers, `{"context": `+s.context+`, "data": `+s.data+`}`)
		})
	}
}

func (f framework) testNoEvents(t *testing.T) {
	for _, body := range []string{"", "oops", `{"data": {}}`, `{"data": {}, "context": {"eventId": "1", "eventType": "unknown"}}`} {
		resp, _ := f.post(t, "cloudevent", body, asJSON)
		assert.Equal(t, http.StatusBadRequest, resp.StatusCode, body)
	}
	for _, body := range []string{"", "oops", "[1]"} {
		resp, _ := f.post(t, "background", body, asJSON)
		assert.Equal(t, http.StatusBadRequest, resp.StatusCode, body)
	}
	for _, missing := range []string{"Ce-Id", "Ce-Type", "Ce-Source", "Ce-Specversion"} {
		headers := map[string]string{"Ce-Id": "1", "Ce-Type": "t", "Ce-Source": "s", "Ce-Specversion": "1.0", "Content-Type": "application/json"}
		delete(headers, missing)
		resp, _ := f.post(t, "cloudevent", "{}", headers)
		assert.Contains(t, []int{http.StatusBadRequest, http.StatusUnsupportedMediaType}, resp.StatusCode, "without %s", missing)
	}
}
