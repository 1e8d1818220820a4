package shared

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// Files are those of the certificates of public names. Package acme has copies of them.
type Files struct {
	store    store.Store
	registry store.Registry
	below    string
}

// NewFiles returns the files below a prefix of a store's settings.
func NewFiles(s store.Store, below string) *Files {
	return &Files{store: s, registry: s.Registry(store.Settings), below: below + "/"}
}

// notExist makes an ErrNotFound an fs.ErrNotExist.
func notExist(err error) error {
	if errors.Is(err, proto.ErrNotFound) {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}

// Load returns a file's content and when it was stored.
func (f *Files) Load(ctx context.Context, name string) ([]byte, time.Time, error) {
	e, err := f.registry.Get(ctx, f.below+name)
	return e.Value, e.Time, notExist(err)
}

// Store replaces a file's content.
func (f *Files) Store(ctx context.Context, name string, data []byte) error {
	for {
		e, err := f.registry.Get(ctx, f.below+name)
		switch {
		case err == nil:
			_, err = f.registry.Update(ctx, e.Key, data, e.Revision)
		case errors.Is(err, proto.ErrNotFound):
			_, err = f.registry.Create(ctx, f.below+name, data)
		}
		if !errors.Is(err, proto.ErrConflict) { // else another proxy stored it: the later one stays
			return err
		}
	}
}

// Delete removes a file, or those below it.
func (f *Files) Delete(ctx context.Context, name string) error {
	list, err := f.registry.List(ctx, f.below+name)
	for _, e := range list {
		if one := f.registry.Delete(ctx, e.Key, e.Revision); !errors.Is(one, proto.ErrConflict) {
			err = errors.Join(err, one)
		}
	}
	return err
}

// List returns the names of the files below one.
func (f *Files) List(ctx context.Context, prefix string) ([]string, error) {
	list, err := f.registry.List(ctx, strings.TrimSuffix(f.below+prefix, "/"))
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = strings.TrimPrefix(e.Key, f.below)
	}
	return names, err
}

// Lock waits until no other process has the lock of a name. It lasts until unlock is
// called, or the store gives it to another since this process did not answer.
func (f *Files) Lock(ctx context.Context, name string) (unlock func(), err error) {
	held := make(chan struct{})
	leading, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var ended sync.WaitGroup
	var once sync.Once
	ended.Go(func() {
		_ = f.store.Lead(leading, f.below+name, func(ctx context.Context, _ uint64) {
			once.Do(func() { close(held) })
			<-ctx.Done()
		})
	})
	unlock = func() {
		cancel()
		ended.Wait()
	}
	select {
	case <-held:
		return unlock, nil
	case <-ctx.Done():
		unlock()
		return nil, ctx.Err()
	}
}
