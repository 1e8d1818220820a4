package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// stack is an agent, and a proxy that learns of it from the first call that
// names it.
type stack struct {
	agent agent
	proxy gateway
}

func startStack(t *testing.T) stack {
	t.Helper()
	return stack{startAgent(t, "", ""), startProxy(t, "")}
}

// door is a way to ask: an address and how to talk to it.
type door struct {
	name, addr, kind string
	proxy            bool
}

func (s stack) doors() []door {
	return []door{
		{"proxy over rpc", s.proxy.rpc, "rpc", true},
		{"proxy over http", s.proxy.http, "http", true},
		{"agent over rpc", s.agent.addr, "rpc", false},
		{"agent over http", s.agent.addr, "http", false},
	}
}

// cli runs the command line in a folder, at a door.
func (d door) cli(t *testing.T, dir string, args ...string) result {
	t.Helper()
	return proxyCli(t, dir, append([]string{"-proxy", d.addr, "-transport", d.kind}, args...)...)
}

// freePorts is a range of n ports that are this test's.
func freePorts(t *testing.T, n int) string {
	t.Helper()
	first := testkit.Ports(t)
	return fmt.Sprintf("%d-%d", first, first+n-1)
}

// line is what the command line prints of a function.
func line(name, url, status string) string {
	return fmt.Sprintf("name:%q  url:%q  status:%q\n", name, url, status)
}

// told is the error that an answer holds.
type told struct{ Code, Message, Hint, Component, Reason, RequestID string }

func errorOf(t *testing.T, answer string) told {
	t.Helper()
	var body struct{ Error *told }
	require.NoError(t, json.Unmarshal([]byte(answer), &body), answer)
	require.NotNil(t, body.Error, answer)
	assert.NotEmpty(t, body.Error.Code, answer)
	assert.NotEmpty(t, body.Error.Message, answer)
	return *body.Error
}

// send makes a call with a body of a certain type.
func send(t *testing.T, method, url, contentType string, body []byte) (status int, answer string, header http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", contentType)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	rsp, err := client.Do(req)
	require.NoError(t, err)
	defer rsp.Body.Close()
	data, err := io.ReadAll(rsp.Body)
	require.NoError(t, err)
	return rsp.StatusCode, string(data), rsp.Header
}

// raw sends a request target as it is, which net/http would tidy up.
func raw(t *testing.T, addr, target string) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", target)
	require.NoError(t, err)
	rsp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err, target)
	defer rsp.Body.Close()
	data, err := io.ReadAll(rsp.Body)
	require.NoError(t, err)
	return rsp.StatusCode, string(data)
}
