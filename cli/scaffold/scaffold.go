package scaffold

import (
	"cmp"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
)

//go:embed all:templates
var files embed.FS

// Template is a kind of function that can be begun with.
type Template struct {
	Name string
	Does string // what the function does
	call string // how it is tried once it is deployed, after "proxyCli "
	// settings are those of its definition.
	settings []setting
}

type setting struct {
	Key   string
	Value any
}

// Templates are all of them, the usual one first.
var Templates = []Template{
	{Name: "http", Does: "answers HTTP requests", call: "invoke NAMEFN -path '/?name=Ada'"},
	{Name: "json", Does: "from one Go type to another, as JSON", call: `invoke NAMEFN -d '{"name": "Ada"}'`},
	{Name: "event", Does: "receives CloudEvents of the types that it subscribes to", call: "log NAMEFN", settings: []setting{{"subscribe", []string{"order.*"}}}},
	{Name: "cron", Does: "is called by the clock", call: "cron run NAMEFN", settings: []setting{{"schedule", "*/5 * * * *"}}},
	{Name: "gin", Does: "a handler of gin", call: "invoke NAMEFN -path /Ada"},
	{Name: "sse", Does: "streams server-sent events", call: "invoke NAMEFN"},
	{Name: "static", Does: "serves the files of a folder", call: "open NAMEFN"},
}

// Made says what was made.
type Made struct {
	Name     string   `json:"name"`     // the function
	Template string   `json:"template"` // its name
	Dir      string   `json:"dir"`      // as it was asked for
	Files    []string `json:"files"`    // in Dir, with slashes
	Try      string   `json:"-"`        // arguments of proxyCli that try it once it is deployed
}

// ignore is the .ryoignore of a new function.
const ignore = `# What is not sent with the function: patterns, one a line.
*.local
*.log
tmp/
`

// Make makes dir, which must not exist or be empty, with a function that is called as its
// last element says: blur-images has the function BlurImages. Unknown templates and names
// that are none are an ErrInvalid, a folder that has files an ErrConflict.
func Make(dir, template string) (*Made, error) {
	t, err := find(template)
	if err != nil {
		return nil, err
	}
	whole, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	base := filepath.Base(whole)
	name := proto.NameOf(base)
	if name == "" {
		return nil, proto.Errorf(proto.ErrInvalid, "no function can be named after %q", base).
			WithHint("take a name of letters, digits, - and _ that begins with a letter, such as blur-images")
	}
	if entries, err := os.ReadDir(whole); err == nil && len(entries) > 0 {
		return nil, proto.Errorf(proto.ErrConflict, "%s has files already", dir).WithHint("choose another name; nothing was changed")
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	made := &Made{Name: name, Template: t.Name, Dir: dir, Try: t.names(name).Replace(t.call)}
	texts, err := t.texts(name)
	if err != nil {
		return nil, err
	}
	if err := made.write(whole, texts); err != nil {
		return nil, err
	}
	return made, nil
}

// text is a file of a new function.
type text struct{ name, text string }

func find(name string) (Template, error) {
	var all []string
	for _, t := range Templates {
		if t.Name == name {
			return t, nil
		}
		all = append(all, t.Name)
	}
	return Template{}, proto.Errorf(proto.ErrInvalid, "there is no template %q", name).WithHint("take one of " + strings.Join(all, ", "))
}

// packageOf is the name of a function's package.
func packageOf(name string) string {
	p := strings.ReplaceAll(proto.Path(name), "_", "")
	if token.IsKeyword(p) || p == "main" || strings.HasSuffix(p, "test") {
		p += "fn" // the go command has a meaning of its own for it
	}
	return cmp.Or(p, "fn")
}

func (Template) names(name string) *strings.Replacer {
	return strings.NewReplacer("NAMEFN", name, "NAMEPKG", packageOf(name), "NAMEPATH", proto.Path(name))
}

// texts are the files of a new function.
func (t Template) texts(name string) ([]text, error) {
	var all []text
	names := t.names(name)
	root := path.Join("templates", t.Name)
	hasModule := false
	err := fs.WalkDir(files, root, func(at string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := files.ReadFile(at)
		if err != nil {
			return err
		}
		file := strings.TrimSuffix(strings.TrimPrefix(at, root+"/"), ".txt")
		if rest, ok := strings.CutPrefix(file, "function"); ok {
			file = packageOf(name) + rest
		}
		hasModule = hasModule || file == "go.mod"
		all = append(all, text{file, names.Replace(string(data))})
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !hasModule {
		all = append(all, text{"go.mod", names.Replace("module example.com/NAMEPKG\n\ngo 1.25.0\n")})
	}
	return append(all, text{"deploy.json", t.definition(name)}, text{".ryoignore", ignore}), nil
}

// definition is the deploy.json of a new function.
func (t Template) definition(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "{\n  \"deploy\": [\n    {\n      \"name\": %q,\n      \"packageDir\": \".\"", name)
	for _, s := range t.settings {
		value, _ := json.Marshal(s.Value) // of strings
		fmt.Fprintf(&b, ",\n      %q: %s", s.Key, value)
	}
	b.WriteString("\n    }\n  ]\n}\n")
	return b.String()
}

// write makes the files below a folder; if it cannot make all of them it removes what it
// has made.
func (m *Made) write(dir string, texts []text) (err error) {
	var undo []string
	defer func() {
		for i := len(undo) - 1; err != nil && i >= 0; i-- {
			_ = os.Remove(undo[i])
		}
	}()
	var folder func(dir string) error
	folder = func(dir string) error {
		err := os.Mkdir(dir, 0o777)
		switch {
		case err == nil:
			undo = append(undo, dir)
		case errors.Is(err, fs.ErrExist):
			return nil
		case errors.Is(err, fs.ErrNotExist):
			if err = folder(filepath.Dir(dir)); err == nil {
				err = folder(dir)
			}
		}
		return err
	}
	for _, t := range texts {
		at := filepath.Join(dir, filepath.FromSlash(t.name))
		if err := folder(filepath.Dir(at)); err != nil {
			return err
		}
		file, err := os.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if err != nil {
			return err
		}
		undo = append(undo, at)
		_, err = file.WriteString(t.text)
		if closed := file.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return err
		}
		m.Files = append(m.Files, t.name)
	}
	return nil
}
