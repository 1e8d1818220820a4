package server_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// certified returns what a server and its clients need for TLS as example.com.
func certified(t *testing.T) (serves, asks *tls.Config) {
	t.Helper()
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	asks = srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	asks.ServerName = "example.com"
	return &tls.Config{Certificates: srv.TLS.Certificates}, asks
}

// secured serves over TLS, on a main and a public listener.
func secured(t *testing.T) (addr, public string, asks *tls.Config) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	serves, asks := certified(t)
	fake := transporttest.NewFake(t)
	cfg := server.Config{
		TLS: serves, Public: []net.Listener{l}, Gateways: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")},
		Mounts: []server.Mount{{Path: "/functions/", Scope: wire.ScopeInvoke, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/functions/tunnel" {
				conn, rw, err := http.NewResponseController(w).Hijack()
				if assert.NoError(t, err) {
					_, _ = io.Copy(conn, rw)
					_ = conn.(interface{ CloseWrite() error }).CloseWrite()
					_ = conn.Close()
				}
				return
			}
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, "%s %t %s %d", r.Proto, r.TLS != nil && r.TLS.HandshakeComplete, r.URL.Scheme, n)
		})}},
	}
	return serve(t, fake, fake, cfg), l.Addr().String(), asks
}

func TestOnePortSpeaksPlainAndTLS(t *testing.T) {
	addr, public, asks := secured(t)
	for _, at := range []string{addr, public} {
		for name, want := range map[string]string{"http/1.1": "HTTP/1.1", "h2": "HTTP/2.0"} {
			tr := &http.Transport{TLSClientConfig: asks.Clone(), Protocols: new(http.Protocols)}
			tr.Protocols.SetHTTP1(name == "http/1.1")
			tr.Protocols.SetHTTP2(name == "h2")
			c := http.Client{Transport: tr}
			for _, size := range []int{0, 3 << 20} {
				rsp, err := c.Post("https://"+at+"/functions/f", "", strings.NewReader(strings.Repeat("x", size)))
				require.NoError(t, err)
				body, err := io.ReadAll(rsp.Body)
				require.NoError(t, err)
				require.NoError(t, rsp.Body.Close())
				assert.Equal(t, fmt.Sprintf("%s true  %d", want, size), string(body))
				assert.Equal(t, at == public, rsp.Header.Get("Strict-Transport-Security") != "")
			}
			tr.CloseIdleConnections()
		}
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(credentials.NewTLS(asks)))
	require.NoError(t, err)
	defer conn.Close()
	_, err = grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)

	plain := dial(t, addr, "localhost")
	_, err = grpc_health_v1.NewHealthClient(plain).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err, "without TLS, as before")
}

func TestFramingIsCheckedBehindTLS(t *testing.T) {
	_, public, asks := secured(t)
	conn, err := tls.Dial("tcp", public, asks)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "POST /functions/f HTTP/1.1\r\nHost: example.com\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na")
	require.NoError(t, err)
	rsp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer rsp.Body.Close()
	assert.Equal(t, http.StatusBadRequest, rsp.StatusCode)
}

// RFC 9113 section 3.4: what does not begin as HTTP/2 does, where that was agreed, is an
// error of the connection.
func TestWhoAgreesToHTTP2SpeaksIt(t *testing.T) {
	addr, public, asks := secured(t)
	asks = asks.Clone()
	asks.NextProtos = []string{"h2"}
	for _, at := range []string{addr, public} {
		for _, sent := range []string{"GET /functions/f HTTP/1.1\r\nHost: example.com\r\n\r\n", "INVALID CONNECTION PREFACE\r\n\r\n", "\r\n\r\n"} {
			conn, err := tls.Dial("tcp", at, asks)
			require.NoError(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, sent)
			require.NoError(t, err)
			answer, _ := io.ReadAll(conn)
			assert.Empty(t, string(answer), "%q", sent)
		}
	}
}

func TestTunnelsOverTLSEndOneSideAtATime(t *testing.T) {
	_, public, asks := secured(t)
	conn, err := tls.Dial("tcp", public, asks)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /functions/tunnel HTTP/1.1\r\nHost: example.com\r\n\r\nsaid")
	require.NoError(t, err)
	require.NoError(t, conn.CloseWrite())
	heard, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Equal(t, "said", string(heard))
}

func TestPlainCallersOfAPublicListenerAreSentToTLS(t *testing.T) {
	addr, public, _ := secured(t)
	for host, location := range map[string]string{"api.example": "https://api.example", "api.example:80": "https://api.example", "api.example:8443": "https://api.example:8443"} {
		conn, err := net.Dial("tcp", public)
		require.NoError(t, err)
		defer conn.Close()
		fmt.Fprintf(conn, "POST /functions/f/a%%2fb?q HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
		rsp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusPermanentRedirect, rsp.StatusCode)
		assert.Equal(t, location+"/functions/f/a%2fb?q", rsp.Header.Get("Location"))
		require.NoError(t, rsp.Body.Close())
	}
	status, _, _ := say(t, addr, "GET /functions/f HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	assert.Equal(t, 200, status, "on the main listener callers of this machine need no TLS")

	// A gateway has spoken TLS already.
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	conn, err := d.Dial("tcp", public)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, publicCall+"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\r\n")
	require.NoError(t, err)
	rsp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer rsp.Body.Close()
	assert.Equal(t, 200, rsp.StatusCode)
}

func TestAForwarderSpeaksBeforeTLS(t *testing.T) {
	_, public, asks := secured(t)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	conn, err := d.Dial("tcp", public)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "PROXY TCP4 192.0.2.8 10.0.0.1 4711 443\r\n")
	require.NoError(t, err)
	client := tls.Client(conn, asks)
	_, err = io.WriteString(client, publicCall+"\r\n")
	require.NoError(t, err)
	rsp, err := http.ReadResponse(bufio.NewReader(client), nil)
	require.NoError(t, err)
	defer rsp.Body.Close()
	assert.Equal(t, 200, rsp.StatusCode)
}

func TestWhatOnlyBeginsLikeTLSIsClosed(t *testing.T) {
	_, public, asks := secured(t)
	for _, sent := range []string{"\x16", "\x16\x03\x01\x00\x00", "\x16\x03\x01\xff\xff", "\x16GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"} {
		conn, err := net.Dial("tcp", public)
		require.NoError(t, err)
		_, err = io.WriteString(conn, sent)
		require.NoError(t, err)
		_ = conn.(*net.TCPConn).CloseWrite() // it may be reset already
		answer, _ := io.ReadAll(conn)
		assert.Less(t, len(answer), 200, "%q", sent)
		require.NoError(t, conn.Close())
	}
	old := asks.Clone()
	old.MaxVersion = tls.VersionTLS11
	old.MinVersion = tls.VersionTLS10
	_, err := tls.Dial("tcp", public, old)
	require.Error(t, err)
}
