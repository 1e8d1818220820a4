package build

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Platform is what the programs of this machine are built for.
const Platform = runtime.GOOS + "/" + runtime.GOARCH

// Digest is that of a program's bytes: "sha256:" and 64 hexadecimal digits.
func Digest(r io.Reader) (string, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return "", fmt.Errorf("read program: %w", err)
	}
	return digestPrefix + hex.EncodeToString(sum.Sum(nil)), nil
}

const digestPrefix = "sha256:"

// fileDigest is the digest of a file's bytes.
func fileDigest(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return Digest(f)
}

// readerFunc is an io.Reader that is one function.
type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// receive copies a program that must have a digest.
func receive(ctx context.Context, w io.Writer, digest string, r io.Reader) error {
	left := int64(maxProgram)
	got, err := Digest(io.TeeReader(readerFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		n, err := r.Read(p)
		if left -= int64(n); left < 0 {
			err = proto.Errorf(proto.ErrTooLarge, "the program has more than %d MiB", maxProgram>>20)
		}
		return n, err
	}), w))
	if err == nil && got != digest {
		err = proto.Errorf(proto.ErrInvalid, "the program's digest is %s, not %.100s", got, digest).
			WithHint("it was damaged on the way or is another one; send it again")
	}
	return err
}

// machines are the processors for which programs are taken from elsewhere.
var machines = map[string]elf.Machine{"linux/amd64": elf.EM_X86_64, "linux/arm64": elf.EM_AARCH64}

// Inspect refuses a program that is not for this machine, or that loads others when it
// starts: its digest does not cover those. It is an ErrInvalid. Callers who may send a
// program may run any code here, so it checks no more.
func Inspect(r io.ReaderAt) error {
	machine, known := machines[Platform]
	if !known {
		return proto.Errorf(proto.ErrIncapable, "programs from elsewhere do not run on %s", Platform)
	}
	foreign := proto.Errorf(proto.ErrInvalid, "this is not a program for %s", Platform).
		WithHint("have it built by an agent of that platform")
	program, err := elf.NewFile(r)
	if err != nil {
		return foreign
	}
	defer program.Close()
	if program.Class != elf.ELFCLASS64 || program.Data != elf.ELFDATA2LSB || program.Machine != machine ||
		program.Type != elf.ET_EXEC && program.Type != elf.ET_DYN {
		return foreign
	}
	for _, segment := range program.Progs {
		if segment.Type == elf.PT_INTERP {
			return proto.Errorf(proto.ErrInvalid, "the program is linked dynamically: it would load code of this machine when it starts").
				WithHint("build it without cgo, and without //go:cgo_import_dynamic")
		}
	}
	return nil
}
