package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
)

var _ transport.Worker = (*transporttest.Fake)(nil)

// someKey is the key of no program.
var someKey = strings.Repeat("0", 64)

// large is the text of a program of some size.
func large() (data []byte, about *proto.Program) {
	data = bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	return data, &proto.Program{
		Key: someKey, Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(data)), Platform: "linux/amd64", Kind: proto.KindHTTP,
	}
}

func TestProgramsTravel(t *testing.T) {
	for _, kind := range bothKinds {
		fake := transporttest.NewFake(t)
		cli := connect(t, kind, serve(t, fake, fake, server.Config{Worker: fake}))
		data, about := large()

		stored, err := cli.HasProgram(t.Context(), someKey)
		require.NoError(t, err)
		assert.False(t, stored)
		_, _, err = cli.OpenProgram(t.Context(), someKey)
		require.ErrorIs(t, err, proto.ErrNotFound, "%s", kind)

		other := protobuf.CloneOf(about)
		other.Digest = "sha256:" + strings.Repeat("0", 64)
		require.ErrorIs(t, cli.KeepProgram(t.Context(), other, bytes.NewReader(data)), proto.ErrInvalid, "%s", kind)
		failed := errors.New("the disk is gone")
		require.ErrorContains(t, cli.KeepProgram(t.Context(), about, io.MultiReader(bytes.NewReader(data), broken{failed})), failed.Error())
		assert.False(t, fake.HasProgram(someKey), "a part of a program is not kept")

		require.NoError(t, cli.KeepProgram(t.Context(), about, bytes.NewReader(data)), "%s", kind)
		require.NoError(t, cli.KeepProgram(t.Context(), about, endless{}), "%s: what is stored is not sent again", kind)
		stored, err = cli.HasProgram(t.Context(), someKey)
		require.NoError(t, err)
		assert.True(t, stored)

		r, got, err := cli.OpenProgram(t.Context(), someKey)
		require.NoError(t, err)
		assert.True(t, protobuf.Equal(about, got), "%s", got)
		plain, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		assert.True(t, bytes.Equal(data, plain))

		r, _, err = cli.OpenProgram(t.Context(), someKey)
		require.NoError(t, err)
		require.NoError(t, r.Close(), "a program need not be read to its end")

		for _, key := range []string{"", "../../x", someKey + "0"} {
			_, err = cli.HasProgram(t.Context(), key)
			require.ErrorIs(t, err, proto.ErrInvalid, "key %q", key)
			require.ErrorIs(t, cli.KeepProgram(t.Context(), &proto.Program{Key: key}, nil), proto.ErrInvalid, "key %q", key)
		}
	}
}

type broken struct{ error }

func (b broken) Read([]byte) (int, error) { return 0, b.error }

// endless never comes to an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestProgramsAreBuiltAndRun(t *testing.T) {
	for _, kind := range bothKinds {
		fake := transporttest.NewFake(t)
		cli := connect(t, kind, serve(t, fake, fake, server.Config{Worker: fake}))
		fn := &proto.FunctionJson{Name: "HelloWorld", Dir: source(t), Wait: true}
		program, err := cli.Build(t.Context(), fn)
		require.NoError(t, err)
		assert.NotEmpty(t, program.GetDigest())
		fn.Program = program.GetKey()
		rows, err := cli.Deploy(t.Context(), fn)
		require.NoError(t, err)
		assert.Equal(t, string(proto.Deployed), rows[0].GetStatus(), rows[0].GetError())
		assert.True(t, protobuf.Equal(program, rows[0].GetProgram()))

		serving, err := cli.Wake(t.Context(), "HelloWorld", 1)
		require.NoError(t, err)
		assert.Equal(t, rows[0].GetProxy(), serving.GetProxy())
		_, err = cli.Wake(t.Context(), "HelloWorld", 2)
		require.ErrorIs(t, err, proto.ErrNotFound)
		_, err = cli.Build(t.Context(), &proto.FunctionJson{Name: "Missing", Dir: fn.GetDir()})
		require.ErrorIs(t, err, proto.ErrInvalid)
		assert.Equal(t, proto.ReasonCheck, proto.AsError(err).Reason)
	}
}

func TestSnapshotsSayWhatTheAgentIs(t *testing.T) {
	fake := transporttest.NewFake(t)
	addr := serve(t, fake, fake, server.Config{Worker: fake})
	for _, kind := range bothKinds {
		ctx, cancel := context.WithCancel(t.Context())
		err := connect(t, kind, addr).Watch(ctx, func(e *proto.WatchEvent) error {
			assert.True(t, protobuf.Equal(fake.Info(), e.GetAgent()), "%s", e)
			cancel()
			return nil
		})
		require.ErrorIs(t, err, proto.ErrCanceled)
	}
}

func TestWithoutAWorkerItsCallsAreUnsupported(t *testing.T) {
	fake := transporttest.NewFake(t)
	addr := serve(t, fake, fake, server.Config{})
	for _, kind := range bothKinds {
		cli := connect(t, kind, addr)
		_, err := cli.Wake(t.Context(), "HelloWorld", 1)
		require.ErrorIs(t, err, proto.ErrUnsupported)
		_, err = cli.Build(t.Context(), &proto.FunctionJson{Name: "HelloWorld", Dir: source(t)})
		require.ErrorIs(t, err, proto.ErrUnsupported)
		_, _, err = cli.OpenProgram(t.Context(), someKey)
		require.ErrorIs(t, err, proto.ErrUnsupported)
		require.ErrorIs(t, cli.KeepProgram(t.Context(), &proto.Program{Key: someKey}, endless{}), proto.ErrUnsupported)
	}
}

// With nothing but an HTTP client and zstd.
func TestProgramsOverPlainHTTP(t *testing.T) {
	fake := transporttest.NewFake(t)
	url := "http://" + serve(t, fake, fake, server.Config{Worker: fake}) + "/programs/" + someKey
	data, about := large()
	do := func(method, query string, body io.Reader) (int, *http.Response) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url+query, body)
		require.NoError(t, err)
		rsp, err := client(t).Do(req)
		require.NoError(t, err)
		t.Cleanup(func() { _ = rsp.Body.Close() })
		return rsp.StatusCode, rsp
	}
	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed)
	require.NoError(t, err)
	_, err = z.Write(data)
	require.NoError(t, err)
	require.NoError(t, z.Close())

	code, _ := do("HEAD", "", nil)
	assert.Equal(t, http.StatusNotFound, code)
	code, _ = do("PUT", "?digest="+about.GetDigest(), strings.NewReader("not zstd"))
	assert.Equal(t, http.StatusBadRequest, code)
	code, _ = do("PUT", "?dijest="+about.GetDigest(), nil)
	assert.Equal(t, http.StatusBadRequest, code)
	code, _ = do("PUT", "?kind=http&platform=linux/amd64&digest="+about.GetDigest(), &packed)
	assert.Equal(t, http.StatusOK, code)
	code, _ = do("HEAD", "", nil)
	assert.Equal(t, http.StatusOK, code)
	code, rsp := do("GET", "", nil)
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, "application/zstd", rsp.Header.Get("Content-Type"))
	assert.JSONEq(t, fmt.Sprintf(`{"key": %q, "digest": %q, "platform": "linux/amd64", "kind": "http", "warnings": []}`, someKey, about.GetDigest()), rsp.Header.Get("Ryo-Program"))
	plain, err := zstd.NewReader(rsp.Body)
	require.NoError(t, err)
	defer plain.Close()
	got, err := io.ReadAll(plain)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, got))
}

func TestProgramsMoveBetweenServers(t *testing.T) {
	for _, kind := range bothKinds {
		from, to := transporttest.NewFake(t), transporttest.NewFake(t)
		source := connect(t, kind, serve(t, from, from, server.Config{Worker: from}))
		target := connect(t, transport.RPC, serve(t, to, to, server.Config{Worker: to}))
		require.ErrorIs(t, source.MoveProgram(t.Context(), someKey, target), proto.ErrNotFound, "%s", kind)
		data, about := large()
		require.NoError(t, from.KeepProgram(t.Context(), about, bytes.NewReader(data)))
		require.NoError(t, source.MoveProgram(t.Context(), someKey, target), "%s", kind)
		r, got, err := to.OpenProgram(someKey)
		require.NoError(t, err)
		moved, err := io.ReadAll(r)
		require.NoError(t, errors.Join(err, r.Close()))
		assert.True(t, bytes.Equal(data, moved))
		assert.Equal(t, about.GetDigest(), got.GetDigest())
		require.NoError(t, source.MoveProgram(t.Context(), someKey, target), "what is stored is not stored again")
	}
}
