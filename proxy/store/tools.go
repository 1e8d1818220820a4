package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
)

// What people do with a store that no proxy has open, or with an engine elsewhere, which may
// be in use meanwhile. Each takes a folder for itself: one
// that a process has is an ErrConflict that names the process. A folder without a store is
// an ErrNotFound, except to Import and Restore.

// ErrLost is the error of a store that has lost something.
var ErrLost = proto.Errorf(proto.ErrUnavailable, "the store has lost something").
	WithHint("proxy engine restore goes back to the last export, proxy engine accept goes on with what is there")

// Report is what a store has.
type Report struct {
	Epoch    string
	Records  map[Kind]int
	Blobs    int
	Messages int
	Lost     []string // what was stored and is not there, or not as it was
}

// with calls do with an open session of a folder.
func with(cfg Config, do func(*session) error) error {
	if _, err := os.Stat(filepath.Join(cfg.Dir, dataFolder)); err != nil && cfg.Cluster == nil {
		return proto.Errorf(proto.ErrNotFound, "there is no store in %s", cfg.Dir).WithHint("-dir names the proxy's folder")
	}
	return within(cfg, do)
}

// within is with for a folder that may be empty.
func within(cfg Config, do func(*session) error) error {
	s, err := New(cfg).begin()
	if err != nil {
		return err
	}
	return errors.Join(do(s), s.end())
}

// Examine counts the records. Of a store in a folder it reads those that do not go by
// themselves, and compares them with what was written.
func Examine(ctx context.Context, cfg Config) (r Report, err error) {
	return r, with(cfg, func(s *session) error {
		if !s.many {
			if err := s.verify(ctx); err != nil {
				return err
			}
		}
		r = Report{Epoch: s.epoch, Records: map[Kind]int{}, Lost: s.lost}
		for _, k := range kept {
			n, _, err := s.countRecords(ctx, k.kind)
			if err != nil {
				return err
			}
			switch k.kind {
			case blobNames:
				r.Blobs = n
			case meta, leases:
			default:
				r.Records[k.kind] = n
			}
		}
		info, err := s.queue.Info(ctx)
		if err != nil {
			return err
		}
		r.Messages = int(info.State.Msgs) //nolint:gosec // it counts messages
		return nil
	})
}

// Export writes the records that people and what they wish for have made: not calls and
// messages, and of blobs nothing.
func Export(ctx context.Context, cfg Config, w io.Writer) error {
	return with(cfg, func(s *session) error {
		data, err := s.export(ctx)
		if err == nil {
			_, err = w.Write(data)
		}
		return err
	})
}

// Import stores the records of an export, and returns how many were not there. If one is
// there with another value it is an ErrConflict, and nothing is stored, unless replace.
func Import(ctx context.Context, cfg Config, r io.Reader, replace bool) (stored int, err error) {
	records, err := readExport(r)
	if err != nil {
		return 0, err
	}
	return stored, within(cfg, func(s *session) error {
		stored, err = s.load(ctx, records, replace)
		return err
	})
}

// Accept lets a store that has lost something be changed again, as it is. One that has
// records which cannot be read is an ErrConflict: only Restore helps.
func Accept(ctx context.Context, cfg Config) (lost []string, err error) {
	return lost, with(cfg, func(s *session) error {
		lost, s.lost = s.lost, nil
		if err := s.verify(ctx); err != nil {
			return err
		}
		if len(s.lost) > 0 {
			return proto.Errorf(proto.ErrConflict, "%v", s.mended()).WithHint("proxy engine restore goes back to the last export")
		}
		for name := range s.written.at {
			is, err := s.js.Stream(ctx, name)
			if err != nil {
				return err
			}
			s.written.at[name], s.written.changed = is.CachedInfo().State.LastSeq, true
		}
		return nil
	})
}

// Restore begins a store anew with the records of an export: that of a path, or the last one
// that the store has made. What it had is set aside. It returns the export, where what was
// there is now, and how many records there are.
func Restore(ctx context.Context, cfg Config, path string) (from, aside string, stored int, err error) {
	dir, err := state.Open(cfg.Dir)
	if err != nil {
		return "", "", 0, err
	}
	from = path
	if from == "" {
		list, err := exportsOf(dir.Path(exportFolder))
		if err == nil && len(list) == 0 {
			err = proto.Errorf(proto.ErrNotFound, "the store in %s has made no export", cfg.Dir)
		}
		if err != nil {
			return "", "", 0, errors.Join(err, dir.Close())
		}
		from = list[len(list)-1]
	}
	records, err := exportAt(from)
	if err == nil {
		aside, err = dir.SetAside(dataFolder)
		if errors.Is(err, os.ErrNotExist) {
			aside, err = "", nil
		}
	}
	if err == nil {
		if err = os.Remove(dir.Path(marksFile)); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	if err := errors.Join(err, dir.Close()); err != nil {
		return from, aside, 0, err
	}
	return from, aside, len(records), within(cfg, func(s *session) error {
		_, err := s.load(ctx, records, false)
		return err
	})
}

func exportAt(path string) ([]exportRecord, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	records, err := readExport(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return records, nil
}
