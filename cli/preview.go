package cli

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// leading are the settings by which calls come to a function that nobody makes by its name.
// What a definition says of them is of the function, not of its previews.
var leading = []string{"routes", "schedule", "timezone", "overlap", "jitter", "missed", "subscribe"}

// preview makes an entry of a definition the preview of a branch. What leads calls to the
// function is left out, unless a flag gives it.
func (e *entry) preview(a *app, branch, ttl string, given func(flag string) bool) {
	of := e.fn.GetName()
	e.fn.Preview = branch
	if ttl != "" {
		e.fn.PreviewTtl = ttl
	}
	e.fn.Complete()
	var out, has []string
	none := &proto.FunctionJson{}
	for _, s := range proto.Settings() {
		switch text := s.Text(e.fn); {
		case !slices.Contains(leading, s.Name) || given(s.Flag) || text == "":
		case s.Name == "routes" || s.Name == "schedule" || s.Name == "subscribe":
			out = append(out, s.Name+" "+text)
			fallthrough
		default:
			e.fn.Copy(none, []string{s.Name})
		}
	}
	if len(out) > 0 {
		a.note("%s: a preview leaves out what is of %s itself: %s", e.fn.GetName(), of, strings.Join(out, ", "))
	}
	if env := slices.Sorted(maps.Keys(e.fn.GetEnv())); len(env) > 0 {
		has = append(has, "env "+strings.Join(env, ", "))
	}
	if secrets := slices.Sorted(maps.Keys(e.secrets)); len(secrets) > 0 {
		has = append(has, "secrets "+strings.Join(secrets, ", "))
	}
	if len(has) > 0 {
		a.note("%s gets what the definition says: %s (an overlay changes that)", e.fn.GetName(), strings.Join(has, "; "))
	}
}

// removePreviews removes the previews of a branch: those of some functions, or all. That
// there are none, or no more, is what was asked for.
func (a *app) removePreviews(ctx context.Context, branch string, functions []string) error {
	var rows []*proto.FunctionJsonRsp
	if err := a.ask(func(client *transport.Client) (err error) {
		rows, err = listed(ctx, client, "", true)
		return err
	}); err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, of := range functions {
		name, err := proto.PreviewName(of, branch)
		if err != nil {
			return err
		}
		wanted[proto.Path(name)] = true
	}
	names := map[string]bool{}
	for _, r := range rows {
		if r.GetPreview() == branch && (len(functions) == 0 || wanted[proto.Path(r.GetName())]) {
			names[r.GetName()] = true
		}
	}
	if len(names) == 0 {
		a.note("there is no preview of %s; nothing is removed", branch)
		if a.output == "json" {
			return a.printRows(nil)
		}
		return nil
	}
	return a.each(slices.Sorted(maps.Keys(names)), func(client *transport.Client, name string) ([]*proto.FunctionJsonRsp, error) {
		row, err := client.Remove(ctx, name)
		return []*proto.FunctionJsonRsp{row}, err
	})
}
