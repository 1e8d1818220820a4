package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
)

// contexts are the proxies and agents that the user has logged in to, each under a
// name.
type contexts struct {
	Current  string           `json:"current,omitempty"`
	Contexts map[string]place `json:"contexts"`
}

// place is one of them.
type place struct {
	Proxy     string `json:"proxy"`
	Transport string `json:"transport"`
	Token     string `json:"token"`
	CA        string `json:"ca,omitempty"`       // as -ca
	Insecure  bool   `json:"insecure,omitempty"` // the token may go there in the clear
}

// contextsFile is where contexts are kept.
func contextsFile() (string, error) {
	folder, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the folder of your settings: %w", err)
	}
	return filepath.Join(folder, "ryo-faas", "contexts.json"), nil
}

// maxContexts bounds the file in bytes.
const maxContexts = 1 << 20

// loadContexts reads the contexts. A file that others can read is refused, since it
// holds tokens.
func loadContexts() (c contexts, err error) {
	path, err := contextsFile()
	if err != nil {
		return c, nil // a user without a home has none
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	defer file.Close()
	// Windows has no such modes; there the folder of settings is the user's alone.
	if info, err := file.Stat(); err != nil || info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		return c, proto.Errorf(proto.ErrForbidden, "%s holds tokens, and others may read it", path).WithHint("chmod 600 " + path + ", and rotate the tokens")
	}
	data, err := io.ReadAll(io.LimitReader(file, maxContexts))
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if is, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		err = fmt.Errorf("%s is a JSON %s there", cmp.Or(is.Field, "all of it"), is.Value)
	}
	if err != nil {
		return c, proto.Errorf(proto.ErrInvalid, "read %s: %w", path, err).WithHint("mend it, or remove it and log in again")
	}
	return c, nil
}

// save replaces the file.
func (c contexts) save() error {
	path, err := contextsFile()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".contexts-*") // its mode is 0600
	if err != nil {
		return err
	}
	_, err = temp.Write(append(data, '\n'))
	if err = errors.Join(err, temp.Sync(), temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		os.Remove(temp.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// check returns an error if there is no context of a name.
func (c contexts) check(name string) error {
	if _, ok := c.Contexts[name]; ok {
		return nil
	}
	hint := "proxyCli login makes one"
	if len(c.Contexts) > 0 {
		hint = "there are " + strings.Join(slices.Sorted(maps.Keys(c.Contexts)), ", ")
	}
	if near := proto.Nearest(name, slices.Collect(maps.Keys(c.Contexts))); near != "" {
		hint = "did you mean " + near + "?"
	}
	return proto.Errorf(proto.ErrNotFound, "there is no context %q", name).WithHint(hint)
}

// of returns what is known of an address, first of all in the current context.
func (c contexts) of(proxy string) place {
	if current := c.Contexts[c.Current]; current.Proxy == proxy {
		return current
	}
	for _, name := range slices.Sorted(maps.Keys(c.Contexts)) {
		if c.Contexts[name].Proxy == proxy {
			return c.Contexts[name]
		}
	}
	return place{}
}

func (a *app) contextCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "context",
		Short: "lists and chooses the proxies that you have logged in to",
		Long: `
A context is a proxy or an agent with your token for it. proxyCli login makes one.
Without -proxy and RYO_PROXY, commands ask the proxy of the current context. They are
kept in contexts.json in ryo-faas in the folder of your settings, which nobody else
may read.`,
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "ls", Short: "lists the contexts", Example: "\n  proxyCli context ls", Args: noArgument,
			RunE: func(*cobra.Command, []string) error { return a.listContexts() },
		},
		&cobra.Command{
			Use: "use NAME", Short: "makes a context the current one", Example: "\n  proxyCli context use production", Args: exactlyOne("NAME"),
			ValidArgsFunction: completeContexts,
			RunE: func(_ *cobra.Command, args []string) error {
				return changeContexts(func(c *contexts) error {
					c.Current = args[0]
					return c.check(args[0])
				})
			},
		},
		&cobra.Command{
			Use: "rm NAME…", Short: "removes contexts with their tokens", Args: atLeastOne("NAME"),
			Long:              "\nRemoves contexts from this machine. The tokens still hold: proxyCli token revoke ends\nthem.",
			Example:           "\n  proxyCli context rm production",
			ValidArgsFunction: completeContexts,
			RunE: func(_ *cobra.Command, args []string) error {
				return changeContexts(func(c *contexts) error {
					for _, name := range args {
						if err := c.check(name); err != nil {
							return err
						}
						delete(c.Contexts, name)
						if c.Current == name {
							c.Current = ""
						}
					}
					return nil
				})
			},
		},
	)
	return cmd
}

func changeContexts(edit func(*contexts) error) error {
	c, err := loadContexts()
	if err != nil {
		return err
	}
	if err := edit(&c); err != nil {
		return err
	}
	return c.save()
}

func completeContexts(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	c, err := loadContexts()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return slices.Sorted(maps.Keys(c.Contexts)), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) listContexts() error {
	c, err := loadContexts()
	if err != nil {
		return err
	}
	type shown struct {
		Name      string `json:"name"`
		Proxy     string `json:"proxy"`
		Transport string `json:"transport"`
		Current   bool   `json:"current"`
	}
	list := []shown{}
	rows := [][]string{{"CURRENT", "NAME", "PROXY", "TRANSPORT"}}
	for _, name := range slices.Sorted(maps.Keys(c.Contexts)) {
		s := shown{name, c.Contexts[name].Proxy, c.Contexts[name].Transport, name == c.Current}
		list = append(list, s)
		mark := ""
		if s.Current {
			mark = "*"
		}
		rows = append(rows, []string{mark, s.Name, s.Proxy, s.Transport})
	}
	if a.output == "json" {
		return a.printJSON(list)
	}
	if len(list) == 0 {
		a.note("there is no context; proxyCli login makes one")
		return nil
	}
	return a.printTable(rows)
}
