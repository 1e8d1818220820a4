package wish

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// PutPackage stores a package, unless it is stored and will not be swept soon.
func (k *Keeper) PutPackage(ctx context.Context, digest string, open func() (io.ReadCloser, error)) error {
	is, err := k.store.Blobs().Stat(ctx, blobName(digest))
	if err == nil && time.Since(is.Time) < sweepAfter/2 {
		return nil
	}
	if err != nil && !errors.Is(err, proto.ErrNotFound) {
		return err
	}
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = k.store.Blobs().Put(ctx, blobName(digest), r)
	return err
}

// OpenPackage returns a package's bytes, an ErrNotFound where it is not stored. Close it.
func (k *Keeper) OpenPackage(ctx context.Context, digest string) (io.ReadCloser, error) {
	return k.store.Blobs().Open(ctx, blobName(digest))
}

// Sweep removes packages that nothing has referred to for an hour. The blobs are listed
// before what refers to them, so that none is taken that was stored meanwhile.
func (k *Keeper) Sweep(ctx context.Context) error {
	blobs, err := k.store.Blobs().List(ctx, packages[:len(packages)-1])
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, kind := range []store.Kind{store.Versions, store.Functions, store.Rollouts} {
		entries, err := k.store.Registry(kind).List(ctx, "")
		if err != nil {
			return err
		}
		for _, e := range entries {
			// What refers to packages, in records of all three kinds.
			var refers struct {
				Package  string   `json:"package"`
				Version  Version  `json:"version"`
				Canary   any      `json:"canary"`
				Function Settings `json:"function"`
			}
			if err := json.Unmarshal(e.Value, &refers); err != nil {
				return err // what it refers to is not known, so nothing may be removed
			}
			used[blobName(refers.Package)] = true
			used[blobName(refers.Version.Package)] = true
			used[blobName(refers.Function.GetPackage())] = true
			if canary, ok := refers.Canary.(map[string]any); ok {
				digest, _ := canary["package"].(string)
				used[blobName(digest)] = true
			}
		}
	}
	for _, b := range blobs {
		if used[b.Name] || time.Since(b.Time) < sweepAfter {
			continue
		}
		if err := k.store.Blobs().Delete(ctx, b.Name); err != nil {
			return err
		}
		k.logger.Debug("a package that no version has is removed", "package", b.Name)
	}
	return nil
}
