package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
)

// overlayFlag adds the flag -overlay to a command that reads definitions.
func (a *app) overlayFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.overlay, "overlay", "", "`NAME` changes of the definition that lie beside it: of deploy.json, deploy.NAME.json")
}

// overlayName is what a file's name may have in its middle.
var overlayName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// overlayOf returns the file of an overlay of a definition file.
func overlayOf(file, overlay string) (string, error) {
	if !overlayName.MatchString(overlay) {
		return "", proto.Errorf(proto.ErrInvalid, "-overlay: %q is no name of letters, digits, - and _", overlay)
	}
	if file == "-" {
		return "", proto.Errorf(proto.ErrInvalid, "-overlay is for files, and not for the standard input")
	}
	ext := filepath.Ext(file)
	stem := strings.TrimSuffix(file, ext) + "." + overlay
	var found []string
	for _, ext := range []string{".json", ".yaml", ".yml"} {
		if _, err := os.Stat(stem + ext); err == nil {
			found = append(found, stem+ext)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", proto.Errorf(proto.ErrInvalid, "%w", err)
		}
	}
	switch len(found) {
	case 0:
		return "", proto.Errorf(proto.ErrInvalid, "%s: there is no such file", stem+ext).WithHint("-overlay " + overlay + " needs one for each definition; one that changes nothing is {}")
	case 1:
		return found[0], nil
	}
	return "", proto.Errorf(proto.ErrInvalid, "both %s and %s say what to change", found[0], found[1]).WithHint("keep one of them")
}

// lay changes a definition by an overlay. A function is changed by the entry of deploy that
// has its name, key by key, and the variables of env, secrets and placement one by one; null
// takes away. Functions that the definition does not have are added. Of other sections the
// overlay's stand.
func (d *document) lay(base, over *node) error {
	sections, ok := base.value.([]member)
	changes, both := over.value.([]member)
	if !ok {
		return nil // which is said where the definition is read
	}
	if !both {
		return d.errorf(over.offset, "the overlay must be an object, not %s", over.kind())
	}
	for _, change := range changes {
		is := memberOf(sections, change.key)
		functions, list := change.node.value.([]*node)
		if change.key == "deploy" && is != nil && list {
			if had, ok := is.node.value.([]*node); ok {
				changed, err := d.layFunctions(had, functions)
				if err != nil {
					return err
				}
				is.node.value = changed
				continue
			}
		}
		sections = laid(sections, change)
	}
	base.value = sections
	return nil
}

func (d *document) layFunctions(base, over []*node) ([]*node, error) {
	for _, change := range over {
		changes, ok := change.value.([]member)
		if !ok {
			return nil, d.errorf(change.offset, "an entry of deploy must be an object, not %s", change.kind())
		}
		name := nameOf(changes)
		if name == "" {
			return nil, d.errorf(change.offset, "an entry of an overlay needs the name of its function")
		}
		i := slices.IndexFunc(base, func(n *node) bool {
			members, _ := n.value.([]member)
			return nameOf(members) == name
		})
		if i < 0 {
			base = append(base, change)
			continue
		}
		members := base[i].value.([]member)
		for _, c := range changes {
			members = laid(members, c)
		}
		base[i].value = members
	}
	return base, nil
}

// nameOf is the name of an entry of deploy; "" if it has none.
func nameOf(entry []member) string {
	if m := memberOf(entry, "name"); m != nil {
		name, _ := m.node.value.(string)
		return name
	}
	return ""
}

// laid is an object with one of its members changed; the members of an object one by one.
func laid(members []member, change member) []member {
	is := memberOf(members, change.key)
	changes, object := change.node.value.([]member)
	switch {
	case change.node.value == nil:
		return slices.DeleteFunc(members, func(m member) bool { return m.key == change.key })
	case is == nil && !object:
		return append(members, change)
	case object:
		var inner []member
		if is != nil {
			inner, _ = is.node.value.([]member)
		}
		for _, c := range changes {
			inner = laid(inner, c)
		}
		change.node.value = inner
		if is == nil {
			return append(members, change)
		}
	}
	*is = change
	return members
}
