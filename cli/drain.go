package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// lookEvery is how often the proxy is asked how far a drain is.
const lookEvery = 300 * time.Millisecond

func (a *app) agentsDrainCommand() *cobra.Command {
	wait := true
	cmd := &cobra.Command{
		Use:   "drain AGENT",
		Short: "moves the functions of an agent to others",
		Long: `
The agent gets no further functions. Each that it has is ready on another agent before it
leaves this one, which finishes the calls that it has. What was deployed to the agent by
name stays, and so does what no other agent can take: that is said, and the exit code is 6.
After agents resume the agent gets functions again; what was moved does not come back by
itself.`,
		Example: "\n  proxyCli agents drain worker-2:9000",
		Args:    exactlyOne("AGENT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			state, err := answer(a, func(client *transport.Client) (*proto.AgentState, error) {
				return client.DrainAgent(cmd.Context(), args[0])
			})
			if err != nil {
				return err
			}
			if !wait {
				a.note("agent %s is drained; proxyCli agents shows how many functions are left", state.GetAddr())
				return nil
			}
			return a.drained(cmd.Context(), state)
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", true, "return when its functions are on other agents")
	return cmd
}

// drained waits until an agent has no functions but those that stay.
func (a *app) drained(ctx context.Context, state *proto.AgentState) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	before := state.GetFunctions()
	for stayed := 0; state.GetFunctions() > 0 && stayed < 2; { // what is tried again may succeed
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		list, err := answer(a, func(client *transport.Client) ([]*proto.AgentState, error) { return client.Agents(ctx) })
		if err != nil {
			return err
		}
		now := (*proto.AgentState)(nil)
		for _, s := range list {
			if s.GetAddr() == state.GetAddr() {
				now = s
			}
		}
		if now == nil || !now.GetDraining() {
			return proto.Errorf(proto.ErrConflict, "agent %s was removed or resumed meanwhile", state.GetAddr())
		}
		if state = now; len(state.GetStays()) >= int(state.GetFunctions()) {
			stayed++
		} else {
			stayed = 0
		}
	}
	for _, why := range state.GetStays() {
		a.note("%s", why)
	}
	left := state.GetFunctions()
	if left > 0 {
		a.note("agent %s keeps %d of its functions", state.GetAddr(), left)
		return reported(exitPartly)
	}
	a.note("agent %s has no functions now; moved: %d", state.GetAddr(), before)
	return nil
}

func (a *app) agentsResumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "resume AGENT",
		Short:   "lets an agent that was drained have functions again",
		Example: "\n  proxyCli agents resume worker-2:9000",
		Args:    exactlyOne("AGENT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			state, err := answer(a, func(client *transport.Client) (*proto.AgentState, error) {
				return client.ResumeAgent(cmd.Context(), args[0])
			})
			if err == nil {
				a.note("agent %s may have functions again", state.GetAddr())
			}
			return err
		},
	}
}
