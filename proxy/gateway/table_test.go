package gateway

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

// deployed is the row of a function that runs at an address.
func deployed(name, address string) *proto.FunctionJsonRsp {
	return &proto.FunctionJsonRsp{
		Name: name, Status: string(proto.Deployed), AtAgent: "localhost:9000",
		Proxy: "http://" + address, Instances: 1, Pid: 1,
	}
}

// table returns routes to rows, by their paths.
func table(rows ...*proto.FunctionJsonRsp) *Table {
	changes := map[string][]Replica{}
	for _, row := range rows {
		path := proto.Path(row.GetName())
		changes[path] = append(changes[path], Replica{Row: row})
	}
	t := NewTable()
	t.Update(changes)
	return t
}

func TestTargetsAreSplitByteForByte(t *testing.T) {
	for _, tt := range []struct{ target, segment, rest string }{
		{"/functions/hello", "hello", ""},
		{"/functions/Hello/", "Hello", "/"},
		{"/functions/hello//a//b/", "hello", "//a//b/"},
		{"/functions/hello/a%2Fb%zz?q=%zz&u=http://h/functions", "hello", "/a%2Fb%zz?q=%zz&u=http://h/functions"},
		{"/functions/hello?city=boston", "hello", "?city=boston"},
		{"/functions/hello?", "hello", "?"},
		{"/functions/functions/functions", "functions", "/functions"},
		{"/functions/a%2f..%2fb", "a%2f..%2fb", ""},
	} {
		segment, rest, err := splitURI(tt.target)
		require.NoError(t, err, tt.target)
		assert.Equal(t, tt.segment, segment, tt.target)
		assert.Equal(t, tt.rest, rest, tt.target)
	}
	for _, target := range []string{"", "*", "/functions", "/functions/", "/functions//a", "/functions/?q", "http://host/functions/hello", "//functions/hello", "/functions/hello/a b", "/functions/hello\n", "/functions/hello\x7f"} {
		_, _, err := splitURI(target)
		assert.ErrorIs(t, err, proto.ErrInvalid, target)
	}
}

func TestNamesAreFoundInAnyCase(t *testing.T) {
	r := table(deployed("HelloWorld", "127.0.0.1:1"), deployed("Func", "127.0.0.1:1"), deployed("Éclair", "127.0.0.1:1"))
	for segment, mount := range map[string]string{
		"helloworld": "/helloworld", "HelloWorld": "/helloworld", "HELLOWORLD": "/helloworld", "hello%57orld": "/helloworld",
		"func": "/func", "%C3%89clair": "/%C3%A9clair", "éclair": "/%C3%A9clair",
	} {
		rt, _, err := r.find(segment)
		require.NoError(t, err, segment)
		require.NotNil(t, rt, segment)
		assert.Equal(t, mount, rt.mount)
	}
}

func TestSegmentsThatAreNoNamesAreRefused(t *testing.T) {
	r := table(deployed("HelloWorld", "127.0.0.1:1"))
	for _, segment := range []string{"", "..", "%2e%2e", "a%2f..%2fb", "%00", "%0d%0a", "1a", "a-b", "Hello;rm", "%zz", "%", strings.Repeat("a", proto.MaxName+1), "\xff"} {
		_, _, err := r.find(segment)
		assert.ErrorIs(t, err, proto.ErrInvalid, segment)
	}
	for _, segment := range []string{"other", "Other", "func", "type", "a1_b"} {
		rt, _, err := r.find(segment)
		assert.NoError(t, err, segment)
		assert.Nil(t, rt, segment)
	}
}

func TestUpdateLeavesOtherRoutesAndGoodTargetsAlone(t *testing.T) {
	r := table(deployed("A", "127.0.0.1:1"), deployed("B", "127.0.0.1:2"))
	a, _, _ := r.find("a")
	b, _, _ := r.find("b")

	// The same process again: its idle connections are kept.
	r.Update(map[string][]Replica{"a": {{Row: deployed("A", "127.0.0.1:1")}}})
	again, _, _ := r.find("a")
	assert.Same(t, a.targets()[0], again.targets()[0])
	assert.False(t, a.targets()[0].links.closed)
	other, _, _ := r.find("b")
	assert.Same(t, b, other)

	next := deployed("A", "127.0.0.1:1")
	next.Pid = 2
	r.Update(map[string][]Replica{"a": {{Row: next}}})
	assert.True(t, a.targets()[0].links.closed)

	last, _, _ := r.find("a")
	r.Update(map[string][]Replica{"a": nil})
	gone, _, err := r.find("a")
	assert.NoError(t, err)
	assert.Nil(t, gone)
	assert.True(t, last.targets()[0].links.closed)
	r.Clear()
	assert.True(t, b.targets()[0].links.closed)
}

func TestRoutesFollowStatus(t *testing.T) {
	for _, tt := range []struct {
		status    proto.Status
		instances uint32
		kind      proto.Kind // "": calls are taken
	}{
		{proto.Deployed, 1, ""},
		{proto.Deployed, 0, ""}, // restarts: calls queue at its sockets
		{proto.Deploying, 1, ""},
		{proto.Deploying, 0, proto.ErrUnavailable},
		{proto.Failed, 1, ""},
		{proto.Failed, 0, proto.ErrBadGateway},
	} {
		row := deployed("A", "127.0.0.1:1")
		row.Status, row.Instances = string(tt.status), tt.instances
		rt, _, err := table(row).find("a")
		require.NoError(t, err)
		if tt.kind == "" {
			assert.Len(t, rt.targets(), 1, "%s %d", tt.status, tt.instances)
			continue
		}
		assert.Empty(t, rt.targets(), "%s %d", tt.status, tt.instances)
		assert.ErrorIs(t, rt.unready, tt.kind)
	}
}

func TestRoutesTakeTimeoutAndSocketFromRows(t *testing.T) {
	row := deployed("A", "127.0.0.1:1")
	row.Timeout, row.Socket = "3s", "/run/a.sock"
	near := newRoute("a", []Replica{{Row: row, Local: true, User: os.Getuid()}}, nil)
	assert.Equal(t, 3*time.Second, near.limit)
	assert.Equal(t, "/run/a.sock", near.targets()[0].key.socket)
	far := newRoute("a", []Replica{{Row: row}}, nil)
	assert.Empty(t, far.targets()[0].key.socket, "a path on another machine")
}

func TestRowsWithoutServiceAreNoTargets(t *testing.T) {
	for _, service := range []string{"", "localhost:1", "http://localhost", "https://localhost:1", "http://[::1", "unix:///x"} {
		row := deployed("A", "")
		row.Proxy = service
		rt, _, err := table(row).find("a")
		require.NoError(t, err)
		assert.Empty(t, rt.targets(), service)
		assert.Error(t, rt.unready, service)
	}
}

func TestNoNameAnswersWithAnothersFunction(t *testing.T) {
	rt, _, err := table(deployed("HelloWorld", "127.0.0.1:1"), deployed("Helloworld", "127.0.0.1:2")).find("helloworld")
	require.NoError(t, err)
	require.Len(t, rt.targets(), 1)
	assert.Equal(t, "127.0.0.1:1", rt.targets()[0].key.address)
}

// FuzzTarget: whatever a caller asks for, what is forwarded is one request line's
// worth of bytes below the mount of a function that is there.
func FuzzTarget(f *testing.F) {
	for _, seed := range []string{"/functions/hello", "/functions/Hello/a%2Fb?x=%zz", "/functions/hello@3/a", "/functions/hello%403", "/functions/hello@-1", "/functions/%2e%2e/x", "/functions/a%2f..%2fb", "http://h/functions/a", "/functions/hello /x", "/functions/\xff", "*", ""} {
		f.Add(seed)
	}
	r := table(deployed("Hello", "127.0.0.1:1"))
	f.Fuzz(func(t *testing.T, target string) {
		segment, rest, err := splitURI(target)
		if err != nil {
			return
		}
		if Prefix+segment+rest != target {
			t.Fatalf("%q was split into %q and %q", target, segment, rest)
		}
		if rest != "" && rest[0] != '/' && rest[0] != '?' {
			t.Fatalf("rest %q", rest)
		}
		if strings.ContainsAny(rest, " \r\n\x00") {
			t.Fatalf("rest %q holds what a request line cannot", rest)
		}
		rt, number, err := r.find(segment)
		if rt != nil && err != nil {
			t.Fatalf("%q is found and refused", segment)
		}
		if plain, _ := url.PathUnescape(segment); rt != nil && number != 0 && plain[len("hello"):] != fmt.Sprint("@", number) {
			t.Fatalf("%q is taken for version %d", segment, number)
		}
	})
}

func BenchmarkFind(b *testing.B) {
	var rows []*proto.FunctionJsonRsp
	for i := range 10_000 {
		rows = append(rows, deployed(fmt.Sprintf("Function%d", i), "127.0.0.1:1"))
	}
	r := table(rows...)
	for _, segment := range []string{"function5000", "Function5000"} {
		b.Run(segment, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if rt, _, _ := r.find(segment); rt == nil {
					b.Fatal("not found")
				}
			}
		})
	}
}

func BenchmarkUpdateOneOfManyRoutes(b *testing.B) {
	var rows []*proto.FunctionJsonRsp
	for i := range 10_000 {
		rows = append(rows, deployed(fmt.Sprintf("Function%d", i), "127.0.0.1:1"))
	}
	r := table(rows...)
	change := map[string][]Replica{"function5000": {{Row: rows[5000]}}}
	b.ReportAllocs()
	for b.Loop() {
		r.Update(change)
	}
}
