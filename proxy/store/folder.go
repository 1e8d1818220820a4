package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/Ishan27g/ryo-faas/internal/state"
)

// unlock opens a session of an engine in this process.
func (e *Engine) unlock(ctx context.Context) (_ *session, err error) {
	s := newSession(e.logger)
	dir, err := state.Open(e.cfg.Dir)
	if err != nil {
		return nil, err
	}
	if s.dir, s.room = dir, dir.Room; e.cfg.room != nil {
		s.room = e.cfg.room
	}
	if err := s.staysHere(); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	server, err := runServer(options(dir.Path(dataFolder)), e.logger, s.fail)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the store %s: %w", e.cfg.Dir, err), dir.Close())
	}
	s.place = "the store in " + e.cfg.Dir
	s.close = func() error {
		if err := server.stop(); err != nil {
			return fmt.Errorf("close the store %s: %w", e.cfg.Dir, err) // it stays locked until this process ends
		}
		return dir.Close()
	}
	s.conn, err = server.connect()
	if err == nil {
		s.js, err = jetstream.New(s.conn, jetstream.WithDefaultTimeout(answerLimit))
	}
	if err == nil {
		err = s.compare(ctx)
	}
	if err == nil {
		err = s.prepare(ctx, 1, e.cfg.Backlog)
	}
	if err == nil {
		err = s.release(ctx)
	}
	if err != nil {
		return nil, errors.Join(fault("open the store "+e.cfg.Dir, err), s.end())
	}
	return s, nil
}

// release lets messages be handed out again that a process had taken which was killed: no
// other process has this folder. Otherwise they would hold places until redelivery.
func (s *session) release(ctx context.Context) error {
	names := s.queue.ConsumerNames(ctx)
	for name := range names.Name() {
		if err := s.queue.DeleteConsumer(ctx, name); err != nil {
			return err
		}
	}
	return names.Err()
}
