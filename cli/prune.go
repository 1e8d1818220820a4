package cli

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// prunable refuses definitions that do not say of what their functions are a part: nothing
// else tells theirs from others'.
func prunable(steps []step) error {
	for _, s := range steps {
		if s.verb == "deploy" && s.app == "" {
			return proto.Errorf(proto.ErrInvalid, "%s: the definition does not say of which app it is all", s.file).
				WithHint("name the app in it, deploy it once, and prune later: {\"app\": \"shop\", \"deploy\": …}")
		}
	}
	if len(entriesOf(steps)) == 0 {
		return proto.Errorf(proto.ErrInvalid, "there is no section deploy to prune by").
			WithHint("to remove functions, name them: proxyCli rm NAME")
	}
	return nil
}

// surplus returns the rows of functions that are a part of the definitions' apps, and that
// these do not name, ordered by name.
func (a *app) surplus(ctx context.Context, steps []step) ([]*proto.FunctionJsonRsp, error) {
	apps, named := map[string]bool{}, map[string]bool{}
	for _, s := range steps {
		if s.verb == "deploy" {
			apps[s.app] = true
		}
	}
	for _, e := range entriesOf(steps) {
		named[proto.Path(e.fn.GetName())] = true
	}
	var rows []*proto.FunctionJsonRsp
	if err := a.ask(func(client *transport.Client) error {
		serving, err := client.Details(ctx)
		if err != nil {
			return err
		}
		stopped, err := client.Stopped(ctx, "")
		rows = slices.Concat(serving, stopped)
		return err
	}); err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(r *proto.FunctionJsonRsp) bool {
		return r.GetPreview() != "" || r.GetApp() == "" || !apps[r.GetApp()] || named[proto.Path(r.GetName())]
	})
	slices.SortStableFunc(rows, func(a, b *proto.FunctionJsonRsp) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return rows, nil
}

// prune removes what definitions do not name any more.
func (a *app) prune(ctx context.Context, steps []step) error {
	rows, err := a.surplus(ctx, steps)
	if err != nil {
		return err
	}
	apps := map[string]string{} // by function
	for _, r := range rows {
		apps[r.GetName()] = r.GetApp()
	}
	if len(apps) == 0 {
		a.note("nothing to prune")
		return nil
	}
	names := slices.Sorted(maps.Keys(apps))
	var list []string
	for _, name := range names {
		list = append(list, name+" ("+apps[name]+")")
	}
	a.note("removing what no file names any more: %s", strings.Join(list, ", "))
	return a.each(names, func(client *transport.Client, name string) ([]*proto.FunctionJsonRsp, error) {
		row, err := client.Remove(ctx, name)
		return []*proto.FunctionJsonRsp{row}, err
	})
}
