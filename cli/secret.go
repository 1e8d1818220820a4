package cli

import (
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
)

// reference says where the value of a secret is: in an environment variable, or in a
// file. Values themselves are refused: a definition file or a shell's history would
// keep them.
type reference struct{ variable, file string }

const referenceHint = "name where its value stands: env:DB_PASSWORD, a variable of the environment of proxyCli, or file:secrets/db-password"

// errNoReference does not repeat the text: it may be a secret.
var errNoReference = errors.New("neither env:NAME nor file:PATH")

// parseReference reads env:NAME and file:PATH; a path is relative to dir.
func parseReference(text, dir string) (r reference, err error) {
	kind, name, _ := strings.Cut(text, ":")
	switch {
	case name == "":
		return r, errNoReference
	case kind == "env":
		return reference{variable: name}, nil
	case kind == "file" && filepath.IsAbs(name):
		return reference{file: filepath.Clean(name)}, nil
	case kind == "file":
		return reference{file: filepath.Join(dir, name)}, nil
	}
	return r, errNoReference
}

// addReference adds the reference of a flag -secret. Errors do not repeat the text: it
// may be a secret.
func addReference(to *map[string]reference, word string) error {
	k, text, ok := strings.Cut(word, "=")
	if !ok {
		return proto.Errorf(proto.ErrInvalid, "a secret is not of the form K=env:NAME or K=file:PATH")
	}
	if _, twice := (*to)[k]; twice {
		return proto.Errorf(proto.ErrInvalid, "%s is given twice", k)
	}
	r, err := parseReference(text, ".")
	if err != nil {
		return proto.Errorf(proto.ErrInvalid, "%s is %v", k, err).WithHint(referenceHint)
	}
	if *to == nil {
		*to = map[string]reference{}
	}
	(*to)[k] = r
	return nil
}

// readSecrets reads the values of the entry's secrets.
func (e *entry) readSecrets() error {
	for _, k := range slices.Sorted(maps.Keys(e.secrets)) {
		value, err := e.secrets[k].read()
		if err == nil && value == "" {
			err = errors.New("it is empty")
		}
		if err != nil {
			return proto.Errorf(proto.ErrInvalid, "function %s: secret %s: %w", e.fn.GetName(), k, err)
		}
		if e.fn.Secrets == nil {
			e.fn.Secrets = make(map[string]string, len(e.secrets))
		}
		e.fn.Secrets[k] = value
	}
	return nil
}

// read returns the value, without the byte order mark and the line end at the end of
// a file, which editors write.
func (r reference) read() (string, error) {
	if r.variable != "" {
		value, ok := os.LookupEnv(r.variable)
		if !ok {
			return "", errors.New("there is no variable " + r.variable + " in the environment")
		}
		return value, nil
	}
	f, err := os.Open(r.file)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, proto.MaxEnvBytes+1)) // a byte more than Check takes
	if err != nil {
		return "", err
	}
	value := strings.TrimSuffix(string(withoutMark(data)), "\n")
	return strings.TrimSuffix(value, "\r"), nil
}
