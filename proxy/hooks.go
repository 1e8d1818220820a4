package proxy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/Ishan27g/ryo-faas/proxy/trigger/events"
)

// maxHookSecret bounds the secret of a webhook, in bytes.
const maxHookSecret = 4 << 10

// parseHooks reads the flag -hooks, and the secrets that it refers to.
func parseHooks(list []string, getenv func(string) string) (all []events.Hook, err error) {
	names := map[string]bool{}
	for _, text := range list {
		h, err := events.ParseHook(text, func(reference string) (string, error) { return hookSecret(reference, getenv) })
		if err != nil {
			return nil, fmt.Errorf("-hooks: %w", err)
		}
		if names[h.Name] {
			return nil, fmt.Errorf("-hooks: webhook %s is given twice", h.Name)
		}
		names[h.Name] = true
		all = append(all, h)
	}
	return all, nil
}

// hookSecret returns what env:NAME or file:PATH refers to. An error does not repeat the
// text: it may be a secret.
func hookSecret(reference string, getenv func(string) string) (string, error) {
	kind, name, _ := strings.Cut(reference, ":")
	switch {
	case name == "":
	case kind == "env":
		return getenv(name), nil
	case kind == "file":
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		defer f.Close()
		text, err := io.ReadAll(io.LimitReader(f, maxHookSecret+1))
		if err == nil && len(text) > maxHookSecret {
			err = fmt.Errorf("%s has more than %d bytes", name, maxHookSecret)
		}
		return strings.TrimRight(string(text), "\r\n"), err
	}
	return "", errors.New("a secret is neither env:VARIABLE nor file:PATH")
}
