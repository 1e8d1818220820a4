package cli

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/Ishan27g/ryo-faas/proto"
)

const envFileHint = `a line is NAME=value, NAME="text with \n", NAME='text', or a # and a remark`

// readEnvFiles adds the variables of the entry's files to its env: those of a later file
// replace those of one before, and env itself replaces both.
func (e *entry) readEnvFiles() error {
	env := map[string]string{}
	for _, name := range e.envFiles {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return e.place(proto.Errorf(proto.ErrInvalid, "envFile: %s does not exist", shorten(name)).WithHint("paths count from the folder of the definition file"))
		}
		if err != nil {
			return e.place(proto.Errorf(proto.ErrInvalid, "envFile: %w", err))
		}
		data, err := io.ReadAll(io.LimitReader(f, maxDefinition+1))
		_ = f.Close()
		switch {
		case err != nil:
			return e.place(proto.Errorf(proto.ErrInvalid, "envFile: read %s: %w", shorten(name), err))
		case len(data) > maxDefinition:
			return e.place(proto.Errorf(proto.ErrInvalid, "envFile: %s is larger than %d bytes", shorten(name), maxDefinition))
		}
		if err := parseEnvFile(shorten(name), data, env); err != nil {
			return err
		}
	}
	for k, v := range e.fn.GetEnv() {
		env[k] = v
	}
	for k := range env {
		if _, secret := e.secrets[k]; secret && e.fn.GetEnv()[k] == "" {
			delete(env, k) // the definition names it a secret
		}
	}
	if len(e.envFiles) > 0 {
		e.fn.Env = env
	}
	return nil
}

// parseEnvFile adds the variables of a text to env. The names are checked where those of env
// are.
func parseEnvFile(name string, data []byte, env map[string]string) error {
	d := &document{file: filepath.ToSlash(name), data: withoutMark(data)}
	if !utf8.Valid(d.data) {
		return d.errorf(0, "the text is not UTF-8")
	}
	at := 0
	for line := range strings.Lines(string(d.data)) {
		begins := at
		at += len(line)
		text := strings.TrimSpace(line)
		if text == "" || text[0] == '#' {
			continue
		}
		text = strings.TrimPrefix(text, "export ")
		key, value, ok := strings.Cut(text, "=")
		key = strings.TrimSpace(key)
		if !ok || key == "" || strings.ContainsAny(key, " \t'\"") {
			return d.errorf(begins, "this is no variable").WithHint(envFileHint)
		}
		value, ok = unquoted(strings.TrimSpace(value))
		if !ok {
			return d.errorf(begins, "the value of %s has no end, or something behind it", key).WithHint(envFileHint)
		}
		env[key] = value
	}
	return nil
}

// unquoted is a value without its quotes. A remark may follow: behind a space, if the value
// has none.
func unquoted(value string) (string, bool) {
	if value == "" || value[0] != '"' && value[0] != '\'' {
		if i := strings.Index(value, " #"); i >= 0 {
			value = strings.TrimSpace(value[:i])
		}
		return value, true
	}
	quote := value[0]
	var b strings.Builder
	for i := 1; i < len(value); i++ {
		switch c := value[i]; {
		case c == quote:
			rest := strings.TrimSpace(value[i+1:])
			return b.String(), rest == "" || rest[0] == '#'
		case c == '\\' && quote == '"' && i+1 < len(value):
			i++
			switch value[i] {
			case 'n':
				b.WriteByte('\n')
			case 't':
				b.WriteByte('\t')
			case 'r':
				b.WriteByte('\r')
			case '"', '\\', '$':
				b.WriteByte(value[i])
			default:
				b.WriteString(value[i-1 : i+1])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}
