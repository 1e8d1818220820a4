package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

func (a *app) tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "makes, lists, rotates and revokes tokens",
		Long: `
A token lets its bearer do what its scopes say: read shows what there is, invoke calls
functions, deploy changes them, and reads, admin makes tokens and sees the audit log.
Tokens of a proxy hold at its agents too.`,
	}
	cmd.AddCommand(a.tokenCreateCommand(), a.tokenListCommand(), a.tokenRotateCommand(), a.tokenRevokeCommand())
	return cmd
}

func (a *app) tokenCreateCommand() *cobra.Command {
	req := &proto.TokenRequest{}
	cmd := &cobra.Command{
		Use:   "create",
		Short: "makes a token and prints it",
		Long: `
Prints the token, this once: only its hash is kept. Give it to a person, who logs in
with it, or to a machine, as RYO_TOKEN. Calls of functions carry it in the header
Authorization, after "Bearer ".`,
		Example: `
  proxyCli token create -scope deploy -name ci -ttl 2160h
  proxyCli token create -scope invoke -function HelloWorld`,
		Args: noArgument,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(req.GetScopes()) == 0 {
				return usagef(cmd, "-scope is missing: read, invoke, deploy or admin")
			}
			made, err := answer(a, func(client *transport.Client) (*proto.NewToken, error) { return client.CreateToken(cmd.Context(), req) })
			if err != nil {
				return err
			}
			return a.printNewToken(made)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringSliceVar(&req.Scopes, "scope", nil, "`SCOPE,…` what it allows: read, invoke, deploy (which reads too), admin")
	fs.StringSliceVar(&req.Functions, "function", nil, "`NAME,…` functions that it is for; NAME__* stands for the previews of NAME (default: all)")
	fs.StringVar(&req.Ttl, "ttl", "", "`DURATION` how long it holds, such as 24h (default: until it is revoked)")
	fs.StringVar(&req.Name, "name", "", "`TEXT` who has it, for the list and the audit log")
	var scopes []string
	for _, s := range wire.Scopes {
		scopes = append(scopes, string(s))
	}
	offer(cmd, "scope", scopes...)
	_ = cmd.RegisterFlagCompletionFunc("function", a.completeNames) // it fails for unknown flags alone
	return cmd
}

// printNewToken prints the secret alone to stdout, so that scripts can keep it.
func (a *app) printNewToken(made *proto.NewToken) error {
	if a.output == "json" {
		return a.printMessage(made)
	}
	t := made.GetToken()
	until := "until it is revoked"
	if t.GetExpires() != "" {
		until = "until " + t.GetExpires()
	}
	a.note("token %s, for %s of %s, holds %s; it is shown this once", t.GetId(), strings.Join(t.GetScopes(), ", "), functionsOf(t), until)
	_, err := a.stdout.Write([]byte(made.GetSecret() + "\n"))
	return err
}

func functionsOf(t *proto.Token) string {
	if len(t.GetFunctions()) == 0 {
		return "all functions"
	}
	return strings.Join(t.GetFunctions(), ", ")
}

func (a *app) tokenListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "lists the tokens that hold",
		Long:    "\nPrints the tokens, the oldest first; those that have expired for a week longer.",
		Example: "\n  proxyCli token list",
		Args:    noArgument,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := answer(a, func(client *transport.Client) ([]*proto.Token, error) { return client.Tokens(cmd.Context()) })
			if err != nil {
				return err
			}
			return a.printTokens(list)
		},
	}
}

func (a *app) printTokens(list []*proto.Token) error {
	if a.output == "json" {
		return printList(a, list)
	}
	if len(list) == 0 {
		a.note("there is no token; proxyCli token create makes one")
		return nil
	}
	rows := [][]string{{"ID", "SCOPES", "FUNCTIONS", "CREATED", "EXPIRES", "NAME", "ISSUER"}}
	for _, t := range list {
		expires := t.GetExpires()
		if at, err := time.Parse(time.RFC3339, expires); err == nil && !at.After(time.Now()) {
			expires = "expired"
		}
		rows = append(rows, []string{
			t.GetId(), strings.Join(t.GetScopes(), ","), strings.Join(t.GetFunctions(), ","), ago(t.GetCreated()), expires, t.GetName(), t.GetIssuer(),
		})
	}
	return a.printTable(rows, "ISSUER", "CREATED")
}

func (a *app) tokenRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "revoke ID…",
		Short:   "ends tokens at once, at the agents of a proxy too",
		Example: "\n  proxyCli token revoke t_0123456789ab",
		Args:    atLeastOne("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return tryEach(args, func(id string) error {
				_, err := answer(a, func(client *transport.Client) (*proto.Token, error) { return client.RevokeToken(cmd.Context(), id) })
				if err == nil {
					a.note("token %s is revoked", id)
				}
				return err
			})
		},
	}
}

func (a *app) tokenRotateCommand() *cobra.Command {
	req := &proto.RotateRequest{}
	cmd := &cobra.Command{
		Use:   "rotate ID",
		Short: "makes a token like another, which soon ends",
		Long: `
Prints the new token. The old one holds for -grace, in which all who use it take the
new one.`,
		Example: "\n  proxyCli token rotate t_0123456789ab -grace 24h",
		Args:    exactlyOne("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Id = args[0]
			made, err := answer(a, func(client *transport.Client) (*proto.NewToken, error) { return client.RotateToken(cmd.Context(), req) })
			if err != nil {
				return err
			}
			return a.printNewToken(made)
		},
	}
	cmd.Flags().StringVar(&req.Grace, "grace", "1h", "`DURATION` how long the old token holds; 0: not at all")
	return cmd
}

func (a *app) auditCommand() *cobra.Command {
	var last uint32
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "shows who changed what, and who was refused",
		Long: `
Prints the last entries of the audit log of the proxy or agent that is asked, the
newest first: requests that changed something, and requests that were refused, of
which at most 60 a minute are recorded.`,
		Example: "\n  proxyCli audit\n  proxyCli audit -n 1000 -o json",
		Args:    noArgument,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if last == 0 {
				return usagef(cmd, "%s: the least is 1", asWritten(cmd.Flag("last"), "0"))
			}
			return a.audit(cmd.Context(), last)
		},
	}
	cmd.Flags().Uint32VarP(&last, "last", "n", 100, "`N` the last N entries")
	return cmd
}

func (a *app) audit(ctx context.Context, last uint32) error {
	list, err := answer(a, func(client *transport.Client) ([]*proto.AuditEntry, error) { return client.Audit(ctx, last) })
	if err != nil {
		return err
	}
	if a.output == "json" {
		return printList(a, list)
	}
	if len(list) == 0 {
		a.note("nothing was changed or refused")
		return nil
	}
	rows := [][]string{{"TIME", "WHO", "CALL", "WHAT", "RESULT", "PACKAGE", "PEER"}}
	for _, e := range list {
		what := strings.Join(append(e.GetFunctions(), e.GetToken(), e.GetAgent()), ",")
		var packages []string
		for _, p := range e.GetPackages() {
			packages = append(packages, short(p))
		}
		at := e.GetTime()
		if t, err := time.Parse(time.RFC3339, at); err == nil {
			at = t.Format(time.RFC3339)
		}
		rows = append(rows, []string{at, e.GetWho(), e.GetCall(), strings.Trim(what, ","), e.GetResult(), strings.Join(packages, ","), e.GetPeer()})
		if e.GetOmitted() > 0 {
			a.note("before %s: %d more were refused and not recorded", at, e.GetOmitted())
		}
	}
	return a.printTable(rows, "PEER", "PACKAGE")
}
