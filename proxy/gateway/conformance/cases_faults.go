package conformance

import (
	"fmt"
	"strconv"
	"strings"
)

// leaving: a caller that leaves; the function is told.
var leaving = named("the caller leaves", []Case{
	{Name: "during a call", function: toldWhenCalled, caller: leaves(get + "\r\n")},
	{Name: "during a call with a body", function: toldWhenCalled, caller: leaves(post + "Content-Length: 4\r\n\r\nbody")},
	{Name: "during a silent stream", function: func(f *end) {
		f.request()
		f.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
		f.tell("called")
		f.closed()
		f.tell("told")
	}, caller: leaves(get + "\r\n")},
	{Name: "in the midst of an upload of known length", Source: "9112 8", function: toldOfCut, caller: leaves(post + "Content-Length: 50000\r\n\r\n" + strings.Repeat("x", 30_000))},
	{Name: "in the midst of an upload in chunks", Source: "9112 8", function: toldOfCut, caller: leaves(post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")},
	{Name: "before the end of its head", Source: "9112 8", caller: func(c *end) {
		c.send(get)
		c.closeWrite()
		if m, came := c.head("GET"); came {
			c.check(m, isRefusal)
		}
		c.check(message{}, calls(0))
	}},
})

// leaves is a caller that leaves when the function has been called.
func leaves(request string) func(*end) {
	return func(c *end) {
		c.send(request)
		c.await("called")
		c.close()
		c.await("told")
	}
}

func toldWhenCalled(f *end) {
	f.request()
	f.tell("called")
	f.closed()
	f.tell("told")
}

// toldOfCut is a function that must not take a part of a request for all of it.
func toldOfCut(f *end) {
	m, came := f.head("")
	if !came {
		return
	}
	f.take(5)
	f.tell("called")
	if m = f.rest(m); m.whole {
		f.fail("the request looks complete")
	}
	f.tell("told")
}

// idle: connections to the function that are kept, and what may be sent twice.
var idle = named("kept connections", []Case{
	{Name: "calls after the function has closed a connection", Source: "9112 9.3.1", function: closesAfter, caller: callsAgain(get + "\r\n")},
	{Name: "POSTs after the function has closed a connection", Source: "9112 9.3.1", function: closesAfter, caller: callsAgain(post + "Content-Length: 4\r\n\r\nbody")},
	{Name: "uploads after the function has closed a connection", Source: "9112 9.3.1", function: closesAfter, caller: callsAgain(post + chunkedHello)},
	{Name: "a POST that kills the function is not sent again", Source: "9110 9.2.2", function: diesOf("POST"), caller: func(c *end) {
		c.ask(get+"\r\n", status(200))
		c.fails(post + "Content-Length: 4\r\n\r\nbody")
		c.check(message{}, calls(2))
	}},
	{Name: "an upload that kills the function is not sent again", Source: "9110 9.2.2", function: diesOf("POST"), caller: func(c *end) {
		c.ask(get+"\r\n", status(200))
		c.fails(post + chunkedHello)
		c.check(message{}, calls(2))
	}},
	{Name: "a GET that kills the function is sent twice at most", Source: "9112 9.3.1", function: diesOf("/die"), caller: func(c *end) {
		c.ask(get+"\r\n", status(200))
		c.fails("GET {f}/die HTTP/1.1\r\nHost: h\r\n\r\n")
		c.check(message{}, func(e *end, _ message) {
			if n := len(e.requests()) - 1; n > 2 {
				e.fail("it was sent %d times", n)
			}
		})
	}},
	{Name: "a GET of which an answer has begun is not sent again", function: func(f *end) {
		for {
			switch m, came := f.request(); {
			case !came:
				return
			case strings.Contains(m.first, "/die"):
				f.send("HTTP/1.1 20")
				return
			}
			f.send(ok)
		}
	}, caller: func(c *end) {
		c.ask(get+"\r\n", status(200))
		c.fails("GET {f}/die HTTP/1.1\r\nHost: h\r\n\r\n")
		c.check(message{}, calls(2))
	}},
	{Name: "a connection that the answer closes is not used again", Source: "9112 9.6", function: func(f *end) {
		f.request()
		f.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
		f.closed()
	}, caller: twice},
	{Name: "a connection of HTTP/1.0 is not used again", Source: "9112 9.3", function: func(f *end) {
		f.request()
		f.send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
		f.closed()
	}, caller: twice},
	{Name: "Connection: close of the function is no end for the caller", Source: "9110 7.6.1", function: answeringOnce(
		"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
	), caller: asks(get+"\r\n", status(200), unbroken)},
	{Name: "an empty line after an answer is no answer", Source: "9112 11.1", function: func(f *end) {
		f.request()
		f.send(ok + "\r\n")
		f.closed()
	}, caller: twice},
	{Name: "what follows an answer is no answer", Source: "9112 11.1", function: func(f *end) {
		f.request()
		f.send(ok + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
		f.closed()
	}, caller: twice},
	{Name: "what an idle function says is no answer", Source: "9112 9.2", function: func(f *end) {
		f.request()
		f.send(ok)
		if f.n == 0 {
			f.await("asked")
			f.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
			f.tell("said")
		}
		f.closed()
	}, caller: func(c *end) {
		c.ask(get+"\r\n", status(200), text("ok"))
		c.tell("asked")
		c.await("said")
		c.ask(get+"\r\n", status(200), text("ok"))
	}},
	{Name: "a body after 304 is no answer", Source: "9112 6.3", function: bodyAfter("HTTP/1.1 304 Not Modified\r\nContent-Length: 42\r\n\r\n"), caller: twiceOf(304)},
	{Name: "a body after 204 is no answer", Source: "9112 6.3", function: bodyAfter("HTTP/1.1 204 No Content\r\n\r\n"), caller: twiceOf(204)},
})

// closesAfter is a function that closes each connection after its answer.
func closesAfter(f *end) {
	if _, came := f.request(); came {
		f.send(ok)
		f.close()
		f.tell(strconv.Itoa(f.n))
	}
}

// callsAgain is a caller that calls ten times, each time after the function has closed
// its connection.
func callsAgain(request string) func(*end) {
	return func(c *end) {
		for i := range 10 {
			c.ask(request, status(200), calls(i+1))
			c.await(strconv.Itoa(i))
		}
	}
}

// fails makes a call that is not answered by the function. A gateway may close the
// connection, as the function did.
func (e *end) fails(request string) {
	e.send(request)
	if m, came := e.head("POST"); came {
		e.check(m, status(502, 503, 504))
	}
}

// diesOf is a function that closes its connection in the place of an answer.
func diesOf(request string) func(*end) {
	return func(f *end) {
		for {
			m, came := f.request()
			if !came || strings.Contains(m.first, request) {
				return
			}
			f.send(ok)
		}
	}
}

func twice(c *end) {
	c.ask(get+"\r\n", status(200), text("ok"))
	c.dial().ask(get+"\r\n", status(200), text("ok"))
}

// bodyAfter is a function that, where there can be no body, sends what looks like an answer.
func bodyAfter(answer string) func(*end) {
	return func(f *end) {
		f.request()
		f.send(answer + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
		f.closed()
	}
}

func twiceOf(want int) func(*end) {
	return func(c *end) {
		c.ask(get+"\r\n", status(want))
		c.dial().ask(get+"\r\n", status(want))
	}
}

// broken: answers of a function that cannot be passed on.
var broken = named("broken answers", append([]Case{
	{Name: "nobody listens", Source: "9110 15.6.3", gone: true, caller: asks(get+"\r\n", status(502, 503))},
	{Name: "a length and chunks", Source: "9112 6.3", function: answeringOnce("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
		caller: asks(get+"\r\n", status(200, 502), func(e *end, m message) {
			if m.status() == 200 {
				text("hello")(e, m)
			}
		})},
	{Name: "a folded line", Source: "9112 5.2", function: answeringOnce("HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\nok"),
		caller: asks(get+"\r\n", status(200, 502), func(e *end, m message) {
			if m.status() == 200 {
				has("X-A", "b c")(e, message{fields: []field{{"X-A", strings.Join(strings.Fields(m.joined("X-A")), " ")}}})
			}
		})},
	{Name: "a space before a colon", Source: "9112 5.1", function: answeringOnce("HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 2\r\n\r\nok"),
		caller: asks(get+"\r\n", status(200, 502))},
	{Name: "NUL in a value", Source: "9110 5.5", function: answeringOnce("HTTP/1.1 200 OK\r\nX-A: b\x00c\r\nContent-Length: 2\r\n\r\nok"),
		caller: asks(get+"\r\n", status(200, 502))},
	{Name: "CR in a value", Source: "9110 5.5", function: answeringOnce("HTTP/1.1 200 OK\r\nX-A: b\rX-B: c\r\nContent-Length: 2\r\n\r\nok"),
		caller: asks(get+"\r\n", status(200, 502), lacks("X-B"))},
	{Name: "a head without an end", function: func(f *end) {
		f.request()
		for f.send("X-A: " + strings.Repeat("b", 1000) + "\r\n") {
		}
	}, caller: badGateway},
}, fromTable(answeringOnce, badGateway, []entry{
	{"none", "9110 15.6.3", ""},
	{"garbage", "9110 15.6.3", "garbage\r\n\r\n"},
	{"half a status line", "9112 8", "HTTP/1.1 2"},
	{"half a head", "9112 8", "HTTP/1.1 200 OK\r\nContent-Le"},
	{"a head that only an end of the connection ends", "9112 8", "HTTP/1.1 200 OK\r\nX-A: b\r\n"},
	{"an interim answer alone", "9112 8", "HTTP/1.1 103 Early Hints\r\nX-A: b\r\n\r\n"},
	{"a status of letters", "9112 4", "HTTP/1.1 2x0 OK\r\nContent-Length: 2\r\n\r\nok"},
	{"a status of four digits", "9112 4", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"},
	{"a status below 100", "9110 15", "HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nok"},
	{"two lengths", "9112 6.3", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"},
	{"a list of two lengths", "9112 6.3", "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok"},
	{"a signed length", "9112 6.3", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"},
	{"a negative length", "9112 6.3", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"},
	{"a length of letters", "9112 6.3", "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok"},
	{"a length beyond all numbers", "9112 6.3", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nok"},
	{"a line without a colon", "9112 5", "HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 2\r\n\r\nok"},
	{"a TLS server", "", "\x15\x03\x01\x00\x02\x02\x46"},
	{"a switch that nobody asked for", "9110 7.8", switched},
	{"a switch without a word of to what", "9110 15.2.2", "HTTP/1.1 101 Switching Protocols\r\n\r\n"},
})...))

// cutAnswers end before they should.
var cutAnswers = named("cut answers", append([]Case{
	{Name: "for HTTP/1.0, which takes the end for that of the answer", function: answeringOnce("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"),
		caller: isCut("GET {f} HTTP/1.0\r\n\r\n")},
}, fromTable(answeringOnce, isCut(get+"\r\n"), []entry{
	{"of known length", "9112 8", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart"},
	{"of a megabyte", "9112 8", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", megabyte, large[:megabyte-1])},
	{"in a chunk", "9112 8", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\npart"},
	{"between two chunks", "9112 8", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"},
	{"before the last empty line", "9112 8", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n0\r\n"},
	{"in the trailers", "9112 8", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n0\r\nX-A: b\r\n"},
	{"by a chunk size of letters", "9112 7.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\nxyz\r\nrest\r\n0\r\n\r\n"},
	{"by a negative chunk size", "9112 7.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n-4\r\nrest\r\n0\r\n\r\n"},
	{"by a chunk size beyond all numbers", "9112 7.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n10000000000000004\r\nrest\r\n0\r\n\r\n"},
	{"by a chunk that is longer than its size", "9112 7.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npartial\r\n0\r\n\r\n"},
})...))

// entry is a row of a table of what is sent.
type entry struct{ name, source, sent string }

// fromTable makes a case of each row: the function says what the row says.
func fromTable(function func(string) func(*end), caller func(*end), table []entry) (cases []Case) {
	for _, row := range table {
		cases = append(cases, Case{Name: row.name, Source: row.source, function: function(row.sent), caller: caller})
	}
	return cases
}
