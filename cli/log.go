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

-f goes on until you press Ctrl-C or the function is stopped. It connects again if
the connection is lost, and prints no line twice.

Each call has an id, the X-Request-Id of its answer. -id finds lines that are JSON
with this id as execution_id, which the log package of functions-framework-go writes.`,
		Example: `
  proxyCli log HelloWorld
  proxyCli log HelloWorld -f -tail 20
  proxyCli log HelloWorld -since 10m -grep error -t`,
		Args:              oneName,
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
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
	fs.Uint32VarP(&q.req.Tail, "tail", "n", 0, "`N` only the last N lines (default: all)")
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
		logs, err := answer(a, func(client transport.Interface) (*proto.FunctionLogs, error) { return client.Log(ctx, name) })
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

// query prints the lines that q asks for. That a call has none may mean that its
// function logs no ids, so that is said.
func (a *app) query(ctx context.Context, q *query) error {
	err := a.ask(func(client transport.Interface) error { return a.lines(ctx, client, q) })
	if err == nil && q.req.GetId() != "" && len(q.until) == 0 {
		a.note("no line has the id %s; proxyCli log -help says which lines have one", q.req.GetId())
	}
	return err
}

// query asks for lines of a log, and knows which of them came.
type query struct {
	req        *proto.LogsRequest
	timestamps bool
	agents     int // that the function runs on

	// The time of the last line that came of each agent. Times of one function on one
	// agent rise strictly, so this is where to go on.
	until map[string]time.Time
}

// reconnect is the wait before a connection is made again that was lost.
const reconnect = time.Second

// lines prints the lines that q asks for. To follow goes on over connections that
// are lost, but not when there was none to begin with.
func (a *app) lines(ctx context.Context, client transport.Interface, q *query) error {
	if err := q.find(ctx, client); err != nil {
		return err
	}
	for lost := false; ; {
		err := client.Logs(ctx, q.next(), func(batch *proto.LogLines) error {
			lost = false
			return a.printLines(q, batch)
		})
		switch {
		case ctx.Err() != nil && q.req.GetFollow():
			return reported(exitInterrupted) // which is how to end it
		case err == nil || !q.req.GetFollow() || !errors.Is(err, proto.ErrUnavailable):
			return err
		case !lost:
			a.note("%s; trying again", firstLine(err.Error()))
		}
		lost = true
		select {
		case <-ctx.Done():
		case <-time.After(reconnect):
		}
	}
}

// find finds out from how many agents lines come.
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

// next is the request for the lines that have not come yet. One time serves all
// agents: what came of them after it comes again, and is known by until. While
// nothing came of an agent, what comes next of it may be older than that time,
// unless it was the last lines that were asked for.
func (q *query) next() *proto.LogsRequest {
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
		case err != nil: // of no use as a place to go on from
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
