package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/cmd/flags"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/confine"
	"github.com/Ishan27g/ryo-faas/transport"
)

// Main is the program agent. It returns the exit code. It is also the launcher of
// package confine, which the agent starts it as: it must be called first of all.
func Main(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	if code, launcher := confine.Main(args); launcher {
		return code
	}
	set := flags.New("agent", "builds and runs Go functions on this machine", stdout, stderr)
	port := set.String("port", ":9000", "`address` to serve gRPC and HTTP on")
	dir := set.String("dir", flags.StateDir(), "state `folder`; the agent uses agent in it")
	ports := set.String("ports", DefaultPorts, "`range` of the functions' ports")
	host := set.String("host", "", "`name` by which other machines reach this agent")
	cache := set.String("cache", "", "`folder` of the build cache, which agents may share (default cache in the agent's folder)")
	sourceRoot := set.String("source-root", "", "`folder` below which callers of other machines may name a dir to deploy")
	insecure := set.Bool("insecure", false, "serve callers of other machines too, without credentials")
	if code, ok := set.Parse(args[1:]); !ok {
		return code
	}
	if *dir == "" {
		return set.Failf("there is no home folder for the state; give -dir")
	}
	if !strings.Contains(*port, ":") {
		*port = ":" + *port
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	err := serve(ctx, serving{
		listen: *port, insecure: *insecure, sourceRoot: *sourceRoot, stdout: stdout,
		agent: Config{
			Dir: filepath.Join(*dir, "agent"), Cache: *cache, Host: *host, Ports: *ports, Expose: *insecure && *host != "",
			Logger: hclog.New(&hclog.LoggerOptions{Name: "agent", Output: stderr, Level: hclog.Info}),
		},
	})
	if err != nil {
		text := proto.AsError(err)
		fmt.Fprintf(stderr, "agent: %s\n", text.Message)
		if text.Hint != "" {
			fmt.Fprintf(stderr, "hint: %s\n", text.Hint)
		}
		return 1
	}
	return 0
}

// serving is what the command line says.
type serving struct {
	agent      Config
	listen     string
	insecure   bool
	sourceRoot string
	stdout     io.Writer
}

// serve runs an agent until ctx ends.
func serve(ctx context.Context, s serving) error {
	listener, err := net.Listen("tcp", s.listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return proto.Errorf(proto.ErrConflict, "the address %s is in use", s.listen).
			WithHint("another agent may be running; choose another address with -port")
	}
	if err != nil {
		return err
	}
	defer listener.Close()
	s.agent.Port = listener.Addr().(*net.TCPAddr).Port
	agent, err := New(s.agent)
	if err != nil {
		return err
	}
	log := s.agent.Logger
	tell(log, agent.Layers())
	if s.insecure {
		log.Warn("INSECURE: anyone who can reach this agent can run code on this machine", "address", listener.Addr())
	} else if s.agent.Host != "" {
		log.Warn("callers of other machines are refused, since there are no credentials yet; -insecure lets them in", "host", s.agent.Host)
	}
	fmt.Fprintf(s.stdout, "HTTP started on %s\n", shown(s.listen, listener))
	fmt.Fprintf(s.stdout, "GRPC server started on %s\n", listener.Addr())

	// Whichever of the two ends first ends the other.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 2)
	go func() { defer cancel(); ended <- agent.Run(ctx) }()
	go func() {
		defer cancel()
		ended <- transport.Serve(ctx, agent, agent.Store(), transport.ServerConfig{
			Listeners: []net.Listener{listener}, Insecure: s.insecure, Hosts: hosts(s.agent.Host),
			SourceRoot: s.sourceRoot, Ready: agent.Ready, About: map[string]any{"buildIsolation": agent.Layers()}, Logger: log.Named("transport"),
		})
	}()
	return errors.Join(<-ended, <-ended)
}

// tell logs what confines builds on this machine, and what is missing with the way
// to have it.
func tell(log hclog.Logger, layers []confine.Layer) {
	var states []any
	for _, layer := range layers {
		states = append(states, layer.Name, layer.State)
	}
	log.Info("builds are confined by", states...)
	for _, layer := range layers {
		if layer.State != confine.On {
			log.Warn("builds are confined less than they could be", "layer", layer.Name, "state", layer.State, "reason", layer.Reason, "remedy", layer.Remedy)
		}
	}
}

// shown is the address as the user wrote it, with the port that port 0 became.
func shown(listen string, l net.Listener) string {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return l.Addr().String()
	}
	return fmt.Sprintf("%s:%d", host, l.Addr().(*net.TCPAddr).Port)
}

func hosts(host string) []string {
	if host == "" {
		return nil
	}
	return []string{host}
}
