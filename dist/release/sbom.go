package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// The part of CycloneDX 1.6 that a release fills in; see
// https://cyclonedx.org/docs/1.6/json/.
type (
	bom struct {
		Format       string       `json:"bomFormat"`
		Spec         string       `json:"specVersion"`
		Version      int          `json:"version"`
		Metadata     metadata     `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	metadata struct {
		Timestamp string    `json:"timestamp"`
		Component component `json:"component"`
	}
	component struct {
		Type       string      `json:"type"`
		Ref        string      `json:"bom-ref"`
		Name       string      `json:"name"`
		Version    string      `json:"version"`
		Purl       string      `json:"purl"`
		Hashes     []hash      `json:"hashes,omitempty"`
		Licenses   []license   `json:"licenses,omitempty"`
		Properties []property  `json:"properties,omitempty"`
		Components []component `json:"components,omitempty"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	license struct {
		License struct {
			ID string `json:"id"`
		} `json:"license"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	dependency struct {
		Ref string   `json:"ref"`
		On  []string `json:"dependsOn,omitempty"`
	}
)

const module = "github.com/Ishan27g/ryo-faas"

// shipped has the modules that agents build functions with. They are in an agent as
// files, and so not in its build info.
const shipped = "remote/build/modules/proxy"

// billOfMaterials lists what is in programs, as they say themselves: modules with their
// sums of go.sum, the standard library, and for each program how it was built.
func billOfMaterials(ps programs, version string, when time.Time) ([]byte, error) {
	whole := moduleComponent("application", module, version, "")
	own := license{}
	own.License.ID = "Apache-2.0"
	whole.Licenses = []license{own}
	list := bom{Format: "CycloneDX", Spec: "1.6", Version: 1, Metadata: metadata{when.Format(time.RFC3339), component{}}}
	components := map[string]component{}
	all := dependency{Ref: whole.Ref}
	for _, p := range ps {
		made := moduleComponent("application", p.info.Path, version, "")
		for _, s := range p.info.Settings {
			made.Properties = append(made.Properties, property{"go:" + s.Key, s.Value})
		}
		needs := dependency{Ref: made.Ref}
		modules := append([]*debug.Module{{Path: "std", Version: strings.TrimPrefix(p.info.GoVersion, "go")}}, p.info.Deps...)
		for _, m := range modules {
			if m.Replace != nil {
				m = m.Replace
			}
			c := moduleComponent("library", m.Path, m.Version, m.Sum)
			components[c.Ref] = c
			needs.On = append(needs.On, c.Ref)
		}
		if p.name == "agent" {
			embedded, err := embedded()
			if err != nil {
				return nil, err
			}
			for _, c := range embedded {
				if _, linked := components[c.Ref]; !linked {
					components[c.Ref] = c
				}
				if !slices.Contains(needs.On, c.Ref) {
					needs.On = append(needs.On, c.Ref)
				}
			}
		}
		slices.Sort(needs.On)
		whole.Components = append(whole.Components, made)
		all.On = append(all.On, made.Ref)
		list.Dependencies = append(list.Dependencies, needs)
	}
	list.Metadata.Component = whole
	list.Dependencies = append([]dependency{all}, list.Dependencies...)
	for _, ref := range slices.Sorted(maps.Keys(components)) {
		list.Components = append(list.Components, components[ref])
		list.Dependencies = append(list.Dependencies, dependency{Ref: ref})
	}
	text, err := json.MarshalIndent(list, "", "  ")
	return append(text, '\n'), err
}

// moduleComponent is a module, or a package of one, with its sum as go.sum has it: a
// SHA-256 over those of its files.
func moduleComponent(kind, name, version, sum string) component {
	at := name
	if rest, ok := strings.CutPrefix(name, module+"/"); ok {
		at = module + "@" + version + "#" + rest
	} else {
		at += "@" + version
	}
	c := component{Type: kind, Ref: "pkg:golang/" + at, Name: name, Version: version, Purl: "pkg:golang/" + at}
	if encoded, ok := strings.CutPrefix(sum, "h1:"); ok {
		if raw, err := base64.StdEncoding.DecodeString(encoded); err == nil {
			c.Hashes = []hash{{"SHA-256", hex.EncodeToString(raw)}}
		}
	}
	return c
}

// embedded are the modules that an agent has as files.
func embedded() (found []component, err error) {
	err = filepath.WalkDir(shipped, func(name string, e fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".zip" {
			return err
		}
		rel, err := filepath.Rel(shipped, name)
		if err != nil {
			return err
		}
		module, version, _ := strings.Cut(filepath.ToSlash(strings.TrimSuffix(rel, ".zip")), "/@v/")
		c := moduleComponent("library", unescape(module), unescape(version), "")
		c.Properties = []property{{"ryo:embedded", "agents build functions with it"}}
		found = append(found, c)
		return nil
	})
	if os.IsNotExist(err) {
		return nil, nil // an agent without them fetches them
	}
	return found, err
}

// unescape undoes the writing of upper-case letters in paths of module proxies: !a for A.
func unescape(escaped string) string {
	var b strings.Builder
	upper := false
	for _, r := range escaped {
		switch {
		case r == '!':
			upper = true
			continue
		case upper:
			b.WriteString(strings.ToUpper(string(r)))
		default:
			b.WriteRune(r)
		}
		upper = false
	}
	return b.String()
}
