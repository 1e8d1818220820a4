package cli

import (
	"net"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

func (a *app) agentsCommand() *cobra.Command {
	cmd := a.agentsListCommand("agents", "shows agents, lets new ones join, drains and removes old ones")
	cmd.AddCommand(a.agentsListCommand("ls", "shows the agents of a proxy"), a.agentsTokenCommand(), a.agentsDrainCommand(), a.agentsResumeCommand(), a.agentsRmCommand())
	return cmd
}

func (a *app) agentsListCommand(use, short string) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Long: `
Prints each agent: where the proxy reaches it, whether it has joined and is known by
its certificate, whether it answers or is being drained, how many functions it has, what
its machine has, and its labels.`,
		Example: "\n  proxyCli agents",
		Args:    noArgument,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := answer(a, func(client *transport.Client) ([]*proto.AgentState, error) { return client.Agents(cmd.Context()) })
			if err != nil {
				return err
			}
			return a.printAgents(list)
		},
	}
}

func (a *app) printAgents(list []*proto.AgentState) error {
	if a.output == "json" {
		return printList(a, list)
	}
	if len(list) == 0 {
		a.note("the proxy knows no agent; a deploy to one adds it, and proxyCli agents token prints how one joins")
		return nil
	}
	rows := [][]string{{"AGENT", "ID", "JOINED", "STATE", "FUNCTIONS", "PLATFORM", "GO", "MEMORY", "CPUS", "LABELS"}}
	for _, s := range list {
		joined, state := "no", "connected"
		if s.GetJoined() {
			joined = ago(s.GetSince())
		}
		if !s.GetConnected() {
			state = "no answer"
		}
		if s.GetDraining() {
			state += ", draining"
		}
		rows = append(rows, []string{
			s.GetAddr(), s.GetId(), joined, state, strconv.FormatUint(uint64(s.GetFunctions()), 10), s.GetPlatform(), s.GetGoVersion(),
			known(s.GetMemory(), size(int64(s.GetMemory()))), known(s.GetCpus(), strconv.FormatUint(uint64(s.GetCpus()), 10)), proto.LabelsText(s.GetLabels()), //nolint:gosec // no machine has so much
		})
	}
	if err := a.printTable(rows, "CPUS", "MEMORY", "GO", "PLATFORM", "ID"); err != nil {
		return err
	}
	for _, s := range list {
		if !s.GetConnected() {
			a.note("%s", s.GetError())
		}
		for _, why := range s.GetStays() {
			a.note("%s keeps %s", s.GetAddr(), why)
		}
	}
	return nil
}

// known returns a text, or "" for a number that was not told.
func known[N uint32 | uint64](n N, text string) string {
	if n == 0 {
		return ""
	}
	return text
}

func (a *app) agentsTokenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "token",
		Short: "prints the command with which a new agent joins",
		Long: `
Prints one command for the new machine. Its token is good for one agent, for an hour; it
also tells the agent which proxy is the right one. From then on the two know each other
by certificates, and speak TLS.`,
		Example: "\n  proxyCli agents token",
		Args:    noArgument,
		RunE: func(cmd *cobra.Command, _ []string) error {
			made, err := answer(a, func(client *transport.Client) (*proto.NewJoinToken, error) { return client.JoinToken(cmd.Context()) })
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printMessage(made)
			}
			a.note("run this on the new machine, before %s, for one agent; the host is this machine's name", made.GetExpires())
			_, err = a.stdout.Write([]byte("agent -join " + a.reachedBy() + " -token " + made.GetToken() + "\n"))
			return err
		},
	}
}

// reachedBy returns the address by which other machines reach the proxy, as far as this
// one can tell.
func (a *app) reachedBy() string {
	host, port, err := net.SplitHostPort(a.proxy)
	if err != nil {
		return a.proxy
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return a.proxy
	}
	if name, err := os.Hostname(); err == nil {
		host = name
	}
	return net.JoinHostPort(host, port)
}

func (a *app) agentsRmCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rm AGENT…",
		Short: "removes agents from a proxy, by address or id",
		Long: `
The proxy no longer asks the agents, nor calls their functions; the functions
themselves go on. An agent that has joined cannot come back with its certificate: it
needs another token.`,
		Example: "\n  proxyCli agents rm worker-2:9000",
		Args:    atLeastOne("AGENT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return tryEach(args, func(name string) error {
				was, err := answer(a, func(client *transport.Client) (*proto.AgentState, error) {
					return client.RemoveAgent(cmd.Context(), name)
				})
				if err == nil {
					a.note("agent %s is removed; functions that the proxy knew of there: %d", was.GetAddr(), was.GetFunctions())
				}
				return err
			})
		},
	}
}
