package doctor

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"

	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// Version is the finding of the program itself.
func Version(program string) Finding { return Found("version", "%s %s", program, flags.ThisBuild()) }

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
	colon := strings.LastIndex(addr, ":")
	if host := addr[:max(0, colon)]; host == "" || net.ParseIP(strings.Trim(host, "[]")).IsUnspecified() {
		addr = "localhost:" + addr[colon+1:]
	}
	client := transport.NewAgent(transport.HTTP, addr)
	defer func() { _ = client.Close() }()
	about, err := client.About(ctx)
	if err != nil || about.Program != "" && about.Program != program {
		return []Finding{Badly(name, e.Hint, "%s", e.Message)}
	}
	return Server(name, addr, about)
}
