package dashboard

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/Ishan27g/ryo-faas/proto"
)

// What is read and shown of versions' files.
const (
	// maxSource bounds a package that is read, in bytes: it is held in memory, and so are
	// those of maxSources pages.
	maxSource  = 16 << 20
	maxSources = 4
	// maxShown bounds a file that is shown or compared, in bytes, and maxEdit one that is
	// edited: as a form it may take three times as much.
	maxShown = 256 << 10
	maxEdit  = 192 << 10
)

// sourceBody is the page of a function's source: of one version, or of what differs between
// two.
type sourceBody struct {
	None     string // why there is nothing to show
	Versions []choice
	Against  []choice
	Version  string
	Before   string // "": nothing is compared
	Changes  []change
	Diff     *sourceDiff
	Files    []sourceFile
	File     *openFile
}

// choice is one of a list of versions to choose from.
type choice struct {
	Number uint32
	Text   string
	Chosen bool
}

// sourceFile is a file of a version.
type sourceFile struct {
	Name, Size, Page string
	Shown            bool
}

// openFile is a file whose text is shown.
type openFile struct {
	Name  string
	Lines []codeLine
	Note  string // why they are not
	Edit  string // the page on which it is edited; "": it is not
}

var errReadSource = proto.Errorf(proto.ErrForbidden, "your token may not read sources: that takes the scope deploy")

// sources holds a place among the pages that read packages until done is called.
func (d *Dashboard) sources() (done func(), err error) {
	select {
	case d.reads <- struct{}{}:
		return func() { <-d.reads }, nil
	default:
		return nil, proto.Errorf(proto.ErrTooMany, "%d pages read sources", maxSources).WithHint("reload in a moment")
	}
}

// files returns the files of a version's package, by name. The caller has a place among
// sources.
func (v *visit) files(ctx context.Context, name string, version uint32) ([]*zip.File, error) {
	r, err := v.api.Source(ctx, name, version)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxSource+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSource {
		return nil, proto.Errorf(proto.ErrTooLarge, "the package of version %d has more than %s", version, bytesText(maxSource)).
			WithHint("GET /source?name=" + name + "&version=" + strconv.FormatUint(uint64(version), 10) + " sends it as a zip")
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, proto.Errorf(proto.ErrInternal, "read the package of version %d: %w", version, err)
	}
	files := slices.DeleteFunc(z.File, func(f *zip.File) bool { return strings.HasSuffix(f.Name, "/") })
	slices.SortFunc(files, func(a, b *zip.File) int { return strings.Compare(a.Name, b.Name) })
	return files, nil
}

// textOf returns what a file holds, if that is text of at most so many bytes; else why not.
func textOf(f *zip.File, most int) (text, not string, err error) {
	if f.UncompressedSize64 > uint64(most) { //nolint:gosec // a constant
		return "", "It has " + bytesText(f.UncompressedSize64) + ": more than is shown.", nil
	}
	r, err := f.Open()
	if err != nil {
		return "", "", proto.Errorf(proto.ErrInternal, "read %s: %w", f.Name, err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, int64(most)))
	if err != nil {
		return "", "", proto.Errorf(proto.ErrInternal, "read %s: %w", f.Name, err)
	}
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return "", "It is no text: " + bytesText(f.UncompressedSize64) + ".", nil
	}
	return string(data), "", nil
}

// kept returns the versions of a function that are kept, one of each number, the newest
// first.
func kept(list []*proto.Version) (versions []*proto.Version) {
	for _, v := range list {
		if v.GetError() == "" && len(versions) < maxRows && !slices.ContainsFunc(versions, func(o *proto.Version) bool { return o.GetVersion() == v.GetVersion() }) {
			versions = append(versions, v)
		}
	}
	return versions
}

// sourceOf returns what the page of a function's source shows.
func (d *Dashboard) sourceOf(ctx context.Context, v *visit, rows []*proto.FunctionJsonRsp) (body sourceBody, err error) {
	if !v.may.Deploy {
		return body, errReadSource
	}
	name, q := rows[0].GetName(), v.r.URL.Query()
	list, err := v.api.Versions(ctx, name)
	if err != nil {
		return body, err
	}
	versions := kept(list)
	if len(versions) == 0 {
		body.None = "No version is kept, so there is no source."
		return body, nil
	}
	shown, err := chosenVersion(name, versions, q, "version", rows[0].GetVersion())
	if err != nil {
		return body, err
	}
	var before *proto.Version
	if q.Get("against") != "" {
		if before, err = chosenVersion(name, versions, q, "against", 0); err != nil {
			return body, err
		}
		body.Before = versionText(before.GetVersion())
	}
	body.Version = versionText(shown.GetVersion())
	for _, other := range versions {
		n := other.GetVersion()
		body.Versions = append(body.Versions, choice{n, versionText(n), n == shown.GetVersion()})
		if n != shown.GetVersion() {
			body.Against = append(body.Against, choice{n, versionText(n), n == before.GetVersion()})
		}
	}
	done, err := d.sources()
	if err != nil {
		return body, err
	}
	defer done()
	files, err := v.files(ctx, name, shown.GetVersion())
	var was []*zip.File
	if err == nil && before != nil {
		was, err = v.files(ctx, name, before.GetVersion())
	}
	if errors.Is(err, proto.ErrNotFound) || errors.Is(err, proto.ErrTooLarge) || errors.Is(err, proto.ErrUnsupported) {
		e := proto.AsError(err)
		body.None = e.Message + "; " + e.Hint
		return body, nil
	}
	if err != nil {
		return body, err
	}
	if before != nil {
		body.Changes = slices.DeleteFunc(changesBetween(before, shown), func(c change) bool { return c.Name == sourceChange })
		body.Diff, err = diffOf(was, files)
		return body, err
	}
	at := pageOf(name)
	open := slices.IndexFunc(files, func(f *zip.File) bool { return f.Name == q.Get("file") })
	if open < 0 {
		open = mainFile(files, shown.GetSettings())
	}
	for i, f := range files {
		if i == maxRows {
			break
		}
		link := url.Values{"version": {itoa(int(shown.GetVersion()))}, "file": {f.Name}}
		body.Files = append(body.Files, sourceFile{f.Name, bytesText(f.UncompressedSize64), at + "/source?" + link.Encode(), i == open})
	}
	if open >= 0 {
		body.File, err = openedFile(files[open])
		if body.File.Note == "" && shown.GetVersion() == rows[0].GetVersion() && files[open].UncompressedSize64 <= maxEdit {
			body.File.Edit = editPage(name, files[open].Name)
		}
	}
	return body, err
}

// chosenVersion returns the version that a query asks for, or else the one of a number.
func chosenVersion(name string, versions []*proto.Version, q url.Values, key string, number uint32) (*proto.Version, error) {
	if text := q.Get(key); text != "" {
		n, err := proto.ParseCount(text)
		if err != nil || n == 0 {
			return nil, proto.Errorf(proto.ErrInvalid, "%.20q is no number of a version", text)
		}
		number = n
	}
	return proto.FindVersion(name, versions, number)
}

// mainFile returns which file has the function, as far as names tell it: the one that the
// definition names, or the first Go file of its folder. It is -1 if there is none.
func mainFile(files []*zip.File, settings *proto.FunctionJson) int {
	folder := path.Clean(settings.GetPackagePath())
	found := -1
	for i, f := range files {
		if path.Dir(f.Name) != folder || path.Ext(f.Name) != ".go" || strings.HasSuffix(f.Name, "_test.go") {
			continue
		}
		if path.Base(f.Name) == settings.GetFilePath() {
			return i
		}
		if found < 0 {
			found = i
		}
	}
	return found
}

func openedFile(f *zip.File) (*openFile, error) {
	text, not, err := textOf(f, maxShown)
	opened := &openFile{Name: f.Name, Note: not}
	if not == "" {
		for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
			opened.Lines = append(opened.Lines, codeLine{N: i + 1, Text: line})
		}
	}
	return opened, err
}
