package e2e

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// echoFunction is a function that is gRPC's own server. %s is what Version says.
const echoFunction = `package echo

import (
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Echo is the function.
var Echo = newServer()

func newServer() *grpc.Server {
	ended := make(chan error, 1) // of Wait
	methods := map[string]func(grpc.ServerStream) error{
		"Say": func(s grpc.ServerStream) error {
			for {
				m := new(wrapperspb.BytesValue)
				if err := s.RecvMsg(m); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
				if err := s.SendMsg(m); err != nil {
					return err
				}
			}
		},
		"Version": func(s grpc.ServerStream) error { return send(s, %q) },
		"Deadline": func(s grpc.ServerStream) error {
			until, _ := s.Context().Deadline()
			return send(s, time.Until(until))
		},
		"Wait": func(s grpc.ServerStream) error {
			_ = send(s, "begun")
			<-s.Context().Done()
			ended <- s.Context().Err()
			return s.Context().Err()
		},
		"Ended": func(s grpc.ServerStream) error { return send(s, <-ended) },
	}
	desc := grpc.ServiceDesc{ServiceName: "test.Echo"}
	for name, do := range methods {
		desc.Streams = append(desc.Streams, grpc.StreamDesc{
			StreamName: name, ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, s grpc.ServerStream) error { return do(s) },
		})
	}
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(16 << 20))
	srv.RegisterService(&desc, nil)
	return srv
}

func send(s grpc.ServerStream, what any) error {
	return s.SendMsg(wrapperspb.Bytes([]byte(fmt.Sprint(what))))
}
`

// echoDir is the folder of that function. The versions of what it requires are those of
// the checkout, so that nothing has to be fetched.
func echoDir(t *testing.T, version string) string {
	t.Helper()
	root := repository(t)
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	require.NoError(t, err)
	requires := ""
	for _, m := range []string{"google.golang.org/grpc", "google.golang.org/protobuf", "golang.org/x/net", "golang.org/x/sys", "golang.org/x/text", "google.golang.org/genproto/googleapis/rpc"} {
		line := regexp.MustCompile(`(?m)^\s*(` + regexp.QuoteMeta(m) + ` v\S+)`).FindSubmatch(mod)
		require.NotNil(t, line, m)
		requires += "require " + string(line[1]) + "\n"
	}
	return folder(t, tree{
		"go.mod":  "module example.com/echo\n\ngo 1.25.0\n\n" + requires,
		"go.sum":  string(sum),
		"echo.go": fmt.Sprintf(echoFunction, version),
	})
}

// echoClient calls that function. grpc knows no prefix of paths, so each call has it.
type echoClient struct {
	conn   *grpc.ClientConn
	prefix string
}

func newEchoClient(t *testing.T, addr, prefix string, options ...grpc.DialOption) echoClient {
	t.Helper()
	if options == nil {
		options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	conn, err := grpc.NewClient(addr, append(options, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))...)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return echoClient{conn, prefix}
}

// begin calls a method.
func (c echoClient) begin(ctx context.Context, method string) (grpc.ClientStream, error) {
	return c.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, c.prefix+"/test.Echo/"+method)
}

func turn(s grpc.ClientStream, what string) (string, error) {
	if err := s.SendMsg(wrapperspb.Bytes([]byte(what))); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	m := new(wrapperspb.BytesValue)
	err := s.RecvMsg(m)
	return string(m.GetValue()), err
}

// ask sends one message, and returns the one that is answered.
func (c echoClient) ask(ctx context.Context, method, what string) (string, error) {
	s, err := c.begin(ctx, method)
	if err != nil {
		return "", err
	}
	answer, err := turn(s, what)
	if err != nil {
		return "", err
	}
	if err := s.CloseSend(); err != nil {
		return "", err
	}
	if err := s.RecvMsg(new(wrapperspb.BytesValue)); !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("after the answer: %w", err)
	}
	return answer, nil
}

// gRPC's own clients call gRPC's own server as a function: at the proxy, where grpc must be
// told a prefix; at a host of the function's own, over TLS; and at the agent's own url.
func TestGRPC(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	cert := authority.Issue(t, "echo.example")
	pems := folder(t, tree{"cert.pem": string(cert.Cert), "key.pem": string(cert.Key)})
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr, "-functions", "127.0.0.1:0", "-tls-cert", filepath.Join(pems, "cert.pem"), "-tls-key", filepath.Join(pems, "key.pem"))
	public := p.said(`Functions started on (\S+)`)
	dirs := []string{echoDir(t, "even"), echoDir(t, "odd")}
	order := func(dir string, more ...string) row {
		t.Helper()
		body := fmt.Sprintf(`[{"name": "Echo", "kind": "http", "dir": %q, "routes": ["echo.example"]%s}]`, dir, strings.Join(more, ""))
		r := rows(t, "POST", "http://"+p.http+"/deploy?wait=true", body)[0]
		require.Equal(t, "Deployed", r.Status, r.Error)
		return r
	}
	r := order(dirs[0], `, "auth": "public"`)
	secure := credentials.NewTLS(&tls.Config{RootCAs: authority.Pool(), ServerName: "echo.example"})
	_, port, err := net.SplitHostPort(public)
	require.NoError(t, err)
	own := newEchoClient(t, "127.0.0.1:"+port, "", grpc.WithTransportCredentials(secure))
	ways := map[string]echoClient{
		"the proxy's path":    newEchoClient(t, p.http, "/functions/echo"),
		"a host of its own":   own,
		"the agent's own url": newEchoClient(t, strings.TrimPrefix(r.Proxy, "http://"), "/echo"),
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for name, c := range ways {
		t.Run(name, func(t *testing.T) {
			answer, err := c.ask(ctx, "Version", "")
			require.NoError(t, err)
			assert.Equal(t, "even", answer)
			large := strings.Repeat("0123456789abcdef", 10<<20/16)
			answer, err = c.ask(ctx, "Say", large)
			require.NoError(t, err)
			assert.Equal(t, sha256.Sum256([]byte(large)), sha256.Sum256([]byte(answer)), "%d bytes", len(answer))

			s, err := c.begin(ctx, "Say")
			require.NoError(t, err)
			for i := range 20 {
				answer, err := turn(s, fmt.Sprint(i))
				require.NoError(t, err)
				assert.Equal(t, fmt.Sprint(i), answer)
			}
			require.NoError(t, s.CloseSend())
			assert.ErrorIs(t, s.RecvMsg(new(wrapperspb.BytesValue)), io.EOF)

			until, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			answer, err = c.ask(until, "Deadline", "")
			require.NoError(t, err)
			left, err := time.ParseDuration(answer)
			require.NoError(t, err)
			assert.InDelta(t, 30*time.Second, left, float64(30*time.Second))

			waits, leave := context.WithCancel(ctx)
			defer leave()
			s, err = c.begin(waits, "Wait")
			require.NoError(t, err)
			_, err = turn(s, "")
			require.NoError(t, err)
			leave()
			answer, err = c.ask(ctx, "Ended", "")
			require.NoError(t, err)
			assert.Equal(t, context.Canceled.Error(), answer)
		})
	}

	// The server closes its connections for each new version, whatever goes on over them.
	var ended atomic.Bool
	var calls sync.WaitGroup
	var good atomic.Int64
	for _, c := range ways {
		calls.Go(func() {
			for !ended.Load() {
				answer, err := c.ask(ctx, "Version", "")
				if !assert.NoError(t, err) || !assert.Contains(t, []string{"even", "odd"}, answer) {
					return
				}
				good.Add(1)
			}
		})
		calls.Go(func() {
			for !ended.Load() {
				s, err := c.begin(ctx, "Say")
				if !assert.NoError(t, err) {
					return
				}
				for range 20 {
					if answer, err := turn(s, "turn"); !assert.NoError(t, err) || !assert.Equal(t, "turn", answer) {
						return
					}
				}
				assert.NoError(t, s.CloseSend())
				assert.ErrorIs(t, s.RecvMsg(new(wrapperspb.BytesValue)), io.EOF)
				good.Add(1)
			}
		})
	}
	for i := 1; i <= 10; i++ {
		order(dirs[i%2], `, "auth": "public"`)
		after := good.Load() + 20
		eventually(t, func() bool { return good.Load() > after }, "calls are not answered")
	}
	ended.Store(true)
	calls.Wait()
	t.Log(good.Load(), "calls over ten redeploys")

	// It is private again: a token is a call's metadata.
	order(dirs[0])
	_, err = own.ask(ctx, "Version", "")
	assert.Equal(t, codes.NotFound, status.Code(err), err)
	token := proxyCli(t, "", "-proxy", p.rpc, "token", "create", "-scope", "invoke", "-name", "caller")
	require.Zero(t, token.code, token.stderr)
	answer, err := own.ask(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+strings.TrimSpace(token.stdout)), "Version", "")
	require.NoError(t, err)
	assert.Equal(t, "even", answer)

	// What the platform itself says is an error of gRPC's.
	require.Zero(t, proxyCli(t, "", "-proxy", p.rpc, "pause", "Echo").code)
	_, err = ways["the proxy's path"].ask(ctx, "Version", "")
	assert.Equal(t, codes.Unavailable, status.Code(err), err)
	assert.Contains(t, status.Convert(err).Message(), `"Echo"`)
}
