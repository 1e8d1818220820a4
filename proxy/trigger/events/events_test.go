package events

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pass lets the clock of a synctest go on.
func pass(d time.Duration) { <-time.After(d) }

// header returns headers of pairs.
func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// required are the headers of the least event.
func required(more ...string) http.Header {
	return header(append([]string{"ce-specversion", "1.0", "ce-id", "1", "ce-source", "/shop", "ce-type", "orders.created"}, more...)...)
}

func TestEventsOfAllForms(t *testing.T) {
	least := map[string]string{"specversion": "1.0", "id": "1", "source": "/shop", "type": "orders.created"}
	with := func(name, value string) map[string]string {
		m := map[string]string{name: value}
		for k, v := range least {
			m[k] = v
		}
		return m
	}
	const head = `"specversion":"1.0","id":"1","source":"/shop","type":"orders.created"`
	inJSON := header("Content-Type", "application/cloudevents+json; charset=UTF-8")
	for name, tt := range map[string]struct {
		header http.Header
		body   string
		want   []*Event
	}{
		"headers":             {required(), "", []*Event{{Attributes: least}}},
		"headers and data":    {required("Content-Type", "text/plain"), "hi", []*Event{{Attributes: least, ContentType: "text/plain", Data: []byte("hi")}}},
		"escaped":             {required("ce-subject", "caf%C3%A9%20au%25"), "", []*Event{{Attributes: with("subject", "café au%")}}},
		"quoted":              {required("ce-subject", `"a \"b\""`), "", []*Event{{Attributes: with("subject", `a "b"`)}}},
		"an extension":        {required("Ce-Traceparent", "00-a-b-01"), "", []*Event{{Attributes: with("traceparent", "00-a-b-01")}}},
		"other headers":       {required("X-A", "b", "Cell", "c"), "", []*Event{{Attributes: least}}},
		"JSON":                {inJSON, "{" + head + "}", []*Event{{Attributes: least}}},
		"JSON with data":      {inJSON, "{" + head + `,"data":{"a": [1]}}`, []*Event{{Attributes: least, ContentType: "application/json", Data: []byte(`{"a": [1]}`)}}},
		"JSON with a string":  {inJSON, "{" + head + `,"data":"hi"}`, []*Event{{Attributes: least, ContentType: "application/json", Data: []byte(`"hi"`)}}},
		"a text in JSON":      {inJSON, "{" + head + `,"datacontenttype":"text/xml","data":"<a/>"}`, []*Event{{Attributes: least, ContentType: "text/xml", Data: []byte("<a/>")}}},
		"JSON of a kind":      {inJSON, "{" + head + `,"datacontenttype":"application/vnd.x+json","data":"a"}`, []*Event{{Attributes: least, ContentType: "application/vnd.x+json", Data: []byte(`"a"`)}}},
		"bytes in JSON":       {inJSON, "{" + head + `,"datacontenttype":"image/png","data_base64":"AQI="}`, []*Event{{Attributes: least, ContentType: "image/png", Data: []byte{1, 2}}}},
		"numbers and truths":  {inJSON, "{" + head + `,"count":3}`, []*Event{{Attributes: with("count", "3")}}},
		"a truth":             {inJSON, "{" + head + `,"urgent":true}`, []*Event{{Attributes: with("urgent", "true")}}},
		"what is null is not": {inJSON, "{" + head + `,"subject":null,"data":null,"data_base64":null}`, []*Event{{Attributes: least}}},
		"a batch":             {header("Content-Type", "application/cloudevents-batch+json"), "[{" + head + "},{" + head + "}]", []*Event{{Attributes: least}, {Attributes: least}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(tt.header, []byte(tt.body))
			require.NoError(t, err)
			require.Len(t, got, len(tt.want))
			for i, want := range tt.want {
				assert.Equal(t, want.Attributes, got[i].Attributes)
				assert.Equal(t, want.ContentType, got[i].ContentType)
				assert.Equal(t, string(want.Data), string(got[i].Data))
			}
		})
	}
}

func TestWhatIsNoEventIsRefused(t *testing.T) {
	inJSON, inBatch := header("Content-Type", structured), header("Content-Type", batched)
	const head = `"specversion":"1.0","id":"1","source":"/shop","type":"orders.created"`
	for name, tt := range map[string]struct {
		header http.Header
		body   string
		says   string
		kind   proto.Kind
	}{
		"nothing":              {header(), "", "no CloudEvent", proto.ErrInvalid},
		"plain JSON":           {header("Content-Type", "application/json"), "{}", "no CloudEvent", proto.ErrInvalid},
		"an old version":       {header("ce-specversion", "0.3", "ce-id", "1", "ce-source", "/", "ce-type", "a"), "", "0.3", proto.ErrInvalid},
		"no id":                {header("ce-specversion", "1.0", "ce-source", "/", "ce-type", "a"), "", "no id", proto.ErrInvalid},
		"no source":            {header("ce-specversion", "1.0", "ce-id", "1", "ce-type", "a"), "", "no source", proto.ErrInvalid},
		"no type":              {header("ce-specversion", "1.0", "ce-source", "/", "ce-id", "1"), "", "no type", proto.ErrInvalid},
		"two ids":              {required("ce-id", "2"), "", "given twice", proto.ErrInvalid},
		"a bad escape":         {required("ce-subject", "%zz"), "", "percent", proto.ErrInvalid},
		"no UTF-8":             {required("ce-subject", "%ff"), "", "plain text", proto.ErrInvalid},
		"a line break":         {required("ce-subject", "a%0Db"), "", "plain text", proto.ErrInvalid},
		"a bad name":           {required("ce-my_name", "a"), "", "name of an attribute", proto.ErrInvalid},
		"a name that is data":  {required("ce-data", "a"), "", "name of an attribute", proto.ErrInvalid},
		"a type of content":    {required("ce-datacontenttype", "a/b"), "", "Content-Type", proto.ErrInvalid},
		"a relative schema":    {required("ce-dataschema", "x"), "", "absolute", proto.ErrInvalid},
		"a bad time":           {required("ce-time", "yesterday"), "", "RFC 3339", proto.ErrInvalid},
		"an empty subject":     {required("ce-subject", ""), "", "subject", proto.ErrInvalid},
		"a long type":          {header("ce-specversion", "1.0", "ce-source", "/", "ce-id", "1", "ce-type", strings.Repeat("a", 300)), "", "longer", proto.ErrInvalid},
		"large attributes":     {required("ce-subject", strings.Repeat("a", maxAttributes)), "", "attributes", proto.ErrTooLarge},
		"large data":           {required(), strings.Repeat("a", MaxData+1), "at most", proto.ErrTooLarge},
		"no media type":        {required("Content-Type", "???"), "", "Content-Type", proto.ErrInvalid},
		"no media type inside": {inJSON, "{" + head + `,"datacontenttype":"a b"}`, "media type", proto.ErrInvalid},
		"another form":         {header("Content-Type", "application/cloudevents+avro"), "", "avro", proto.ErrInvalid},
		"another charset":      {header("Content-Type", structured+"; charset=latin1"), "{}", "UTF-8", proto.ErrInvalid},
		"broken JSON":          {inJSON, "{", "JSON", proto.ErrInvalid},
		"null":                 {inJSON, "null", "specversion", proto.ErrInvalid},
		"an object as value":   {inJSON, "{" + head + `,"a":{}}`, "whole number", proto.ErrInvalid},
		"a fraction":           {inJSON, "{" + head + `,"a":1.5}`, "whole number", proto.ErrInvalid},
		"both kinds of data":   {inJSON, "{" + head + `,"data":1,"data_base64":"AQ=="}`, "both", proto.ErrInvalid},
		"no base64":            {inJSON, "{" + head + `,"data_base64":"?"}`, "base64", proto.ErrInvalid},
		"no list":              {inBatch, "{}", "the batch must be a list in JSON, not an object", proto.ErrInvalid},
		"a list of others":     {inBatch, "[7]", "event 1 of the batch: the event must be an object in JSON, not a number", proto.ErrInvalid},
		"no object":            {inJSON, `["x"]`, "the event must be an object in JSON, not a list", proto.ErrInvalid},
		"half a batch":         {inBatch, "[{", "the batch is not valid JSON: unexpected end of JSON input", proto.ErrInvalid},
		"an empty batch":       {inBatch, "[]", "empty", proto.ErrInvalid},
		"one that is wrong":    {inBatch, "[{" + head + "},{}]", "event 2", proto.ErrInvalid},
		"too many":             {inBatch, "[" + strings.Repeat("{},", MaxBatch) + "{}]", "larger", proto.ErrTooLarge},
	} {
		_, err := Parse(tt.header, []byte(tt.body))
		if assert.ErrorIs(t, err, tt.kind, name) {
			assert.Contains(t, err.Error(), tt.says, name)
		}
	}
}

// What is read is the same event once it is written and read again.
func FuzzEvents(f *testing.F) {
	f.Add(structured, `{"specversion":"1.0","id":"é","source":"/s","type":"t","subject":"a \"b\" %","datacontenttype":"text/plain","data":"hi"}`)
	f.Add(batched, `[{"specversion":"1.0","id":"1","source":"/s","type":"t","x":true,"data":[1]}]`)
	f.Add("", "")
	f.Fuzz(func(t *testing.T, kind, body string) {
		events, err := Parse(header("Content-Type", kind), []byte(body))
		if err != nil {
			return
		}
		for _, e := range events {
			for name, values := range e.Header() {
				if strings.ContainsFunc(values[0], func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Fatalf("header %s: %q", name, values[0])
				}
			}
			h := e.Header()
			if strings.HasPrefix(mediaType(e.ContentType), "application/cloudevents") {
				continue // an event within an event
			}
			again, err := Parse(h, e.Data)
			if err != nil {
				t.Fatalf("%v: %v", h, err)
			}
			if fmt.Sprint(again[0].Attributes, again[0].ContentType, string(again[0].Data)) != fmt.Sprint(e.Attributes, e.ContentType, string(e.Data)) {
				t.Fatalf("%v became %v", e, again[0])
			}
		}
	})
}

// calls are those that were enqueued.
type calls struct {
	mu   sync.Mutex
	made map[string]Call
	err  map[string]error // by function
}

func (c *calls) Enqueue(_ context.Context, call Call) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := "c_" + call.Function + "_" + call.Key
	if err := c.err[call.Function]; err != nil {
		return "", err
	}
	if _, there := c.made[id]; !there {
		c.made[id] = call
	}
	return id, nil
}

// fail lets the calls of a function fail.
func (c *calls) fail(function string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err[function] = err
}

func (c *calls) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.made)
}

func inlet(rows ...*proto.FunctionJsonRsp) (*Inlet, *calls, *storetest.Fake) {
	c, fake := &calls{made: map[string]Call{}, err: map[string]error{}}, storetest.New()
	return New(Config{
		Store: fake, Calls: c, Rows: func() []*proto.FunctionJsonRsp { return rows },
		May: func(context.Context) error { return nil }, Logger: hclog.NewNullLogger(),
	}), c, fake
}

func subscriber(name string, patterns ...string) *proto.FunctionJsonRsp {
	return &proto.FunctionJsonRsp{Name: name, Subscribe: patterns}
}

// post sends a request and returns the status and what is said of each event.
func post(t *testing.T, in *Inlet, h http.Header, body string) (int, []accepted) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, Path, strings.NewReader(body))
	r.Header = h
	w := httptest.NewRecorder()
	in.ServeHTTP(w, r)
	var answer struct{ Events []accepted }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer), w.Body.String())
	return w.Code, answer.Events
}

// run gives events until stop is called.
func run(t *testing.T, in *Inlet) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		in.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func TestEachSubscriberGetsAnEventOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, c, fake := inlet(subscriber("Mail", "users.new", "orders.created"), subscriber("Bill", "orders.*"), subscriber("Other", "users.*"))
		defer run(t, in)()
		status, list := post(t, in, required("Content-Type", "text/plain", "ce-subject", "a b"), "hi")
		require.Equal(t, http.StatusAccepted, status)
		require.Len(t, list, 1)
		assert.Equal(t, "1", list[0].ID)
		assert.Equal(t, "/shop", list[0].Source)
		require.Len(t, list[0].Calls, 2)
		require.Equal(t, 2, c.count())
		topics, err := fake.Queue().Topics(t.Context(), "")
		require.NoError(t, err)
		assert.Empty(t, topics, "it does not come again")
		for i, name := range []string{"Bill", "Mail"} {
			got := list[0].Calls[i]
			assert.Equal(t, name, got.Function)
			assert.Equal(t, "/calls/"+got.ID, got.URL)
			call := c.made[got.ID]
			assert.Equal(t, name, call.Function)
			assert.Equal(t, "hi", string(call.Body))
			assert.Equal(t, required("Content-Type", "text/plain", "ce-subject", "a%20b"), call.Header)
		}

		_, again := post(t, in, required(), "the same id")
		assert.Equal(t, list, again, "it is the same event")
		synctest.Wait()
		assert.Equal(t, "hi", string(c.made[list[0].Calls[0].ID].Body))
		other := required()
		other.Set("ce-source", "/other")
		_, list = post(t, in, other, "")
		assert.NotEqual(t, again[0].Calls[0].ID, list[0].Calls[0].ID, "ids are those of a source")
		synctest.Wait()
		assert.Equal(t, 4, c.count())

		nobody := required()
		nobody.Set("ce-type", "unheard.of")
		status, list = post(t, in, nobody, "")
		assert.Equal(t, http.StatusAccepted, status)
		assert.Empty(t, list[0].Calls)
	})
}

func TestABatchIsAcceptedAsAWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, c, _ := inlet(subscriber("Bill", "**"))
		defer run(t, in)()
		one := func(id int, data string) string {
			return fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"/s","type":"t","data_base64":%q}`, id, base64.StdEncoding.EncodeToString([]byte(data)))
		}
		status, list := post(t, in, header("Content-Type", batched), "["+one(1, strings.Repeat("\xff", MaxData))+","+one(2, "b")+"]")
		require.Equal(t, http.StatusAccepted, status)
		require.Len(t, list, 2)
		synctest.Wait()
		assert.Len(t, c.made[list[0].Calls[0].ID].Body, MaxData)
		assert.Equal(t, "b", string(c.made[list[1].Calls[0].ID].Body))

		status, _ = post(t, in, header("Content-Type", batched), "["+one(3, "c")+",{}]")
		assert.Equal(t, http.StatusBadRequest, status)
		synctest.Wait()
		assert.Equal(t, 2, c.count(), "nothing of it is accepted")
	})
}

func TestAnEventThatIsAcceptedOutlivesItsProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, c, fake := inlet(subscriber("Bill", "**"), subscriber("Mail", "**"))
		ctx, kill := context.WithCancel(t.Context())
		in.Calls = dying{c, kill}
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, Path, http.NoBody)
		r.Header = required()
		in.ServeHTTP(httptest.NewRecorder(), r)
		require.Equal(t, 1, c.count(), "it ends in between")
		next, _, _ := inlet()
		next.queue, next.Calls = fake.Queue(), c
		defer run(t, next)()
		pass(net)
		synctest.Wait()
		assert.Equal(t, 2, c.count())
	})
}

// dying is calls of a proxy that ends after the first.
type dying struct {
	*calls
	kill func()
}

func (d dying) Enqueue(ctx context.Context, c Call) (string, error) {
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	defer d.kill()
	return d.calls.Enqueue(ctx, c)
}

func TestAFullQueueOfOneFunctionDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, c, fake := inlet(subscriber("Bill", "**"), subscriber("Gone", "**"), subscriber("Mail", "**"))
		c.fail("Bill", proto.Errorf(proto.ErrExhausted, "it is full"))
		c.fail("Gone", proto.Errorf(proto.ErrNotFound, "it is gone"))
		defer run(t, in)()
		status, list := post(t, in, required(), "")
		require.Equal(t, http.StatusAccepted, status)
		require.Len(t, list[0].Calls, 2)
		assert.Equal(t, told{Function: "Bill"}, list[0].Calls[0], "it waits")
		assert.NotEmpty(t, list[0].Calls[1].ID)
		assert.Equal(t, 1, c.count())
		pass(9 * time.Minute)
		assert.Equal(t, 1, c.count())
		c.fail("Bill", nil)
		pass(lastPause)
		assert.Equal(t, 2, c.count())
		pass(lastPause)
		waiting, err := fake.Queue().Pending(t.Context(), topic)
		require.NoError(t, err)
		assert.Zero(t, waiting)
	})
}

func TestAnEventIsNotTriedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, c, fake := inlet(subscriber("Bill", "**"))
		c.fail("Bill", proto.Errorf(proto.ErrExhausted, "it is full"))
		defer run(t, in)()
		post(t, in, required(), "")
		pass(keptFor + 2*lastPause)
		waiting, err := fake.Queue().Pending(t.Context(), topic)
		require.NoError(t, err)
		assert.Zero(t, waiting)
	})
}

func TestManySubscribersAllGetAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rows []*proto.FunctionJsonRsp
		for i := range 2*together + 1 {
			rows = append(rows, subscriber(fmt.Sprintf("F%0126d", i), "**"))
		}
		in, c, _ := inlet(rows...)
		defer run(t, in)()
		status, _ := post(t, in, required("ce-subject", strings.Repeat("%22", 15<<10)), strings.Repeat("\xff", MaxData))
		require.Equal(t, http.StatusAccepted, status)
		synctest.Wait()
		assert.Equal(t, 2*together+1, c.count())
	})
}

func TestWhatIsNotStoredIsNotAccepted(t *testing.T) {
	in, _, fake := inlet(subscriber("Bill", "**"))
	fake.Fail(proto.Errorf(proto.ErrUnavailable, "it is away"))
	status, _ := post(t, in, required(), "")
	assert.Equal(t, http.StatusServiceUnavailable, status)
	in.May = func(context.Context) error { return proto.Errorf(proto.ErrForbidden, "you may not") }
	status, _ = post(t, in, required(), "")
	assert.Equal(t, http.StatusForbidden, status)
	in.May = func(context.Context) error { return nil }
	status, _ = post(t, in, required(), strings.Repeat("a", maxBody+1))
	assert.Equal(t, http.StatusRequestEntityTooLarge, status)
}

// What was accepted, and is sent again, is not accepted for functions that do not get it.
func TestAnEventThatIsSentAgainIsAcceptedIfAllGetIt(t *testing.T) {
	in, c, _ := inlet(subscriber("Bill", "**"))
	status, _ := post(t, in, required(), "")
	require.Equal(t, http.StatusAccepted, status)
	c.fail("Bill", proto.Errorf(proto.ErrExhausted, "it is full"))
	status, _ = post(t, in, required(), "")
	assert.Equal(t, http.StatusInsufficientStorage, status)
	c.fail("Bill", nil)
	status, _ = post(t, in, required(), "")
	assert.Equal(t, http.StatusAccepted, status)
	assert.Equal(t, 1, c.count())
}
