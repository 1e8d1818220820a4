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
	for lines := bufio.NewScanner(&said); lines.Scan(); {
		named := packageOf.FindStringSubmatch(lines.Text())
		if named == nil {
			continue
		}
		object, relErr := filepath.Rel(b.owners, named[1])
		if relErr == nil && entryOf.MatchString(object) && copyEntry(b.owners, b.cache, object) == nil {
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

// plan writes what the go command says that it would do for a build if the owner's
// cache was its own. It does nothing, and cannot write there.
func (b *Builder) plan(ctx context.Context, spec Spec, pace *pace, building []string, w io.Writer) error {
	// Without goindex=0 the go command would write what it learns of modules there.
	env := slices.Concat(unreachable, []string{"GODEBUG=goindex=0"})
	cmd := b.command(spec, env, slices.Concat([]string{"build", "-n"}, building)...)
	for i, kv := range cmd.Env {
		if strings.HasPrefix(kv, "GOCACHE=") {
			cmd.Env[i] = "GOCACHE=" + b.owners
		}
	}
	rules := with(b.sandbox.compile, spec)
	rules.Read = slices.Concat(rules.Read, []string{b.owners})
	_, err := b.runGroup(ctx, cmd, rules, pace, w)
	return err
}

// copyEntry copies a package from one build cache to another: the object, and the
// action that points at it.
func copyEntry(from, to, object string) error {
	data, err := os.ReadFile(filepath.Join(from, object))
	if err != nil {
		return err
	}
	output := strings.TrimSuffix(filepath.Base(object), "-d")
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != output {
		return fmt.Errorf("%s is damaged", object)
	}
	// The package says which action made it, by the first bytes of its name.
	head := data[:min(len(data), 4<<10)]
	_, id, _ := bytes.Cut(head, []byte("\nbuild id \""))
	id, _, _ = bytes.Cut(id, []byte("/"))
	prefix, err := base64.RawURLEncoding.DecodeString(string(id))
	if err != nil || len(prefix) < 8 {
		return fmt.Errorf("%s has no build id", object)
	}
	actions, err := filepath.Glob(filepath.Join(from, hex.EncodeToString(prefix[:1]), hex.EncodeToString(prefix)+"*-a"))
	if err != nil {
		return err
	}
	for _, action := range actions {
		entry, err := os.ReadFile(action)
		if err != nil {
			return err
		}
		if !slices.Contains(strings.Fields(string(entry)), output) {
			continue
		}
		name, err := filepath.Rel(from, action)
		if err != nil {
			return err
		}
		return errors.Join(put(filepath.Join(to, object), data), put(filepath.Join(to, name), entry))
	}
	return fmt.Errorf("nothing points at %s", object)
}

// put is replace in a folder that may be missing.
func put(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return replace(path, data, 0o600)
}
