package bundle

import (
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

func TestSelect(t *testing.T) {
	tests := map[string]struct {
		files   map[string]string
		dir     string // below the folder of files
		include []string
		root    string // the same
		want    []string
		path    string
	}{
		"a package at the module's root": {
			files: map[string]string{"go.mod": goMod, "go.sum": "", "a.go": goFile, "README.md": "", "a_test.go": goFile},
			want:  []string{"a.go", "go.mod", "go.sum"}, path: ".",
		},
		"no definition of the folder itself": {
			files: map[string]string{"a.go": goFile, "deploy.json": "", "deploy.prod.yaml": "", "deploy.go.txt": "", "conf/deploy.json": ""},
			want:  []string{"a.go", "conf/deploy.json", "deploy.go.txt"}, path: ".",
		},
		"a definition that is embedded or included": {
			files:   map[string]string{"a.go": "package hello\n\nimport _ \"embed\"\n\n//go:embed deploy.json\nvar x string\n", "deploy.json": ""},
			include: []string{"deploy.json"},
			want:    []string{"a.go", "deploy.json"}, path: ".",
		},
		"a package in a subfolder with what it imports": {
			files: map[string]string{
				"go.mod": goMod, "main.go": goFile,
				"fn/a.go":         "package fn\nimport (\n\t_ \"example.com/m/internal/x\"\n\t_ \"fmt\"\n\t_ \"example.com/other\"\n)\n",
				"fn/a_test.go":    "package fn\nimport _ \"example.com/m/testonly\"\n",
				"internal/x/x.go": "package x\nimport _ \"example.com/m/y\"\n",
				"y/y.go":          "package y\nimport _ \"example.com/m/fn\"\n", "y/z/z.go": goFile,
				"testonly/t.go": goFile,
			},
			dir:  "fn",
			want: []string{"fn/a.go", "go.mod", "internal/x/x.go", "y/y.go"}, path: "fn",
		},
		"files for every platform, also ones that do not parse": {
			files: map[string]string{
				"go.mod": goMod, "a.go": goFile, "a_windows.go": "package hello\nimport _ \"example.com/m/win\"\n",
				"gen.go": "//go:build ignore\n\npackage main\nimport _ \"example.com/m/gen\"\n",
				"bad.go": "package", "c.go": "package hello\nimport \"C\"\n", "c.c": "", "asm_amd64.s": "",
				"_old.go": goFile, ".hidden.go": goFile, "win/w.go": goFile, "gen/g.go": goFile,
			},
			want: []string{"a.go", "a_windows.go", "bad.go", "c.go", "gen.go", "gen/g.go", "go.mod", "win/w.go"}, path: ".",
		},
		"embedded files by the rules of the go command": {
			files: map[string]string{
				"go.mod":  goMod,
				"a.go":    "package hello\n\nimport _ \"embed\"\n\n//go:embed web *.txt all:all .env\n//go:embed nothing\nvar x string\n",
				"one.txt": "", "two.txt": "", ".env": "", "other.md": "",
				"web/i.html": "", "web/.hidden": "", "web/_x": "", "web/sub/node_modules/j.js": "", "web/link": "-> i.html",
				"web/mod/go.mod": goMod, "web/mod/f": "",
				"all/.hidden": "", "all/_x": "", "all/.git/config": "", "all/f_test.go": "",
			},
			want: []string{
				".env", "a.go", "all/.hidden", "all/_x", "all/f_test.go", "go.mod", "one.txt", "two.txt",
				"web/i.html", "web/sub/node_modules/j.js",
			}, path: ".",
		},
		"include globs, of files and folders": {
			files: map[string]string{
				"go.mod": goMod, "fn/a.go": goFile, "fn/data/x/1": "", "fn/data/.x": "", "fn/data/x_test.go": "",
				"fn/data/vendor/v": "", "fn/t.tmpl": "", "fn/u.tmpl": "", "other": "",
			},
			dir: "fn", include: []string{"data", "./*.tmpl", "a.go"},
			want: []string{"fn/a.go", "fn/data/x/1", "fn/t.tmpl", "fn/u.tmpl", "go.mod"}, path: "fn",
		},
		"include the whole folder": {
			files:   map[string]string{"go.mod": goMod, "a.go": goFile, "x/y": "", ".env": ""},
			include: []string{"."},
			want:    []string{"a.go", "go.mod", "x/y"}, path: ".",
		},
		"a nested module is another module": {
			files: map[string]string{
				"go.mod": goMod, "a.go": "package hello\nimport _ \"example.com/m/sub\"\n", "sub/go.mod": goMod, "sub/s.go": goFile,
			},
			want: []string{"a.go", "go.mod"}, path: ".",
		},
		"local replacements, also outside the module": {
			files: map[string]string{
				"app/go.mod": goMod + "replace (\n\texample.com/lib => ../lib\n\texample.com/m/sub v1.0.0 => ./sub\n" +
					"\texample.com/unused => ../unused\n\texample.com/gone => ../gone\n\texample.com/far => example.com/fork v1.0.0\n)\n",
				"app/fn/a.go":    "package fn\nimport (\n\t_ \"example.com/lib/deep\"\n\t_ \"example.com/m/sub\"\n)\n",
				"app/sub/go.mod": goMod, "app/sub/s.go": goFile,
				"lib/go.mod": goMod, "lib/go.sum": "", "lib/l.go": goFile, "lib/deep/d.go": goFile,
				"unused/go.mod": goMod, "unused/u.go": goFile, "other/secret.go": goFile,
			},
			dir:  "app/fn",
			want: []string{"app/fn/a.go", "app/go.mod", "app/sub/go.mod", "app/sub/s.go", "lib/deep/d.go", "lib/go.mod", "unused/go.mod"},
			path: "app/fn",
		},
		"the modules of a workspace, with what they replace": {
			files: map[string]string{
				"go.work": "go 1.26\nuse (\n\t./app\n\t./lib\n\t./unused\n)\nreplace example.com/w => ./w\n", "go.work.sum": "",
				"app/go.mod": goMod, "app/go.sum": "", "app/fn/a.go": "package fn\nimport (\n\t_ \"example.com/lib\"\n\t_ \"example.com/w\"\n)\n",
				"lib/go.mod": "module example.com/lib\nreplace example.com/r => ../r\n", "lib/go.sum": "", "lib/l.go": "package lib\nimport _ \"example.com/r\"\n",
				"unused/go.mod": "module example.com/unused\n", "unused/u.go": goFile,
				"w/go.mod": "module example.com/w\n", "w/w.go": goFile, "r/go.mod": "module example.com/r\n", "r/r.go": goFile, "other/o.go": goFile,
			},
			dir: "app/fn",
			want: []string{
				"app/fn/a.go", "app/go.mod", "app/go.sum", "go.work", "go.work.sum", "lib/go.mod", "lib/go.sum", "lib/l.go",
				"r/go.mod", "r/r.go", "unused/go.mod", "w/go.mod", "w/w.go",
			},
			path: "app/fn",
		},
		"a workspace of other modules": {
			files: map[string]string{"go.work": "go 1.26\nuse ./other\n", "other/go.mod": goMod, "app/go.mod": goMod, "app/a.go": goFile},
			dir:   "app", root: "app",
			want: []string{"a.go", "go.mod"}, path: ".",
		},
		"vendored packages that are imported": {
			files: map[string]string{
				"go.mod": goMod + "replace example.com/r => ../gone\n", "fn/a.go": "package fn\nimport (\n\t_ \"example.com/v/p\"\n\t_ \"example.com/r\"\n\t_ \"example.com/not/vendored\"\n)\n",
				"vendor/modules.txt":        "",
				"vendor/example.com/v/v.go": goFile, "vendor/example.com/v/p/p.go": "package p\nimport (\n\t_ \"embed\"\n\t_ \"example.com/x\"\n)\n//go:embed d\nvar x string\n",
				"vendor/example.com/v/p/p_arm64.s": "", "vendor/example.com/v/p/p.h": "", "vendor/example.com/v/p/c.c": "", "vendor/example.com/v/p/d/f": "", "vendor/example.com/v/p/LICENSE": "",
				"vendor/example.com/x/x.go": goFile, "vendor/example.com/r/r.go": goFile,
			},
			dir: "fn",
			want: []string{
				"fn/a.go", "go.mod", "vendor/example.com/r/r.go", "vendor/example.com/v/p/d/f", "vendor/example.com/v/p/p.go",
				"vendor/example.com/v/p/p.h", "vendor/example.com/v/p/p_arm64.s", "vendor/example.com/x/x.go", "vendor/modules.txt",
			},
			path: "fn",
		},
		"a module that is told from one whose path it begins": {
			files: map[string]string{"go.mod": goMod, "a.go": "package hello\nimport _ \"example.com/mm\"\n", "m/b.go": goFile},
			want:  []string{"a.go", "go.mod"}, path: ".",
		},
		"without a go.mod the folder's tree": {
			files: map[string]string{
				"fn/a.go": "package fn\nimport _ \"embed\"\n//go:embed all:web\nvar x string\n", "fn/a_test.go": goFile, "fn/data/d.json": "", "fn/web/.dot": "",
				"fn/.env": "", "fn/.git/config": "", "fn/node_modules/n.js": "", "fn/vendor/v.go": goFile, "beside.go": goFile,
			},
			dir: "fn", root: "fn",
			want: []string{"a.go", "data/d.json", "web/.dot"}, path: ".",
		},
		"what .ryoignore leaves out of a tree": {
			files: map[string]string{
				".ryoignore": "# data\n\n*.tmp\n logs/ \n/top.txt\ndata/*.csv\nlib.go\n",
				"lib.go":     goFile, "a.tmp": "", "deep/b.tmp": "", "deep/logs/l": "", "other/logs": "", "top.txt": "", "deep/top.txt": "",
				"data/x.csv": "", "data/deep/x.csv": "",
			},
			want: []string{"data/deep/x.csv", "deep/top.txt", "lib.go", "other/logs"}, path: ".",
		},
		"a .ryoignore of another system": {
			files: map[string]string{".ryoignore": "\ufeffsecret.key\r\nlogs/\rx.tmp", "a.go": goFile, "secret.key": "", "logs/x": "", "x.tmp": "", "data": ""},
			want:  []string{"a.go", "data"}, path: ".",
		},
		"a go.mod and a go.work that begin with a byte order mark": {
			files: map[string]string{"go.work": "\ufeffgo 1.24\r\nuse ./m\r\n", "m/go.mod": "\ufeff" + goMod, "m/a.go": "\ufeff" + goFile},
			dir:   "m", want: []string{"go.work", "m/a.go", "m/go.mod"}, path: "m",
		},
		"what .ryoignore leaves out of includes": {
			files: map[string]string{
				"go.mod": goMod, "fn/a.go": goFile, "fn/.ryoignore": "*.tmp\nskip/\n", "fn/data/x": "", "fn/data/x.tmp": "", "fn/y.tmp": "", "fn/skip/s": "",
			},
			dir: "fn", include: []string{"*", "data"},
			want: []string{"fn/a.go", "fn/data/x", "go.mod"}, path: "fn",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			top := folder(t, tt.files)
			root, files, path, err := Select(&proto.FunctionJson{Dir: filepath.Join(top, tt.dir), Include: tt.include})
			require.NoError(t, err)
			assert.Equal(t, filepath.Join(top, tt.root), root)
			assert.Equal(t, tt.want, files)
			assert.Equal(t, tt.path, path)
		})
	}
}

func TestSelectRefuses(t *testing.T) {
	module := func(files map[string]string) map[string]string {
		all := map[string]string{"go.mod": goMod, "a.go": goFile}
		maps.Copy(all, files)
		return all
	}
	tests := map[string]struct {
		files    map[string]string
		dir      string
		filePath string
		include  string
		words    string
	}{
		"a folder that is not there":      {dir: "gone", words: "gone does not exist"},
		"a file for a folder":             {files: module(nil), dir: "a.go", words: "a.go is a file"},
		"a folder without Go files":       {files: module(map[string]string{"x/a_test.go": goFile}), dir: "x", words: "no Go files in"},
		"a symlink among the sources":     {files: module(map[string]string{"b.go": "-> /etc/passwd"}), words: "b.go is a symbolic link"},
		"a symlinked go.mod":              {files: map[string]string{"go.mod": "-> /etc/passwd", "a.go": goFile}, words: "go.mod is a symbolic link"},
		"a symlinked go.sum":              {files: module(map[string]string{"go.sum": "-> /etc/passwd"}), words: "go.sum is a symbolic link"},
		"a symlinked package":             {files: module(map[string]string{"b.go": "package hello\nimport _ \"example.com/m/l\"\n", "real/r.go": goFile, "l": "-> real"}), words: "/l is a symbolic link"},
		"an embedded symlink":             {files: module(map[string]string{"b.go": "package hello\nimport _ \"embed\"\n//go:embed l\nvar x string\n", "l": "-> /etc/passwd"}), words: "/l is a symbolic link"},
		"an included symlink":             {files: module(map[string]string{"d/l": "-> /etc/passwd"}), include: "d", words: "/l is a symbolic link"},
		"an include through a symlink":    {files: module(map[string]string{"l": "-> /etc"}), include: "l/hosts", words: "/l is a symbolic link"},
		"a symlink in a tree":             {files: map[string]string{"a.go": goFile, "d/l": "-> /etc/passwd"}, words: "/l is a symbolic link"},
		"an include that matches nothing": {files: module(nil), include: "*.tmpl", words: `include "*.tmpl" matches no file`},
		"an include of ignored files":     {files: module(map[string]string{"x/y": "", ".ryoignore": "x/"}), include: "x/y", words: "matches no file"},
		"a .ryoignore that brings back":   {files: module(map[string]string{".ryoignore": "*.a\n!b.a\n"}), words: `.ryoignore:2: "!b.a": ! and ** are not supported`},
		"a .ryoignore in UTF-16":          {files: module(map[string]string{".ryoignore": "\xff\xfes\x00"}), words: ".ryoignore is not a text in UTF-8"},
		"a .ryoignore with zero bytes":    {files: module(map[string]string{".ryoignore": "s\x00e\x00"}), words: ".ryoignore is not a text in UTF-8"},
		"a malformed .ryoignore":          {files: module(map[string]string{".ryoignore": "["}), words: `.ryoignore:1: "[": syntax error in pattern`},
		"a symlinked .ryoignore":          {files: module(map[string]string{".ryoignore": "-> /etc/passwd"}), words: ".ryoignore is a symbolic link"},
		"an include of hidden files":      {files: module(map[string]string{".env": "x"}), include: ".env", words: "matches no file"},
		"an include above the folder":     {files: module(nil), include: "../*", words: "matches no file"},
		"a malformed include":             {files: module(nil), include: "[", words: "syntax error in pattern"},
		"a platform's name":               {files: module(map[string]string{"zz_ryo_x.go": goFile}), words: "zz_ryo_x.go"},
		"an object file":                  {files: map[string]string{"a.go": goFile, "x.syso": ""}, words: "x.syso"},
		"names that differ in case":       {files: module(map[string]string{"A.go": goFile}), words: "A.go and a.go differ in case"},
		"a name that Go modules forbid":   {files: map[string]string{"a.go": goFile, "b:c": ""}, words: "b:c"},
		"a go.mod that does not parse":    {files: module(map[string]string{"go.mod": "modul x"}), words: "go.mod:1"},
		"a go.mod without module":         {files: module(map[string]string{"go.mod": "go 1.26"}), words: "no module line"},
		"an absolute replacement":         {files: module(map[string]string{"go.mod": goMod + "replace x.com/y => /etc"}), words: "go.mod:4: the replacement /etc"},
		"a go.work that does not parse":   {files: module(map[string]string{"go.work": "use"}), words: "go.work:1"},
		"a workspace's missing module":    {files: module(map[string]string{"go.work": "go 1.26\nuse (\n\t.\n\t./gone\n)\n"}), words: "go.work:4: there is no go.mod in ./gone"},
		"a workspace's absolute path":     {files: module(map[string]string{"go.work": "go 1.26\nuse .\nuse /etc\n"}), words: "go.work:3: /etc is an absolute path"},
		"a symlinked go.work":             {files: module(map[string]string{"go.work": "-> /etc/passwd"}), words: "go.work is a symbolic link"},
		"a symlinked vendor folder":       {files: module(map[string]string{"x/modules.txt": "", "vendor": "-> x"}), words: "vendor is a symbolic link"},
		"a filePath outside dir":          {files: module(map[string]string{"x/b.go": goFile}), dir: "x", filePath: "a.go", words: "a.go is not inside dir"},
		"a filePath below dir":            {files: module(map[string]string{"x/b.go": goFile}), filePath: "x/b.go", words: "b.go is not inside dir"},
		"a filePath that is not there":    {files: module(nil), filePath: "b.go", words: "b.go does not exist"},
		"a filePath that is a test":       {files: module(map[string]string{"a_test.go": goFile}), filePath: "a_test.go", words: "a_test.go is not a source file"},
		"a filePath that is a folder":     {files: module(map[string]string{"x/b.go": goFile}), filePath: "x", words: "x is not a source file"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			top := folder(t, tt.files)
			fn := &proto.FunctionJson{Dir: filepath.Join(top, tt.dir)}
			if tt.filePath != "" {
				fn.FilePath = filepath.Join(top, tt.filePath)
			}
			if tt.include != "" {
				fn.Include = []string{tt.include}
			}
			_, _, _, err := Select(fn)
			refused(t, err, proto.ErrInvalid, tt.words)
		})
	}
}

func TestSelectCountsFiles(t *testing.T) {
	dir := folder(t, map[string]string{"a.go": goFile})
	for i := range DefaultLimits.Files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o644))
	}
	_, _, _, err := Select(&proto.FunctionJson{Dir: dir})
	refused(t, err, proto.ErrTooLarge, "more than 10000 files")
}

func TestSelectCountsBytes(t *testing.T) {
	dir := folder(t, map[string]string{"a.go": goFile, "large": ""})
	require.NoError(t, os.Truncate(filepath.Join(dir, "large"), DefaultLimits.Bytes))
	_, _, _, err := Select(&proto.FunctionJson{Dir: dir, Include: []string{"large"}})
	refused(t, err, proto.ErrTooLarge, "large", "67108864 bytes")
}

// A folder that is named by mistake, such as a home folder, holds far too much.
func TestSelectMissesGoFilesBeforeItCounts(t *testing.T) {
	dir := folder(t, map[string]string{"x/a.go": goFile})
	for i := range DefaultLimits.Bytes/maxUnasked + 1 {
		name := filepath.Join(dir, strconv.FormatInt(i, 10))
		require.NoError(t, os.WriteFile(name, nil, 0o644))
		require.NoError(t, os.Truncate(name, maxUnasked))
	}
	_, _, _, err := Select(&proto.FunctionJson{Dir: dir})
	refused(t, err, proto.ErrInvalid, "no Go files in "+dir)
	assert.Contains(t, proto.AsError(err).Hint, "there are some in x")
}

func TestSelectFindsTheFolder(t *testing.T) {
	top := folder(t, map[string]string{"m/go.mod": goMod, "m/fn/a.go": goFile, "m/fn/x/x.go": goFile, "link": "-> m/fn"})
	dir := filepath.Join(top, "m", "fn")
	for name, fn := range map[string]*proto.FunctionJson{
		"dir":                      {Dir: dir},
		"dir and filePath":         {Dir: dir, FilePath: filepath.Join(dir, "a.go")},
		"a filePath below dir":     {Dir: dir, FilePath: "a.go"},
		"filePath alone":           {FilePath: filepath.Join(dir, "a.go")},
		"an unclean dir":           {Dir: dir + "/x/.."},
		"a symlink to it":          {Dir: filepath.Join(top, "link")},
		"a filePath by a symlink":  {Dir: dir, FilePath: filepath.Join(top, "link", "a.go")},
		"a filePath alone, linked": {FilePath: filepath.Join(top, "link", "a.go")},
	} {
		t.Run(name, func(t *testing.T) {
			root, files, path, err := Select(fn)
			require.NoError(t, err)
			assert.Equal(t, filepath.Join(top, "m"), root)
			assert.Equal(t, "fn", path)
			assert.Equal(t, []string{"fn/a.go", "go.mod"}, files)
		})
	}
	for name, fn := range map[string]*proto.FunctionJson{
		"a relative dir":            {Dir: "fn"},
		"a relative filePath alone": {FilePath: "fn/a.go"},
		"no source":                 {Name: "Hello"},
		"nothing":                   nil,
	} {
		t.Run(name, func(t *testing.T) {
			_, _, _, err := Select(fn)
			refused(t, err, proto.ErrInvalid)
		})
	}
}

func TestAFolderWithoutGoFilesTellsOfThoseBelow(t *testing.T) {
	dir := folder(t, map[string]string{"go.mod": goMod, "cmd/a/a.go": goFile, "b/b.go": goFile, "node_modules/x/x.go": goFile, ".git/x.go": goFile, "c/c_test.go": goFile})
	_, _, _, err := Select(&proto.FunctionJson{Name: "F", Dir: dir})
	assert.ErrorContains(t, err, "no Go files in "+dir)
	assert.Equal(t, "there are some in b, cmd/a: name the folder of the function's package", proto.AsError(err).Hint)
}

func TestWhatLooksPrivateOrIsLargeIsNotShippedUnasked(t *testing.T) {
	files := map[string]string{"secrets.go": goFile, "private.txt": "", "secrets.json": "", "ID_RSA": "", "conf/tls.key": "", "conf/x.csv": "", ".env": "", "large.bin": strings.Repeat("x", maxUnasked+1), "web/a.html": "1234"}
	dir := folder(t, files)
	c, err := Survey(&proto.FunctionJson{Dir: dir})
	require.NoError(t, err)
	assert.True(t, c.Whole)
	assert.Equal(t, []string{"conf/x.csv", "private.txt", "secrets.go", "web/a.html"}, c.Files)
	assert.Equal(t, []string{"ID_RSA", "conf/tls.key", "large.bin", "secrets.json"}, c.LeftOut)
	assert.Equal(t, int64(len(goFile)+4), c.Bytes)

	c, err = Survey(&proto.FunctionJson{Dir: dir, Include: []string{"conf", "secrets.json"}})
	require.NoError(t, err)
	assert.Equal(t, []string{"conf/tls.key", "conf/x.csv", "private.txt", "secrets.go", "secrets.json", "web/a.html"}, c.Files)
	assert.Equal(t, []string{"ID_RSA", "large.bin"}, c.LeftOut)

	files["go.mod"] = goMod
	c, err = Survey(&proto.FunctionJson{Dir: folder(t, files)})
	require.NoError(t, err)
	assert.False(t, c.Whole)
	assert.Equal(t, []string{"go.mod", "secrets.go"}, c.Files)
	assert.Empty(t, c.LeftOut)
}
