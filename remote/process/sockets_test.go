package process

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestListenReplacesADeadSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fn.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())

	s, err := Listen("127.0.0.1:0", path)
	require.NoError(t, err)
	c, err := net.Dial("unix", path)
	require.NoError(t, err, "callers wait in the backlog")
	require.NoError(t, c.Close())
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	assert.NoFileExists(t, path)
	_, err = net.Dial("tcp", s.Addr())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestListenFailsCleanly(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("precious"), 0o600))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	before := descriptors(t)

	_, err = Listen(taken.Addr().String(), "")
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	_, err = Listen("127.0.0.1:0", file)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	_, err = Listen("127.0.0.1:0", filepath.Join(dir, strings.Repeat("x", 108)))
	require.ErrorIs(t, err, ErrPathTooLong)

	assert.Equal(t, before, descriptors(t))
	kept, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "precious", string(kept))
}

func TestListenTakesTheLongestPath(t *testing.T) {
	t.Chdir(t.TempDir())
	s, err := Listen("127.0.0.1:0", strings.Repeat("x", maxUnixPath))
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestAdoptedSocketsAreTheSame(t *testing.T) {
	for name, path := range map[string]string{"both": filepath.Join(t.TempDir(), "fn.sock"), "TCP alone": ""} {
		t.Run(name, func(t *testing.T) {
			s, err := Listen("127.0.0.1:0", path)
			require.NoError(t, err)
			files, err := s.Files()
			require.NoError(t, err)
			defer closeAll(files)
			again, err := Adopted(files)
			require.NoError(t, err)
			assert.Equal(t, s.Addr(), again.Addr())
			assert.Equal(t, s.Path(), again.Path())
			require.NoError(t, again.Close())
			_ = s.Close() // the path was removed already
			_, err = s.Files()
			require.ErrorIs(t, err, net.ErrClosed)
		})
	}
}

func TestOnlySocketsAreAdopted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fn.sock")
	s, err := Listen("127.0.0.1:0", path)
	require.NoError(t, err)
	files, err := s.Files()
	require.NoError(t, err)
	defer closeAll(files)
	c, err := net.Dial("tcp", s.Addr())
	require.NoError(t, err)
	defer c.Close()
	conn, err := c.(*net.TCPConn).File()
	require.NoError(t, err)
	defer conn.Close()
	before := descriptors(t)
	for name, files := range map[string][]*os.File{
		"nothing": nil, "a file": {os.Stdin}, "a connection": {conn}, "unix alone": {files[1]},
		"TCP twice": {files[0], files[0]}, "too many": {files[0], files[1], files[1]},
	} {
		_, err := Adopted(files)
		require.Error(t, err, name)
	}
	require.NoError(t, s.Close())
	_, err = Adopted(files)
	require.ErrorIs(t, err, os.ErrNotExist, "no caller could connect there")
	assert.Equal(t, before-2, descriptors(t))
}
