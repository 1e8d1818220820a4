package transport

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/grpc"
	protobuf "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// httpConn makes gRPC requests as the HTTP requests of wire.Routes.
type httpConn struct {
	addr   string
	token  string
	scheme string
	client *http.Client
}

var _ grpc.ClientConnInterface = (*httpConn)(nil)

func newHTTPConn(addr, token string, cfg *tls.Config) *httpConn {
	scheme := "http"
	if cfg != nil {
		scheme = "https"
	}
	return &httpConn{addr: addr, scheme: scheme, token: token, client: &http.Client{
		Transport:     newHTTPTransport(cfg),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (c *httpConn) close() error {
	c.client.CloseIdleConnections()
	return nil
}

// Invoke makes a request with one message each way.
func (c *httpConn) Invoke(ctx context.Context, rpc string, in, out any, _ ...grpc.CallOption) error {
	rt, ok := wire.RouteOf(rpc)
	if !ok {
		return proto.Errorf(proto.ErrUnsupported, "%s is not offered over HTTP", rpc)
	}
	req, err := c.request(ctx, rt, in.(protobuf.Message))
	if err != nil {
		return err
	}
	rsp, err := c.do(req)
	if err != nil {
		return err
	}
	defer func() { _ = rsp.Body.Close() }()
	if state, ok := out.(*proto.PackageState); ok {
		// Only 200 says that it is stored. An answer to HEAD has no body that says why
		// not; the upload that follows is answered with one before any data is sent.
		state.Stored = rsp.StatusCode == http.StatusOK
		return nil
	}
	return c.answer(rsp, rt, out.(protobuf.Message))
}

// NewStream makes a request with many messages one way.
func (c *httpConn) NewStream(ctx context.Context, _ *grpc.StreamDesc, rpc string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	rt, _ := wire.RouteOf(rpc)
	s := stream{conn: c, route: rt, request: func(m protobuf.Message) (*http.Request, error) {
		return c.request(ctx, rt, m)
	}}
	switch rpc {
	case proto.Functions_Watch_FullMethodName, proto.Functions_Logs_FullMethodName:
		return &listenStream{stream: s}, nil
	case proto.Functions_Upload_FullMethodName, proto.Functions_SendProgram_FullMethodName:
		return &uploadStream{stream: s}, nil
	case proto.Functions_FetchProgram_FullMethodName, proto.Functions_Source_FullMethodName:
		return &fetchStream{stream: s}, nil
	}
	return nil, proto.Errorf(proto.ErrUnsupported, "%s is not offered over HTTP", rpc)
}

// request returns the HTTP request for a message.
func (c *httpConn) request(ctx context.Context, rt wire.Route, m protobuf.Message) (*http.Request, error) {
	target := &url.URL{Scheme: c.scheme, Host: c.addr, Path: rt.Path}
	prefix, inPath, _ := strings.Cut(rt.Path, ":")
	var body io.Reader
	if rt.Body != "" {
		data, err := wire.EncodeRequest(m, rt.Body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	} else {
		query := url.Values{}
		m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			query.Set(f.JSONName(), v.String())
			return true
		})
		if inPath != "" {
			value := query.Get(inPath)
			if value == "" || strings.Contains(value, "/") {
				return nil, proto.Errorf(proto.ErrInvalid, "%.100q is not a %s", value, inPath)
			}
			target.Path = prefix + value
			query.Del(inPath)
		}
		target.RawQuery = query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, rt.Method, target.String(), body)
	if err != nil {
		return nil, proto.Errorf(proto.ErrInvalid, "%s %s: %w", rt.Method, rt.Path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return req, nil
}

func (c *httpConn) do(req *http.Request) (*http.Response, error) {
	rsp, err := c.client.Do(req)
	if err == nil {
		return rsp, nil
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // without method and URL: the message names the address
	}
	switch {
	case isDial(err):
		return nil, unreachable(c.addr, err.Error())
	case c.scheme == "https" && isHandshake(err):
		return nil, noTLS(c.addr, err.Error())
	case strings.Contains(err.Error(), "malformed HTTP"):
		return nil, stranger(c.addr, "it does not speak HTTP")
	default:
		return nil, disconnected(c.addr, err.Error())
	}
}

// answer reads an answer into m, or returns the error that it holds.
func (c *httpConn) answer(rsp *http.Response, rt wire.Route, m protobuf.Message) error {
	data, err := c.body(rsp)
	if err != nil {
		return err
	}
	if rt.Answer != wire.Whole {
		data = slices.Concat([]byte(`{"`+rt.Answer+`":`), data, []byte("}"))
	}
	if rsp.Header.Get(wire.APIHeader) == "" || wire.Read(data, m) != nil {
		return stranger(c.addr, "its answer is "+describe(rsp))
	}
	return nil
}

// body returns the body of an answer, or the error that it holds.
func (c *httpConn) body(rsp *http.Response) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(rsp.Body, wire.MaxAnswer+1))
	switch {
	case err != nil:
		return nil, disconnected(c.addr, err.Error())
	case len(data) > wire.MaxAnswer:
		return nil, proto.Errorf(proto.ErrTooLarge, "the answer of %s is larger than %d bytes", c.addr, wire.MaxAnswer)
	case rsp.StatusCode != http.StatusOK:
		return nil, c.errorIn(rsp, data)
	}
	return data, nil
}

// errorIn returns the error that an answer holds.
func (c *httpConn) errorIn(rsp *http.Response, data []byte) error {
	if d, ok := wire.DecodeError(data); ok {
		return d.Err()
	}
	return stranger(c.addr, "it answered "+describe(rsp))
}

// describe names an answer of a stranger without repeating it.
func describe(rsp *http.Response) string {
	kind, _, _ := mime.ParseMediaType(rsp.Header.Get("Content-Type"))
	if kind == "" {
		kind = "without a content type"
	}
	text := fmt.Sprintf("%d, %.60s", rsp.StatusCode, kind)
	if to := rsp.Header.Get("Location"); to != "" {
		text += fmt.Sprintf(", a redirect to %.100q, which is not followed", to)
	}
	return text
}

// stream is what all streams share. The embedded interface stands for the
// methods that a generated client does not call.
type stream struct {
	grpc.ClientStream
	conn    *httpConn
	route   wire.Route
	request func(protobuf.Message) (*http.Request, error) // within the stream's context
}

// open sends a request whose answer is a stream of a media type. The caller
// closes the answer's body.
func (s *stream) open(m protobuf.Message, kind string) (*http.Response, error) {
	req, err := s.request(m)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", kind)
	rsp, err := s.conn.do(req)
	if err != nil {
		return nil, err
	}
	if got, _, _ := mime.ParseMediaType(rsp.Header.Get("Content-Type")); rsp.StatusCode == http.StatusOK && got == kind {
		return rsp, nil
	}
	defer func() { _ = rsp.Body.Close() }()
	if _, err := s.conn.body(rsp); err != nil {
		return nil, err
	}
	return nil, stranger(s.conn.addr, "its answer is "+describe(rsp))
}

// listenStream is a stream of server-sent events.
type listenStream struct {
	stream
	rsp   *http.Response
	lines *bufio.Scanner
}

func (s *listenStream) SendMsg(m any) (err error) {
	if s.rsp, err = s.open(m.(protobuf.Message), wire.EventStream); err != nil { //nolint:bodyclose // RecvMsg closes it
		return err
	}
	s.lines = wire.NewEventScanner(s.rsp.Body)
	return nil
}

func (s *listenStream) CloseSend() error { return nil }

func (s *listenStream) RecvMsg(m any) error {
	name, data, err := wire.ReadEvent(s.lines)
	switch {
	case err != nil:
	case name == wire.ErrorEvent:
		d := new(proto.ErrorDetail)
		if err = wire.Read(data, d); err == nil {
			err = d.Err()
		}
	default:
		err = wire.Read(data, m.(protobuf.Message))
	}
	if err == nil {
		return nil
	}
	_ = s.rsp.Body.Close()
	return err
}

// fetchStream is the stream of a FetchProgram or a Source: its chunks are the answer's
// body. The data of one is valid until the next is received.
type fetchStream struct {
	stream
	rsp     *http.Response
	program *proto.Program // sent with the first chunk
	buf     [wire.ChunkSize]byte
}

func (s *fetchStream) SendMsg(m any) (err error) {
	kind := wire.ZstdType
	if s.route.RPC == proto.Functions_Source_FullMethodName {
		kind = wire.ZipType
	}
	if s.rsp, err = s.open(m.(protobuf.Message), kind); err != nil || kind == wire.ZipType { //nolint:bodyclose // RecvMsg closes it
		return err
	}
	s.program = new(proto.Program)
	if err := wire.Read([]byte(s.rsp.Header.Get(wire.ProgramHeader)), s.program); err != nil {
		_ = s.rsp.Body.Close()
		return stranger(s.conn.addr, "its answer does not say which program it is")
	}
	return nil
}

func (s *fetchStream) CloseSend() error { return nil }

func (s *fetchStream) RecvMsg(m any) error {
	n, err := s.rsp.Body.Read(s.buf[:])
	if n > 0 {
		switch chunk := m.(type) {
		case *proto.PackageChunk:
			chunk.Data = s.buf[:n]
		case *proto.ProgramChunk:
			chunk.Program, chunk.Data = s.program, s.buf[:n]
			s.program = nil
		}
		return nil // the error comes again
	}
	if err != nil {
		_ = s.rsp.Body.Close()
	}
	return err
}

// uploadStream is a stream whose chunks are the body of a PUT.
type uploadStream struct {
	stream
	body *io.PipeWriter
	done chan result
}

type result struct {
	rsp *http.Response
	err error
}

func (s *uploadStream) SendMsg(m any) error {
	var of protobuf.Message // what is uploaded
	kind := wire.ZipType
	switch m := m.(type) {
	case *proto.PackageChunk:
		of = &proto.PackageRef{Digest: m.GetDigest()}
	case *proto.ProgramChunk:
		of, kind = m.GetProgram(), wire.ZstdType
	}
	if s.body == nil {
		if err := s.start(of, kind); err != nil {
			return err
		}
	}
	if _, err := s.body.Write(m.(wire.Chunk).GetData()); err != nil {
		return io.EOF // as gRPC says that the server has answered
	}
	return nil
}

// start sends the headers. The body follows when the server asks for it, so that
// nothing is sent to one that refuses the request.
func (s *uploadStream) start(of protobuf.Message, kind string) error {
	req, err := s.request(of)
	if err != nil {
		return err
	}
	var body *io.PipeReader
	body, s.body = io.Pipe()
	req.Body = body
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Expect", "100-continue")
	s.done = make(chan result, 1)
	// net/http waits for the end of the body even of a canceled request.
	stop := context.AfterFunc(req.Context(), func() { _ = body.Close() })
	go func() {
		defer stop()
		rsp, err := s.conn.do(req) //nolint:bodyclose // RecvMsg closes it
		_ = body.Close()           // a SendMsg that waits returns
		s.done <- result{rsp, err}
	}()
	return nil
}

func (s *uploadStream) CloseSend() error {
	if s.body == nil {
		return nil
	}
	return s.body.Close()
}

func (s *uploadStream) RecvMsg(m any) error {
	r := <-s.done
	if r.err != nil {
		return r.err
	}
	defer func() { _ = r.rsp.Body.Close() }()
	return s.conn.answer(r.rsp, s.route, m.(protobuf.Message))
}
