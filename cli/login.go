package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

func (a *app) loginCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "login [ADDR]",
		Short: "keeps your token for a proxy or an agent",
		Long: `
Asks for a token without showing it, or reads it from the standard input if that is no
terminal, and tries it. From then on commands ask this proxy, and send it the token.
proxyCli token create makes tokens, on the proxy's own machine or with a token of the
scope admin.`,
		Example: `
  proxyCli login https://faas.example.com:9001
  proxyCli login localhost:9001 -name production < token.txt`,
		Args: atMostOne("ADDR"),
		// ADDR is known before anything is taken from a context, which is of one address.
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				if err := cmd.Flags().Set("proxy", args[0]); err != nil {
					return err
				}
			}
			return a.checkGlobals(cmd)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return a.login(cmd, cmp.Or(name, a.proxy)) },
	}
	cmd.Flags().StringVar(&name, "name", "", "`NAME` of the context that it makes (default: the address)")
	return cmd
}

func (a *app) login(cmd *cobra.Command, name string) error {
	c, err := loadContexts()
	if err != nil {
		return err
	}
	if a.token, err = a.readToken(cmd.Context()); err != nil {
		return err
	}
	client := a.dial()
	defer func() { _ = client.Close() }()
	who, err := client.WhoAmI(cmd.Context())
	if err != nil {
		return err
	}
	if c.Contexts == nil {
		c.Contexts = map[string]place{}
	}
	authorities := a.ca
	if authorities != "" {
		if authorities, err = filepath.Abs(a.ca); err != nil {
			return err
		}
	}
	c.Contexts[name], c.Current = place{Proxy: a.address(), Transport: a.kind, Token: a.token, CA: authorities, Insecure: a.insecure}, name
	if err := c.save(); err != nil {
		return err
	}
	a.note("logged in to %s as %s, for %s; commands ask it from now on (proxyCli context ls)", a.proxy, who.GetWho(), strings.Join(who.GetToken().GetScopes(), ", "))
	return nil
}

// maxSecret bounds what is read for a token.
const maxSecret = 1 << 10

// readToken asks for a token.
func (a *app) readToken(ctx context.Context) (string, error) {
	read, restore := func() ([]byte, error) { return io.ReadAll(io.LimitReader(a.stdin, maxSecret)) }, func() {}
	if file, ok := a.stdin.(*os.File); ok && a.isTerminal(a.stdin) {
		fd := int(file.Fd())
		before, err := term.GetState(fd)
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		_, _ = fmt.Fprintf(a.stderr, "token for %s: ", a.proxy)
		defer func() { _, _ = fmt.Fprintln(a.stderr) }()
		read = func() ([]byte, error) { return term.ReadPassword(fd) }
		restore = func() { _ = term.Restore(fd, before) } // what is typed is shown again
	}
	data, err := interruptible(ctx, read)
	if ctx.Err() != nil {
		restore()
		return "", ctx.Err()
	}
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if !isToken(token) {
		return "", proto.Errorf(proto.ErrInvalid, "what was read is no token: one begins with "+wire.TokenPrefix+" and has no spaces").
			WithHint("paste what proxyCli token create has printed")
	}
	return token, nil
}

// isToken reports whether a text can be a token. The server knows more.
func isToken(text string) bool {
	return strings.HasPrefix(text, wire.TokenPrefix) && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}
