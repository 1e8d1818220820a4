package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// resetAll is the value of the flag -reset that names no settings.
const resetAll = "all"

// firstReplicas is the setting replicas that the proxy gives a new function that does not
// have it.
const firstReplicas = "1"

// resets are the settings that the flag -reset names.
func resets(cmd *cobra.Command, value string) (names []string, err error) {
	var known []string
	for _, s := range proto.Settings() {
		if s.Effect > proto.OnDeploy {
			known = append(known, s.Name)
		}
	}
	switch value {
	case "":
		return nil, nil
	case resetAll:
		return known, nil
	}
	names = strings.Split(value, ",")
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, usagef(cmd, "-reset: there is no setting %q that a version keeps%s", name, didYouMean("", name, known))
		}
	}
	return names, nil
}

// entries returns what the command deploy deploys: the entries of a definition in the
// folder, or one function with the settings that it keeps. The error unreached says
// why the version that serves is not known.
func (a *app) entries(cmd *cobra.Command, flags *entry, reset string) (entries []*entry, unreached, err error) {
	toReset, err := resets(cmd, reset)
	if err != nil {
		return nil, nil, err
	}
	entries, err = a.entriesIn(cmd.Context(), cmd, flags)
	if err != nil {
		return nil, nil, err
	}
	stated := len(entries) > 0
	if !stated {
		flags.fn.Complete()
		if flags.fn.GetName() == "" && flags.fn.GetTarget() == "" {
			if flags.fn.Name, err = a.onlyFunction(flags); err != nil {
				return nil, nil, err
			}
			flags.fn.Complete()
		}
		entries = []*entry{flags}
	}
	for _, e := range entries {
		if e.serves, err = a.current(cmd.Context(), e.fn.GetName()); err != nil {
			return entries, err, nil
		}
		if e.serves == nil {
			continue
		}
		if !stated {
			e.keep(cmd.Flags().Changed, toReset)
		}
	}
	return entries, nil, nil
}

// definitionIn returns the definition file of a folder; "" if there is none.
func definitionIn(dir string) (file string, data []byte, err error) {
	for _, name := range bundle.Definitions {
		next := shorten(filepath.Join(dir, name))
		text, err := os.ReadFile(next)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
			continue
		case err != nil:
			return "", nil, proto.Errorf(proto.ErrInvalid, "read %s: %w", next, err)
		case file != "":
			return "", nil, proto.Errorf(proto.ErrInvalid, "both %s and %s say how to deploy", file, next).WithHint("keep one of them")
		}
		file, data = next, text
	}
	return file, data, nil
}

// entriesIn returns the entries of the definition in the folder, overridden by flags;
// nil if there is no definition.
func (a *app) entriesIn(ctx context.Context, cmd *cobra.Command, flags *entry) ([]*entry, error) {
	file, data, err := definitionIn(flags.fn.GetDir())
	if err == nil && file == "" && a.overlay != "" {
		err = proto.Errorf(proto.ErrInvalid, "-overlay: the folder has no definition that could be changed")
	}
	if err != nil || file == "" {
		return nil, err
	}
	d := &document{file: file, data: withoutMark(data)}
	if root, err := d.parse(); err == nil {
		if sections, ok := root.value.([]member); ok && memberOf(sections, "deploy") == nil {
			a.note("%s has no section deploy; it is left alone", file)
			return nil, nil
		}
	}
	def, err := readDefinition(ctx, file, a.overlay, nil)
	if err != nil {
		return nil, err
	}
	entries := entriesOf(def.steps)
	var names []string
	for _, e := range entries {
		names = append(names, e.fn.GetName())
	}
	if name := flags.fn.GetName(); name != "" {
		entries = slices.DeleteFunc(entries, func(e *entry) bool { return proto.Path(e.fn.GetName()) != proto.Path(name) })
		if len(entries) == 0 {
			return nil, usagef(cmd, "-name: %s does not deploy %s, but %s", file, name, strings.Join(names, ", "))
		}
	}
	for _, e := range entries {
		fine := e.fn.Check() == nil
		e.override(flags, cmd.Flags().Changed)
		if branch := flags.fn.GetPreview(); branch != "" {
			e.preview(a, branch, flags.fn.GetPreviewTtl(), cmd.Flags().Changed)
		}
		if err := e.fn.Check(); err != nil && fine {
			return nil, err // of a flag, not of the file
		}
	}
	a.note("as %s says", file)
	return entries, nil
}

// override replaces settings of the entry by flags that are given; env and secrets
// variable by variable.
func (e *entry) override(flags *entry, given func(flag string) bool) {
	for _, s := range proto.Settings() {
		switch {
		case !given(s.Flag):
		case s.Form == proto.Variables:
			if e.fn.Env == nil {
				e.fn.Env = map[string]string{}
			}
			for k, v := range flags.fn.GetEnv() {
				e.fn.Env[k] = v
				delete(e.secrets, k)
			}
		case s.Form == proto.Secrets:
			if e.secrets == nil {
				e.secrets = map[string]reference{}
			}
			for k, r := range flags.secrets {
				e.secrets[k] = r
				delete(e.fn.Env, k)
			}
		default:
			e.fn.Copy(flags.fn, []string{s.Name})
		}
	}
	// Agents are named, or chosen: flags of the one replace what the file says of the other.
	places := given("replicas") || given("placement")
	switch {
	case given("agent"):
		e.fn.ToAgent = flags.fn.ToAgent
		if !places {
			e.fn.Replicas, e.fn.Placement = "", nil
		}
	case places:
		e.fn.ToAgent = nil
	}
}

// current asks for the version of a function that serves; nil if it is not deployed.
func (a *app) current(ctx context.Context, name string) (*proto.Version, error) {
	list, err := answer(a, func(client *transport.Client) ([]*proto.Version, error) { return client.Versions(ctx, name) })
	list = slices.DeleteFunc(list, func(v *proto.Version) bool { return v.GetError() != "" })
	if errors.Is(err, proto.ErrNotFound) || err == nil && len(list) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v := slices.MaxFunc(list, func(a, b *proto.Version) int { return int(a.GetWeight()) - int(b.GetWeight()) })
	if v.GetWeight() > 0 {
		return v, nil
	}
	// It is stopped: what it keeps are the settings of the version that served last.
	stopped, err := answer(a, func(client *transport.Client) ([]*proto.FunctionJsonRsp, error) { return client.Stopped(ctx, "") })
	if err != nil {
		return nil, err
	}
	for _, row := range stopped {
		i := slices.IndexFunc(list, func(v *proto.Version) bool { return v.GetVersion() == row.GetVersion() })
		if proto.Path(row.GetName()) == proto.Path(name) && i >= 0 {
			return list[i], nil
		}
	}
	return v, nil
}

// keep takes settings from the version that serves, except for those that are given
// or reset.
func (e *entry) keep(given func(flag string) bool, reset []string) {
	was := e.serves.GetSettings()
	for _, s := range proto.Settings() {
		variables := s.Form == proto.Variables || s.Form == proto.Secrets
		if s.Effect > proto.OnDeploy && !slices.Contains(reset, s.Name) && (variables || !given(s.Flag)) && s.Text(was) != "" {
			e.fn.Keep = append(e.fn.Keep, s.Name)
		}
	}
	e.fn.Keep = e.fn.Keepable(e.fn.GetKeep())
	// Values of secrets are not known here; the agent adds them.
	env := maps.Clone(e.fn.GetEnv())
	e.fn.Retain(was, slices.DeleteFunc(slices.Clone(e.fn.Keep), func(name string) bool { return name == "secrets" }))
	for k := range e.secrets {
		if _, given := env[k]; !given { // else it is given twice, which Check refuses
			delete(e.fn.Env, k)
		}
	}
}

// tellChanges prints which settings of the versions that serve stay or change.
func (a *app) tellChanges(entries []*entry) {
	a.tellKept(entries)
	for _, e := range entries {
		_, changes := e.changes()
		for _, c := range changes {
			a.note("%s changes %s", e.fn.GetName(), c)
		}
	}
}

// tellKept prints which settings of the versions that serve stay without being given.
func (a *app) tellKept(entries []*entry) {
	for _, e := range entries {
		if kept, _ := e.changes(); len(kept) > 0 && len(e.fn.GetKeep()) > 0 {
			a.note("%s keeps of version %d: %s (-reset drops what is not given)", e.fn.GetName(), e.serves.GetVersion(), strings.Join(kept, ", "))
		}
	}
}

// changes says which settings of the version that serves stay and which change.
func (e *entry) changes() (kept, changes []string) {
	if e.serves == nil {
		return nil, nil
	}
	was := e.serves.GetSettings()
	for _, s := range proto.Settings() {
		var stays, turns []string
		switch {
		case s.Effect == proto.OnDeploy:
		case s.Name == "replicas" && (s.Text(e.fn) == "" || s.Text(e.fn) == firstReplicas && s.Text(was) == firstReplicas):
			// Nobody has said it, and nothing changes: it stays on as many agents, or on those named.
		case s.Form == proto.Variables:
			stays, turns = variables("env", was.GetEnv(), e.fn.GetEnv(), func(k string) bool { return e.fn.Env[k] != was.GetEnv()[k] })
		case s.Form == proto.Secrets:
			given := func(k string) bool { _, ok := e.secrets[k]; return ok }
			stays, turns = variables("secret", was.GetSecrets(), e.secretsToBe(), given)
		case !s.Same(was, e.fn):
			turns = []string{fmt.Sprintf("%s: %s → %s", s.Name, orDefault(s, s.Text(was)), orDefault(s, s.Text(e.fn)))}
		case s.Text(was) != "" && s.Text(e.fn) != "":
			stays = []string{s.Name + " " + s.Text(was)}
		}
		kept, changes = append(kept, stays...), append(changes, turns...)
	}
	return kept, changes
}

// secretsToBe has the names of the function's secrets after the deploy as keys.
func (e *entry) secretsToBe() map[string]string {
	names := map[string]string{}
	if slices.Contains(e.fn.GetKeep(), "secrets") {
		for k := range e.serves.GetSettings().GetSecrets() {
			if _, plain := e.fn.GetEnv()[k]; !plain {
				names[k] = ""
			}
		}
	}
	for k := range e.secrets {
		names[k] = ""
	}
	return names
}

// orDefault is the value of a setting for people.
func orDefault(s proto.Setting, text string) string {
	if text == "" {
		return s.Default + " (default)"
	}
	return text
}

// variables says which variables stay and which change. Values are not shown: others
// may see the screen.
func variables(what string, was, now map[string]string, changed func(string) bool) (kept, changes []string) {
	all := maps.Clone(was)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, now)
	for _, k := range slices.Sorted(maps.Keys(all)) {
		_, before := was[k]
		_, after := now[k]
		switch {
		case !before:
			changes = append(changes, what+" "+k+": added")
		case !after:
			changes = append(changes, what+" "+k+": dropped")
		case changed(k):
			changes = append(changes, what+" "+k+": given anew")
		default:
			kept = append(kept, what+" "+k)
		}
	}
	return kept, changes
}
