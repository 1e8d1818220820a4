package dashboard

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"mime/multipart"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

const (
	// maxUpload bounds what is dropped on the page, in bytes: it is read into memory. Larger
	// packages are proxyCli's.
	maxUpload = 32 << 20
	// maxDeploys bounds how many are read at a time.
	maxDeploys = 4
	// maxUnpacked bounds what the Go files of a package have, to find functions in them.
	maxUnpacked = 16 << 20
)

// deployBody is the page that deploys.
type deployBody struct {
	Name, Note, Source, Problem, Hint string
}

// Most is how large what is dropped may be, in bytes.
func (deployBody) Most() int { return maxUpload }

// firstSource is what a new function may begin with.
const firstSource = `package hello

import (
	"fmt"
	"net/http"
)

// HelloWorld greets.
func HelloWorld(w http.ResponseWriter, r *http.Request) {
	fmt.Fprint(w, "Hello, World!\n")
}
`

func (d *Dashboard) deployPage(v *visit) error {
	return d.showDeploy(v, deployBody{Source: firstSource})
}

func (d *Dashboard) showDeploy(v *visit, body deployBody) error {
	p := page{Title: "Deploy", At: "deploy", Body: body}
	if body.Problem != "" {
		p.Status = http.StatusUnprocessableEntity
	}
	return d.show(v, "deploy", p)
}

// deploy takes a package, and deploys it as the caller.
func (d *Dashboard) deploy(v *visit) error {
	if !v.may.Deploy {
		return proto.Errorf(proto.ErrForbidden, "%s may not deploy: that takes the scope deploy", v.who.GetWho())
	}
	select {
	case d.deploys <- struct{}{}:
		defer func() { <-d.deploys }()
	default:
		return proto.Errorf(proto.ErrTooMany, "%d packages are on their way", maxDeploys).WithHint("send it again in a moment")
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxUpload+maxForm)
	form, file, data, err := readUpload(v.r, v.same)
	if err != nil {
		return err
	}
	body := deployBody{Name: strings.TrimSpace(form["name"]), Note: form["note"], Source: form["source"]}
	pkg, name, err := packageOf(file, data, form["source"], body.Name)
	if err == nil {
		body.Name = name
		_, err = v.deployPackage(pkg, definition{Name: name, Note: body.Note})
	}
	if e := wire.AsError(err); err != nil && (errors.Is(err, proto.ErrInvalid) || errors.Is(err, proto.ErrTooLarge)) {
		body.Problem, body.Hint = e.Message, e.Hint
		if body.Source == "" {
			body.Source = firstSource
		}
		return d.showDeploy(v, body)
	}
	if err != nil {
		return err
	}
	return v.done(pageOf(name), "deploy")
}

// readUpload reads the form: fields first, of which csrf is the first, then the file.
func readUpload(r *http.Request, same func(string) error) (form map[string]string, file string, data []byte, err error) {
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, "", nil, unread(err)
	}
	form = map[string]string{}
	for known := false; ; known = true {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return form, file, data, nil
		}
		if err != nil {
			return nil, "", nil, unread(err)
		}
		if part.FormName() == "file" && known {
			file = part.FileName()
			if data, err = io.ReadAll(part); err != nil {
				return nil, "", nil, unread(err)
			}
			continue
		}
		value, err := io.ReadAll(io.LimitReader(part, maxForm))
		if err != nil {
			return nil, "", nil, unread(err)
		}
		if !known {
			if part.FormName() != csrfField {
				return nil, "", nil, errStale
			}
			if err := same(string(value)); err != nil {
				return nil, "", nil, err
			}
		}
		form[part.FormName()] = string(value)
	}
}

// packageOf returns the package that was dropped, or written, as an archive with the
// function's package at its root, and the function's name, if that is to be found.
func packageOf(file string, data []byte, source, name string) (pkg []byte, found string, err error) {
	sources := map[string][]byte{}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	add := func(name string, content []byte) error {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(content)
		}
		return err
	}
	switch {
	case len(data) == 0 && strings.TrimSpace(source) == "":
		return nil, "", proto.Errorf(proto.ErrInvalid, "there is nothing to deploy").WithHint("drop a zip or a Go file, or write a function")
	case len(data) == 0:
		content := []byte(strings.ReplaceAll(source, "\r\n", "\n"))
		sources["function.go"] = content
		err = add("function.go", content)
	case path.Ext(file) == ".go":
		sources[file] = data
		err = add(file, data)
	case path.Ext(file) == ".zip":
		err = repack(data, sources, z)
	default:
		return nil, "", proto.Errorf(proto.ErrInvalid, "%.100q is neither a zip nor a Go file", file)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return nil, "", err
	}
	if name == "" {
		if name, err = onlyFunction(sources); err != nil {
			return nil, "", err
		}
	}
	return out.Bytes(), name, proto.CheckName(name)
}

// repack copies an archive without the folder that holds all of it, and what systems put
// beside files. The Go files at its root go to sources, too.
func repack(data []byte, sources map[string][]byte, to *zip.Writer) error {
	in, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return proto.Errorf(proto.ErrInvalid, "the zip cannot be read: %w", err)
	}
	kept := slices.DeleteFunc(slices.Clone(in.File), func(f *zip.File) bool {
		return f.FileInfo().IsDir() || strings.HasPrefix(f.Name, "__MACOSX/") || path.Base(f.Name) == ".DS_Store" || strings.Contains("/"+f.Name, "/.git/")
	})
	top := topFolder(kept)
	left := int64(maxUnpacked)
	for _, f := range kept {
		header := f.FileHeader
		if header.Name = strings.TrimPrefix(f.Name, top); path.Ext(header.Name) != ".go" || strings.Contains(header.Name, "/") {
			if err := copyRaw(to, &header, f); err != nil {
				return err
			}
			continue
		}
		r, err := f.Open()
		if err != nil {
			return proto.Errorf(proto.ErrInvalid, "the zip cannot be read: %w", err)
		}
		content, err := io.ReadAll(io.LimitReader(r, left+1))
		_ = r.Close()
		if err != nil {
			return proto.Errorf(proto.ErrInvalid, "%s in the zip cannot be read: %w", f.Name, err)
		}
		if left -= int64(len(content)); left < 0 {
			return proto.Errorf(proto.ErrTooLarge, "the Go files have more than %s", bytesText(maxUnpacked))
		}
		sources[header.Name] = content
		if err := copyRaw(to, &header, f); err != nil {
			return err
		}
	}
	return nil
}

// copyRaw copies a file as it is packed.
func copyRaw(to *zip.Writer, header *zip.FileHeader, f *zip.File) error {
	w, err := to.CreateRaw(header)
	if err != nil {
		return err
	}
	r, err := f.OpenRaw()
	if err != nil {
		return proto.Errorf(proto.ErrInvalid, "the zip cannot be read: %w", err)
	}
	_, err = io.Copy(w, r)
	return err
}

// topFolder returns the folder that holds all files, with a slash, or "".
func topFolder(files []*zip.File) (top string) {
	for i, f := range files {
		first, _, below := strings.Cut(f.Name, "/")
		if !below || i > 0 && first+"/" != top {
			return ""
		}
		top = first + "/"
	}
	return top
}

// onlyFunction returns the name of the one function that sources have with the signature of
// an HTTP handler. The agent, which checks the source, knows more kinds: they are named.
func onlyFunction(sources map[string][]byte) (string, error) {
	var names []string
	for file, content := range sources {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, content, parser.SkipObjectResolution)
		if err != nil {
			return "", proto.Errorf(proto.ErrInvalid, "%w", err)
		}
		for _, decl := range parsed.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.IsExported() && isHandler(fn.Type) {
				names = append(names, fn.Name.Name)
			}
		}
	}
	slices.Sort(names)
	switch len(names) {
	case 1:
		return names[0], nil
	case 0:
		return "", proto.Errorf(proto.ErrInvalid, "no function func Name(http.ResponseWriter, *http.Request) was found").WithHint("name the function, if it is of another kind")
	}
	return "", proto.Errorf(proto.ErrInvalid, "there are several functions: %s", strings.Join(names, ", ")).WithHint("name one of them")
}

func isHandler(t *ast.FuncType) bool {
	if t.Results != nil || t.TypeParams != nil || t.Params.NumFields() != 2 {
		return false
	}
	var types []string
	for _, f := range t.Params.List {
		types = append(types, typeText(f.Type))
	}
	return slices.Equal(types, []string{"ResponseWriter", "*Request"})
}

func typeText(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.StarExpr:
		return "*" + typeText(e.X)
	}
	return ""
}

// definition is what a page deploys.
type definition struct {
	Name        string   `json:"name"`
	Note        string   `json:"note,omitempty"`
	PackagePath string   `json:"packagePath,omitempty"`
	FilePath    string   `json:"filePath,omitempty"`
	Include     []string `json:"include,omitempty"`
	Wait        bool     `json:"wait,omitempty"`
	IfVersion   *uint32  `json:"ifVersion,omitempty"`
	Keep        []string `json:"keep"` // set by deployPackage
}

// deployPackage sends a package to the proxy, as every client elsewhere does, and returns the
// rows that it answers. A function that is there keeps its settings.
func (v *visit) deployPackage(pkg []byte, of definition) ([]*proto.FunctionJsonRsp, error) {
	of.Keep = keepable(v, of.Name)
	data, err := json.Marshal([]definition{of})
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	parts := multipart.NewWriter(&body)
	w, _ := parts.CreateFormField("definition") // writes to memory
	_, _ = w.Write(data)
	w, _ = parts.CreateFormFile("package", "package.zip")
	_, _ = w.Write(pkg)
	_ = parts.Close()
	req, err := http.NewRequestWithContext(v.r.Context(), http.MethodPost, "http://"+self+"/deploy", &body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", parts.FormDataContentType())
	rsp, err := v.send(req)
	if err != nil {
		return nil, err
	}
	defer rsp.Body.Close()
	if data, err = io.ReadAll(io.LimitReader(rsp.Body, wire.MaxAnswer)); err != nil {
		return nil, err
	}
	if rsp.StatusCode == http.StatusOK {
		rows := new(proto.FunctionList)
		err := wire.Read(slices.Concat([]byte(`{"functions":`), data, []byte("}")), rows)
		return rows.GetFunctions(), err
	}
	if detail, ok := wire.DecodeError(data); ok {
		return nil, detail.Err()
	}
	return nil, fmt.Errorf("deploy %s: the proxy answered %d", of.Name, rsp.StatusCode)
}

// keepable are the settings that a function keeps when it is deployed again, as proxyCli
// deploy has it: none, of one that is new.
func keepable(v *visit, name string) []string {
	if _, err := v.found(v.r.Context(), name); err != nil {
		return []string{}
	}
	var names []string
	for _, s := range proto.Settings() {
		if s.Effect != proto.OnDeploy && s.Effect != proto.OnPackage {
			names = append(names, s.Name)
		}
	}
	return (&proto.FunctionJson{Name: name}).Keepable(names)
}
