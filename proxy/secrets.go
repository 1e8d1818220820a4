package proxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/wish"
)

// Values of secrets lie in the store sealed, so that a function can be brought to agents
// that never had it, or were away when they were given. The key is in a file that the store
// does not have: in the proxy's folder, or the one that proxies of a store are given.

// keyFile has the key, unless another file is named.
const keyFile = "secrets.key"

// openKeys reads the keys, and makes one where the folder has none.
func (p *Proxy) openKeys() (err error) {
	var file []byte
	if path := p.cfg.SecretsKey; path != "" {
		is, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("-secrets-key: %w", err)
		}
		if is.Mode().Perm()&0o077 != 0 {
			return proto.Errorf(proto.ErrForbidden, "-secrets-key: others may read %s: %s", path, is.Mode().Perm()).WithHint("chmod 600 " + path)
		}
		if file, err = os.ReadFile(path); err != nil {
			return fmt.Errorf("-secrets-key: %w", err)
		}
		if p.keys, err = wish.ReadKeys(file); err != nil {
			return fmt.Errorf("-secrets-key: %s: %w", path, err)
		}
		return nil
	}
	file, err = p.dir.ReadFile(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		file = wish.NewKey()
		err = p.dir.WriteFile(keyFile, file)
	}
	if err == nil {
		p.keys, err = wish.ReadKeys(file)
	}
	if err != nil {
		return fmt.Errorf("the key of the secrets: %s: %w", p.dir.Path(keyFile), err)
	}
	return nil
}

// storedSecrets returns the versions that an agent serves as they are stored, by number.
func (p *Proxy) storedSecrets(ctx context.Context, path string, now *observed) map[uint32]wish.Version {
	stored := map[uint32]wish.Version{}
	versions := []wish.Version{now.version}
	if now.canary != nil {
		versions = append(versions, now.canary.Version)
	}
	for _, v := range versions {
		if was, err := p.wishes.GetVersion(ctx, path, v.Number); err == nil && was.Package == v.Package {
			stored[v.Number] = was
		}
	}
	return stored
}

// carry puts values of secrets into the versions of a wish: those that were given with the
// last change, those that are stored of a version of that number, or those that it has kept.
func carry(w *wish.Wish, stored map[uint32]wish.Version, given, kept wish.Sealed) {
	into := func(v *wish.Version, sources ...wish.Sealed) {
		v.Sealed = nil
		for name := range v.Settings.GetSecrets() {
			for _, from := range append(sources, stored[v.Number].Sealed, kept) {
				if box, is := from[name]; is {
					if v.Sealed == nil {
						v.Sealed = wish.Sealed{}
					}
					v.Sealed[name] = box
					break
				}
			}
		}
	}
	if w.Canary == nil {
		into(&w.Version, given)
		return
	}
	into(&w.Version) // the last change was about the canary
	into(&w.Canary.Version, given)
}

// secretsOf returns the values of the secrets of a version, an error if they are not all
// stored, or cannot be read here.
func (p *Proxy) secretsOf(path string, v wish.Version) (map[string]string, error) {
	if len(v.Settings.GetSecrets()) == 0 {
		return nil, nil
	}
	if !v.Whole() {
		return nil, proto.Errorf(proto.ErrConflict, "its agents alone know its secrets: %s", secretNames(v.Settings)).
			WithHint("deploy it again with them")
	}
	all, err := p.keys.Open(path, v.Sealed)
	maps.DeleteFunc(all, func(name, _ string) bool { _, is := v.Settings.GetSecrets()[name]; return !is })
	return all, err
}

// hides says why a function cannot be brought to an agent that has none of its secrets; nil:
// it can.
func (p *Proxy) hides(path string, w *wish.Wish) error {
	_, err := p.secretsOf(path, w.Version)
	if err == nil && w.Canary != nil {
		_, err = p.secretsOf(path, w.Canary.Version)
	}
	return err
}

// renewSecrets seals what is stored with the first key, where it is with an older one.
func (p *Proxy) renewSecrets(ctx context.Context) error {
	var errs []error
	for path, w := range p.wishes.All() {
		renew := func(w *wish.Wish) (changed bool) {
			var again bool
			w.Version.Sealed, changed = p.keys.Renew(path, w.Version.Sealed)
			if w.Canary != nil {
				w.Canary.Sealed, again = p.keys.Renew(path, w.Canary.Sealed)
			}
			return changed || again
		}
		copied := *w // what is stored decides; this is for looking alone
		if w.Canary != nil {
			canary := *w.Canary
			copied.Canary = &canary
		}
		if !renew(&copied) {
			continue
		}
		now, err := p.wishes.Edit(ctx, path, func(w *wish.Wish) error {
			if !renew(w) {
				return wish.ErrSame
			}
			return nil
		})
		if err == nil {
			err = p.keepVersions(ctx, path, now)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
