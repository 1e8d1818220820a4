package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// The parts of a deploy that lie outside the agent.
const (
	sending   = "start of the CLI, pack, upload"
	answering = "switch, answer, end of the CLI"
)

var stageNames = []string{
	sending, proto.StageQueued, proto.StageChecking, proto.StageBuilding, proto.StageStarting, answering,
}

// mark is the moment at which a watcher of the agent saw the function enter a
// stage; the stage is "" for Deployed.
type mark struct {
	stage string
	at    time.Time
}

// watcher collects the marks of one deploy after another.
type watcher struct {
	marks chan mark
	stop  context.CancelFunc
	done  chan struct{} // closed when the watch has ended
	err   error         // why; to be read after done
}

func (s *stack) watchStages(ctx context.Context) *watcher {
	ctx, stop := context.WithCancel(ctx)
	// More than one round makes, so the agent never waits for the reader.
	w := &watcher{marks: make(chan mark, 64), done: make(chan struct{}), stop: stop}
	go func() {
		defer close(w.done)
		var last mark
		w.err = s.atAgent.Watch(ctx, func(e *proto.WatchEvent) error {
			for _, row := range e.GetFunctions() {
				m := mark{stage: row.GetStage(), at: time.Now()}
				switch status := proto.Status(row.GetStatus()); {
				case e.GetSnapshot() || row.GetName() != function:
					continue
				case status == proto.Deploying && m.stage != last.stage, status == proto.Deployed && last.stage != "":
					last = m
					w.marks <- m
				}
			}
			return nil
		})
	}()
	return w
}

func (w *watcher) close() {
	w.stop()
	for {
		select {
		case <-w.marks:
		case <-w.done:
			return
		}
	}
}

// deployed returns the marks up to the next Deployed.
func (w *watcher) deployed(ctx context.Context) ([]mark, error) {
	var marks []mark
	for {
		select {
		case m := <-w.marks:
			if marks = append(marks, m); m.stage == "" {
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

// split says how long each part of a deploy took. A stage that was too short to
// be seen is left out. The watcher may hear of the end after the CLI did.
func split(begun time.Time, marks []mark, ended time.Time) map[string]time.Duration {
	parts := map[string]time.Duration{}
	part, since := sending, begun
	for _, m := range marks {
		parts[part] += m.at.Sub(since)
		part, since = m.stage, m.at
		if part == "" {
			part = answering
		}
	}
	parts[part] += max(0, ended.Sub(since))
	return parts
}
