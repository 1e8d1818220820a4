package wire

import (
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Over HTTP a program is a body of type zstd (RFC 8878), and a package one of type zip. The
// header says which program it is, as a Program in JSON.
const (
	ZipType       = "application/zip" // of a package
	ZstdType      = "application/zstd"
	ProgramHeader = "Ryo-Program"
)

// Compress writes what r holds to w as a zstd stream.
func Compress(w io.Writer, r io.Reader) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true))
	if err != nil {
		return proto.Errorf(proto.ErrInternal, "compress a program: %w", err)
	}
	if _, err := z.ReadFrom(r); err != nil {
		return err // without Close, which would complete the stream
	}
	return z.Close()
}

// Decompress reads the zstd stream r, up to MaxProgram. An error of r that has a
// kind is returned unchanged; anything else that is wrong is an ErrInvalid.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(programWindow))
	if err != nil {
		return nil, proto.Errorf(proto.ErrInternal, "read a compressed program: %w", err)
	}
	return &plainReader{z: z, left: MaxProgram}, nil
}

// plainReader reads a program out of its compressed form.
type plainReader struct {
	z    *zstd.Decoder
	left int64 // bytes that may still come
}

func (p *plainReader) Read(b []byte) (int, error) {
	n, err := p.z.Read(b)
	if p.left -= int64(n); p.left < 0 {
		return 0, proto.Errorf(proto.ErrTooLarge, "the program is larger than %d bytes", MaxProgram)
	}
	return n, InputError(err)
}

func (p *plainReader) Close() error {
	p.z.Close()
	return nil
}

// NewProgramWriter returns a writer that sends a program in chunks. The first of
// them names the program.
func NewProgramWriter(p *proto.Program, send func(*proto.ProgramChunk) error) io.Writer {
	return &programWriter{program: p, send: send}
}

type programWriter struct {
	program *proto.Program // not sent yet
	send    func(*proto.ProgramChunk) error
}

func (w *programWriter) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		part := b[:min(len(b), ChunkSize)]
		if err := w.send(&proto.ProgramChunk{Program: w.program, Data: part}); err != nil {
			return n, err
		}
		w.program, n, b = nil, n+len(part), b[len(part):]
	}
	return n, nil
}

// NewPackageWriter returns a writer that sends a package in chunks, each as large as what
// is written.
func NewPackageWriter(send func(*proto.PackageChunk) error) io.Writer {
	return packageWriter(send)
}

type packageWriter func(*proto.PackageChunk) error

func (send packageWriter) Write(b []byte) (int, error) {
	if err := send(&proto.PackageChunk{Data: b}); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Chunk is a part of a package or program on its way.
type Chunk interface{ GetData() []byte }

// chunkReader reads the data of chunks.
type chunkReader[C Chunk] struct {
	next func() (C, error)
	data []byte
}

// NewChunkReader reads the data of first, and of the chunks that follow.
func NewChunkReader[C Chunk](first C, next func() (C, error)) io.Reader {
	return &chunkReader[C]{next: next, data: first.GetData()}
}

func (c *chunkReader[C]) Read(p []byte) (int, error) {
	for len(c.data) == 0 {
		chunk, err := c.next()
		if err != nil {
			return 0, err
		}
		c.data = chunk.GetData()
	}
	n := copy(p, c.data)
	c.data = c.data[n:]
	return n, nil
}
