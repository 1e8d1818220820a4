package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// soon are the limits of the tests here.
const soon = 100 * time.Millisecond

func impatient(t *testing.T, rows ...*proto.FunctionJsonRsp) (string, *Table) {
	routes := table(rows...)
	addr, _ := frontWith(t, Config{Table: routes, Silence: soon}, func(cfg *server.Config) { cfg.HeadLimit, cfg.Silence = soon, soon })
	return addr, routes
}

// isCut waits until the gateway has closed a connection, though more is sent on it.
func isCut(t *testing.T, conn net.Conn, more string) {
	t.Helper()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, conn)
		ended <- err
	}()
	tick := time.NewTicker(soon / 10)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "it was not cut")
			return
		case <-tick.C:
			_, _ = io.WriteString(conn, more) // fails in the end
		}
	}
}

func TestSlowHeadsAreCut(t *testing.T) {
	addr, _ := impatient(t, function(t, "Hello", func(http.ResponseWriter, *http.Request) {}))
	nothing, _ := dial(t, addr)
	isCut(t, nothing, "")
	for _, first := range []string{"", "GET /functions/hello HTTP/1.1\r\nHost: h\r\n\r\n", "GET /functions/hello HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n\r\n"} {
		for _, more := range []string{"", "x"} {
			conn, in := dial(t, addr)
			if first != "" {
				_, err := io.WriteString(conn, first)
				require.NoError(t, err)
				res, err := http.ReadResponse(in, nil)
				require.NoError(t, err)
				assert.Equal(t, 200, res.StatusCode)
			}
			_, err := io.WriteString(conn, "GET /functions/hello HTTP/1.1\r\nHost: h\r\nX-Long: ")
			require.NoError(t, err)
			isCut(t, conn, more)
		}
	}
}

func TestCallersWhoReadNothingAreCut(t *testing.T) {
	inBothLanes(t, func(t *testing.T, line string) {
		for _, length := range []string{"", "1000000000"} {
			ended := make(chan struct{})
			row := function(t, "Hello", func(w http.ResponseWriter, r *http.Request) {
				defer close(ended)
				if length != "" {
					w.Header().Set("Content-Length", length)
				}
				part := make([]byte, 1<<20)
				for r.Context().Err() == nil {
					if _, err := w.Write(part); err != nil {
						return
					}
				}
			})
			row.Serving = []*proto.Serving{{Version: 1, Weight: 100, Proxy: row.GetProxy(), Instances: 1, Concurrency: 1}}
			addr, table := impatient(t, row)
			conn, _ := dial(t, addr)
			_, err := fmt.Fprintf(conn, "GET /functions/hello HTTP/1.1\r\nHost: h\r\n%s\r\n", line)
			require.NoError(t, err)
			select {
			case <-ended:
			case <-time.After(patience):
				t.Fatal("the call is held")
			}
			idle(t, table)
		}
	})
}

func TestAFunctionThatReadsNothingIsCut(t *testing.T) {
	for _, framing := range []string{"Content-Length: 100000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5f5e100\r\n"} {
		left := make(chan struct{})
		row := scripted(t, func(conn net.Conn, in *bufio.Reader) {
			_, _ = readHead(in)
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
			<-left
		})
		addr, _ := impatient(t, row)
		conn, in := dial(t, addr)
		go func() {
			fmt.Fprint(conn, "POST /functions/hello HTTP/1.1\r\nHost: h\r\n"+framing)
			_, _ = io.Copy(conn, io.LimitReader(zeros{}, 100_000_000))
		}()
		res, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		_, err = io.ReadAll(res.Body)
		assert.Error(t, err, "the answer is not whole")
		assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the call was not cut")
		close(left)
	}
}

// A function that answers before the body has come may wait for more of it.
func TestACallerMayTakeItsTimeWhenTheAnswerHasBegun(t *testing.T) {
	row := function(t, "Hello", func(w http.ResponseWriter, r *http.Request) {
		assert.NoError(t, http.NewResponseController(w).EnableFullDuplex())
		w.(http.Flusher).Flush()
		_, _ = io.Copy(w, r.Body)
	})
	addr, _ := impatient(t, row, silent(t, (3*soon).String()))
	conn, in := dial(t, addr)
	fmt.Fprint(conn, "POST /functions/hello HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na")
	res, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	tick(t, addr)
	fmt.Fprint(conn, "bc")
	assert.Equal(t, "abc", bodyOf(t, res))
}

// A request that the kernel does not take at once is written within the call's limit.
func TestALinkThatTakesNothingIsGivenUp(t *testing.T) {
	for _, secure := range []bool{false, true} {
		near, far := ends(t, secure)
		defer far.Close()
		l, err := newLink(near)
		require.NoError(t, err)
		l.send(make([]byte, 100<<20))
		_, err = l.readBy(make([]byte, 1), time.Now().Add(soon), soon)
		assert.ErrorIs(t, err, errLimit)
		assert.True(t, l.sent)
		_ = l.Close()
	}
}

func TestSilentPartiesAreCutByDefault(t *testing.T) {
	assert.Equal(t, wire.SilentWrite, New(Config{Table: NewTable(), Logger: hclog.NewNullLogger()}).Silence)
	assert.Equal(t, time.Minute, wire.SilentWrite)
}
