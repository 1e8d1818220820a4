package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
)

type message = wrapperspb.BytesValue

func text(s string) *message { return wrapperspb.Bytes([]byte(s)) }

// echo is a gRPC service: each method is a stream, of which one message may be all.
type echo struct {
	left chan error // why the context of a call of Wait has ended
}

func (e *echo) method(name string, do func(grpc.ServerStream) error) grpc.StreamDesc {
	return grpc.StreamDesc{StreamName: name, ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error { return do(s) }}
}

func (e *echo) server() *grpc.Server {
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(16 << 20))
	srv.RegisterService(&grpc.ServiceDesc{ServiceName: "test.Echo", Streams: []grpc.StreamDesc{
		e.method("Say", func(s grpc.ServerStream) error {
			s.SetTrailer(metadata.Pairs("said", "1"))
			for {
				m := new(message)
				if err := s.RecvMsg(m); err != nil {
					if errors.Is(err, io.EOF) {
						return nil
					}
					return err
				}
				if err := s.SendMsg(m); err != nil {
					return err
				}
			}
		}),
		e.method("Sum", func(s grpc.ServerStream) error {
			n := 0
			for {
				m := new(message)
				if err := s.RecvMsg(m); errors.Is(err, io.EOF) {
					return s.SendMsg(text(fmt.Sprint(n)))
				} else if err != nil {
					return err
				}
				n += len(m.GetValue())
			}
		}),
		e.method("Count", func(s grpc.ServerStream) error {
			m := new(message)
			if err := s.RecvMsg(m); err != nil {
				return err
			}
			for i := range 100 {
				if err := s.SendMsg(text(fmt.Sprint(i))); err != nil {
					return err
				}
			}
			return nil
		}),
		e.method("Wait", func(s grpc.ServerStream) error {
			_ = s.SendMsg(text("begun"))
			<-s.Context().Done()
			e.left <- s.Context().Err()
			return s.Context().Err()
		}),
		e.method("Refuse", func(grpc.ServerStream) error { return status.Error(codes.FailedPrecondition, "not now, ünd 100 %") }),
		e.method("Deadline", func(s grpc.ServerStream) error {
			until, _ := s.Context().Deadline()
			return s.SendMsg(text(time.Until(until).String()))
		}),
		e.method("Late", func(s grpc.ServerStream) error {
			<-s.Context().Done()
			return s.Context().Err()
		}),
	}}, nil)
	return srv
}

// serveH2 serves a handler as function's servers do, and returns the row of a function.
func serveH2(t testing.TB, name string, h http.Handler) (*proto.FunctionJsonRsp, *http.Server) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return deployed(name, l.Addr().String()), serveH2At(t, l, name, h)
}

func serveH2At(t testing.TB, l net.Listener, name string, h http.Handler) *http.Server {
	srv := &http.Server{Handler: http.StripPrefix("/"+proto.Path(name), h), Protocols: new(http.Protocols), ReadHeaderTimeout: patience}
	srv.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerConnection: 4<<20 - 1, MaxReceiveBufferPerStream: 128<<10 - 1}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		_ = srv.Close()
		assert.ErrorIs(t, <-served, http.ErrServerClosed)
	})
	return srv
}

// grpcClient is a client that calls one function's methods, at a path of a gateway.
type grpcClient struct{ *grpc.ClientConn }

func grpcTo(t testing.TB, addr string) grpcClient {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return grpcClient{conn}
}

func (c grpcClient) stream(ctx context.Context, method string, options ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/functions/hello/test.Echo/"+method, options...)
}

// ask sends one message and returns all that are answered.
func (c grpcClient) ask(ctx context.Context, method, what string, options ...grpc.CallOption) (answers []string, err error) {
	s, err := c.stream(ctx, method, options...)
	if err != nil {
		return nil, err
	}
	if err := s.SendMsg(text(what)); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := s.CloseSend(); err != nil {
		return nil, err
	}
	for {
		m := new(message)
		if err := s.RecvMsg(m); err != nil {
			if errors.Is(err, io.EOF) {
				return answers, nil
			}
			return answers, err
		}
		answers = append(answers, string(m.GetValue()))
	}
}

func TestGRPC(t *testing.T) {
	e := &echo{left: make(chan error, 1)}
	row, _ := serveH2(t, "Hello", e.server())
	c := grpcTo(t, front(t, row))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	t.Run("one message each way, and trailers", func(t *testing.T) {
		var trailer metadata.MD
		answers, err := c.ask(ctx, "Say", "hello", grpc.Trailer(&trailer))
		require.NoError(t, err)
		assert.Equal(t, []string{"hello"}, answers)
		assert.Equal(t, []string{"1"}, trailer["said"])
	})
	t.Run("10 MiB each way", func(t *testing.T) {
		large := strings.Repeat("0123456789abcdef", 10<<20/16)
		answers, err := c.ask(ctx, "Say", large)
		require.NoError(t, err)
		require.Len(t, answers, 1)
		assert.Equal(t, sha256.Sum256([]byte(large)), sha256.Sum256([]byte(answers[0])), "%d bytes", len(answers[0]))
	})
	t.Run("many messages to the function", func(t *testing.T) {
		s, err := c.stream(ctx, "Sum")
		require.NoError(t, err)
		for range 1000 {
			require.NoError(t, s.SendMsg(text("four")))
		}
		require.NoError(t, s.CloseSend())
		m := new(message)
		require.NoError(t, s.RecvMsg(m))
		assert.Equal(t, "4000", string(m.GetValue()))
		assert.ErrorIs(t, s.RecvMsg(m), io.EOF)
	})
	t.Run("many messages from the function", func(t *testing.T) {
		answers, err := c.ask(ctx, "Count", "")
		require.NoError(t, err)
		assert.Len(t, answers, 100)
	})
	t.Run("in turns", func(t *testing.T) {
		s, err := c.stream(ctx, "Say")
		require.NoError(t, err)
		for i := range 50 {
			require.NoError(t, s.SendMsg(text(fmt.Sprint(i))))
			m := new(message)
			require.NoError(t, s.RecvMsg(m))
			assert.Equal(t, fmt.Sprint(i), string(m.GetValue()))
		}
		require.NoError(t, s.CloseSend())
		assert.ErrorIs(t, s.RecvMsg(new(message)), io.EOF)
	})
	t.Run("the caller cancels", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		s, err := c.stream(ctx, "Wait")
		require.NoError(t, err)
		require.NoError(t, s.RecvMsg(new(message)))
		cancel()
		assert.Equal(t, codes.Canceled, status.Code(s.RecvMsg(new(message))))
		assert.ErrorIs(t, <-e.left, context.Canceled)
	})
	t.Run("a deadline reaches the function", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(ctx, patience/2)
		defer cancel()
		answers, err := c.ask(ctx, "Deadline", "")
		require.NoError(t, err)
		left, err := time.ParseDuration(answers[0])
		require.NoError(t, err)
		assert.Greater(t, left, time.Duration(0))
		assert.LessOrEqual(t, left, patience/2)
	})
	t.Run("the function's own error", func(t *testing.T) {
		_, err := c.ask(ctx, "Refuse", "")
		assert.Equal(t, codes.FailedPrecondition, status.Code(err))
		assert.Equal(t, "not now, ünd 100 %", status.Convert(err).Message())
	})
	t.Run("a method that is not there", func(t *testing.T) {
		_, err := c.ask(ctx, "None", "")
		assert.Equal(t, codes.Unimplemented, status.Code(err))
	})
	t.Run("many calls at once", func(t *testing.T) {
		var calls sync.WaitGroup
		for i := range 4 * streamsEach {
			calls.Go(func() {
				answers, err := c.ask(ctx, "Say", fmt.Sprint(i))
				assert.NoError(t, err)
				assert.Equal(t, []string{fmt.Sprint(i)}, answers)
			})
		}
		calls.Wait()
	})
}

// What the gateway itself has to say is said in the words of gRPC.
func TestErrorsOfTheGatewayInGRPC(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	alike := func(t *testing.T, c grpcClient, method string, code codes.Code, kind proto.Kind, message string) {
		t.Helper()
		_, err := c.ask(ctx, method, "")
		st := status.Convert(err)
		assert.Equal(t, code, st.Code(), st.Message())
		assert.Contains(t, st.Message(), message)
		require.Len(t, st.Details(), 1)
		detail := st.Details()[0].(*proto.ErrorDetail)
		assert.Equal(t, string(kind), detail.GetCode())
		assert.NotEmpty(t, detail.GetRequestId())
	}
	t.Run("no function", func(t *testing.T) {
		alike(t, grpcTo(t, front(t)), "Say", codes.NotFound, proto.ErrNotFound, "not found")
	})
	t.Run("it is down", func(t *testing.T) {
		alike(t, grpcTo(t, front(t, deployed("Hello", testkit.Address(t)))), "Say", codes.Unavailable, proto.ErrBadGateway, "is down")
	})
	t.Run("it is late", func(t *testing.T) {
		row, _ := serveH2(t, "Hello", new(echo).server())
		row.Timeout = "50ms"
		alike(t, grpcTo(t, front(t, row)), "Late", codes.DeadlineExceeded, proto.ErrTimeout, "did not answer within")
	})
	t.Run("it dies", func(t *testing.T) {
		row := scripted(t, func(_ net.Conn, in *bufio.Reader) {
			_, _ = io.CopyN(io.Discard, in, int64(len(preface)))
			_, _ = next(in, dataFrame)
		})
		alike(t, grpcTo(t, front(t, row)), "Say", codes.Unavailable, proto.ErrBadGateway, "no valid answer")
	})
	t.Run("it has as many calls as it may", func(t *testing.T) {
		row, _ := serveH2(t, "Hello", new(echo).server())
		table := table(row)
		c := grpcTo(t, frontTo(t, table))
		s := &(*table.routes.Load())["hello"].targets()[0].streams
		s.mu.Lock()
		for range streamConns {
			s.conns = append(s.conns, &streamConn{calls: streamsEach, ready: make(chan struct{})})
		}
		s.mu.Unlock()
		alike(t, c, "Say", codes.Unavailable, proto.ErrUnavailable, "as many calls as it takes")
		s.mu.Lock()
		s.conns = nil
		s.mu.Unlock()
		_, err := c.ask(ctx, "Say", "")
		assert.NoError(t, err, "it is not set aside")
	})
}

// A function that dies in the midst of an answer ends the call with an error.
func TestCutAnswersInGRPC(t *testing.T) {
	e := &echo{left: make(chan error, 1)}
	row, srv := serveH2(t, "Hello", e.server())
	c := grpcTo(t, front(t, row))
	s, err := c.stream(t.Context(), "Wait")
	require.NoError(t, err)
	require.NoError(t, s.RecvMsg(new(message)))
	require.NoError(t, srv.Close())
	err = s.RecvMsg(new(message))
	require.Error(t, err)
	assert.NotErrorIs(t, err, io.EOF)
	assert.Error(t, <-e.left)
}

// A function is replaced again and again while it is called: the old server finishes what
// it has begun and refuses the rest, which reaches the new one. The socket is the agent's.
func TestRedeploysLoseNoCallInGRPC(t *testing.T) {
	table := NewTable()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	another := func() *http.Server {
		f, err := l.(*net.TCPListener).File()
		require.NoError(t, err)
		defer f.Close()
		own, err := net.FileListener(f)
		require.NoError(t, err)
		return serveH2At(t, own, "Hello", new(echo).server())
	}
	old, row := another(), deployed("Hello", l.Addr().String())
	table.Update(map[string][]Replica{"hello": {{Row: row}}})
	c := grpcTo(t, frontTo(t, table))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var ended atomic.Bool
	var calls sync.WaitGroup
	var good atomic.Int64
	for range 4 {
		calls.Go(func() {
			for !ended.Load() {
				answers, err := c.ask(ctx, "Say", "hello")
				if !assert.NoError(t, err) {
					return
				}
				assert.Equal(t, []string{"hello"}, answers)
				good.Add(1)
			}
		})
		calls.Go(func() { // streams that one process begins and ends
			for !ended.Load() {
				s, err := c.stream(ctx, "Say")
				if !assert.NoError(t, err) {
					return
				}
				for range 5 {
					if !assert.NoError(t, s.SendMsg(text("turn"))) || !assert.NoError(t, s.RecvMsg(new(message))) {
						return
					}
				}
				assert.NoError(t, s.CloseSend())
				assert.ErrorIs(t, s.RecvMsg(new(message)), io.EOF)
				good.Add(1)
			}
		})
	}
	for i := range 20 {
		srv, next := another(), deployed("Hello", l.Addr().String())
		next.Pid = int32(i + 2)
		before := good.Load()
		require.Eventually(t, func() bool { return good.Load() > before+20 }, patience, time.Millisecond)
		// A function's server refuses calls before its gateways have heard of the next one.
		gone := make(chan error, 1)
		go func() { gone <- old.Shutdown(ctx) }()
		table.Update(map[string][]Replica{"hello": {{Row: next}}})
		require.NoError(t, <-gone)
		old = srv
	}
	ended.Store(true)
	calls.Wait()
	t.Log(good.Load(), "calls")
}

// Calls for which HTTP/1.1 will do take it, whatever their callers speak.
func TestFunctionsSeeHTTP2OnlyIfTheyNeedIt(t *testing.T) {
	seen := make(chan string, 1)
	row, _ := serveH2(t, "Hello", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		w.Header().Set(http.TrailerPrefix+"After", "answer")
		_, _ = fmt.Fprint(w, "hello")
		seen <- fmt.Sprint(r.Proto, " ", r.URL, " ", string(body), " ", r.Trailer.Get("After"), " ", r.Header.Get("Connection"))
	}))
	url := "http://" + front(t, row) + "/functions/hello/a%2fb//c?d=%zz"
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	for name, tt := range map[string]struct {
		te, kind string
		length   int64
		want     string
	}{
		"plain":                      {"", "text/plain", 4, "HTTP/1.1"},
		"open":                       {"", "text/plain", -1, "HTTP/1.1"},
		"trailers":                   {"trailers", "text/plain", 4, "HTTP/1.1"},
		"open, with trailers":        {"trailers", "text/plain", -1, "HTTP/2.0"},
		"gRPC":                       {"", "application/grpc+proto", 4, "HTTP/2.0"},
		"gRPC-Web":                   {"", "application/grpc-web+proto", 4, "HTTP/1.1"},
		"a stream of Connect's":      {"", "application/connect+proto", -1, "HTTP/2.0"},
		"a name that only begins so": {"", "application/grpcx", 4, "HTTP/1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, io.NopCloser(bytes.NewReader([]byte("body"))))
			require.NoError(t, err)
			req.ContentLength = tt.length
			req.Header.Set("Content-Type", tt.kind)
			trailer := ""
			if tt.te != "" {
				req.Header.Set("Te", tt.te)
			}
			if tt.length < 0 {
				trailer = "request"
				req.Trailer = http.Header{"After": {trailer}}
			}
			res, err := tr.RoundTrip(req)
			require.NoError(t, err)
			assert.Equal(t, "hello", bodyOf(t, res))
			assert.Equal(t, "answer", res.Trailer.Get("After"))
			got := <-seen
			if tt.want == "HTTP/1.1" && tt.te != "" {
				got = strings.TrimSuffix(got, "TE")
			}
			assert.Equal(t, fmt.Sprint(tt.want, " /a%2fb//c?d=%zz body ", trailer, " "), got)
		})
	}
}
