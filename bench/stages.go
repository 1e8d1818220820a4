package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// The parts of a deploy that lie outside the agent.
const (
	sending   = "start of the CLI, pack, upload"
	answering = "switch, answer, end of the CLI"
)

var stageNames = []string{
	sending, proto.StageQueued, proto.StageChecking, proto.StageBuilding, proto.StageStarting, answering,
}

// mark is the moment at which a watcher saw the function enter a stage on an agent;
// the stage is "" when a new version is Deployed.
type mark struct {
	stage string
	at    time.Time
}

// watcher collects the marks of one deploy after another.
type watcher struct {
	marks  chan mark
	cancel context.CancelFunc
	done   chan struct{} // closed when the watch has failed or was canceled
	err    error         // why; set before done is closed
}

func watchStages(ctx context.Context, at *transport.Client) *watcher {
	ctx, cancel := context.WithCancel(ctx)
	// A round makes fewer marks, so the agent never waits for the reader.
	w := &watcher{marks: make(chan mark, 64), done: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(w.done)
		last := map[string]*proto.FunctionJsonRsp{} // by agent
		w.err = at.Watch(ctx, func(e *proto.WatchEvent) error {
			for _, row := range e.GetFunctions() {
				if row.GetName() != function {
					continue
				}
				before := last[row.GetAtAgent()]
				switch status := proto.Status(row.GetStatus()); {
				case e.GetSnapshot(),
					status == proto.Deploying && row.GetStage() != before.GetStage(),
					status == proto.Deployed && row.GetVersion() != before.GetVersion():
					last[row.GetAtAgent()] = row
				default:
					continue
				}
				if !e.GetSnapshot() {
					w.marks <- mark{stage: row.GetStage(), at: time.Now()}
				}
			}
			return nil
		})
	}()
	return w
}

func (w *watcher) close() {
	w.cancel()
	for {
		select {
		case <-w.marks:
		case <-w.done:
			return
		}
	}
}

// deployed returns the marks up to the nth Deployed.
func (w *watcher) deployed(ctx context.Context, n int) ([]mark, error) {
	var marks []mark
	for {
		select {
		case m := <-w.marks:
			marks = append(marks, m)
			if m.stage == "" {
				n--
			}
			if n == 0 {
				return marks, nil
			}
		case <-w.done:
			return nil, fmt.Errorf("watch the agent: %w", w.err)
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(answerLimit):
			return nil, errors.New("the agent did not say that the function is Deployed")
		}
	}
}

// split says how long each part of a deploy took, without stages that were too short
// to be seen. The watcher may see the end later than the CLI.
func split(begun time.Time, marks []mark, until time.Time) map[string]time.Duration {
	parts := map[string]time.Duration{}
	part, since := sending, begun
	for _, m := range marks {
		parts[part] += m.at.Sub(since)
		part, since = m.stage, m.at
		if part == "" {
			part = answering
		}
	}
	parts[part] += max(0, until.Sub(since))
	return parts
}
