package dashboard

import (
	"archive/zip"
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

const (
	// maxEdits bounds the pages that wait for what they have deployed: a first build takes
	// minutes.
	maxEdits = 16
	// maxProblems bounds the lines that are pointed at: the compiler says ten.
	maxProblems = 50
)

// editBody is the page on which a file of the version that serves is edited.
type editBody struct {
	None       string // why that cannot be
	File, Text string
	Files      []sourceFile // those of the function's folder
	Base       string       // the version that is edited
	Number     uint32       // of it
	Last       uint32       // the highest number that a version had by then
	Note       string
	Problem    string // why it was not deployed, all of it
	Hint       string
	Lines      []problemLine // what is wrong, by line
	Theirs     *theirs
}

// problemLine is what the check or the compiler says of a line.
type problemLine struct {
	Line         int
	Message, Now string
}

// theirs is what somebody else has deployed since the page was opened.
type theirs struct {
	Version string
	Note    string
	Edit    string      // the page that edits theirs
	Gone    bool        // the file that was edited is not in it
	Diff    *sourceDiff // from theirs to what is in the form
}

// edit shows the editor, and deploys what comes back from it.
func (d *Dashboard) edit(v *visit) error {
	rows, err := v.found(v.r.Context(), v.r.PathValue("name"))
	if err != nil {
		return err
	}
	if !v.may.Deploy {
		return errReadSource
	}
	done, err := d.sources()
	if err != nil {
		return err
	}
	release := sync.OnceFunc(done) // before what takes long
	defer release()
	form := v.r.PostFormValue
	body := editBody{File: v.r.URL.Query().Get("file")}
	if v.r.Method == http.MethodPost {
		body.File, body.Note, body.Text = form("file"), form("note"), strings.ReplaceAll(form("text"), "\r\n", "\n")
	}
	at := rows[0].GetVersion()
	files, settings, err := v.editable(rows)
	if e := proto.AsError(err); errors.Is(err, proto.ErrNotFound) || errors.Is(err, proto.ErrTooLarge) || errors.Is(err, proto.ErrUnsupported) {
		body.None = e.Message + "; " + e.Hint
		return d.showEdit(v, rows, body, http.StatusOK)
	}
	if err != nil {
		return err
	}
	i := slices.IndexFunc(files, func(f *zip.File) bool { return f.Name == body.File })
	if body.File == "" {
		i = mainFile(files, settings)
	}
	if i < 0 && form("base") != "" && form("base") != itoa(int(at)) {
		body.now(rows)
		body.Theirs = &theirs{Version: body.Base, Edit: pageOf(rows[0].GetName()) + "/edit", Gone: true}
		return d.showEdit(v, rows, body, http.StatusConflict)
	}
	if i < 0 {
		return proto.Errorf(proto.ErrNotFound, "version %d has no file %.100q to edit", at, body.File)
	}
	text, not, err := textOf(files[i], maxEdit)
	if err != nil {
		return err
	}
	if body.File = files[i].Name; not != "" {
		body.None = not
		return d.showEdit(v, rows, body, http.StatusOK)
	}
	for _, f := range files {
		if path.Dir(f.Name) == path.Dir(body.File) && path.Ext(f.Name) == ".go" && len(body.Files) < maxRows {
			body.Files = append(body.Files, sourceFile{Name: f.Name, Page: editPage(rows[0].GetName(), f.Name), Shown: f.Name == body.File})
		}
	}
	if body.now(rows); v.r.Method != http.MethodPost {
		body.Text = text
		return d.showEdit(v, rows, body, http.StatusOK)
	}
	if form("base") != itoa(int(body.Number)) || form("last") != itoa(int(body.Last)) || isBusy(rows) {
		if body.Theirs, err = theirsOf(v, rows, body, text); err != nil {
			return err
		}
		return d.showEdit(v, rows, body, http.StatusConflict)
	}
	pkg, err := withText(files, body.File, body.Text)
	if err != nil {
		return err
	}
	release()
	select {
	case d.edits <- struct{}{}:
		defer func() { <-d.edits }()
	default:
		return proto.Errorf(proto.ErrTooMany, "%d pages wait for their deploys", maxEdits).WithHint("go back, and send it again in a moment")
	}
	return d.deployEdit(v, rows, body, pkg, settings)
}

// editPage is where a file of a function is edited.
func editPage(name, file string) string {
	return pageOf(name) + "/edit?" + url.Values{"file": {file}}.Encode()
}

// editable returns the files and the settings of the version that serves.
func (v *visit) editable(rows []*proto.FunctionJsonRsp) ([]*zip.File, *proto.FunctionJson, error) {
	ctx, name := v.r.Context(), rows[0].GetName()
	if rows[0].GetVersion() == 0 {
		return nil, nil, proto.Errorf(proto.ErrNotFound, "no version of it is kept").WithHint("deploy it anew")
	}
	list, err := v.api.Versions(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	version, err := proto.FindVersion(name, list, rows[0].GetVersion())
	if err != nil {
		return nil, nil, err
	}
	files, err := v.files(ctx, name, version.GetVersion())
	return files, version.GetSettings(), err
}

// now notes what is there now, which is what a form is about.
func (b *editBody) now(rows []*proto.FunctionJsonRsp) {
	b.Number, b.Last = rows[0].GetVersion(), 0
	for _, row := range rows {
		b.Last = max(b.Last, row.GetLastVersion())
	}
	b.Base = versionText(b.Number)
}

func isBusy(rows []*proto.FunctionJsonRsp) bool {
	return slices.ContainsFunc(rows, func(row *proto.FunctionJsonRsp) bool { return proto.Status(row.GetStatus()) == proto.Deploying })
}

// theirsOf says what was deployed since a form was opened. text is what the form's file has
// now.
func theirsOf(v *visit, rows []*proto.FunctionJsonRsp, body editBody, text string) (*theirs, error) {
	t := &theirs{Version: body.Base, Edit: editPage(rows[0].GetName(), body.File)}
	if isBusy(rows) {
		t.Note = "A deploy is under way."
	}
	list, err := v.api.Versions(v.r.Context(), rows[0].GetName())
	if err != nil {
		return nil, err
	}
	if version, err := proto.FindVersion(rows[0].GetName(), list, body.Number); err == nil && version.GetNote() != "" {
		t.Note = strings.TrimSpace(t.Note + " Their note: " + version.GetNote())
	}
	f := fileDiff{Name: body.File, How: "as you have it"}
	f.Lines, f.Added, f.Removed = diffLines(text, body.Text)
	t.Diff = &sourceDiff{Added: f.Added, Removed: f.Removed}
	if len(f.Lines) > maxDiffLines {
		f.Lines, f.Note = nil, "There is too much that differs to be shown."
	}
	if f.Lines != nil || f.Note != "" {
		t.Diff.Files = []fileDiff{f}
	}
	return t, nil
}

// deployEdit deploys a package as the next version of a function, whose settings stay.
func (d *Dashboard) deployEdit(v *visit, rows []*proto.FunctionJsonRsp, body editBody, pkg []byte, settings *proto.FunctionJson) error {
	name := rows[0].GetName()
	after, err := v.deployPackage(pkg, definition{
		Name: name, Note: body.Note, PackagePath: settings.GetPackagePath(), FilePath: settings.GetFilePath(), Include: settings.GetInclude(), Wait: true,
		IfVersion: &body.Number,
	})
	if errors.Is(err, proto.ErrConflict) { // somebody else may have deployed since the form was looked at
		now, lost := v.found(v.r.Context(), name)
		if lost != nil {
			return lost
		}
		if now[0].GetVersion() != body.Number || isBusy(now) {
			return d.showTheirs(v, now, body)
		}
	}
	if err != nil {
		if !errors.Is(err, proto.ErrInvalid) && !errors.Is(err, proto.ErrTooLarge) && !errors.Is(err, proto.ErrConflict) {
			return err
		}
		e := wire.AsError(err)
		body.Problem, body.Hint = e.Message, e.Hint
		return d.showEdit(v, rows, body, http.StatusUnprocessableEntity)
	}
	i := slices.IndexFunc(after, func(row *proto.FunctionJsonRsp) bool { return proto.Status(row.GetStatus()) == proto.Failed })
	if i >= 0 {
		body.Problem = clip(after[i].GetError(), 32<<10)
		body.Lines = problemLines(body.Problem, body.File, body.Text)
		if rows, err = v.found(v.r.Context(), name); err != nil {
			return err
		}
		if rows[0].GetVersion() == body.Number { // the next try is on top of this one
			body.now(rows)
		}
		return d.showEdit(v, rows, body, http.StatusUnprocessableEntity)
	}
	return v.done(editPage(name, body.File), "edit")
}

// showTheirs shows what was deployed since the form was looked at, beside what is in it.
func (d *Dashboard) showTheirs(v *visit, rows []*proto.FunctionJsonRsp, body editBody) error {
	files, _, err := v.editable(rows)
	if err != nil {
		return err
	}
	body.now(rows)
	i := slices.IndexFunc(files, func(f *zip.File) bool { return f.Name == body.File })
	if i < 0 {
		body.Theirs = &theirs{Version: body.Base, Edit: pageOf(rows[0].GetName()) + "/edit", Gone: true}
		return d.showEdit(v, rows, body, http.StatusConflict)
	}
	text, _, err := textOf(files[i], maxEdit)
	if err != nil {
		return err
	}
	if body.Theirs, err = theirsOf(v, rows, body, text); err != nil {
		return err
	}
	return d.showEdit(v, rows, body, http.StatusConflict)
}

// withText packs files, with another text in one of them.
func withText(files []*zip.File, name, text string) ([]byte, error) {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, f := range files {
		header := f.FileHeader
		if f.Name != name {
			if err := copyRaw(z, &header, f); err != nil {
				return nil, err
			}
			continue
		}
		w, err := z.CreateHeader(&zip.FileHeader{Name: f.Name, Method: zip.Deflate})
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (d *Dashboard) showEdit(v *visit, rows []*proto.FunctionJsonRsp, body editBody, status int) error {
	return d.showFunction(v, rows, "edit", body, status)
}

// atLine is how Go's tools, and the agent's check, begin what they say of a line.
var atLine = regexp.MustCompile(`^\s*(?:\./)?([^\s:]+\.go):(\d+)(?::\d+)?: *(.*)$`)

// problemLines are the lines of a file that a message is about, with what they are.
func problemLines(message, file, text string) (list []problemLine) {
	lines := strings.Split(text, "\n")
	for said := range strings.SplitSeq(message, "\n") {
		m := atLine.FindStringSubmatch(said)
		if len(m) == 0 || path.Base(m[1]) != path.Base(file) {
			continue
		}
		n, err := strconv.Atoi(m[2])
		if err != nil || n < 1 || n > len(lines) || len(list) == maxProblems {
			continue
		}
		list = append(list, problemLine{n, m[3], strings.TrimSpace(lines[n-1])})
	}
	return list
}
