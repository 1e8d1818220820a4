package conformance

import (
	"net"
	"slices"
	"strings"
)

// What callers and functions say most of the time.
const (
	get  = "GET {f} HTTP/1.1\r\nHost: h\r\n"
	post = "POST {f} HTTP/1.1\r\nHost: h\r\n"
	ok   = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

	chunkedHello  = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
	switchRequest = get + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	switched      = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)

// answering is a function that answers each request with the same bytes.
func answering(answer string) func(*end) {
	return func(f *end) {
		for {
			if _, came := f.request(); !came || !f.send(answer) {
				return
			}
		}
	}
}

// answeringOnce is a function that closes the connection after its answer.
func answeringOnce(answer string) func(*end) {
	return func(f *end) {
		if _, came := f.request(); came {
			f.send(answer)
		}
	}
}

// check looks at an answer, and at what the function has seen.
type check func(*end, message)

// asks is a caller that sends a request and checks the answer.
func asks(request string, checks ...check) func(*end) {
	return func(c *end) {
		c.ask(request, checks...)
	}
}

// all is a caller that does several things, each on a connection of its own.
func all(callers ...func(*end)) func(*end) {
	return func(c *end) {
		for i, do := range callers {
			if i > 0 {
				c = c.dial()
			}
			do(c)
			c.close()
		}
	}
}

func (e *end) ask(request string, checks ...check) {
	e.send(request)
	method, _, _ := strings.Cut(strings.TrimLeft(request, "\r\n"), " ")
	m := e.answer(method)
	e.check(m, checks...)
}

func (e *end) check(m message, checks ...check) {
	for _, c := range checks {
		if !e.failed() {
			c(e, m)
		}
	}
}

func status(want ...int) check {
	return func(e *end, m message) {
		if !slices.Contains(want, m.status()) {
			e.fail("status %d instead of %v: %.200q", m.status(), want, m.body)
		}
	}
}

func text(want string) check {
	return func(e *end, m message) {
		if m.body != want {
			e.fail("the body is %.100q (%d bytes) instead of %.100q (%d)", m.body, len(m.body), want, len(want))
		}
	}
}

// has checks a field of the answer: its lines, joined.
func has(name string, values ...string) check {
	return func(e *end, m message) { same(e, "the caller", name, m.values(name), values) }
}

func lacks(names ...string) check {
	return func(e *end, m message) {
		for _, name := range names {
			same(e, "the caller", name, m.values(name), nil)
		}
	}
}

func same(e *end, who, name string, got, want []string) {
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		e.fail("%s gets %s: %.200q instead of %.200q", who, name, got, want)
	}
}

// trailed checks a trailer of the answer.
func trailed(name string, values ...string) check {
	return func(e *end, m message) {
		same(e, "the caller, after the body,", name, valuesOf(m.trailers, name), values)
	}
}

// trailedAlone checks that the answer has no other trailer.
func trailedAlone(name string) check {
	return func(e *end, m message) {
		for _, f := range m.trailers {
			if !strings.EqualFold(f.name, name) {
				e.fail("the caller gets the trailer %s", f.name)
			}
		}
	}
}

// saw checks the last request that the function has seen.
func saw(check func(e *end, m message)) check {
	return func(e *end, _ message) {
		seen := e.requests()
		if len(seen) == 0 {
			e.fail("the function was not called")
			return
		}
		check(e, seen[len(seen)-1])
	}
}

// sawTarget checks what the function is asked for: the method, and what follows its
// name in the target.
func sawTarget(method, below string) check {
	return saw(func(e *end, m message) {
		words := strings.Split(m.first, " ")
		if len(words) != 3 {
			e.fail("the function gets %.200q", m.first)
			return
		}
		_, rest, _ := strings.Cut(words[1], e.name)
		if words[0] != method || rest != below {
			e.fail("the function gets %.200q instead of %s %s", m.first, method, below)
		}
	})
}

func sawField(name string, values ...string) check {
	return saw(func(e *end, m message) { same(e, "the function", name, m.values(name), values) })
}

func sawNo(names ...string) check {
	return saw(func(e *end, m message) {
		for _, name := range names {
			same(e, "the function", name, m.values(name), nil)
		}
	})
}

func sawBody(want string) check {
	return saw(func(e *end, m message) {
		if m.body != want {
			e.fail("the function gets the body %.100q (%d bytes) instead of %.100q (%d)", m.body, len(m.body), want, len(want))
		}
	})
}

// sawTrailers checks which trailers of the request the function got.
func sawTrailers(want ...field) check {
	return saw(func(e *end, m message) {
		got := slices.Clone(m.trailers)
		for i := range got {
			got[i].name = strings.ToLower(got[i].name)
		}
		if !slices.Equal(got, want) {
			e.fail("the function gets the trailers %q instead of %q", got, want)
		}
	})
}

// sawNoBadTrailers checks that no trailer of the request means what it may not, neither
// after the body nor, as if it had come there, in the head.
func sawNoBadTrailers(e *end, _ message) {
	saw(func(e *end, m message) {
		for _, f := range m.trailers {
			if !strings.EqualFold(f.name, "X-Sum") {
				e.fail("the function gets the trailer %s", f.name)
			}
		}
		for _, name := range []string{"Authorization", "Cookie", "If-Match"} {
			same(e, "the function", name, m.values(name), nil)
		}
	})(e, message{})
}

// calls checks how many requests have reached the function whole.
func calls(want int) check {
	return func(e *end, _ message) {
		if got := len(e.requests()); got != want {
			e.fail("the function was called %d times instead of %d", got, want)
		}
	}
}

// unbroken checks that the connection goes on.
func unbroken(e *end, _ message) { e.ask(get+"\r\n", status(200)) }

// sawPeer checks that the function is told the caller's address, last in the list.
func sawPeer(e *end, _ message) {
	saw(func(e *end, m message) {
		list := strings.Split(m.joined("X-Forwarded-For"), ", ")
		if ip := net.ParseIP(list[len(list)-1]); ip == nil || !ip.IsLoopback() {
			e.fail("X-Forwarded-For is %q", m.values("X-Forwarded-For"))
		}
	})(e, message{})
}

// sawNoTE checks that the function is not told which codings the caller takes. The
// gateway may say that it takes trailers itself (RFC 9110 section 10.1.4).
func sawNoTE(e *end, _ message) {
	saw(func(e *end, m message) {
		te := m.joined("TE")
		if te != "" && (te != "trailers" || !strings.EqualFold(m.joined("Connection"), "TE")) {
			e.fail("the function gets TE: %q, Connection: %q", te, m.joined("Connection"))
		}
	})(e, message{})
}

const smuggled = "GET {f}/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"

// notSmuggled checks, at the function's end, that a request is none of those.
func notSmuggled(f *end, m message) {
	if strings.Contains(m.first, "smuggled") {
		f.fail("the function is called: %q", m.first)
	}
}

// refuses is a caller whose request is malformed. It must be answered with an error and
// not reach the function, and nothing that follows it may be taken for a request.
func refuses(request string) func(*end) {
	return func(c *end) {
		c.send(request + smuggled)
		c.check(c.answer("GET"), isRefusal)
		c.closed()
		c.check(message{}, calls(0))
	}
}

// separates is a caller whose request can be read in two ways. If it is served, what
// follows is not taken for a request, and its lines are not taken apart.
func separates(request string) func(*end) {
	return func(c *end) {
		c.send(request + smuggled)
		c.answer("GET")
		c.closed()
		for _, m := range c.requests() {
			c.check(m, notSmuggled)
			same(c, "the function", "c", m.values("c"), nil)
		}
	}
}

// declines is a caller whose request is well-formed, and not served.
func declines(request string) func(*end) {
	return asks(request, isRefusal, calls(0))
}

func isRefusal(e *end, m message) {
	if s := m.status(); (s < 400 || s > 499) && s != 501 && s != 505 {
		e.fail("status %d instead of a refusal", s)
	}
}

// cuts is a caller whose body is malformed in its midst. The function may have been
// called by then, but must never get the request whole; the caller is told, or the
// connection is closed.
func cuts(request string) func(*end) {
	return func(c *end) {
		c.send(request + smuggled)
		if m, came := c.head("GET"); came {
			if c.rest(m); m.status() < 400 {
				c.fail("status %d instead of an error", m.status())
			}
			c.closed()
		}
		c.check(message{}, calls(0))
	}
}

// isCut is a caller that checks that the answer to a request does not look complete.
func isCut(request string) func(*end) {
	return func(c *end) {
		c.send(request)
		m, came := c.head("GET")
		if !came {
			return // it was cut in the head
		}
		if m.status() > 499 {
			return // it was held back until it was known
		}
		if m = c.rest(m); m.whole {
			c.fail("the answer looks complete: %q, %.100q", m.first, m.body)
		}
	}
}

// badGateway is a caller that checks that a broken answer is told as such.
var badGateway = asks(get+"\r\n", status(502))
