package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// Version is the finding of the program itself.
func Version(program string) Finding { return Found("version", "%s %s", program, flags.ThisBuild()) }

// Disk looks at the disk that a folder lies on, or will.
func Disk(check, folder string) Finding {
	at := nearest(folder)
	space, err := state.SpaceOf(at)
	if err != nil {
		return Badly(check, "choose another folder with -dir", "%v", err)
	}
	if err := space.Err(); err != nil {
		e := proto.AsError(err)
		return Badly(check, e.Hint, "%s; deploys are refused", e.Message)
	}
	return Found(check, "%s has %d MiB free of %d", at, space.Free>>20, space.All>>20)
}

// nearest is a folder or, if there is none, the nearest one above it.
func nearest(folder string) string {
	for {
		if _, err := os.Stat(folder); err == nil || folder == filepath.Dir(folder) {
			return folder
		}
		folder = filepath.Dir(folder)
	}
}

// Folder looks at a state folder: whether it is there, safe and can be written to.
func Folder(check, folder string) Finding {
	info, err := os.Stat(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Found(check, "%s will be made at the first start", folder)
	case err != nil:
		return Badly(check, "choose another folder with -dir", "%v", err)
	case !info.IsDir():
		return Badly(check, "choose another folder with -dir", "%s is no folder", folder)
	}
	if err := state.Check(folder); err != nil {
		e := proto.AsError(err)
		return Badly(check, e.Hint, "%s", e.Message)
	}
	const canWrite = 2 // access(2), W_OK
	if err := syscall.Access(folder, canWrite); err != nil {
		return Badly(check, "run as its owner, or choose another folder with -dir", "%s cannot be written to: %v", folder, err)
	}
	return Found(check, "%s", folder)
}

// Toolchain looks for the go command. without says what does not work without it.
func Toolchain(ctx context.Context, without string) (found Finding, version string) {
	const check, remedy = "toolchain", "install Go, from https://go.dev/dl, or put it in the PATH"
	path, err := exec.LookPath("go")
	if err != nil {
		return Poorly(check, remedy, "the PATH has no go command; %s", without), ""
	}
	cmd := exec.CommandContext(ctx, path, "env", "GOVERSION") //nolint:gosec // the user's own
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local")
	cmd.Dir = "/"
	out, err := cmd.Output()
	if err != nil {
		return Badly(check, remedy, "%s does not work: %v", path, err), ""
	}
	version = strings.TrimSpace(string(out))
	return Found(check, "%s, %s", version, path), version
}

// Port looks whether an address can be listened on, or who answers there: a program of
// ours is asked how it does. name is the flag of the address.
func Port(ctx context.Context, name, addr, program string) (findings []Finding) {
	l, err := flags.Listen(name, addr)
	if err == nil {
		at := flags.Shown(addr, l, "")
		_ = l.Close()
		return []Finding{Found(name, "%s is free; no %s runs there", at, program)}
	}
	e := proto.AsError(err)
	if !errors.Is(err, proto.ErrConflict) {
		return []Finding{Badly(name, e.Hint, "%s", e.Message)}
	}
	addr = "localhost:" + addr[strings.LastIndex(addr, ":")+1:]
	client := transport.NewAgent(transport.HTTP, addr)
	defer func() { _ = client.Close() }()
	about, err := client.About(ctx)
	if err != nil || about.Program != "" && about.Program != program {
		return []Finding{Badly(name, e.Hint, "%s", e.Message)}
	}
	return Server(name, addr, about)
}
