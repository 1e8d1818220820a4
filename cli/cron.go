package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

func (a *app) cronCommand() *cobra.Command {
	cmd := a.cronListCommand("cron", "shows when schedules call functions, and pauses them", noArgument)
	cmd.AddCommand(a.cronListCommand("ls [NAME]", "shows the schedules of functions, or the last runs of one", atMostOne("NAME")),
		a.cronRunCommand(), a.cronPauseCommand(), a.cronResumeCommand())
	return cmd
}

func (a *app) cronListCommand(use, short string, args cobra.PositionalArgs) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Long: `
Prints each function that is called by a schedule: when next, and what came of the last
run. Of one function it prints the last runs, the newest first, with the calls that they
are: proxyCli calls show tells more of a call.`,
		Example: `
  proxyCli cron
  proxyCli cron ls HelloWorld`,
		Args:              args,
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			list, err := answer(a, func(client *transport.Client) ([]*proto.FunctionSchedule, error) {
				return client.Schedules(cmd.Context(), name)
			})
			switch {
			case err != nil:
				return err
			case a.output == "json":
				return printList(a, list)
			case name != "":
				return a.printRuns(list)
			}
			return a.printSchedules(list)
		},
	}
}

func (a *app) printSchedules(list []*proto.FunctionSchedule) error {
	if len(list) == 0 {
		a.note(`no function has a schedule; deploy one with -schedule "30 2 * * *", for example`)
		return nil
	}
	rows := [][]string{{"NAME", "SCHEDULE", "ZONE", "NEXT", "LAST", "STATE"}}
	for _, s := range list {
		last, state := "", ""
		if len(s.GetRuns()) > 0 {
			last, state = ago(s.GetRuns()[0].GetTime()), s.GetRuns()[0].GetState()
		}
		rows = append(rows, []string{s.GetName(), s.GetSchedule(), s.GetTimezone(), nextRun(s), last, state})
	}
	if err := a.printTable(rows, "ZONE"); err != nil {
		return err
	}
	a.explain(list)
	return nil
}

// nextRun says when a schedule calls its function next.
func nextRun(s *proto.FunctionSchedule) string {
	next, err := time.Parse(time.RFC3339, s.GetNext())
	switch {
	case s.GetPaused():
		return "paused"
	case err != nil:
		return ""
	}
	return "in " + span(max(time.Until(next), 0))
}

// explain says why functions are not called.
func (a *app) explain(list []*proto.FunctionSchedule) {
	for _, s := range list {
		if s.GetError() != "" {
			a.note("%s is not called: %s", s.GetName(), s.GetError())
		}
	}
}

func (a *app) printRuns(list []*proto.FunctionSchedule) error {
	rows := [][]string{{"TIME", "STATE", "CALL", "ERROR"}}
	for _, s := range list {
		for _, r := range s.GetRuns() {
			state := r.GetState()
			if r.GetAsked() {
				state += ", by hand"
			}
			rows = append(rows, []string{r.GetTime(), state, r.GetCall(), r.GetError()})
		}
		if next := nextRun(s); next != "" {
			a.note("%s: %s in %s; next: %s", s.GetName(), s.GetSchedule(), s.GetTimezone(), next)
		}
	}
	a.explain(list)
	if len(rows) == 1 {
		a.note("there was no run yet")
		return nil
	}
	return a.printTable(rows, "ERROR")
}

func (a *app) cronRunCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run NAME…",
		Short: "calls functions as their schedules do, now",
		Long: `
Prints the id of each call, which proxyCli calls show tells more of. It calls functions
too whose schedules are paused. With overlap forbid, it is refused while the run before
goes on.`,
		Example:           "\n  proxyCli cron run HelloWorld",
		Args:              atLeastOne("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return tryEach(args, func(name string) error {
				ran, err := answer(a, func(client *transport.Client) (*proto.ScheduleRun, error) {
					return client.RunSchedule(cmd.Context(), name)
				})
				switch {
				case err != nil:
					return err
				case a.output == "json":
					return a.printMessage(ran)
				}
				_, err = a.stdout.Write([]byte(clean(ran.GetCall()) + "\n"))
				return err
			})
		},
	}
}

func (a *app) cronPauseCommand() *cobra.Command {
	return a.cronChange(&cobra.Command{
		Use:   "pause NAME…",
		Short: "keeps schedules from calling their functions",
		Long: `
The functions themselves go on; deploys leave the schedule paused. Runs that are under way
finish.`,
		Example: "\n  proxyCli cron pause HelloWorld",
	}, (*transport.Client).PauseSchedule)
}

func (a *app) cronResumeCommand() *cobra.Command {
	return a.cronChange(&cobra.Command{
		Use:     "resume NAME…",
		Short:   "lets paused schedules call their functions again",
		Long:    "\nRuns that were paused are not made up for.",
		Example: "\n  proxyCli cron resume HelloWorld",
	}, (*transport.Client).ResumeSchedule)
}

// cronChange completes a command that changes schedules.
func (a *app) cronChange(cmd *cobra.Command, do func(*transport.Client, context.Context, string) (*proto.FunctionSchedule, error)) *cobra.Command {
	cmd.Args, cmd.ValidArgsFunction = atLeastOne("NAME"), a.completeNames
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var list []*proto.FunctionSchedule
		err := tryEach(args, func(name string) error {
			is, err := answer(a, func(client *transport.Client) (*proto.FunctionSchedule, error) {
				return do(client, cmd.Context(), name)
			})
			if err == nil {
				list = append(list, is)
			}
			return err
		})
		if len(list) == 0 {
			return err
		}
		if a.output == "json" {
			return errors.Join(printList(a, list), err)
		}
		return errors.Join(a.printSchedules(list), err)
	}
	return cmd
}
