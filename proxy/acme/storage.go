package acme

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

// Files keep an account, keys and certificates where several managers find them. Names are
// segments separated by "/". What is not there is an fs.ErrNotExist.
type Files interface {
	Load(ctx context.Context, name string) (data []byte, stored time.Time, err error)
	Store(ctx context.Context, name string, data []byte) error
	// Delete removes the file of a name, and those below it.
	Delete(ctx context.Context, name string) error
	// List returns the names of the file and those below it, in order.
	List(ctx context.Context, name string) ([]string, error)
	// Lock waits until nobody else has the lock of a name.
	Lock(ctx context.Context, name string) (unlock func(), err error)
}

// storage is certmagic's view of Files.
type storage struct {
	Files

	mu    sync.Mutex // guards the field below:
	locks map[string]func()
}

var _ certmagic.Storage = (*storage)(nil)

func newStorage(files Files) *storage { return &storage{Files: files, locks: map[string]func(){}} }

func (s *storage) Lock(ctx context.Context, name string) error {
	unlock, err := s.Files.Lock(ctx, "lock/"+name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locks[name] = unlock
	return nil
}

func (s *storage) Unlock(_ context.Context, name string) error {
	s.mu.Lock()
	unlock := s.locks[name]
	delete(s.locks, name)
	s.mu.Unlock()
	if unlock == nil {
		return fmt.Errorf("nobody has the lock %s", name)
	}
	unlock()
	return nil
}

func (s *storage) Load(ctx context.Context, name string) ([]byte, error) {
	data, _, err := s.Files.Load(ctx, name)
	return data, err
}

func (s *storage) Exists(ctx context.Context, name string) bool {
	list, err := s.Files.List(ctx, name)
	return err == nil && len(list) > 0
}

// List returns what is below a name: all files and folders, or the direct ones alone.
func (s *storage) List(ctx context.Context, name string, recursive bool) ([]string, error) {
	files, err := s.Files.List(ctx, name)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, file := range files {
		below, ok := strings.CutPrefix(file, strings.TrimSuffix(name, "/")+"/")
		if name == "" {
			below, ok = file, true
		}
		for i, r := range below + "/" {
			if r == '/' && ok {
				found = append(found, path.Join(name, below[:i]))
				if !recursive {
					break
				}
			}
		}
	}
	slices.Sort(found)
	found = slices.Compact(found)
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return found, nil
}

func (s *storage) Stat(ctx context.Context, name string) (certmagic.KeyInfo, error) {
	data, stored, err := s.Files.Load(ctx, name)
	if err == nil {
		return certmagic.KeyInfo{Key: name, Modified: stored, Size: int64(len(data)), IsTerminal: true}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) || !s.Exists(ctx, name) {
		return certmagic.KeyInfo{}, err
	}
	return certmagic.KeyInfo{Key: name}, nil
}
