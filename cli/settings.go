package cli

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/Ishan27g/ryo-faas/proto"
)

// settingFlags adds flags that set fn's settings to a command: those of names, or all.
// The flag of secrets adds references to secrets.
func settingFlags(fs *pflag.FlagSet, fn *proto.FunctionJson, secrets *map[string]reference, names ...string) {
	for _, s := range proto.Settings() {
		if len(names) > 0 && !slices.Contains(names, s.Name) {
			continue
		}
		flag := fs.VarPF(&settingFlag{s, fn, secrets}, s.Flag, "", "")
		flag.Usage = s.Help
		if s.Default != "none" && s.Form != proto.Switch {
			flag.Usage += " (default: " + s.Default + ")"
		}
		if s.Form == proto.Switch {
			flag.NoOptDefVal = "true"
		} else {
			flag.Usage = "`" + s.Value + "` " + flag.Usage
		}
	}
}

// settingFlag is the flag of a setting.
type settingFlag struct {
	proto.Setting
	fn      *proto.FunctionJson
	secrets *map[string]reference
}

// Set implements pflag.Value.
func (f *settingFlag) Set(word string) error {
	if f.Form == proto.Secrets {
		return addReference(f.secrets, word)
	}
	return f.Parse(f.fn, word)
}

// String implements pflag.Value. Help shows the setting's own words instead.
func (f *settingFlag) String() string { return "" }

// Type implements pflag.Value.
func (f *settingFlag) Type() string { return f.Value }

// settingNames lists the names of all settings for a sentence.
func settingNames() string {
	var names []string
	for _, s := range proto.Settings() {
		names = append(names, s.Name)
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// setting is the setter of a setting of an entry; secrets are references, whose paths
// are relative to dir.
func (d *document) setting(s proto.Setting, e *entry, dir string) setter {
	switch s.Form {
	case proto.Count:
		return stored(s, e, d.count)
	case proto.Switch:
		return stored(s, e, d.flag)
	case proto.Variables, proto.Labels:
		return stored(s, e, d.dict)
	case proto.Share:
		return stored(s, e, d.share)
	case proto.List:
		return stored(s, e, func(key string, to *[]string) setter { return d.texts(key, to, notEmpty) })
	case proto.Secrets:
		return d.references(s.Name, dir, &e.secrets)
	default:
		return stored(s, e, d.text)
	}
}

// stored is a setter that reads a value and stores it as a setting.
func stored[T any](s proto.Setting, e *entry, read func(key string, to *T) setter) setter {
	return func(n *node) error {
		var value T
		if err := read(s.Name, &value)(n); err != nil {
			return err
		}
		s.Set(e.fn, value)
		return nil
	}
}
