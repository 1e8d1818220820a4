package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// maxDefinition bounds a definition file in bytes; it is what an HTTP body of
// the same JSON may hold.
const maxDefinition = 1 << 20

// schemaKey names the schema of a JSON text to editors.
const schemaKey = "$schema"

// definition is what a definition file asks for.
type definition struct {
	app   string // that its functions are a part of; "": of none
	steps []step
}

// step is one section of a definition file.
type step struct {
	verb    string   // "deploy", "list", "stop" or "log"
	entries []*entry // to deploy
	app     string   // of the definition; "": it has none
	file    string   // of the definition
	agents  []string // to list; empty: all
	names   []string // to stop or to show the log of
}

// entry is one function to deploy, its paths absolute.
type entry struct {
	fn *proto.FunctionJson
	at string // where a definition file holds it, file:line:column; else ""

	secrets  map[string]reference // by variable
	envFiles []string             // with variables for env
	serves   *proto.Version       // before the deploy; nil: unknown, or none

	// find sets these: the bundle's folder, and the package's folder in it, slash
	// separated.
	root, dir string
	contents  *bundle.Contents
}

// sentAlong says what is sent of a folder without a go.mod, where nothing tells what
// the function needs; "" if only Go files are.
func (e *entry) sentAlong() string {
	const few = 5
	c := e.contents
	data := slices.DeleteFunc(slices.Clone(c.Files), func(name string) bool { return path.Ext(name) == ".go" })
	if !c.Whole || len(data)+len(c.LeftOut) == 0 {
		return ""
	}
	list := func(names []string) string {
		if more := len(names) - few; more > 0 {
			return strings.Join(names[:few], ", ") + fmt.Sprintf(" and %d more", more)
		}
		return strings.Join(names, ", ")
	}
	text := fmt.Sprintf("%s has no go.mod, so the whole folder is sent: %d files, %s", shorten(c.Root), len(c.Files), size(c.Bytes))
	if len(data) > 0 {
		text += ", with " + list(data)
	}
	if len(c.LeftOut) > 0 {
		text += "; left out unless include names them, since they look private or are large: " + list(c.LeftOut)
	}
	return text
}

// find sets root, dir and contents.
func (e *entry) find() (err error) {
	for _, path := range []string{e.fn.GetDir(), e.fn.GetFilePath()} {
		info, err := os.Stat(path)
		switch {
		case path == "":
		case errors.Is(err, fs.ErrNotExist):
			from := "the folder of the definition file"
			if e.at == "" {
				from = "the working directory"
			}
			return e.place(proto.Errorf(proto.ErrInvalid, "%s does not exist", path).WithHint("paths count from " + from))
		case err == nil && e.at == "" && !info.IsDir(): // DIR of a command
			return proto.Errorf(proto.ErrInvalid, "%s is a file, not a folder", shorten(path)).WithHint("name its folder: " + shorten(filepath.Dir(path)))
		}
	}
	e.contents, err = bundle.Survey(e.fn)
	if err != nil {
		return e.place(err)
	}
	e.root, e.dir = e.contents.Root, e.contents.PackagePath
	return nil
}

// place adds to an error where the entry stands in its file.
func (e *entry) place(err error) error {
	if err == nil || e.at == "" {
		return err
	}
	return fmt.Errorf("%s: %w", e.at, err)
}

// readDefinition reads the definition file of that name, or stdin for "-", with its overlay
// if the name of one is not "".
func readDefinition(ctx context.Context, name, overlay string, stdin io.Reader) (*definition, error) {
	d, err := readDocument(ctx, name, stdin)
	if err == nil && overlay != "" {
		var file string
		if file, err = overlayOf(name, overlay); err == nil {
			d.over, err = readDocument(ctx, file, nil)
		}
	}
	if err != nil {
		return nil, err
	}
	dir := "."
	if name != "-" {
		dir = filepath.Dir(name)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	def, err := d.definition(dir)
	if err != nil {
		return nil, err
	}
	for _, s := range def.steps {
		for _, e := range s.entries {
			if err := e.readEnvFiles(); err != nil {
				return nil, err
			}
		}
	}
	return def, nil
}

// readDocument reads the text of a definition.
func readDocument(ctx context.Context, name string, stdin io.Reader) (*document, error) {
	read := readAll
	if name == "-" {
		name = "stdin"
		read = func(r io.Reader) ([]byte, error) {
			return interruptible(ctx, func() ([]byte, error) { return readAll(r) })
		}
	} else {
		f, err := os.Open(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, proto.Errorf(proto.ErrInvalid, "%s: there is no such file", name)
		case err != nil:
			return nil, proto.Errorf(proto.ErrInvalid, "%w", err)
		}
		defer func() { _ = f.Close() }()
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return nil, proto.Errorf(proto.ErrInvalid, "%s is a folder, not a definition file", name).
				WithHint("name a file such as " + filepath.Join(name, "deploy.json") + ", or deploy the folder: proxyCli deploy " + name)
		}
		if filepath.Ext(name) == ".go" {
			return nil, proto.Errorf(proto.ErrInvalid, "%s is Go source, not a definition file", name).
				WithHint("deploy its folder: proxyCli deploy " + filepath.Dir(name))
		}
		stdin = f
	}
	data, err := read(stdin)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case len(data) > maxDefinition:
		return nil, proto.Errorf(proto.ErrInvalid, "%s is larger than %d bytes", name, maxDefinition)
	}
	return &document{file: name, data: withoutMark(data)}, nil
}

// readAll reads at most a byte more than a definition may hold.
func readAll(r io.Reader) ([]byte, error) {
	return io.ReadAll(io.LimitReader(r, maxDefinition+1))
}

// interruptible reads until ctx is canceled. A read from a terminal cannot be canceled: its
// goroutine goes on until the program exits, which is soon.
func interruptible(ctx context.Context, read func() ([]byte, error)) ([]byte, error) {
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		data, err := read()
		done <- result{data, err}
	}()
	select {
	case r := <-done:
		return r.data, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// definition understands the document, whose relative paths count from dir. It reads
// nothing else, but for variables of the environment.
func (d *document) definition(dir string) (*definition, error) {
	root, err := d.parse()
	if err == nil && d.over != nil {
		var over *node
		if over, err = d.over.parse(); err == nil {
			over.shift(len(d.data) + 1)
			err = d.lay(root, over)
		}
	}
	if err == nil {
		err = d.expand(root)
	}
	if err != nil {
		return nil, err
	}
	def := &definition{}
	add := func(s step, err error) error {
		def.steps = append(def.steps, s)
		return err
	}
	err = d.object(root, "the definition", map[string]setter{
		schemaKey: func(*node) error { return nil },
		"app":     d.appOf(&def.app),
		"deploy":  func(n *node) error { return add(d.deploy(n, dir)) },
		"list":    func(n *node) error { return add(d.list(n)) },
		"stop":    func(n *node) error { return add(d.named("stop", n)) },
		"log":     func(n *node) error { return add(d.named("log", n)) },
	})
	switch {
	case err != nil:
		return nil, err
	case len(def.steps) == 0:
		return nil, d.errorf(root.offset, "the definition has none of the sections deploy, list, log, stop")
	}
	for i, s := range def.steps {
		if s.verb == "deploy" {
			def.steps[i].app, def.steps[i].file = def.app, d.file
		}
		for _, e := range s.entries {
			if e.fn.GetApp() != "" && e.fn.GetApp() != def.app && def.app != "" {
				return nil, e.place(proto.Errorf(proto.ErrInvalid, "function %q is a part of %q, and the definition of %q", e.fn.GetName(), e.fn.GetApp(), def.app))
			}
			e.fn.App = cmp.Or(e.fn.GetApp(), def.app)
		}
	}
	return def, nil
}

// appOf takes the name of an app.
func (d *document) appOf(to *string) setter {
	return func(n *node) error {
		name, err := d.str(n, "app")
		if err == nil {
			err = proto.CheckApp(name)
		}
		if err != nil {
			return d.errorf(n.offset, "app: %v", err)
		}
		*to = name
		return nil
	}
}

func (d *document) deploy(n *node, dir string) (step, error) {
	s := step{verb: "deploy"}
	list, ok := n.value.([]*node)
	switch {
	case !ok:
		return s, d.errorf(n.offset, `"deploy" must be a list of functions, not %s`, n.kind())
	case len(list) == 0:
		return s, d.errorf(n.offset, `"deploy" holds no function`)
	}
	for _, n := range list {
		e, err := d.function(n, dir)
		if err != nil {
			return s, err
		}
		s.entries = append(s.entries, e)
	}
	return s, nil
}

// function reads an entry of deploy. The keys are those of JSON bodies and of
// the flags of the command deploy.
func (d *document) function(n *node, dir string) (*entry, error) {
	fn := &proto.FunctionJson{}
	e := &entry{fn: fn, at: d.position(n.offset)}
	setters := map[string]setter{
		"name":       d.text("name", &fn.Name),
		"packageDir": d.path("packageDir", dir, &fn.Dir),
		"filePath":   d.path("filePath", dir, &fn.FilePath),
		"agentAddr":  d.texts("agentAddr", &fn.ToAgent, transport.NormalizeAddr),
		"envFile":    d.texts("envFile", &e.envFiles, func(name string) (string, error) { return absolute(dir, name) }),
	}
	for _, s := range proto.Settings() {
		setters[s.Name] = d.setting(s, e, dir)
	}
	err := d.object(n, "an entry of deploy", setters)
	fn.Complete()
	switch {
	case err != nil:
		return nil, err
	case fn.Dir == "" && fn.FilePath == "":
		return nil, d.errorf(n.offset, "function %q: both packageDir and filePath are missing", fn.Name).
			WithHint(`say where the function's package lies: "packageDir": "./hello"`)
	case fn.Dir == "":
		fn.Dir = filepath.Dir(fn.FilePath)
	}
	return e, nil
}

func (d *document) list(n *node) (step, error) {
	s := step{verb: "list"}
	err := d.object(n, "list", map[string]setter{"agentAddr": d.texts("agentAddr", &s.agents, transport.NormalizeAddr)})
	return s, err
}

func (d *document) named(verb string, n *node) (step, error) {
	s := step{verb: verb}
	if err := d.object(n, verb, map[string]setter{"name": d.texts("name", &s.names, notEmpty)}); err != nil {
		return s, err
	}
	if len(s.names) == 0 {
		return s, d.errorf(n.offset, `%s names no function`, verb).
			WithHint(fmt.Sprintf(`write {%q: {"name": ["HelloWorld"]}}`, verb))
	}
	return s, nil
}

// references takes an object of references to secrets, whose paths count from dir.
func (d *document) references(key, dir string, to *map[string]reference) setter {
	return func(n *node) error {
		var texts map[string]string
		if err := d.dict(key, &texts)(n); err != nil {
			return err
		}
		*to = make(map[string]reference, len(texts))
		for _, m := range n.value.([]member) {
			r, err := parseReference(texts[m.key], dir)
			if err != nil {
				return d.errorf(m.node.offset, "the secret %s is %v", m.key, err).WithHint(referenceHint)
			}
			(*to)[m.key] = r
		}
		return nil
	}
}

// path takes a path that counts from dir.
func (d *document) path(key, dir string, to *string) setter {
	return func(n *node) error {
		p, err := d.str(n, key)
		if err != nil {
			return err
		}
		if *to, err = absolute(dir, p); err != nil {
			return d.errorf(n.offset, "%q is empty", key)
		}
		return nil
	}
}

// absolute is a path that counts from dir.
func absolute(dir, name string) (string, error) {
	switch {
	case name == "":
		return "", errors.New("an element is empty")
	case !filepath.IsAbs(name):
		name = filepath.Join(dir, name)
	}
	return filepath.Clean(name), nil
}
