package conformance

import (
	"strings"
	"time"
)

// refused are requests that must not reach the function.
func refused() (cases []Case) {
	for _, row := range malformedHeads {
		cases = append(cases, Case{Group: "malformed heads", Name: row.name, Source: row.source, caller: refuses(row.sent)})
	}
	for _, row := range malformedBodies {
		cases = append(cases, Case{Group: "malformed bodies", Name: row.name, Source: row.source, caller: cuts(post + "Transfer-Encoding: chunked\r\n\r\n" + row.sent)})
	}
	for _, row := range declined {
		cases = append(cases, Case{Group: "not served", Name: row.name, Source: row.source, caller: declines(row.sent)})
	}
	for _, row := range ambiguous {
		cases = append(cases, Case{Group: "ambiguous heads", Name: row.name, Source: row.source, caller: separates(row.sent)})
	}
	return append(cases, named("not served", []Case{
		{Name: "OPTIONS of no resource", Source: "9112 3.2.4", caller: func(c *end) {
			c.send("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
			c.answer("OPTIONS")
			c.check(message{}, calls(0))
		}},
		{Name: "TLS on the plain port", caller: func(c *end) {
			c.send("\x16\x03\x01\x00\xc5\x01\x00\x00\xc1\x03\x03" + strings.Repeat("\x01", 190) + "\r\n\r\n")
			if m, came := c.head("GET"); came {
				c.check(m, isRefusal)
				c.rest(m)
			}
			c.closed()
		}},
	})...)
}

// ambiguous heads may be refused or served, but nothing may follow on their connection,
// or, if they are served, nothing that is part of them.
var ambiguous = []entry{
	{"the connection ends after a length and chunks", "9112 6.1", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"the connection ends after chunks and a length", "9112 6.1", post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
	{"the connection ends after HTTP/1.0 with chunks", "9112 6.1", "POST {f} HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"a folded line is refused or joined", "9112 5.2", get + "Connection: close\r\nX-A: b\r\n c: d\r\n\r\n"},
}

var malformedHeads = []entry{
	{"a length and chunks", "", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"chunks and a length", "", post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
	{"a length of nothing and chunks", "", post + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"HTTP/1.0 with chunks", "", "POST {f} HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"HTTP/1.0 with a length and chunks", "", "POST {f} HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"two lengths", "9112 6.3", post + "Content-Length: 4\r\nContent-Length: 0\r\n\r\nbody"},
	{"a list of two lengths", "9112 6.3", post + "Content-Length: 4, 0\r\n\r\nbody"},
	{"a signed length", "9112 6.3", post + "Content-Length: +4\r\n\r\nbody"},
	{"a negative length", "9112 6.3", post + "Content-Length: -4\r\n\r\nbody"},
	{"a hexadecimal length", "9112 6.3", post + "Content-Length: 0x4\r\n\r\nbody"},
	{"an empty length", "9112 6.3", post + "Content-Length:\r\n\r\n"},
	{"a length of letters", "9112 6.3", post + "Content-Length: four\r\n\r\nbody"},
	{"a length with a space in it", "9112 6.3", post + "Content-Length: 4 0\r\n\r\nbody"},
	{"a length beyond all numbers", "9112 6.3", post + "Content-Length: 18446744073709551620\r\n\r\nbody"},
	{"an unknown coding", "9112 6.1", post + "Transfer-Encoding: rot13\r\n\r\nbody"},
	{"the coding identity", "9112 6.1", post + "Transfer-Encoding: identity\r\n\r\nbody"},
	{"an unknown coding before chunks", "9112 6.1", post + "Transfer-Encoding: rot13, chunked\r\n\r\n0\r\n\r\n"},
	{"a coding after chunks", "9112 6.3", post + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"},
	{"chunked twice", "9112 6.1", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"nearly chunked", "9112 6.1", post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"},
	{"a vertical tab before chunked", "9112 6.1", post + "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n"},
	{"a folded coding", "", post + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"},
	{"a folded line", "", get + "X-A: b\r\n c: d\r\n\r\n"},
	{"a folded first line", "9112 2.2", "GET {f} HTTP/1.1\r\n Host: h\r\n\r\n"},
	{"a space before the colon of a length", "9112 5.1", post + "Content-Length : 4\r\n\r\nbody"},
	{"a space before a colon", "9112 5.1", get + "X-A : b\r\n\r\n"},
	{"a tab before a colon", "9112 5.1", get + "X-A\t: b\r\n\r\n"},
	{"a line without a colon", "9112 5", get + "X-A\r\n\r\n"},
	{"a line without a name", "9112 5", get + ": b\r\n\r\n"},
	{"a space in a name", "9110 5.1", get + "X A: b\r\n\r\n"},
	{"a control byte in a name", "9110 5.1", get + "X\x01A: b\r\n\r\n"},
	{"a byte beyond ASCII in a name", "9110 5.1", get + "X-\xc3\xa9: b\r\n\r\n"},
	{"NUL in a value", "9110 5.5", get + "X-A: b\x00c\r\n\r\n"},
	{"CR in a value", "9110 5.5", get + "X-A: b\rX-B: c\r\n\r\n"},
	{"a control byte in a value", "", get + "X-A: b\x01c\r\n\r\n"},
	{"DEL in a value", "", get + "X-A: b\x7fc\r\n\r\n"},
	{"a head of bare LF", "", "POST {f} HTTP/1.1\nHost: h\nContent-Length: 4\n\nbody"},
	{"a request line that ends in LF", "", "GET {f} HTTP/1.1\nHost: h\r\n\r\n"},
	{"a line that ends in LF", "", post + "X-A: b\nContent-Length: 4\r\n\r\nbody"},
	{"a head that ends in LF", "", post + "Content-Length: 4\r\n\nbody"},
	{"two hosts", "9112 3.2", get + "Host: i\r\n\r\n"},
	{"one host twice", "9112 3.2", get + "host: h\r\n\r\n"},
	{"no host", "9112 3.2", "GET {f} HTTP/1.1\r\nX-A: b\r\n\r\n"},
	{"NUL in the target", "9112 3.2", "GET {f}/\x00 HTTP/1.1\r\nHost: h\r\n\r\n"},
	{"LF in the target", "9112 3.2", "GET {f}/a\n/b HTTP/1.1\r\nHost: h\r\n\r\n"},
	{"CR in the target", "9112 3.2", "GET {f}/a\r/b HTTP/1.1\r\nHost: h\r\n\r\n"},
	{"a space in the target", "9112 3.2", "GET {f}/a b HTTP/1.1\r\nHost: h\r\n\r\n"},
	{"a tab in the target", "9112 3.2", "GET {f}/a\tb HTTP/1.1\r\nHost: h\r\n\r\n"},
	{"DEL in the target", "9112 3.2", "GET {f}/\x7f HTTP/1.1\r\nHost: h\r\n\r\n"},
	{"two spaces before the target", "", "GET  {f} HTTP/1.1\r\nHost: h\r\n\r\n"},
	{"two spaces after the target", "", "GET {f}  HTTP/1.1\r\nHost: h\r\n\r\n"},
	{"no target", "9112 3", "GET HTTP/1.1\r\nHost: h\r\n\r\n"},
	{"a target without a slash", "9112 3.2", "GET functions HTTP/1.1\r\nHost: h\r\n\r\n"},
	{"no version", "9112 3", "GET {f}\r\nHost: h\r\n\r\n"},
	{"a version in small letters", "9112 2.3", "GET {f} http/1.1\r\nHost: h\r\n\r\n"},
	{"a version of two digits", "9112 2.3", "GET {f} HTTP/1.10\r\nHost: h\r\n\r\n"},
	{"another protocol", "9112 2.3", "GET {f} ICAP/1.1\r\nHost: h\r\n\r\n"},
	{"HTTP/2.0 in HTTP/1 words", "", "GET {f} HTTP/2.0\r\nHost: h\r\n\r\n"},
	{"a method that is no token", "9110 9.1", "G(T {f} HTTP/1.1\r\nHost: h\r\n\r\n"},
	{"an answer", "9112 2.1", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
	{"a websocket with a body", "", get + "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nbody"},
}

var malformedBodies = []entry{
	{"an empty chunk size", "9112 7.1", "\r\nhello\r\n0\r\n\r\n"},
	{"a chunk size of letters", "9112 7.1", "xyz\r\nhello\r\n0\r\n\r\n"},
	{"a signed chunk size", "9112 7.1", "+5\r\nhello\r\n0\r\n\r\n"},
	{"a negative chunk size", "9112 7.1", "-5\r\nhello\r\n0\r\n\r\n"},
	{"a chunk size with 0x", "9112 7.1", "0x5\r\nhello\r\n0\r\n\r\n"},
	{"a chunk size beyond all numbers", "9112 7.1", "10000000000000005\r\nhello\r\n0\r\n\r\n"},
	{"a space before a chunk size", "9112 7.1", " 5\r\nhello\r\n0\r\n\r\n"},
	{"more bytes than the chunk size", "9112 7.1", "5\r\nhello, \r\n0\r\n\r\n"},
	{"fewer bytes than the chunk size", "9112 7.1", "5\r\nhel\r\n0\r\n\r\n"},
	{"a chunk size that ends in LF", "9112 7.1", "5\nhello\r\n0\r\n\r\n"},
	{"a chunk that ends in LF", "9112 7.1", "5\r\nhello\n0\r\n\r\n"},
	{"the last chunk ends in LF", "9112 7.1", "5\r\nhello\r\n0\n\r\n"},
	{"LF in a chunk extension", "9112 7.1.1", "5;a\nb\r\nhello\r\n0\r\n\r\n"},
	{"CR in a chunk extension", "9112 7.1.1", "5;a\rb\r\nhello\r\n0\r\n\r\n"},
	{"a trailer that ends in LF", "", "5\r\nhello\r\n0\r\nX-A: b\n\r\n"},
	{"trailers that end in LF", "", "5\r\nhello\r\n0\r\nX-A: b\r\n\n"},
	{"a folded trailer", "", "5\r\nhello\r\n0\r\nX-A: b\r\n c\r\n\r\n"},
	{"a trailer without a colon", "9112 7.1.2", "5\r\nhello\r\n0\r\nX-A\r\n\r\n"},
	{"a space before a trailer's colon", "9112 5.1", "5\r\nhello\r\n0\r\nX-A : b\r\n\r\n"},
	{"NUL in a trailer", "", "5\r\nhello\r\n0\r\nX-A: b\x00c\r\n\r\n"},
}

var declined = []entry{
	{"CONNECT", "9110 9.3.6", "CONNECT other.example:80 HTTP/1.1\r\nHost: other.example:80\r\n\r\n"},
	{"CONNECT with a path", "9110 9.3.6", "CONNECT {f} HTTP/1.1\r\nHost: h\r\n\r\n"},
	{"GET of no resource", "9112 3.2.4", "GET * HTTP/1.1\r\nHost: h\r\n\r\n"},
	{"a target that names another server", "", "GET http://other.example{f} HTTP/1.1\r\nHost: h\r\n\r\n"},
	{"a host with a path", "9112 3.2", "GET {f} HTTP/1.1\r\nHost: h/a\r\n\r\n"},
	{"a host with a space", "9112 3.2", "GET {f} HTTP/1.1\r\nHost: h i\r\n\r\n"},
	{"a host with a user", "9112 3.2", "GET {f} HTTP/1.1\r\nHost: u@h\r\n\r\n"},
	{"a port of letters", "9112 3.2", "GET {f} HTTP/1.1\r\nHost: h:abc\r\n\r\n"},
	{"a function that is not there", "9110 15.5.5", "GET {f}x HTTP/1.1\r\nHost: h\r\n\r\n"},
	{"a path that leaves the function", "", "GET /functions/%2e%2e/x HTTP/1.1\r\nHost: h\r\n\r\n"},
	{"a head of 200 KB", "9110 5.4", get + "X-A: " + strings.Repeat("x", 200_000) + "\r\n\r\n"},
	{"a target of 200 KB", "9110 4.1", "GET {f}/" + strings.Repeat("x", 200_000) + " HTTP/1.1\r\nHost: h\r\n\r\n"},
}

// short is the limit of functions that do not answer.
const short = 300 * time.Millisecond

// limits: what takes too long.
var limits = named("time", []Case{
	{Name: "no answer within the function's limit", Source: "9110 15.6.5", Limit: short, function: toldWhenCalled, caller: func(c *end) {
		c.ask(get+"\r\n", status(504))
		c.await("told")
	}},
	{Name: "half a head within the function's limit", Source: "9110 15.6.5", Limit: short, function: func(f *end) {
		f.request()
		f.send("HTTP/1.1 200 OK\r\nX-A")
		f.closed()
	}, caller: asks(get+"\r\n", status(504))},
	{Name: "a head that drips", Limit: short, function: drips("HTTP/1.1 200 OK\r\nX-A: ", "b"), caller: asks(get+"\r\n", status(502, 504))},
	{Name: "interim answers without an end", Limit: short, function: drips("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), caller: asks(get+"\r\n", status(502, 504))},
	{Name: "a caller whose body stalls", Limit: short, function: func(f *end) {
		f.head("")
		f.rest(message{})
	}, caller: func(c *end) {
		c.send(post + "Content-Length: 5\r\n\r\nhell")
		c.check(c.answer("POST"), status(408))
		c.closed()
		c.check(message{}, calls(0))
	}},
	{Name: "a caller whose upload stalls", Limit: short, function: func(f *end) {
		f.head("")
		f.rest(message{})
	}, caller: func(c *end) {
		c.send(post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhel")
		c.check(c.answer("POST"), status(408))
		c.closed()
		c.check(message{}, calls(0))
	}},
})

// drips is a function that says a bit more of an answer, time and again.
func drips(first, more string) func(*end) {
	return func(f *end) {
		f.request()
		f.send(first)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for f.send(more) {
			<-tick.C
		}
	}
}
