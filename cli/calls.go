package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// callStates are the states of calls that are made later.
var callStates = []string{"queued", "delayed", "running", "failed", "done", "dead", "canceled"}

func (a *app) callsCommand() *cobra.Command {
	cmd := a.callsListCommand("calls", "shows and cancels calls of /async, tries dead ones again")
	cmd.AddCommand(a.callsListCommand("ls", "shows calls of /async"), a.callsShowCommand(), a.callsCancelCommand(),
		a.deadCommand("redrive", "tries dead calls again", "in the queue again", (*transport.Client).RedriveCalls),
		a.deadCommand("purge", "removes dead calls", "removed", (*transport.Client).PurgeCalls), a.callsSecretCommand())
	return cmd
}

func (a *app) callsListCommand(use, short string) *cobra.Command {
	var req proto.CallsRequest
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Long: `
Prints calls of /async, the newest first. What became of a call is known for a day after
its last change, and of one that is dead, which nobody tries again, for a week.`,
		Example: `
  proxyCli calls
  proxyCli calls -function HelloWorld -state dead
  proxyCli calls -limit 1000 -after c_Aaeh3aVx…`,
		Args: noArgument,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := answer(a, func(client *transport.Client) ([]*proto.Call, error) { return client.Calls(cmd.Context(), &req) })
			if err != nil {
				return err
			}
			if err := a.printCalls(list); err != nil {
				return err
			}
			if len(list) > 0 && len(list) == int(req.GetLimit()) {
				a.note("for those before them, add -after %s", list[len(list)-1].GetId())
			}
			return nil
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&req.Function, "function", "", "`NAME` calls of one function")
	fs.StringVar(&req.State, "state", "", "`STATE` calls in one state: "+strings.Join(callStates, ", "))
	fs.Uint32Var(&req.Limit, "limit", 100, "`N` at most so many, up to 1000")
	fs.StringVar(&req.After, "after", "", "`ID` those that follow a call, the last one of a list")
	offer(cmd, "state", callStates...)
	_ = cmd.RegisterFlagCompletionFunc("function", a.completeNames) // it fails for unknown flags alone
	return cmd
}

func (a *app) printCalls(list []*proto.Call) error {
	if a.output == "json" {
		return printList(a, list)
	}
	if len(list) == 0 {
		a.note("there is no such call; proxyCli invoke -async makes one")
		return nil
	}
	rows := [][]string{{"ID", "FUNCTION", "STATE", "ACCEPTED", "TRIED", "STATUS", "ERROR"}}
	for _, c := range list {
		status := ""
		if c.GetStatus() > 0 {
			status = strconv.FormatUint(uint64(c.GetStatus()), 10)
		}
		rows = append(rows, []string{
			c.GetId(), c.GetFunction(), c.GetState(), ago(c.GetAccepted()), strconv.FormatUint(uint64(c.GetTried()), 10), status, firstLine(c.GetError()),
		})
	}
	return a.printTable(rows, "ERROR", "STATUS")
}

func (a *app) callsShowCommand() *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "shows a call with its attempts and its answer",
		Long: `
Prints what is known of a call: when it was accepted and made, what came of each attempt
(the last ten), how often it was redriven, its answer, and what became of its callback.
Then the lines that the function printed about it go to stderr, the last 100 at most, of
all attempts: those that are JSON with the call's id, as proxyCli log -help says.`,
		Example: `
  proxyCli calls show c_Aaeh3aVx… -wait 1m
  proxyCli calls show c_Aaeh3aVx… -o json`,
		Args: exactlyOne("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := answer(a, func(client *transport.Client) (*proto.Call, error) {
				return waitFor(cmd.Context(), client, args[0], wait)
			})
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printMessage(c)
			}
			if _, err = io.WriteString(a.stdout, about(c)); err != nil {
				return err
			}
			a.linesOfLater(cmd.Context(), c)
			return nil
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 0, "`DURATION` wait so long for the end of the call")
	return cmd
}

// waitFor returns what became of a call. It waits for the call's end, but no longer than
// limit.
func waitFor(ctx context.Context, client *transport.Client, id string, limit time.Duration) (*proto.Call, error) {
	for end := time.Now().Add(limit); ; {
		left := max(0, time.Until(end))
		c, err := client.Call(ctx, id, min(left, time.Minute))
		if err != nil || ended(c) || left == 0 {
			return c, err
		}
	}
}

// ended reports whether a call is not tried any more.
func ended(c *proto.Call) bool {
	return c.GetState() == "done" || c.GetState() == "dead" || c.GetState() == "canceled"
}

// about is what people are told of a call.
func about(c *proto.Call) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-9s %s\n", name, clean(fmt.Sprintf(format, args...)))
	}
	line("id", "%s", c.GetId())
	line("function", "%s", c.GetFunction())
	line("state", "%s", c.GetState())
	line("call", "%s %s", c.GetMethod(), cmp.Or(c.GetPath(), "/"))
	if p := c.GetPriority(); p != "" && p != "normal" {
		line("priority", "%s", p)
	}
	for _, t := range [][2]string{{"accepted", c.GetAccepted()}, {"due", c.GetNotBefore()}, {"next", c.GetNext()}, {"ended", c.GetEnded()}, {"error", c.GetError()}} {
		if t[1] != "" {
			line(t[0], "%s", t[1])
		}
	}
	for _, t := range c.GetAttempts() {
		line("attempt", "%d  %s  %s  %s  %s", t.GetNumber(), t.GetTime(), cmp.Or(t.GetTook(), "runs"), status(t.GetStatus()), t.GetError())
	}
	if n := c.GetRedriven(); n > 0 {
		line("redriven", "%d times", n)
	}
	if cb := c.GetCallback(); cb != nil {
		line("callback", "%s  %s after %d attempts  %s", cb.GetUrl(), cb.GetState(), cb.GetTried(), cb.GetError())
	}
	if c.GetStatus() > 0 {
		line("answer", "%s, %d bytes, at %s", status(c.GetStatus()), c.GetSize(), cmp.Or(c.GetResult(), nothing))
	}
	if text := c.GetBody(); text != "" {
		for l := range strings.Lines(text) {
			b.WriteString("  " + clean(strings.TrimRight(l, "\r\n")) + "\n")
		}
	}
	return b.String()
}

func status(code uint32) string {
	if code == 0 {
		return "no answer"
	}
	return strconv.FormatUint(uint64(code), 10)
}

func (a *app) callsCancelCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel ID…",
		Short: "cancels calls that have not ended, running or not",
		Long: `
A call that has not begun is not made. If one runs, its function is told that the caller
is gone, as when a caller who waits leaves.`,
		Example: "\n  proxyCli calls cancel c_Aaeh3aVx…",
		Args:    atLeastOne("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return tryEach(args, func(id string) error {
				c, err := answer(a, func(client *transport.Client) (*proto.Call, error) { return client.CancelCall(cmd.Context(), id) })
				if err == nil {
					a.note("call %s of %s is canceled", c.GetId(), c.GetFunction())
				}
				return err
			})
		},
	}
}

// deadCommand does something to dead calls: those named, those of a function, or all.
func (a *app) deadCommand(use, short, did string, do func(*transport.Client, context.Context, *proto.DeadCalls) (int, error)) *cobra.Command {
	var function string
	var all bool
	cmd := &cobra.Command{
		Use:   use + " [ID…]",
		Short: short,
		Long: `
A call is dead when its function has refused it, or has failed as often, or for as long,
as its settings retries and maxAge say.`,
		Example: fmt.Sprintf(`
  proxyCli calls %[1]s c_Aaeh3aVx…
  proxyCli calls %[1]s -function HelloWorld
  proxyCli calls %[1]s -all`, use),
		RunE: func(cmd *cobra.Command, args []string) error {
			ways := 0
			for _, given := range []bool{len(args) > 0, function != "", all} {
				if given {
					ways++
				}
			}
			if ways != 1 {
				return usagef(cmd, "name calls by their ids, or by -function, or all by -all")
			}
			if len(args) == 0 {
				args = []string{""}
			}
			return tryEach(args, func(id string) error {
				n, err := answer(a, func(client *transport.Client) (int, error) {
					return do(client, cmd.Context(), &proto.DeadCalls{Function: function, Id: id})
				})
				if err == nil {
					a.note("calls %s: %d", did, n)
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&function, "function", "", "`NAME` all dead calls of a function")
	cmd.Flags().BoolVar(&all, "all", false, "all dead calls")
	_ = cmd.RegisterFlagCompletionFunc("function", a.completeNames) // it fails for unknown flags alone
	return cmd
}

func (a *app) callsSecretCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "secret",
		Short: "prints the secret with which callbacks are signed",
		Long: `
The url that a caller gives in X-Ryo-Callback is told the end of its call, in a request
that is signed as Standard Webhooks say. Its receiver verifies the signature with this
secret; a function of yours does with the setting webhook, standard:VARIABLE.`,
		Example: "\n  proxyCli calls secret",
		Args:    noArgument,
		RunE: func(cmd *cobra.Command, _ []string) error {
			secret, err := answer(a, func(client *transport.Client) (string, error) { return client.CallbackSecret(cmd.Context()) })
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(map[string]string{"secret": secret})
			}
			_, err = a.stdout.Write([]byte(secret + "\n"))
			return err
		},
	}
}
