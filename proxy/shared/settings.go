package shared

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/transport/auth"
)

const (
	storeLimit = 5 * time.Second  // for one question to the store: an election takes as long
	lookEvery  = 10 * time.Second // a change goes unnoticed no longer, whatever the store tells
	tokensFile = "tokens.json"
	epochFile  = "shared.json" // with which store the folder's copies were made
)

// Settings are what proxies share, each under the name of its file in a folder.
type Settings struct {
	store    store.Store
	registry store.Registry
	dir      *state.Dir
	logger   hclog.Logger

	mu        sync.Mutex // guards the fields below:
	revisions map[string]uint64
	was       string // the epoch of the store whose copies the folder has; "": it has none
}

// met is the content of epochFile.
type met struct {
	Epoch string `json:"epoch"`
}

// New returns the settings of a store. The folder has the copies.
func New(s store.Store, dir *state.Dir, logger hclog.Logger) (*Settings, error) {
	var was met
	if _, err := dir.Read(epochFile, &was); err != nil {
		return nil, err
	}
	return &Settings{store: s, registry: s.Registry(store.Settings), dir: dir, logger: logger, revisions: map[string]uint64{}, was: was.Epoch}, nil
}

// met reports whether the folder's files are copies of this store's, as far as is known: one
// that has not answered since this process began is taken for the one before.
func (s *Settings) met() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	epoch := s.store.Epoch()
	return s.was == epoch || s.was != "" && epoch == ""
}

// Meet says that all files were read once: from now on the folder's are copies, unless the
// store has not answered yet.
func (s *Settings) Meet() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	epoch := s.store.Epoch()
	if epoch == "" || epoch == s.was {
		return nil
	}
	if err := s.dir.Write(epochFile, met{epoch}); err != nil {
		return err
	}
	s.was = epoch
	return nil
}

// ReadFile returns what is stored under a name, an fs.ErrNotExist where nothing is.
func (s *Settings) ReadFile(name string) ([]byte, error) {
	copied, unread := s.dir.ReadFile(name)
	ctx, cancel := context.WithTimeout(context.Background(), storeLimit)
	defer cancel()
	e, err := s.registry.Get(ctx, name)
	if errors.Is(err, proto.ErrNotFound) && unread == nil {
		if _, err = s.registry.Create(ctx, name, copied); err == nil || errors.Is(err, proto.ErrConflict) {
			e, err = s.registry.Get(ctx, name)
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, proto.ErrNotFound):
		if !errors.Is(unread, fs.ErrNotExist) {
			return nil, unread // what the folder has must not be taken for nothing
		}
		s.note(name, 0)
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	case s.met():
		s.logger.Warn("the store does not answer; a copy of what proxies share is used", "name", name, "error", err)
		if errors.Is(unread, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		return copied, unread
	default:
		return nil, fmt.Errorf("%s, which proxies share: %w", name, err)
	}
	if unread == nil && !s.met() && !bytes.Equal(copied, e.Value) {
		path, err := s.dir.SetAside(name)
		if err != nil {
			return nil, err
		}
		s.logger.Warn("the store has other settings than this folder, which are used; those of the folder are set aside", "name", name, "file", path)
	}
	s.note(name, e.Revision)
	s.copy(name, e.Value)
	return e.Value, nil
}

func (s *Settings) note(name string, revision uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revisions[name] = revision
}

// copy puts what is stored into the folder, too. What the store has holds without a copy.
func (s *Settings) copy(name string, data []byte) {
	if was, err := s.dir.ReadFile(name); err == nil && bytes.Equal(was, data) {
		return
	}
	if err := s.dir.WriteFile(name, data); err != nil && !errors.Is(err, state.ErrLent) {
		s.logger.Warn("the folder has no copy of what proxies share now; without the store, it would be missing", "name", name, "error", err)
	}
}

// WriteFile stores data under a name. If that is not what was read or written here last,
// it is an ErrConflict.
func (s *Settings) WriteFile(name string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), storeLimit)
	defer cancel()
	var err error
	revision := s.revisions[name]
	if revision == 0 {
		revision, err = s.registry.Create(ctx, name, data)
	} else {
		revision, err = s.registry.Update(ctx, name, data, revision)
	}
	if err != nil {
		return err
	}
	s.revisions[name] = revision
	s.copy(name, data)
	return nil
}

// Watch calls changed after settings may have changed, until ctx is done.
func (s *Settings) Watch(ctx context.Context, changed func()) {
	var mu sync.Mutex // changed is not called twice at a time
	look := func() {
		mu.Lock()
		defer mu.Unlock()
		changed()
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() {
		for ctx.Err() == nil {
			_ = s.registry.Watch(ctx, "", look) // ends when the store is away
			wait(ctx, time.Second)
		}
	})
	for wait(ctx, lookEvery) {
		look()
	}
}

// wait waits, and reports whether ctx is not done.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Tokens returns the store of tokens.
func (s *Settings) Tokens() auth.Store { return tokens{s} }

type tokens struct{ *Settings }

// Load implements auth.Store.
func (t tokens) Load() (*auth.Lists, error) {
	data, err := t.ReadFile(tokensFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // nothing was saved
	}
	if err != nil {
		return nil, err
	}
	lists := new(auth.Lists)
	if err := json.Unmarshal(data, lists); err != nil || lists.Issuer == "" {
		return nil, proto.Errorf(proto.ErrInternal, "the tokens that proxies share cannot be read: %w", errors.Join(err, state.ErrDamaged))
	}
	return lists, nil
}

// Save implements auth.Store.
func (t tokens) Save(lists *auth.Lists) error {
	data, err := json.MarshalIndent(lists, "", "  ")
	if err != nil {
		return err
	}
	return t.WriteFile(tokensFile, append(data, '\n'))
}
