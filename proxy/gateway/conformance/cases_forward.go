package conformance

import (
	"fmt"
	"strings"
)

// forwarding: what a call is, on both sides.
var forwarding = named("forwarding", []Case{
	{Name: "a plain call", Source: "9110 3.7", caller: asks(get+"\r\n", status(200), text("ok"), sawTarget("GET", ""))},
	{Name: "methods pass, known or not", Source: "9110 9.1", caller: all(
		asks("PATCH {f}/a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody", status(200), sawTarget("PATCH", "/a"), sawBody("body")),
		asks("OPTIONS {f} HTTP/1.1\r\nHost: h\r\n\r\n", status(200), sawTarget("OPTIONS", "")),
		asks("M-SEARCH {f}/a HTTP/1.1\r\nHost: h\r\n\r\n", status(200), sawTarget("M-SEARCH", "/a")),
	)},
	{Name: "a path and a query", Source: "9112 3.2.1", caller: asksTarget("/a/b?c=d&e")},
	{Name: "encoded bytes of a path stay encoded", Source: "9110 4.2.3", caller: asksTarget("/a%2Fb%2e%2E/%C3%A9;x=1,2")},
	{Name: "slashes and dots of a path stay", caller: asksTarget("//a/./b//..//c/")},
	{Name: "unusual bytes of a path stay", caller: asksTarget("/{a}|\"<>^`é")},
	{Name: "a query stays as it is", Source: "9112 3.2.1", caller: asksTarget("/a?b=%zz&c;d=e+f&empty=&g=h?i=//j")},
	{Name: "an empty query stays", Source: "9112 3.2.1", caller: asksTarget("/a?")},
	{Name: "a url in the query is no target", Source: "9112 3.2.1", caller: asksTarget("/a?u=http://h/functions/x")},
	{Name: "the function is told the caller's address", caller: asks(get+"X-Forwarded-For: 6.6.6.6\r\n\r\n", status(200), sawPeer)},
	{Name: "the function is told the host", Source: "9110 7.2", caller: all(
		asks("GET {f} HTTP/1.1\r\nHost: me.example:8080\r\n\r\n", status(200), sawField("Host", "me.example:8080")),
		asks("GET {f} HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n", status(200), sawField("Host", "[2001:db8::1]:8080")),
	)},
	{Name: "fields for one hop stop, in requests", Source: "9110 7.6.1", caller: asks(
		get+"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nTE: gzip\r\nX-Other: 1\r\n\r\n",
		status(200), sawNo("Keep-Alive", "Proxy-Connection"), sawField("X-Other", "1"), sawNoTE,
	)},
	{Name: "fields that Connection names stop, in requests", Source: "9110 7.6.1", caller: asks(
		get+"Connection: X-Mine, close, x-yours\r\nX-Mine: 1\r\nX-Yours: 2\r\nX-Other: 3\r\n\r\n",
		status(200), sawNo("X-Mine", "X-Yours"), sawField("X-Other", "3"),
	)},
	{Name: "Connection cannot name what the gateway says", caller: asks(
		get+"Connection: X-Forwarded-For, close\r\n\r\n", status(200), sawPeer,
	)},
	{Name: "fields for one hop stop, in answers", Source: "9110 7.6.1", function: answering(
		"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=77\r\nProxy-Connection: close\r\nX-Other: 1\r\nContent-Length: 2\r\n\r\nok",
	), caller: asks(get+"\r\n", status(200), lacks("Proxy-Connection"), has("X-Other", "1"), func(e *end, m message) {
		if strings.Contains(m.joined("Keep-Alive"), "77") {
			e.fail("the caller gets Keep-Alive: %q", m.joined("Keep-Alive"))
		}
	})},
	{Name: "fields that Connection names stop, in answers", Source: "9110 7.6.1", function: answering(
		"HTTP/1.1 200 OK\r\nConnection: X-Mine\r\nX-Mine: 1\r\nX-Other: 2\r\nContent-Length: 2\r\n\r\nok",
	), caller: asks(get+"\r\n", status(200), lacks("X-Mine"), has("X-Other", "2"))},
	{Name: "words of proxies stop, both ways", function: answering("HTTP/1.1 200 OK\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nok"),
		caller: asks(get+"Proxy-Authorization: Basic eA==\r\n\r\n", status(200), lacks("Proxy-Authenticate"), sawNo("Proxy-Authorization"))},
	{Name: "fields that a second Connection names stop", Source: "9110 7.6.1", caller: asks(
		get+"Connection: X-Mine\r\nConnection: close, X-Yours\r\nX-Mine: 1\r\nX-Yours: 2\r\nX-Other: 3\r\n\r\n",
		status(200), sawNo("X-Mine", "X-Yours"), sawField("X-Other", "3"),
	)},
	{Name: "Connection cannot name what says where a body ends", caller: all(
		asks(post+"Connection: close, Content-Length\r\nContent-Length: 4\r\n\r\nbody", status(200), sawBody("body")),
		asks(post+"Connection: Transfer-Encoding\r\n"+chunkedHello, status(200), sawBody("hello")),
	)},
	{Name: "the last hop answers OPTIONS", Source: "9110 7.6.2", caller: asks(
		"OPTIONS {f} HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n", status(200, 204), calls(0),
	)},
	{Name: "the last hop answers TRACE", Source: "9110 7.6.2", caller: asks(
		"TRACE {f} HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n", calls(0),
	)},
	{Name: "each hop counts for OPTIONS", Source: "9110 7.6.2", caller: asks(
		"OPTIONS {f} HTTP/1.1\r\nHost: h\r\nMax-Forwards: 10\r\n\r\n", status(200), sawField("Max-Forwards", "9"),
	)},
	{Name: "a part of a resource", Source: "9110 14", function: answering(
		"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 3-4/9\r\nContent-Length: 2\r\n\r\nok",
	), caller: asks(
		get+"Range: bytes=3-4\r\nIf-Range: \"a\"\r\n\r\n", status(206), has("Content-Range", "bytes 3-4/9"), text("ok"),
		sawField("Range", "bytes=3-4"), sawField("If-Range", `"a"`),
	)},
	{Name: "no field of a request is invented", caller: asks(
		get+"\r\n", sawNo("Accept-Encoding", "User-Agent", "Accept", "Content-Type", "Content-Length", "Transfer-Encoding"),
	)},
	{Name: "no type of an answer is invented", function: answering("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"),
		caller: asks(get+"\r\n", status(200), lacks("Content-Type"), text("<html>"))},
	{Name: "an answer without a date gets one", Source: "9110 6.6.1", caller: asks(get+"\r\n", func(e *end, m message) {
		if len(m.values("Date")) != 1 {
			e.fail("Date is %q", m.values("Date"))
		}
	})},
	{Name: "the function's date stays", function: answering(
		"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\nok",
	), caller: asks(get+"\r\n", has("Date", "Sun, 06 Nov 1994 08:49:37 GMT"))},
	{Name: "each hop adds a Via", Source: "9110 7.6.3", caller: asks(get+"\r\n", saw(func(e *end, m message) {
		if m.joined("Via") == "" {
			e.fail("the function gets no Via")
		}
	}))},
	{Name: "fields of one name keep their order", Source: "9110 5.3", caller: asks(
		get+"X-A: 1\r\nX-B: 0\r\nx-a: 2\r\nX-A: 3\r\n\r\n", sawField("X-A", "1", "2", "3"), sawField("X-B", "0"),
	)},
	{Name: "bytes of a value stay", Source: "9110 5.5", caller: asks(
		get+"X-A: \"a,b\";\té \xff~\r\nX-Empty:\r\n\r\n", status(200), sawField("X-A", "\"a,b\";\té \xff~"), sawField("X-Empty", ""),
	)},
	{Name: "spaces around a value are no part of it", Source: "9112 5.1", caller: asks(
		get+"X-A: \t 1 \t \r\nX-B:2\r\n\r\n", status(200), sawField("X-A", "1"), sawField("X-B", "2"),
	)},
	{Name: "names of any letters, in any case", Source: "9110 5.1", caller: asks(
		"POST {f} HTTP/1.1\r\nhOST: h\r\ncontent-LENGTH: 4\r\nx_A.b!: 1\r\n\r\nbody", status(200), sawBody("body"), sawField("Host", "h"), sawField("x_A.b!", "1"),
	)},
	{Name: "two cookies stay two", Source: "9110 5.3", function: answering(
		"HTTP/1.1 200 OK\r\nSet-Cookie: a=1, 2\r\nSet-Cookie: b=3\r\nContent-Length: 2\r\n\r\nok",
	), caller: asks(get+"\r\n", has("Set-Cookie", "a=1, 2", "b=3"), func(e *end, m message) {
		if len(m.values("Set-Cookie")) != 2 {
			e.fail("the caller gets %q", m.values("Set-Cookie"))
		}
	})},
	{Name: "any status passes", Source: "9110 15", function: answering(
		"HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok",
	), caller: asks(get+"\r\n", status(299), text("ok"))},
	{Name: "a status without a reason", Source: "9112 4", function: func(f *end) {
		f.request()
		f.send([]string{"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"}[f.n%2])
	}, caller: func(c *end) {
		c.ask(get+"\r\n", status(200), text("ok"))
		c.dial().ask(get+"\r\n", status(200), text("ok"))
	}},
	{Name: "bytes of an answer's value stay", Source: "9110 5.5", function: answering(
		"HTTP/1.1 200 OK\r\nX-A: \"a,b\";\té \xff~\r\nX-Empty:\r\nContent-Length: 2\r\n\r\nok",
	), caller: asks(get+"\r\n", status(200), has("X-A", "\"a,b\";\té \xff~"), has("X-Empty", ""))},
	{Name: "errors of the function pass as they are", function: answering(
		"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nX-A: 1\r\nContent-Length: 4\r\n\r\nbusy",
	), caller: asks(get+"\r\n", status(503), has("Retry-After", "7"), has("X-A", "1"), text("busy"), calls(1))},
	{Name: "an encoded answer passes as it is", Source: "9110 7.7", function: answering(
		"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n\x1f\x8b\x08no",
	), caller: asks(get+"Accept-Encoding: gzip\r\n\r\n", has("Content-Encoding", "gzip"), text("\x1f\x8b\x08no"), sawField("Accept-Encoding", "gzip"))},
	{Name: "a target that names this server", Source: "9112 3.2.2", caller: asks(
		"GET http://{gateway}{f}/a?b HTTP/1.1\r\nHost: {gateway}\r\n\r\n", status(200), sawTarget("GET", "/a?b"),
	)},
	{Name: "the target's host counts, not Host", Source: "9112 3.2.2", caller: asks(
		"GET http://{gateway}{f}/a HTTP/1.1\r\nHost: other.example\r\n\r\n", status(200), func(e *end, m message) { sawField("Host", e.address)(e, m) },
	)},
	{Name: "a head of 20 KB", caller: asks(
		get+"X-Large: "+strings.Repeat("x", 20_000)+"\r\n\r\n", status(200), sawField("X-Large", strings.Repeat("x", 20_000)),
	)},
	{Name: "a head of 60 KB, of many lines", caller: asks(
		get+lines(60)+"\r\n", status(200), sawField("X-59", strings.Repeat("x", 1000)),
	)},
	{Name: "an answer's head of 20 KB", function: answering(
		"HTTP/1.1 200 OK\r\nX-Large: " + strings.Repeat("x", 20_000) + "\r\nContent-Length: 2\r\n\r\nok",
	), caller: asks(get+"\r\n", status(200), has("X-Large", strings.Repeat("x", 20_000)), text("ok"))},
	{Name: "an answer's head of 60 KB, of many lines", function: answering(
		"HTTP/1.1 200 OK\r\n" + lines(60) + "Content-Length: 2\r\n\r\nok",
	), caller: asks(get+"\r\n", status(200), has("X-59", strings.Repeat("x", 1000)), text("ok"))},
	{Name: "150 lines in a head", caller: asks(
		get+strings.Repeat("X-A: b\r\n", 150)+"\r\n", status(200), sawField("X-A", strings.Split(strings.Repeat("b ", 149)+"b", " ")...),
	)},
	{Name: "HTTP/1.0 answers become HTTP/1.1", Source: "9112 2.3", function: answeringOnce("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
		caller: asks(get+"\r\n", func(e *end, m message) {
			if !strings.HasPrefix(m.first, "HTTP/1.1 ") {
				e.fail("the caller gets %q", m.first)
			}
		}, text("ok"))},
})

// named sets the group of cases.
func named(group string, cases []Case) []Case {
	for i := range cases {
		cases[i].Group = group
	}
	return cases
}

// asksTarget is a caller that checks that what follows the function's name in a target
// reaches the function byte for byte.
func asksTarget(below string) func(*end) {
	return asks("GET {f}"+below+" HTTP/1.1\r\nHost: h\r\n\r\n", status(200), sawTarget("GET", below))
}

// lines returns header lines of a thousand bytes each.
func lines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "X-%d: %s\r\n", i, strings.Repeat("x", 1000))
	}
	return b.String()
}
