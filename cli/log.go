package cli

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

func (a *app) logCommand() *cobra.Command {
	q := &query{req: &proto.LogsRequest{}, until: map[string]time.Time{}}
	cmd := &cobra.Command{
		Use:   "log NAME",
		Short: "prints what a function printed",
		Long: `
Without flags it prints the end of what the function's processes have printed, byte
for byte. With flags it prints the lines that they select, oldest first; if the
function runs on several agents, each line begins with the agent's address. With
-o json each line is a JSON object.

-f goes on until you press Ctrl-C or the function is stopped. If the
connection fails it connects again, and prints no line twice.

Each call has an id, the X-Request-Id of its answer. -id finds lines that are JSON
with this id as execution_id, which the log package of functions-framework-go writes.`,
		Example: `
  proxyCli log HelloWorld
  proxyCli log HelloWorld -f -tail 20
  proxyCli log HelloWorld -since 10m -grep error -t`,
		Args:              exactlyOne("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("tail") && q.req.GetTail() == 0 {
				q.begun = time.Now()
			}
			for _, name := range []string{"follow", "since", "tail", "grep", "id", "version", "timestamps"} {
				if cmd.Flags().Changed(name) {
					q.req.Name = args[0]
					return a.query(cmd.Context(), q)
				}
			}
			return a.logs(cmd.Context(), args)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.BoolVarP(&q.req.Follow, "follow", "f", false, "go on with the lines that are printed from now on")
	fs.StringVar(&q.req.Since, "since", "", "`TIME` lines since that time (RFC 3339), or since a duration ago, such as 10m")
	fs.Uint32VarP(&q.req.Tail, "tail", "n", 0, "`N` only the last N lines (default: all); with 0, only new ones of -f")
	fs.StringVar(&q.req.Grep, "grep", "", "`TEXT` lines that contain this text")
	fs.StringVar(&q.req.Id, "id", "", "`ID` lines of the call with this id")
	fs.Uint32Var(&q.req.Version, "version", 0, "`N` lines of this version")
	fs.BoolVarP(&q.timestamps, "timestamps", "t", false, "begin each line with its time")
	return cmd
}

// logs prints what the functions printed, byte for byte.
func (a *app) logs(ctx context.Context, names []string) error {
	for _, name := range names {
		if a.output == "json" { // line by line, as with flags
			q := &query{req: &proto.LogsRequest{Name: name}, until: map[string]time.Time{}}
			if err := a.query(ctx, q); err != nil {
				return err
			}
			continue
		}
		logs, err := answer(a, func(client *transport.Client) (*proto.FunctionLogs, error) { return client.Log(ctx, name) })
		if err != nil {
			return err
		}
		if logs.GetTruncated() {
			a.note("the log is longer; this is its last part")
		}
		if _, err := io.WriteString(a.stdout, a.printed(logs.GetLogs())); err != nil {
			return err
		}
	}
	return nil
}

// query prints the lines that q asks for. If a call has no line, its function may log
// no ids, which is said.
func (a *app) query(ctx context.Context, q *query) error {
	if !q.begun.IsZero() && !q.req.GetFollow() {
		return a.noLines(ctx, q)
	}
	err := a.ask(func(client *transport.Client) error { return a.lines(ctx, client, q) })
	if err == nil && q.req.GetId() != "" && len(q.until) == 0 {
		a.note("no line has the id %s; proxyCli log -help says which lines have one", q.req.GetId())
	}
	return err
}

// noLines asks for a line and prints none: the log may not exist.
func (a *app) noLines(ctx context.Context, q *query) error {
	q.req.Tail = 1
	return a.ask(func(client *transport.Client) error {
		return client.Logs(ctx, q.req, func(*proto.LogLines) error { return nil })
	})
}

// query asks for lines of a log, and knows which of them came.
type query struct {
	req        *proto.LogsRequest
	timestamps bool
	agents     int       // number of agents that run the function
	begun      time.Time // lines before are not wanted; zero: they are

	// until is the time of the last line of each agent. Times of one function on one
	// agent rise strictly, so the next lines are those after it.
	until map[string]time.Time
}

// reconnect is the wait before another connection, after one has failed.
const reconnect = time.Second

// lines prints the lines that q asks for. Following goes on over connections that
// fail, unless the first one does.
func (a *app) lines(ctx context.Context, client transport.Interface, q *query) error {
	if err := q.find(ctx, client); err != nil {
		return err
	}
	for failed := false; ; {
		err := client.Logs(ctx, q.next(), func(batch *proto.LogLines) error {
			failed = false
			return a.printLines(q, batch)
		})
		switch {
		case ctx.Err() != nil && q.req.GetFollow():
			return reported(exitInterrupted) // the only way to stop it
		case err == nil || !q.req.GetFollow() || !errors.Is(err, proto.ErrUnavailable):
			return err
		case !failed:
			a.note("%s; trying again", firstLine(err.Error()))
		}
		failed = true
		select {
		case <-ctx.Done():
		case <-time.After(reconnect):
		}
	}
}

// find sets how many agents run the function.
func (q *query) find(ctx context.Context, client transport.Interface) error {
	rows, err := client.Details(ctx)
	if err != nil {
		return err
	}
	agents := map[string]bool{}
	for _, r := range rows {
		if proto.Path(r.GetName()) == proto.Path(q.req.GetName()) {
			agents[r.GetAtAgent()] = true
		}
	}
	q.agents = len(agents)
	return nil
}

// next is the request for the lines that have not come yet: those after the oldest
// time of until. printLines drops what comes again of the other agents. If an agent
// has sent nothing yet, its lines may be older than that, so the whole request is
// repeated, except for a tail.
func (q *query) next() *proto.LogsRequest {
	if !q.begun.IsZero() { // as a duration, since the clocks of agents differ
		q.req.Since = time.Since(q.begun).String()
	}
	if len(q.until) == 0 || len(q.until) < q.agents && q.req.GetTail() == 0 {
		return q.req
	}
	req := protobuf.CloneOf(q.req)
	oldest := slices.MinFunc(slices.Collect(maps.Values(q.until)), time.Time.Compare)
	req.Since, req.Tail = oldest.Format(time.RFC3339Nano), 0
	return req
}

// printLines prints those lines of a batch that have not come yet.
func (a *app) printLines(q *query, batch *proto.LogLines) error {
	if batch.GetLost() > 0 {
		a.note("%d lines were lost", batch.GetLost())
	}
	var b strings.Builder
	for _, line := range batch.GetLines() {
		at, err := time.Parse(time.RFC3339, line.GetTime())
		switch {
		case err != nil: // until cannot hold it
		case !at.After(q.until[line.GetAtAgent()]):
			continue
		default:
			q.until[line.GetAtAgent()] = at
		}
		if a.output == "json" {
			data, err := wire.Encode(line)
			if err != nil {
				return err
			}
			b.Write(append(data, '\n'))
			continue
		}
		if q.agents > 1 {
			b.WriteString(line.GetAtAgent() + "  ")
		}
		if q.timestamps {
			b.WriteString(line.GetTime() + "  ")
		}
		b.WriteString(a.printed(line.GetText()) + "\n")
	}
	_, err := io.WriteString(a.stdout, b.String())
	return err
}
