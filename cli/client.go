package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/cli/clientgen"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

func (a *app) clientCommand() *cobra.Command {
	language := clientgen.Languages[0]
	cmd := &cobra.Command{
		Use:   "client NAME",
		Short: "prints a typed client of a typed function",
		Long: `
Prints one file of Go or TypeScript, without dependencies, which calls the function and has
the types that it takes and answers. NAME@3 is of version 3; without a number it is of the
version that gets most calls.

The agent reads the types from the source when the function is deployed; proxyCli versions
NAME -o json shows them as JSON Schema (types). Types that were not sent with the function, as
those of modules that are not vendored, are any: the client says which. Functions of other
kinds than typed and event have none.`,
		Example: `
  proxyCli client Summary > summaryclient/client.go
  proxyCli client Summary -lang ts > summary.ts`,
		Args:              exactlyOne("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(clientgen.Languages, language) {
				return usagef(cmd, "-lang: there are no clients in %q, but in %s", language, strings.Join(clientgen.Languages, " and "))
			}
			text, err := a.client(cmd.Context(), args[0], language)
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(text)
			return err
		},
	}
	cmd.Flags().StringVar(&language, "lang", language, "`"+strings.Join(clientgen.Languages, "|")+"` language of the client")
	offer(cmd, "lang", clientgen.Languages...)
	return cmd
}

// client returns a client of the function called NAME or NAME@VERSION.
func (a *app) client(ctx context.Context, called, language string) ([]byte, error) {
	url, err := a.functionURL(ctx, called)
	if err != nil {
		return nil, err
	}
	name, number, _ := strings.Cut(called, "@")
	list, err := answer(a, func(client *transport.Client) ([]*proto.Version, error) { return client.Versions(ctx, name) })
	if err != nil {
		return nil, err
	}
	var of, absent *proto.Version
	for _, v := range list {
		asked := fmt.Sprint(v.GetVersion()) == number
		if number == "" {
			asked = v.GetWeight() > of.GetWeight()
		}
		switch {
		case v.GetError() != "":
			absent = v
		case asked:
			of = v
		}
	}
	switch {
	case of == nil && absent != nil:
		return nil, proto.Errorf(proto.ErrUnavailable, "the types of %s are not known: %s", called, firstLine(absent.GetError()))
	case of == nil && number != "":
		return nil, proto.Errorf(proto.ErrNotFound, "version %s of %s is not kept", number, name).WithHint("proxyCli versions " + name + " shows those that are")
	case of == nil:
		return nil, proto.Errorf(proto.ErrNotFound, "no version of %s serves", name).WithHint("proxyCli versions " + name + " shows those that are kept")
	case of.GetTypes() != "":
	case of.GetKind() != proto.KindTyped && of.GetKind() != proto.KindEvent:
		return nil, proto.Errorf(proto.ErrIncapable, "%s is of kind %s, and its calls have no types", name, cmp.Or(of.GetKind(), "unknown")).
			WithHint("declare it as func(T) (R, error), or call it with any HTTP client at " + url)
	default:
		return nil, proto.Errorf(proto.ErrIncapable, "the types of %s are not known", name).
			WithHint("deploy it again if its agent was upgraded since; those of functions that another package declares, or a call makes, or that are large, are never known")
	}
	for _, says := range clientgen.Remarks(of.GetTypes()) {
		a.note("less is known of a type than the function knows: %s", says)
	}
	return clientgen.Write(language, clientgen.Function{
		Name: cmp.Or(of.GetSettings().GetName(), name), URL: url, Version: of.GetVersion(), Types: of.GetTypes(),
	})
}
