package build

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
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
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
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

// native reads as much of a program as tells whether it is one of this machine.
// Whoever may send one may run any code here, so no more is to be found out.
func native(r io.ReaderAt) error {
	machine, known := machines[Platform]
	if !known {
		return proto.Errorf(proto.ErrUnsupported, "programs from elsewhere do not run on %s", Platform)
	}
	var head [20]byte
	_, err := r.ReadAt(head[:], 0)
	word := func(at int) uint16 { return binary.LittleEndian.Uint16(head[at:]) }
	executable := elf.Type(word(16)) == elf.ET_EXEC || elf.Type(word(16)) == elf.ET_DYN
	if err != nil || string(head[:elf.EI_CLASS]) != elf.ELFMAG || elf.Class(head[elf.EI_CLASS]) != elf.ELFCLASS64 ||
		elf.Data(head[elf.EI_DATA]) != elf.ELFDATA2LSB || elf.Machine(word(18)) != machine || !executable {
		return proto.Errorf(proto.ErrInvalid, "this is not a program for %s", Platform).
			WithHint("have it built by an agent of that platform")
	}
	return nil
}
