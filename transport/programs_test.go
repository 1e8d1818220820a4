package transport

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

// noise is n bytes that compress badly, the same each time.
func noise(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	return data
}

func TestProgramsComeBackAsTheyWere(t *testing.T) {
	for _, data := range [][]byte{nil, []byte("x"), noise(3 * chunkSize), make([]byte, 8<<20)} {
		var chunks []*proto.ProgramChunk
		w := &programWriter{program: &proto.Program{Key: "k"}, send: func(c *proto.ProgramChunk) error {
			chunks = append(chunks, &proto.ProgramChunk{Program: c.GetProgram(), Data: bytes.Clone(c.GetData())})
			return nil
		}}
		require.NoError(t, compress(w, bytes.NewReader(data)))
		require.NotEmpty(t, chunks)
		for i, c := range chunks {
			assert.Equal(t, i == 0, c.GetProgram() != nil, "the first chunk says what it is")
			assert.LessOrEqual(t, len(c.GetData()), chunkSize)
		}
		at := 0
		plain, err := decompress(newChunkReader(chunks[0], func() (*proto.ProgramChunk, error) {
			if at++; at == len(chunks) {
				return nil, io.EOF
			}
			return chunks[at], nil
		}))
		require.NoError(t, err)
		got, err := io.ReadAll(plain)
		require.NoError(t, err)
		require.NoError(t, plain.Close())
		assert.True(t, bytes.Equal(data, got))
	}
}

func TestCompressedProgramsAreBounded(t *testing.T) {
	var bomb bytes.Buffer
	require.NoError(t, compress(&bomb, io.LimitReader(zeros{}, maxProgram+1)))
	assert.Less(t, bomb.Len(), 1<<20)
	plain, err := decompress(&bomb)
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, plain)
	require.ErrorIs(t, err, proto.ErrTooLarge)
	assert.LessOrEqual(t, n, int64(maxProgram))
	require.NoError(t, plain.Close())

	// One that refers further back than the window would take as much memory.
	var wide bytes.Buffer
	z, err := zstd.NewWriter(&wide, zstd.WithWindowSize(4*programWindow))
	require.NoError(t, err)
	_, err = z.Write(noise(4 * programWindow))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	plain, err = decompress(&wide)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, plain)
	require.ErrorIs(t, err, proto.ErrInvalid)
	require.NoError(t, plain.Close())
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestAPartOfAProgramIsNone(t *testing.T) {
	lost := errors.New("the disk is gone")
	var part bytes.Buffer
	require.ErrorIs(t, compress(&part, io.MultiReader(bytes.NewReader(noise(8<<20)), failing{lost})), lost)
	plain, err := decompress(&part)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, plain)
	require.ErrorIs(t, err, proto.ErrInvalid, "it must not look whole")
	require.NoError(t, plain.Close())
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

func FuzzDecompress(f *testing.F) {
	for _, plain := range [][]byte{nil, []byte("a program"), make([]byte, 1<<16), noise(1 << 10)} {
		var b bytes.Buffer
		require.NoError(f, compress(&b, bytes.NewReader(plain)))
		f.Add(b.Bytes())
		f.Add(b.Bytes()[:b.Len()/2])
	}
	f.Add([]byte("not zstd"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		plain, err := decompress(bytes.NewReader(stream))
		require.NoError(t, err)
		n, err := io.Copy(io.Discard, plain)
		require.NoError(t, plain.Close())
		require.LessOrEqual(t, n, int64(maxProgram))
		if err != nil {
			kind := proto.AsError(err).Kind
			require.True(t, kind == proto.ErrInvalid || kind == proto.ErrTooLarge, "%v", err)
		}
	})
}
