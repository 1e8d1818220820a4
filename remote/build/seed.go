package build

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// The standard library takes a minute to compile, and building the agent on this machine
// has compiled it, with the same flags, so what lies in the build cache of the
// agent's owner is what functions need. An empty cache begins with copies of it. They
// are never links: builds write to their cache, and must not write to the owner's.
//
// Which entries are needed, the go command itself says. How they lie in the cache is
// its own affair, so what is not as expected is left out, and compiled.

// entryOf names an object in a build cache, and packageOf is a line of what
// `go build -n` says about a package that it would link.
var (
	entryOf   = regexp.MustCompile(`^[0-9a-f]{2}/[0-9a-f]{64}-d$`)
	packageOf = regexp.MustCompile(`^packagefile [^=]+=(.+)$`)
)

// empty reports whether no go command has used the build cache yet.
func (b *Builder) empty() bool {
	_, err := os.Stat(filepath.Join(b.cache, "00"))
	return os.IsNotExist(err)
}

// seeds returns the build cache of the agent's owner, or "" when there is none that
// can be trusted.
func seeds(dir, own string) string {
	info, err := os.Stat(dir)
	if err != nil || !filepath.IsAbs(dir) || dir == own || !info.IsDir() || info.Mode().Perm()&0o022 != 0 {
		return ""
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != os.Geteuid() {
		return ""
	}
	return dir
}

// seed copies packages from the owner's cache: those that a build would link. plan
// writes what `go build -n` says about that build, with the owner's cache.
func (b *Builder) seed(plan func(w io.Writer) error) (copied int) {
	var said bytes.Buffer
	err := plan(&said)
	for _, object := range objects(b.owners, &said) {
		if copyEntry(b.owners, b.cache, object) == nil {
			copied++
		}
	}
	if err != nil {
		b.logger.Warn("what was compiled before cannot be used", "from", b.owners, "error", err)
	} else {
		b.logger.Info("the build cache begins with what was compiled before", "from", b.owners, "packages", copied)
	}
	return copied
}

// objects are those of a cache that `go build -n` says that a build would link.
func objects(cache string, said io.Reader) (list []string) {
	for lines := bufio.NewScanner(said); lines.Scan(); {
		named := packageOf.FindStringSubmatch(lines.Text())
		if named == nil {
			continue
		}
		if object, err := filepath.Rel(cache, named[1]); err == nil && entryOf.MatchString(object) {
			list = append(list, object)
		}
	}
	return list
}

// plan writes what the go command says that it would do for a build if a cache, as the
// owner's, was its own. It does nothing, and cannot write there.
func (b *Builder) plan(ctx context.Context, cache string, spec Spec, pace *pace, building []string, w io.Writer) error {
	// Without goindex=0 the go command would write what it learns of modules there.
	env := slices.Concat(unreachable, []string{"GODEBUG=goindex=0"})
	cmd := b.command(spec, env, slices.Concat([]string{"build", "-n"}, building)...)
	for i, kv := range cmd.Env {
		if strings.HasPrefix(kv, "GOCACHE=") {
			cmd.Env[i] = "GOCACHE=" + cache
		}
	}
	rules := with(b.sandbox.compile, spec)
	rules.Read = slices.Concat(rules.Read, []string{cache})
	_, err := b.runGroup(ctx, cmd, rules, pace, w)
	return err
}

// entry is a package in a build cache: the object, and the action that points at it.
type entry struct {
	object, action   string // their names there
	data, actionData []byte
}

// find reads the package of an object.
func find(cache, object string) (*entry, error) {
	data, err := os.ReadFile(filepath.Join(cache, object))
	if err != nil {
		return nil, err
	}
	output := strings.TrimSuffix(filepath.Base(object), "-d")
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != output {
		return nil, fmt.Errorf("%s is damaged", object)
	}
	// The package says which action made it, by the first bytes of its name.
	head := data[:min(len(data), 4<<10)]
	_, id, _ := bytes.Cut(head, []byte("\nbuild id \""))
	id, _, _ = bytes.Cut(id, []byte("/"))
	prefix, err := base64.RawURLEncoding.DecodeString(string(id))
	if err != nil || len(prefix) < 8 {
		return nil, fmt.Errorf("%s has no build id", object)
	}
	actions, err := filepath.Glob(filepath.Join(cache, hex.EncodeToString(prefix[:1]), hex.EncodeToString(prefix)+"*-a"))
	if err != nil {
		return nil, err
	}
	for _, action := range actions {
		content, err := os.ReadFile(action)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(strings.Fields(string(content)), output) {
			continue
		}
		name, err := filepath.Rel(cache, action)
		return &entry{object, name, data, content}, err
	}
	return nil, fmt.Errorf("nothing points at %s", object)
}

// copyEntry copies a package from one build cache to another.
func copyEntry(from, to, object string) error {
	found, err := find(from, object)
	if err != nil {
		return err
	}
	return errors.Join(put(filepath.Join(to, found.object), found.data), put(filepath.Join(to, found.action), found.actionData))
}

// put is replace in a folder that may be missing.
func put(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return replace(path, data, 0o600)
}
