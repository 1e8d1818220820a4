package upgrade

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	// ProofLimit is how long a program may take to say its version. It has nothing
	// to wait for; a machine may be busy.
	ProofLimit = 10 * time.Second
	// proofOutput is how much it may say, in bytes; a version has 100.
	proofOutput = 4 << 10
)

// Program is the path at which this process's program is looked for anew.
type Program string

// ThisProgram is the path of this process's program. Call it early: later the file may be
// another one. The name by which it was started is kept, so that a link counts which leads
// to another file by now.
func ThisProgram() (Program, error) {
	file, err := os.Executable()
	if err != nil {
		return "", err
	}
	if name, err := exec.LookPath(os.Args[0]); err == nil && same(name, file) {
		if name, err = filepath.Abs(name); err == nil {
			return Program(name), nil
		}
	}
	return Program(file), nil
}

// Changed says whether the file is another one than this process runs.
func (p Program) Changed() bool { return !same(string(p), "/proc/self/exe") }

func same(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// Prove checks that the program is one that takes the arguments of this process: it is
// run with these and -version, which starts nothing, and says its name. Otherwise the error
// is ErrInvalid.
func (p Program) Prove(ctx context.Context, name string, args []string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var said bounded
	args = append(slices.Clone(args), "-version")
	cmd := exec.CommandContext(ctx, string(p), args...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &said, &said, time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("it did not tell its version within %s", limit)
	}
	if err == nil && !bytes.HasPrefix(said.text, []byte(name+" ")) {
		err = fmt.Errorf("its name is not %s", name)
	}
	if err == nil {
		return nil
	}
	if len(said.text) > 0 {
		err = fmt.Errorf("%w: %.200q", err, said.text)
	}
	return proto.Errorf(proto.ErrInvalid, "%s %s: %w", p, strings.Join(args, " "), err)
}

// bounded keeps the beginning of what is written; writing more is an error.
type bounded struct{ text []byte }

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), proofOutput-len(b.text))
	if b.text = append(b.text, p[:n]...); n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// errNoFile is the error of a listener that is no socket of the kernel's.
var errNoFile = errors.New("a listener that cannot be handed over")
