package wire

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
)

func newFunction() *proto.FunctionJson { return new(proto.FunctionJson) }

func TestDecodeTakesTheContractsForms(t *testing.T) {
	hello := &proto.FunctionJson{Name: "HelloWorld", Dir: "/abs/example/hello", FilePath: "/abs/example/hello/helloWorld.go", ToAgent: []string{"localhost:9000"}}
	for _, body := range []string{
		`{"dir": "/abs/example/hello", "name": "HelloWorld", "filePath": "/abs/example/hello/helloWorld.go", "toAgent": "localhost:9000"}`,
		`{"packageDir": "/abs/example/hello", "name": "HelloWorld", "filePath": "/abs/example/hello/helloWorld.go", "agentAddr": ["localhost:9000"]}`,
		`{"packageDir": ["/abs/example/hello"], "entrypoint": "HelloWorld", "file_path": "/abs/example/hello/helloWorld.go", "to_agent": ["localhost:9000"]}`,
		`{"dir": "/abs/example/hello", "packageDir": "/abs/example/hello", "name": "HelloWorld", "entrypoint": "HelloWorld",
		  "filePath": "/abs/example/hello/helloWorld.go", "agentAddr": "localhost:9000", "toAgent": ["localhost:9000"]}`,
	} {
		fn := newFunction()
		require.NoError(t, Decode([]byte(body), fn), body)
		assert.True(t, protobuf.Equal(hello, fn), "%s: %s", body, fn)
	}

	list := new(proto.ListRequest)
	require.NoError(t, Decode([]byte(`{"agentAddr": ["http://localhost:9000"]}`), list))
	assert.Equal(t, "http://localhost:9000", list.GetAtAgent())

	log := new(proto.LogRequest)
	require.NoError(t, Decode([]byte(`{"name": "HelloWorld"}`), log))
	assert.Equal(t, "HelloWorld", log.GetEntrypoint())

	settings := newFunction()
	require.NoError(t, Decode([]byte(`{"name": "F", "env": {"A": "b"}, "tags": "x", "wait": true, "memory": "64MiB", "timeout": null}`), settings))
	assert.True(t, protobuf.Equal(&proto.FunctionJson{Name: "F", Env: map[string]string{"A": "b"}, Tags: []string{"x"}, Wait: true, Memory: "64MiB"}, settings))
}

func TestDecodeNamesWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ body, message, hint string }{
		{`{"packgeDir": "x"}`, `unknown key "packgeDir"`, `did you mean "packageDir"?`},
		{`{"zzzzzz": 1}`, `unknown key "zzzzzz"`, "known are: name, entrypoint, dir, packageDir"},
		{`{"dir": "a", "packageDir": "b"}`, `"dir" and "packageDir" disagree: "a" and "b"`, "two names for one thing"},
		{`{"name": "A", "name": "B"}`, `"name" is given twice`, ""},
		{`{"name": "A", "name": "A"}`, `"name" is given twice`, ""},
		{`{"env": {"A": "1"}, "env": {"A": "1"}}`, `"env" is given twice`, ""},
		{`{"env": {"A": "1", "A": "1"}}`, `"A" is given twice`, ""},
		{`{"agentAddr": ["a:1"], "toAgent": ["b:1"]}`, `"agentAddr" and "toAgent" disagree`, ""},
		{`{"packageDir": ["a", "b"]}`, `"packageDir" takes one value, not 2`, ""},
		{`{"name": 7}`, `"name" must be a string; 7 is not`, ""},
		{`{"wait": "yes"}`, `"wait" must be true or false; "yes" is not`, ""},
		{`{"toAgent": [null]}`, `"toAgent" must be a list of strings; [null] is not`, ""},
		{`{"instances": "many"}`, `"instances" must be a whole number from 0 on; "many" is not`, ""},
		{`{"env": []}`, `"env" must be an object of strings; [] is not`, ""},
		{`{"secrets": {"A": "b", "KEY": "` + "\xff" + `"}}`, `"secrets": the value of KEY is not UTF-8 text`, "encode bytes"},
		{`{"note": "` + "\xff" + `"}`, `"note" is not UTF-8 text`, "encode bytes"},
		{`{"name": "A"`, "the JSON is not valid", ""},
		{`{"name": "A"} {}`, "the JSON is not valid", ""},
		{`{"name": "\xff"}`, "", ""},
		{`["name"]`, "is not a JSON object", ""},
		{``, "the body is empty; it is not a JSON object", `{"name": "HelloWorld"}`},
		{`null`, "is not a JSON object", ""},
	} {
		err := Decode([]byte(c.body), newFunction())
		require.ErrorIs(t, err, proto.ErrInvalid, c.body)
		assert.Contains(t, err.Error(), c.message, c.body)
		assert.Contains(t, proto.AsError(err).Hint, c.hint, c.body)
	}
	for body, message := range map[string]string{
		`{"name": "A"}`:                 "not a JSON array",
		`[null]`:                        "element 0: ",
		`[{"name": "A"}, {"nam": "B"}]`: `element 1: unknown key "nam"`,
		`[{"name": "A"}`:                "the JSON is not valid",
	} {
		_, err := DecodeFunctions([]byte(body))
		require.ErrorIs(t, err, proto.ErrInvalid, body)
		assert.Contains(t, err.Error(), message)
	}
}

func TestErrorsTellNoSecrets(t *testing.T) {
	for _, body := range []string{`{"secrets": {"A": ["xyzzy"]}}`, `{"secrets": "xyzzy"}`, `{"secrets": {"A": "xyzzy"}, "secrets": {}}`} {
		err := Decode([]byte(body), newFunction())
		require.ErrorIs(t, err, proto.ErrInvalid, body)
		assert.NotContains(t, err.Error(), "xyzzy")
	}
}

func TestEncodeKeepsEveryKey(t *testing.T) {
	body, err := Encode(&proto.FunctionJsonRsp{Name: "HelloWorld", Status: string(proto.Deploying)})
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(body), `{"name":"HelloWorld","status":"Deploying","url":"","proxy":"","atAgent":"","error":"",`), "%s", body)

	body, err = EncodePart(&proto.FunctionList{}, "functions")
	require.NoError(t, err)
	assert.Equal(t, "[]", string(body))

	body, err = EncodeRequest(&proto.DeployRequest{Functions: []*proto.FunctionJson{{Name: "A"}}}, "functions")
	require.NoError(t, err)
	assert.JSONEq(t, `[{"name":"A"}]`, string(body))
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`[{"dir": "/a", "name": "HelloWorld", "filePath": "/a/b.go", "toAgent": "localhost:9000"}]`,
		`[{"packageDir": ["/a"], "entrypoint": "F", "agentAddr": []}]`,
		`[{"env": {"A": "b"}, "wait": true}, null]`, `[{"name":"\ud800"}]`, "[{\"name\":\"\xff\"}]", `[[[[`, `{}`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fns, err := DecodeFunctions(body)
		if err != nil {
			require.ErrorIs(t, err, proto.ErrInvalid)
			return
		}
		// What was taken can be sent on, and means the same there.
		for _, fn := range fns {
			data, err := EncodeRequest(fn, Whole)
			require.NoError(t, err)
			again := newFunction()
			require.NoError(t, Decode(data, again))
			require.True(t, protobuf.Equal(fn, again), "%s", data)
		}
	})
}

func FuzzDecodeQuery(f *testing.F) {
	for _, seed := range []string{"name=F&follow&tail=7", "follow=true&since=10m", "tail=-1", "name=A&name=B", "follow=maybe", "%zz", "version=4294967296"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		query, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		req := new(proto.LogsRequest)
		if err := DecodeQuery(query, req); err != nil {
			require.ErrorIs(t, err, proto.ErrInvalid)
		}
	})
}
