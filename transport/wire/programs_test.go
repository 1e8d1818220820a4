package wire

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
	for _, data := range [][]byte{nil, []byte("x"), noise(3 * ChunkSize), make([]byte, 8<<20)} {
		var chunks []*proto.ProgramChunk
		w := NewProgramWriter(&proto.Program{Key: "k"}, func(c *proto.ProgramChunk) error {
			chunks = append(chunks, &proto.ProgramChunk{Program: c.GetProgram(), Data: bytes.Clone(c.GetData())})
			return nil
		})
		require.NoError(t, Compress(w, bytes.NewReader(data)))
		require.NotEmpty(t, chunks)
		for i, c := range chunks {
			assert.Equal(t, i == 0, c.GetProgram() != nil, "the first chunk says what it is")
			assert.LessOrEqual(t, len(c.GetData()), ChunkSize)
		}
		at := 0
		plain, err := Decompress(NewChunkReader(chunks[0], func() (*proto.ProgramChunk, error) {
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
	require.NoError(t, Compress(&bomb, io.LimitReader(zeros{}, MaxProgram+1)))
	assert.Less(t, bomb.Len(), 1<<20)
	plain, err := Decompress(&bomb)
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, plain)
	require.ErrorIs(t, err, proto.ErrTooLarge)
	assert.LessOrEqual(t, n, int64(MaxProgram))
	require.NoError(t, plain.Close())

	// One that refers further back than the window would take as much memory.
	var wide bytes.Buffer
	z, err := zstd.NewWriter(&wide, zstd.WithWindowSize(4*programWindow))
	require.NoError(t, err)
	_, err = z.Write(noise(4 * programWindow))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	plain, err = Decompress(&wide)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, plain)
	require.ErrorIs(t, err, proto.ErrInvalid)
	require.NoError(t, plain.Close())
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestAPartOfAProgramIsNone(t *testing.T) {
	failed := errors.New("the disk is gone")
	var part bytes.Buffer
	require.ErrorIs(t, Compress(&part, io.MultiReader(bytes.NewReader(noise(8<<20)), failing{failed})), failed)
	plain, err := Decompress(&part)
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
		require.NoError(f, Compress(&b, bytes.NewReader(plain)))
		f.Add(b.Bytes())
		f.Add(b.Bytes()[:b.Len()/2])
	}
	f.Add([]byte("not zstd"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		plain, err := Decompress(bytes.NewReader(stream))
		require.NoError(t, err)
		n, err := io.Copy(io.Discard, plain)
		require.NoError(t, plain.Close())
		require.LessOrEqual(t, n, int64(MaxProgram))
		if err != nil {
			kind := proto.AsError(err).Kind
			require.True(t, kind == proto.ErrInvalid || kind == proto.ErrTooLarge, "%v", err)
		}
	})
}
