package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// outsider is a program of somebody else: it imports transport as any module can,
// and sees the servers as any gRPC client does.
const outsider = `package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if args[0] == "grpc" {
		return generic(ctx, args[1])
	}
	return session(ctx, transport.Kind(args[0]), args[1], args[2], args[3])
}

func session(ctx context.Context, kind transport.Kind, addr, agent, dir string) error {
	var cli transport.Interface
	cli = transport.NewAgent(kind, addr)
	rows, err := cli.Deploy(ctx, &proto.FunctionJson{Name: "HelloWorld", Dir: dir, ToAgent: []string{agent}, Wait: true})
	if err != nil {
		return err
	}
	url := rows[0].GetUrl()
	fmt.Println(len(rows), rows[0].GetName(), rows[0].GetStatus(), rows[0].GetAtAgent() == agent)
	listed, err := cli.List(ctx, agent)
	if err != nil {
		return err
	}
	all, err := cli.Details(ctx)
	if err != nil {
		return err
	}
	fmt.Println(len(listed), listed[0].GetUrl() == url, len(all), all[0].GetUrl() == url)
	logs, err := cli.Log(ctx, "HelloWorld")
	if err != nil {
		return err
	}
	fmt.Print(logs.GetLogs())
	stop := errors.New("enough")
	err = cli.Watch(ctx, func(ev *proto.WatchEvent) error {
		fmt.Println("snapshot", ev.GetSnapshot(), len(ev.GetFunctions()))
		return stop
	})
	if !errors.Is(err, stop) {
		return err
	}
	row, err := cli.Stop(ctx, "HelloWorld")
	if err != nil {
		return err
	}
	fmt.Println(row.GetName(), row.GetStatus())
	_, err = cli.Stop(ctx, "HelloWorld")
	fmt.Println(errors.Is(err, proto.ErrNotFound))
	_, err = cli.Deploy(ctx, &proto.FunctionJson{Name: "not exported", Dir: dir})
	fmt.Println(errors.Is(err, proto.ErrInvalid))
	_, err = transport.NewAgent(kind, "no address").Details(ctx) // the first call says so
	fmt.Println(errors.Is(err, proto.ErrInvalid))
	_, err = transport.NewAgent(kind, "localhost:1").Details(ctx)
	fmt.Println(errors.Is(err, proto.ErrUnavailable))
	return nil
}

func generic(ctx context.Context, addr string) error {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, service := range []string{"", "ryofaas.v1.Functions"} {
		state, err := health.NewHealthClient(conn).Check(ctx, &health.HealthCheckRequest{Service: service})
		if err != nil {
			return err
		}
		fmt.Println(state.GetStatus())
	}
	info, err := reflection.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		return err
	}
	for _, req := range []*reflection.ServerReflectionRequest{
		{MessageRequest: &reflection.ServerReflectionRequest_ListServices{}},
		{MessageRequest: &reflection.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "ryofaas.v1.Functions"}},
	} {
		if err := info.Send(req); err != nil {
			return err
		}
		answer, err := info.Recv()
		if err != nil {
			return err
		}
		for _, s := range answer.GetListServicesResponse().GetService() {
			fmt.Println("service", s.GetName())
		}
		fmt.Println("files", len(answer.GetFileDescriptorResponse().GetFileDescriptorProto()))
	}
	return nil
}
`

// A module of its own, anywhere, can import transport and do what the command
// line does.
func TestAnotherModule(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root := repository(t)
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	require.NoError(t, err)
	// The versions are those of the checkout, so that nothing has to be fetched.
	require.Regexp(t, `^module github.com/Ishan27g/ryo-faas\n`, string(mod))
	mod = regexp.MustCompile(`(?s)\ntool \(.*?\n\)\n`).ReplaceAll(mod, nil)
	write(t, dir, map[string]string{
		"go.mod": "module example.com/outside\n\nrequire github.com/Ishan27g/ryo-faas v0.0.0\n\nreplace github.com/Ishan27g/ryo-faas => " + root + "\n" +
			string(mod[len("module github.com/Ishan27g/ryo-faas\n"):]),
		"go.sum":  string(sum),
		"main.go": outsider,
	})
	outside := filepath.Join(dir, "outside")
	build := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-o", outside, ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOPROXY=off")
	said, err := build.CombinedOutput()
	require.NoError(t, err, "%s", said)
	run := func(t *testing.T, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), outside, args...)
		cmd.Dir = t.TempDir()
		said, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", said)
		return string(said)
	}

	s := startStack(t)
	hello := filepath.Join(root, "example", "hello")
	for i, d := range s.doors() {
		t.Run(d.name, func(t *testing.T) {
			assert.Equal(t, `1 HelloWorld Deployed true
1 true 1 true
`+strings.Repeat("deploying at /helloworld\n", i+1)+`snapshot true 1
HelloWorld Stopped
true
true
true
true
`, run(t, d.kind, d.addr, s.agent.addr, hello))
			if d.kind != "rpc" {
				return
			}
			said := run(t, "grpc", d.addr)
			assert.Regexp(t, `^SERVING\nSERVING\n`, said)
			for _, service := range []string{"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "ryofaas.v1.Functions"} {
				assert.Contains(t, said, "service "+service+"\n")
			}
			assert.Regexp(t, `files [1-9]\n$`, said)
		})
	}
}
