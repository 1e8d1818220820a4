package conformance

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
)

const megabyte = 1 << 20

// framings: where a message ends.
var framings = named("framing", []Case{
	{Name: "a body of known length", Source: "9112 6.2", caller: asks(post+"Content-Length: 4\r\n\r\nbody", status(200), sawBody("body"), unbroken)},
	{Name: "a length that begins with zeros", Source: "9110 8.6", caller: asks(post+"Content-Length: 0004\r\n\r\nbody", status(200), sawBody("body"), unbroken)},
	{Name: "heads of any size", Source: "9112 2.2", caller: func(c *end) {
		for _, size := range sizes() {
			value := strings.Repeat("x", size)
			c.ask(get+"X-A: "+value+"\r\n\r\n", status(200), sawField("X-A", value))
		}
	}},
	{Name: "bodies of any size", Source: "9112 6.2", caller: func(c *end) {
		for _, size := range sizes() {
			c.ask(post+fmt.Sprintf("Content-Length: %d\r\n\r\n%s", size, large[:size]), status(200), sawBody(large[:size]))
		}
	}},
	{Name: "bodies of any size, in chunks", Source: "9112 7.1", caller: func(c *end) {
		for _, size := range sizes() {
			c.ask(post+"Transfer-Encoding: chunked\r\n\r\n"+chunksOf(large[:size], 999), status(200), sawBody(large[:size]))
		}
	}},
	{Name: "answers of any size", Source: "9112 6.2", function: sized(func(body string) string {
		return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
	}), caller: asksSizes},
	{Name: "answers of any size, in chunks", Source: "9112 7.1", function: sized(func(body string) string {
		return "Transfer-Encoding: chunked\r\n\r\n" + chunksOf(body, 999)
	}), caller: asksSizes},
	{Name: "a body in chunks", Source: "9112 7.1", caller: asks(post+chunkedHello, status(200), sawBody("hello"), unbroken)},
	{Name: "chunks of any size, spelled in any way", Source: "9112 7.1", caller: asks(
		post+"transfer-encoding: Chunked\r\n\r\n00a\r\n0123456789\r\n1\r\nx\r\n0B\r\n01234567890\r\n000\r\n\r\n", status(200), sawBody("0123456789x01234567890"), unbroken,
	)},
	{Name: "chunk extensions are ignored", Source: "9112 7.1.1", caller: asks(
		post+"Transfer-Encoding: chunked\r\n\r\n5;a;b=c;d=\"e\"\r\nhello\r\n0;f\r\n\r\n", status(200), sawBody("hello"), unbroken,
	)},
	{Name: "a POST without a body", Source: "9112 6.3", caller: asks(post+"Content-Length: 0\r\n\r\n", status(200), sawBody(""), unbroken)},
	{Name: "a POST that says nothing of a body", Source: "9112 6.3", caller: asks(post+"\r\n", status(200), sawBody(""), unbroken)},
	{Name: "a GET with a body", Source: "9112 6.3", caller: asks(get+"Content-Length: 4\r\n\r\nbody", status(200), sawBody("body"), unbroken)},
	{Name: "bytes of a body are no request", Source: "9112 6.3", caller: asks(
		post+"Content-Length: 33\r\n\r\nGET /functions/x HTTP/1.1\r\n\r\n\x00\r\n\n", status(200), sawBody("GET /functions/x HTTP/1.1\r\n\r\n\x00\r\n\n"), unbroken,
	)},
	{Name: "an empty line before a request", Source: "9112 2.2", caller: func(c *end) {
		c.ask(post+"Content-Length: 4\r\n\r\nbody", status(200))
		c.ask("\r\n"+get+"\r\n", status(200), text("ok"))
	}},
	{Name: "a head that comes byte by byte", Source: "9112 2.2", caller: func(c *end) {
		c.sendEach(get + "X-A: 1\r\n\r\n")
		c.check(c.answer("GET"), status(200), text("ok"), sawField("X-A", "1"))
	}},
	{Name: "chunks that come byte by byte", Source: "9112 7.1", caller: func(c *end) {
		c.sendEach(post + "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\nb\r\n0123456789a\r\n0\r\n\r\n")
		c.check(c.answer("POST"), status(200), sawBody("hello0123456789a"))
	}},
	{Name: "an answer that comes byte by byte", Source: "9112 2.2", function: func(f *end) {
		f.request()
		f.sendEach("HTTP/1.1 200 OK\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n")
	}, caller: asks(get+"\r\n", status(200), has("X-A", "1"), text("hello"))},
	{Name: "a megabyte of known length, both ways", Source: "9112 6.2", function: answering(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", megabyte, large)),
		caller: asks(post+fmt.Sprintf("Content-Length: %d\r\n\r\n%s", megabyte, large), status(200), sawBody(large), text(large))},
	{Name: "a megabyte in chunks, both ways", Source: "9112 7.1", function: answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunksOf(large, 5000)),
		caller: asks(post+"Transfer-Encoding: chunked\r\n\r\n"+chunksOf(large, 7001), status(200), sawBody(large), text(large))},
	{Name: "an answer in chunks", Source: "9112 7.1", function: answering("HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED\r\n\r\n2;a\r\nok\r\n0\r\n\r\n"),
		caller: asks(get+"\r\n", status(200), text("ok"), unbroken)},
	{Name: "an answer that ends with its connection", Source: "9112 6.3", function: answeringOnce("HTTP/1.1 200 OK\r\n\r\nuntil the end"),
		caller: asks(get+"\r\n", status(200), text("until the end"))},
	{Name: "an HTTP/1.0 answer that ends with its connection", Source: "9112 6.3", function: answeringOnce("HTTP/1.0 200 OK\r\n\r\nuntil the end"),
		caller: asks(get+"\r\n", status(200), text("until the end"))},
	{Name: "an empty answer", Source: "9112 6.2", function: answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
		caller: func(c *end) {
			c.ask(get+"\r\n", status(200), text(""))
			c.ask(get+"\r\n", status(200), text(""), calls(2))
		}},
	{Name: "HEAD has a length and no body", Source: "9110 9.3.2", function: byMethod("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
		caller: asks("HEAD {f} HTTP/1.1\r\nHost: h\r\n\r\n", status(200), has("Content-Length", "5"), unbroken)},
	{Name: "HEAD of an answer in chunks", Source: "9112 6.1", function: byMethod("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
		caller: asks("HEAD {f} HTTP/1.1\r\nHost: h\r\n\r\n", status(200), unbroken)},
	{Name: "a body after HEAD is no answer", Source: "9110 9.3.2", function: byMethod("HTTP/1.1 200 OK\r\nContent-Length: 38\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
		caller: func(c *end) {
			c.ask("HEAD {f} HTTP/1.1\r\nHost: h\r\n\r\n", status(200))
			c.close()
			c.dial().ask(get+"\r\n", status(200), text("ok"))
		}},
	{Name: "204 has no body", Source: "9112 6.3", function: byMethod("HTTP/1.1 204 No Content\r\n\r\n"),
		caller: asks("DELETE {f} HTTP/1.1\r\nHost: h\r\n\r\n", status(204), lacks("Content-Length", "Transfer-Encoding"), unbroken)},
	{Name: "204 loses a length or coding", Source: "9110 8.6", function: func(f *end) {
		f.request()
		f.send([]string{"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"}[f.n%2])
	}, caller: func(c *end) {
		c.ask(get+"Connection: close\r\n\r\n", status(204), lacks("Content-Length", "Transfer-Encoding"))
		c.dial().ask(get+"Connection: close\r\n\r\n", status(204), lacks("Content-Length", "Transfer-Encoding"))
	}},
	{Name: "304 has no body, whatever its length says", Source: "9110 15.4.5", function: byMethod("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\n"),
		caller: asks("PATCH {f} HTTP/1.1\r\nHost: h\r\n\r\n", status(304), has("ETag", `"a"`), unbroken)},
	{Name: "pipelined calls are answered in order", Source: "9112 9.3.2", function: repeats, caller: pipelines(megabyte)},
	{Name: "pipelined calls that come in pieces", Source: "9112 9.3.2", function: repeats, caller: pipelines(7)},
	{Name: "nothing is read after Connection: close", Source: "9112 9.6", caller: func(c *end) {
		c.send(get + "Connection: close\r\n\r\n" + smuggled)
		c.check(c.answer("GET"), status(200))
		c.closed()
		c.check(message{}, calls(1))
	}},
	{Name: "HTTP/1.0 is answered and closed", Source: "9112 9.3", caller: func(c *end) {
		c.ask("GET {f}/a HTTP/1.0\r\n\r\n", status(200), text("ok"), sawTarget("GET", "/a"))
		c.closed()
	}},
	{Name: "HTTP/1.0 gets no chunks", Source: "9112 6.1", function: answering("HTTP/1.1 200 OK\r\n" + chunkedHello), caller: func(c *end) {
		c.ask("GET {f} HTTP/1.0\r\n\r\n", status(200), lacks("Transfer-Encoding"), text("hello"))
		c.closed()
	}},
	{Name: "HTTP/1.0 that asks for it is kept open", caller: func(c *end) {
		keep := "GET {f} HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n"
		c.ask(keep, status(200), text("ok"))
		c.ask(keep, status(200), text("ok"), calls(2))
	}},
	{Name: "HTTP/1.0 with a body", Source: "9112 6.2", caller: asks("POST {f} HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody", status(200), sawBody("body"))},
	{Name: "a slow reader gets all", Source: "9112 6.3", function: func(f *end) {
		f.request()
		f.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", 16*megabyte, large))
		f.tell("begun")
		f.send(strings.Repeat(large, 15))
	}, caller: func(c *end) {
		c.send(get + "\r\n")
		c.await("begun")
		c.check(c.answer("GET"), status(200), text(strings.Repeat(large, 16)))
	}},
})

// sizes are some around those of buffers.
func sizes() (sizes []int) {
	for _, size := range []int{1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10} {
		for _, more := range []int{-200, -150, -120, -100, -80, -60, -40, -20, -10, -5, -2, -1, 0, 1, 2, 5} {
			sizes = append(sizes, size+more)
		}
	}
	return sizes
}

// sized is a function that answers with as many bytes as X-Size says.
func sized(framed func(body string) string) func(*end) {
	return func(f *end) {
		for {
			m, came := f.request()
			size, err := strconv.Atoi(m.joined("X-Size"))
			if !came || err != nil {
				return
			}
			f.send("HTTP/1.1 200 OK\r\n" + framed(large[:size]))
		}
	}
}

func asksSizes(c *end) {
	for _, size := range sizes() {
		c.ask(get+fmt.Sprintf("X-Size: %d\r\n\r\n", size), status(200), text(large[:size]))
	}
}

// repeats is a function that answers with what it is sent: X-N and the body.
func repeats(f *end) {
	for {
		m, came := f.request()
		if !came {
			return
		}
		said := m.joined("X-N") + m.body
		f.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(said), said))
	}
}

// pipelines is a caller that sends five requests of all kinds, in pieces, before it reads an answer.
func pipelines(piece int) func(*end) {
	return func(c *end) {
		n := func(i int) string { return fmt.Sprintf("Host: h\r\nX-N: %d\r\n", i) }
		all := c.text("GET {f} HTTP/1.1\r\n" + n(1) + "\r\n" + "POST {f} HTTP/1.1\r\n" + n(2) + "Content-Length: 4\r\n\r\nbody" +
			"GET {f} HTTP/1.1\r\n" + n(3) + "\r\n" + "PUT {f} HTTP/1.1\r\n" + n(4) + chunkedHello + "GET {f} HTTP/1.1\r\n" + n(5) + "\r\n")
		for len(all) > 0 {
			next := min(piece, len(all))
			if c.conn == nil {
				return
			}
			_, _ = io.WriteString(c.conn, all[:next])
			all = all[next:]
		}
		for _, want := range []string{"1", "2body", "3", "4hello", "5"} {
			c.check(c.answer("GET"), status(200), text(want))
		}
	}
}

// large is a body of a megabyte.
var large = strings.Repeat("0123456789abcde\n", megabyte/16)

// chunksOf returns a text in chunks of a size.
func chunksOf(s string, size int) string {
	var b strings.Builder
	for len(s) > 0 {
		n := min(size, len(s))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, s[:n])
		s = s[n:]
	}
	return b.String() + "0\r\n\r\n"
}

// byMethod is a function that answers GET with ok, and other methods with answer.
func byMethod(answer string) func(*end) {
	return func(f *end) {
		for {
			m, came := f.request()
			switch {
			case !came:
				return
			case strings.HasPrefix(m.first, "GET "):
				f.send(ok)
			default:
				f.send(answer)
			}
		}
	}
}

// interims: what comes before the answer.
var interims = named("interim answers", []Case{
	{Name: "103 comes before the answer", Source: "9110 15.2", function: answering("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok),
		caller: asks(get+"\r\n", status(200), text("ok"), lacks("Link"), sawInterim(103), unbroken)},
	{Name: "103 comes while the function works", Source: "9110 15.2", function: func(f *end) {
		f.request()
		f.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
		f.await("hints")
		f.send(ok)
	}, caller: func(c *end) {
		c.send(get + "\r\n")
		if h, err := readHead(c.in); err != nil || h.status() != 103 || h.joined("Link") != "</a>" {
			c.fail("%q instead of 103: %v", h.first, err)
		}
		c.tell("hints")
		c.check(c.answer("GET"), status(200), text("ok"))
	}},
	{Name: "several interim answers", Source: "9110 15.2", function: answering(
		"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n" + ok,
	), caller: asks(get+"\r\n", status(200), text("ok"), sawInterim(102, 103, 103))},
	{Name: "an unasked 100 is no answer", Source: "9110 15.2", function: answering("HTTP/1.1 100 Continue\r\n\r\n" + ok),
		caller: asks(get+"\r\n", status(200), text("ok"))},
	{Name: "HTTP/1.0 gets no interim answers", Source: "9110 15.2", function: answering("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok),
		caller: asks("GET {f} HTTP/1.0\r\n\r\n", status(200), text("ok"), sawInterim())},
	{Name: "100-continue, then the body", Source: "9110 10.1.1", function: func(f *end) {
		f.head("")
		f.send("HTTP/1.1 100 Continue\r\n\r\n")
		f.rest(message{})
		f.send(ok)
	}, caller: func(c *end) {
		c.send(post + "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n")
		if h, err := readHead(c.in); err != nil || h.status() != 100 {
			c.fail("%q instead of 100: %v", h.first, err)
		}
		c.send("body")
		c.check(c.answer("POST"), status(200), sawBody("body"))
	}},
	{Name: "a refusal comes without 100", Source: "9110 10.1.1", function: func(f *end) {
		f.head("")
		f.send("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	}, caller: asks(post+"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n", status(401), sawInterim())},
	{Name: "the body comes without waiting for 100", Source: "9110 10.1.1", caller: asks(
		post+"Content-Length: 4\r\nExpect: 100-continue\r\n\r\nbody", status(200), sawBody("body"),
	)},
	{Name: "HTTP/1.0 gets no 100", Source: "9110 10.1.1", caller: asks(
		"POST {f} HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody", status(200), sawBody("body"), sawInterim(),
	)},
})

func sawInterim(want ...int) check {
	return func(e *end, m message) {
		var got []int
		for _, h := range m.interim {
			got = append(got, h.status())
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			e.fail("interim answers %v instead of %v", got, want)
		}
	}
}

// streams: nothing waits for what comes later.
var streams = named("streaming", []Case{
	{Name: "an open upload in chunks", function: takesFirst, caller: func(c *end) {
		c.send(post + "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")
		c.await("part")
		c.send("0\r\n\r\n")
		c.check(c.answer("POST"), status(200), text("ok"))
	}},
	{Name: "an open upload of known length", function: takesFirst, caller: func(c *end) {
		c.send(post + "Content-Length: 40000\r\n\r\npart" + strings.Repeat("x", 20_000))
		c.await("part")
		c.send(strings.Repeat("x", 40_000-20_004))
		c.check(c.answer("POST"), status(200), text("ok"))
	}},
	{Name: "the first part of an answer in chunks", function: firstPart("Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n", "0\r\n\r\n"), caller: takesPart},
	{Name: "the first part of an event stream", function: firstPart("Content-Type: text/event-stream\r\n\r\npart", ""), caller: takesPart},
	{Name: "the first part of known length", function: firstPart("Content-Length: 8\r\n\r\npart", "rest"), caller: takesPart},
	{Name: "the head comes before the body", function: firstPart("Content-Length: 4\r\n\r\n", "part"), caller: func(c *end) {
		c.send(get + "\r\n")
		m, _ := c.head("GET")
		c.tell("seen")
		c.check(c.rest(m), status(200), text("part"))
	}},
	{Name: "both directions at once", function: func(f *end) {
		f.head("")
		f.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range 3 {
			if f.take(4) != "ping" {
				return
			}
			f.send("4\r\npong\r\n")
		}
		f.rest(message{})
		f.send("0\r\n\r\n")
	}, caller: func(c *end) {
		c.send(post + "Transfer-Encoding: chunked\r\n\r\n")
		m, _ := c.head("POST")
		for range 3 {
			c.send("4\r\nping\r\n")
			if got := c.take(4); got != "pong" {
				c.fail("%q instead of pong", got)
			}
		}
		c.send("0\r\n\r\n")
		c.check(c.rest(m), status(200), text(""), sawBody(""))
	}},
	{Name: "an early refusal reaches a caller that still sends", Source: "9112 9.5", function: func(f *end) {
		f.head("")
		f.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
		_, _ = io.Copy(io.Discard, f.in)
	}, caller: asks(post+"Content-Length: 1000000\r\n\r\nsome", status(413), text("big"))},
	{Name: "what is left of a refused upload is no request", Source: "9112 9.3", function: refusesUploads, caller: sendsOn("Transfer-Encoding: chunked\r\n\r\n%x\r\nsome", "\r\n0\r\n\r\n")},
	{Name: "what is left of a refused body is no request", Source: "9112 9.3", function: refusesUploads, caller: sendsOn("Content-Length: %d\r\n\r\nsome", "")},
})

// refusesUploads is a function that answers POST without reading its body.
func refusesUploads(f *end) {
	m, came := f.head("")
	if came && strings.HasPrefix(m.first, "GET ") {
		f.check(m, notSmuggled)
		f.send(ok)
		return
	}
	f.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
	_, _ = io.Copy(io.Discard, f.in)
}

// sendsOn is a caller that sends the rest of a body when its upload has been refused:
// what looks like a request, of which head says the length. A gateway may close the connection, or
// read the rest and serve what follows.
func sendsOn(head, after string) func(*end) {
	return func(c *end) {
		rest := strings.Repeat("x", 20_000) + c.text(smuggled)
		c.send(post + fmt.Sprintf(head, len("some")+len(rest)))
		if m := c.answer("POST"); m.status() != 413 {
			c.fail("status %d instead of 413", m.status())
		}
		c.send(rest + after + get + "\r\n")
		if m, came := c.head("GET"); came {
			c.check(c.rest(m), status(200), text("ok"))
		}
	}
}

// takesFirst is a function that tells of the first four bytes of a body.
func takesFirst(f *end) {
	if m, came := f.head(""); came {
		if f.take(4) == "part" {
			f.tell("part")
		}
		f.rest(m)
		f.send(ok)
	}
}

// firstPart is a function that sends the rest of its answer when the caller has seen
// the beginning.
func firstPart(first, rest string) func(*end) {
	return func(f *end) {
		f.request()
		f.send("HTTP/1.1 200 OK\r\n" + first)
		f.await("seen")
		f.send(rest)
	}
}

func takesPart(c *end) {
	c.send(get + "\r\n")
	m, _ := c.head("GET")
	if got := c.take(4); got != "part" {
		c.fail("%q instead of part", got)
	}
	c.tell("seen")
	c.check(c.rest(m), status(200))
}

// badTrailers say where a message ends, who calls or what is meant, which nothing may
// that comes after it.
const badTrailers = "Content-Length: 9\r\nTransfer-Encoding: gzip\r\nHost: evil\r\nAuthorization: Basic eA==\r\nCookie: a\r\nSet-Cookie: a=b\r\n" +
	"Content-Type: a/b\r\nIf-Match: a\r\nConnection: X-A\r\nTE: gzip\r\nX-Forwarded-For: 6.6.6.6\r\n"

// trailers: fields after the body.
var trailers = named("trailers", []Case{
	{Name: "announced trailers of an answer", function: answering(
		"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
	), caller: asks(get+"TE: trailers\r\nConnection: TE\r\n\r\n", status(200), text("ok"), trailed("X-Sum", "1"), unbroken)},
	{Name: "unannounced trailers of an answer", function: answering(
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nX-Late: 2\r\n\r\n",
	), caller: asks(get+"TE: trailers\r\nConnection: TE\r\n\r\n", status(200), text("ok"), trailed("X-Sum", "1"), trailed("X-Late", "2"), unbroken)},
	{Name: "trailers of an empty answer", function: answering(
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\n\r\n",
	), caller: asks(get+"TE: trailers\r\nConnection: TE\r\n\r\n", status(200), text(""), trailed("X-Sum", "1"), unbroken)},
	{Name: "trailers of an answer that may not be", Source: "9110 6.5.1", function: answering(
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n" + badTrailers + "\r\n",
	), caller: asks(get+"TE: trailers\r\nConnection: TE\r\n\r\n", status(200, 502), lacks("Set-Cookie"), trailedAlone("X-Sum"))},
	{Name: "trailers of an answer for HTTP/1.0", Source: "9112 6.1", function: answering(
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
	), caller: asks("GET {f} HTTP/1.0\r\n\r\n", status(200), text("ok"))},
	{Name: "announced trailers of a request", caller: asks(
		post+"Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n", status(200), sawBody("body"), sawTrailers(field{"x-sum", "1"}), unbroken,
	)},
	{Name: "unannounced trailers of a request", caller: asks(
		post+"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n", status(200), sawBody("body"), sawTrailers(field{"x-sum", "1"}), unbroken,
	)},
	{Name: "trailers of a request that may not be", Source: "9110 6.5.1", caller: asks(
		post+"Trailer: X-Sum, Authorization\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 1\r\n"+badTrailers+"\r\n",
		status(200, 400), func(e *end, m message) {
			if m.status() == 200 {
				e.check(m, sawBody("body"), sawNoBadTrailers)
			}
		},
	)},
})

// upgrades: a connection that becomes a tunnel (RFC 6455).
var upgrades = named("tunnels", []Case{
	{Name: "a websocket", Source: "9110 7.8", function: func(f *end) {
		if m, came := f.head(""); came {
			f.check(m, has("Upgrade", "websocket"), has("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="))
			if options := m.joined("Connection"); !strings.HasPrefix(strings.ToLower(options), "upgrade") {
				f.fail("the function gets Connection: %q", options)
			}
		}
		f.send(switched)
		for range 3 {
			if b := f.raw(4); b != "ping" {
				f.fail("%q instead of ping", b)
			}
			f.send("pong")
		}
	}, caller: func(c *end) {
		c.switches()
		for range 3 {
			c.send("ping")
			if b := c.raw(4); b != "pong" {
				c.fail("%q instead of pong", b)
			}
		}
		c.closed()
	}},
	{Name: "the function speaks first", function: func(f *end) {
		f.head("")
		f.send(switched + "first")
	}, caller: func(c *end) {
		c.switches()
		if b := c.raw(5); b != "first" {
			c.fail("%q instead of first", b)
		}
	}},
	{Name: "bytes that come with the handshake", function: echoing, caller: func(c *end) {
		c.send(switchRequest + "early, ")
		c.check(message{}, func(c *end, _ message) {
			if h, _ := readHead(c.in); h.status() != 101 {
				c.fail("%q instead of 101", h.first)
			}
		})
		c.send("late")
		c.closeWrite()
		if all, _ := io.ReadAll(c.in); string(all) != "early, late" {
			c.fail("%.100q comes back", all)
		}
	}},
	{Name: "the caller closes its half", function: echoing, caller: func(c *end) {
		c.switches()
		c.send("last words")
		c.closeWrite()
		if all, _ := io.ReadAll(c.in); string(all) != "last words" {
			c.fail("%.100q comes back", all)
		}
	}},
	{Name: "the function closes its half", function: func(f *end) {
		f.head("")
		f.send(switched + "bye")
		f.closeWrite()
		if all, _ := io.ReadAll(f.in); string(all) != "last words" {
			f.fail("the function gets %.100q", all)
		}
		f.tell("done")
	}, caller: func(c *end) {
		c.switches()
		if all, _ := io.ReadAll(c.in); string(all) != "bye" {
			c.fail("the caller gets %.100q", all)
		}
		c.send("last words")
		c.closeWrite()
		c.await("done")
	}},
	{Name: "a caller that leaves ends the tunnel", function: func(f *end) {
		f.head("")
		f.send(switched)
		f.closed()
		f.tell("told")
	}, caller: func(c *end) {
		c.switches()
		c.close()
		c.await("told")
	}},
	{Name: "a function that dies ends the tunnel", function: func(f *end) {
		f.head("")
		f.send(switched)
		if conn, ok := f.conn.(*net.TCPConn); ok {
			_ = conn.SetLinger(0)
		}
	}, caller: func(c *end) {
		c.switches()
		c.closed()
	}},
	{Name: "a megabyte in each direction", function: func(f *end) {
		f.head("")
		f.send(switched)
		f.exchanges(large)
	}, caller: func(c *end) {
		c.switches()
		c.exchanges(large)
		c.closed()
	}},
	{Name: "a websocket that the function refuses", Source: "9110 7.8", function: answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"),
		caller: asks(switchRequest, status(403), text("no"))},
	{Name: "bytes after a refused handshake are no request", function: func(f *end) {
		for {
			m, came := f.request()
			if !came {
				return
			}
			f.check(m, notSmuggled)
			f.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
		}
	}, caller: func(c *end) {
		c.send(switchRequest + smuggled)
		c.check(c.answer("GET"), status(403))
		c.closed()
	}},
	{Name: "HTTP/1.0 gets no tunnel", Source: "9110 7.8", caller: asks(
		"GET {f} HTTP/1.0\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", status(200), sawNo("Upgrade"),
	)},
	{Name: "no other protocol is asked for", caller: all(
		asks(get+"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", status(200), sawNo("Upgrade", "HTTP2-Settings"), unbroken),
		asks(get+"Connection: Upgrade\r\nUpgrade: tls/1.2\r\n\r\n", status(200), sawNo("Upgrade")),
		asks(get+"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n", status(200, 400), func(e *end, m message) {
			if m.status() == 200 {
				sawNo("Upgrade")(e, m)
			}
		}),
	)},
	{Name: "Upgrade without Connection asks for nothing", Source: "9110 7.8", caller: asks(
		get+"Upgrade: websocket\r\n\r\n", status(200, 400), func(e *end, m message) {
			if m.status() == 200 {
				sawNo("Upgrade")(e, m)
			}
		},
	)},
})

// switches asks for a tunnel and gets it.
func (e *end) switches() {
	e.send(switchRequest)
	m, came := e.head("GET")
	if !came || m.status() != 101 {
		e.fail("%q instead of 101", m.first)
		return
	}
	e.check(m, has("Upgrade", "websocket"), func(e *end, m message) {
		if !strings.EqualFold(m.joined("Connection"), "upgrade") {
			e.fail("the caller gets Connection: %q", m.joined("Connection"))
		}
	})
}

// exchanges sends a text while it gets the same.
func (e *end) exchanges(text string) {
	var sending sync.WaitGroup
	sending.Go(func() { e.send(text) })
	if e.raw(len(text)) != text {
		e.fail("something else comes")
	}
	sending.Wait()
}

// raw returns the next n bytes.
func (e *end) raw(n int) string {
	if e.conn == nil || e.failed() {
		return ""
	}
	b := make([]byte, n)
	got, err := io.ReadFull(e.in, b)
	if err != nil {
		e.fail("%.100q, and then: %w", b[:got], err)
	}
	return string(b)
}

// echoing is a function that switches protocols and, at the end, says what it heard.
func echoing(f *end) {
	f.head("")
	f.send(switched)
	if f.conn == nil || f.failed() {
		return
	}
	heard, _ := io.ReadAll(f.in)
	f.send(string(heard))
}
