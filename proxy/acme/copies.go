package acme

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/hashicorp/go-hclog"
)

const (
	// certificates begins the names of files that have copies: the account and locks are of no use
	// without the others.
	certificates = "certificates/"
	// readLimit is how long a file that has a copy may take: an election of the engine takes as long.
	readLimit = 5 * time.Second
	// awayPause is for how long copies are read at once after a file could not be.
	awayPause = 10 * time.Second
)

// copies are Files whose certificates, with their keys, have copies in a folder: by them a proxy
// serves that starts while the files cannot be read.
type copies struct {
	Files
	folder *certmagic.FileStorage
	logger hclog.Logger

	mu   sync.Mutex // guards the field below:
	away time.Time  // when a file could not be read last
}

// Load implements Files.
func (c *copies) Load(ctx context.Context, name string) ([]byte, time.Time, error) {
	if !strings.HasPrefix(name, certificates) {
		return c.Files.Load(ctx, name)
	}
	copied, unread := c.folder.Load(ctx, name)
	if unread == nil && c.isAway() {
		return copied, c.time(name), nil
	}
	limited, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	data, stored, err := c.Files.Load(limited, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		_ = c.folder.Delete(ctx, name) // there may be none
	case err == nil && (unread != nil || !bytes.Equal(data, copied)):
		c.copy(ctx, name, data)
	case err != nil && unread == nil && ctx.Err() == nil:
		c.gone(err)
		return copied, c.time(name), nil
	}
	return data, stored, err
}

// Store implements Files.
func (c *copies) Store(ctx context.Context, name string, data []byte) error {
	err := c.Files.Store(ctx, name, data)
	if err == nil && strings.HasPrefix(name, certificates) {
		c.copy(ctx, name, data)
	}
	return err
}

// Delete implements Files.
func (c *copies) Delete(ctx context.Context, name string) error {
	err := c.Files.Delete(ctx, name)
	if err == nil && strings.HasPrefix(name, certificates) {
		_ = c.folder.Delete(ctx, name) // there may be none
	}
	return err
}

// List implements Files.
func (c *copies) List(ctx context.Context, name string) ([]string, error) {
	var err error
	if !c.isAway() {
		limited, cancel := context.WithTimeout(ctx, readLimit)
		defer cancel()
		var list []string
		if list, err = c.Files.List(limited, name); err == nil {
			return list, nil
		}
	}
	if c.folder.Exists(ctx, name) && ctx.Err() == nil {
		if err != nil {
			c.gone(err)
		}
		if info, statErr := c.folder.Stat(ctx, name); statErr == nil && info.IsTerminal {
			return []string{name}, nil
		}
		return c.folder.List(ctx, name, true)
	}
	if err == nil { // no copy: only the files can tell
		return c.Files.List(ctx, name)
	}
	return nil, err
}

// copy keeps a copy. Without one everything goes on while the files can be read.
func (c *copies) copy(ctx context.Context, name string, data []byte) {
	if err := c.folder.Store(ctx, name, data); err != nil {
		c.logger.Warn("a certificate has no copy in this folder; without the store it would be missing", "name", name, "error", err)
	}
}

func (c *copies) time(name string) time.Time {
	info, err := os.Stat(c.folder.Filename(name))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

func (c *copies) isAway() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.away) < awayPause
}

func (c *copies) gone(err error) {
	c.mu.Lock()
	first := time.Since(c.away) > 2*awayPause
	c.away = time.Now()
	c.mu.Unlock()
	if first {
		c.logger.Warn("the store does not answer; copies of certificates in this folder serve", "error", err)
	}
}
