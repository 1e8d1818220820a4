package server_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/auth"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// asking is a mount that makes the request that its caller names, with the token of the
// header Token.
var asking = server.Mount{Path: "/ask/", Scope: wire.ScopeOpen, Asks: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	req, err := http.NewRequestWithContext(r.Context(), r.Method, "http://self/"+strings.TrimPrefix(r.URL.RequestURI(), "/ask/"), r.Body)
	if err != nil {
		panic(err)
	}
	req.Header.Set("Sec-Fetch-Site", "same-origin") // which it may not say, nor the next
	req.Header.Set("Forwarded", "for=192.0.2.9")
	req.Header.Set("X-Forwarded-For", "192.0.2.9")
	req.Header.Set("Content-Type", "application/json")
	if secret := r.Header.Get("Token"); secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	rsp, err := (&http.Client{Transport: server.Again(r)}).Do(req)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, err.Error())
		return
	}
	defer rsp.Body.Close()
	w.WriteHeader(rsp.StatusCode)
	_, _ = io.Copy(w, rsp.Body)
})}

// What is asked again is decided as if the caller had asked it.
func TestARequestThatIsMadeAgainHasTheRightsOfItsCaller(t *testing.T) {
	k, fake := transporttest.Keeper(t), transporttest.NewFake(t)
	far, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	record, err := auth.OpenRecord(t.TempDir())
	require.NoError(t, err)
	called := server.Mount{Path: "/functions/", Scope: wire.ScopeInvoke, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := server.Admit(r, "Private", false); err != nil {
			wire.WriteError(w, err)
			return
		}
		if strings.HasSuffix(r.URL.Path, "panic") {
			_, _ = io.WriteString(w, "half")
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, r.RequestURI+" "+r.Header.Get("Authorization"))
	})}
	near := serve(t, fake, fake, server.Config{Tokens: k, Record: record, Listeners: []net.Listener{abroad{far}}, Mounts: []server.Mount{asking, called}})
	read, deploy, invoke := token(t, k, wire.ScopeRead), token(t, k, wire.ScopeDeploy), token(t, k, wire.ScopeInvoke)
	for _, c := range []struct {
		name, method, addr, path string
		header                   []string
		want                     int
		body                     string
	}{
		{"own", "GET", near, "details", nil, 200, "[]"},
		{"own, with a token", "GET", near, "whoami", []string{"Token", read}, 200, "token "},
		{"own, with a wrong token", "GET", near, "details", []string{"Token", read[:len(read)-3] + "abc"}, 401, ""},
		{"own, by a page of another origin", "POST", near, "stop", []string{"Sec-Fetch-Site", "cross-site", "Origin", "http://evil.example"}, 403, "another origin"},
		{"by a gateway", "GET", near, "details", []string{"X-Forwarded-For", "192.0.2.1"}, 401, "X-Forwarded-For"},
		{"by a gateway, with a token", "GET", near, "details", []string{"Via", "1.1 g", "Token", read}, 200, "[]"},
		{"by a gateway, with its own token", "GET", near, "details", []string{"Via", "1.1 g", "Authorization", "Bearer " + read}, 200, "[]"},
		{"a token to read that changes", "POST", near, "stop", []string{"Via", "1.1 g", "Token", read}, 403, "takes deploy"},
		{"a token to deploy that changes", "POST", near, "stop", []string{"Via", "1.1 g", "Token", deploy}, 400, "the body is empty"},
		{"a token to invoke that calls", "GET", near, "functions/x%2Fy?a=1", []string{"Via", "1.1 g", "Token", invoke}, 200, "/functions/x%2Fy?a=1 "},
		{"a token to read that calls", "GET", near, "functions/x", []string{"Via", "1.1 g", "Token", read}, 403, "invoke"},
		{"another machine", "GET", far.Addr().String(), "details", nil, 401, "other machines"},
		{"another machine, with a token in the clear", "GET", far.Addr().String(), "details", []string{"Token", read}, 403, "revoke it"},
		{"nothing there", "GET", near, "nothing", nil, 404, ""},
	} {
		rsp, body := ask(t, c.method, "http://"+c.addr+"/ask/"+c.path, c.header...)
		assert.Equal(t, c.want, rsp.StatusCode, "%s: %s", c.name, body)
		assert.Contains(t, body, c.body, c.name)
	}
	_, body := ask(t, "GET", "http://"+near+"/ask/functions/panic")
	assert.Equal(t, "half", body, "an answer that breaks off breaks off")
	list, err := record.Last(100)
	require.NoError(t, err)
	var calls []string
	for _, e := range list {
		calls = append(calls, e.GetCall()+" "+e.GetResult())
	}
	assert.Contains(t, calls, "Stop forbidden", "it is recorded like any other")
	assert.Contains(t, calls, "Stop invalid")
}

// The typed client works by it, streams included, and bodies may be large.
func TestAClientMayAskAgain(t *testing.T) {
	fake := transporttest.NewFake(t)
	result := make(chan error, 1)
	mount := server.Mount{Path: "/all", Scope: wire.ScopeOpen, Asks: true, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		assert.NoError(t, err)
		assert.EqualValues(t, 1<<20, n, "more than those may send whom nobody knows")
		cli := transport.NewAgent(transport.HTTP, "localhost:80", transport.WithRoundTripper(server.Again(r)))
		defer cli.Close()
		rows := 0
		err = cli.Watch(r.Context(), func(e *proto.WatchEvent) error {
			if rows += len(e.GetFunctions()); rows > 0 {
				return io.EOF
			}
			return nil
		})
		result <- err
	})}
	addr := serve(t, fake, fake, server.Config{Mounts: []server.Mount{mount}})
	cli := transport.NewAgent(transport.HTTP, addr)
	defer cli.Close()
	_, err := cli.Deploy(t.Context(), &proto.FunctionJson{Name: "HelloWorld", Dir: source(t), Wait: true})
	require.NoError(t, err)
	rsp, err := client(t).Post("http://"+addr+"/all", "", strings.NewReader(strings.Repeat("x", 1<<20)))
	require.NoError(t, err)
	defer rsp.Body.Close()
	assert.ErrorIs(t, <-result, io.EOF)
}

// An answer that nobody reads ends with the handler that asked for it.
func TestWhatIsAskedAgainEndsWithItsHandler(t *testing.T) {
	fake := transporttest.NewFake(t)
	mount := server.Mount{Path: "/all", Scope: wire.ScopeOpen, Asks: true, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://self/watch", http.NoBody)
		if assert.NoError(t, err) {
			_, err = server.Again(r).RoundTrip(req)
			assert.NoError(t, err)
		}
	})}
	addr := serve(t, fake, fake, server.Config{Mounts: []server.Mount{mount}})
	rsp, _ := ask(t, "GET", "http://"+addr+"/all")
	assert.Equal(t, http.StatusOK, rsp.StatusCode)
}
