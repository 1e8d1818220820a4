package funcfw_test

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

// linux is the platform of the tables.
var linux = funcfw.Platform{GOOS: "linux", GOARCH: "amd64", GoVersion: "go1.26.8", Tags: []string{"special"}}

// withHTTP is a file of package p that imports net/http; its line 3 is the first
// of the body.
func withHTTP(body string) string { return "package p; import \"net/http\"\n\n" + body + "\n" }

const handler = "func F(w http.ResponseWriter, r *http.Request) {}"

func TestCheckAccepts(t *testing.T) {
	for name, src := range map[string]files{
		"plain":                    {"a.go": withHTTP(handler)},
		"import alias":             {"a.go": "package p\nimport h \"net/http\"\nfunc F(w h.ResponseWriter, r *h.Request) {}\n"},
		"dot import":               {"a.go": "package p\nimport . \"net/http\"\nfunc F(w ResponseWriter, r *Request) {}\n"},
		"unnamed":                  {"a.go": withHTTP("func F(http.ResponseWriter, *http.Request) {}")},
		"blank":                    {"a.go": withHTTP("func F(_ http.ResponseWriter, _ *http.Request) {}")},
		"parenthesised":            {"a.go": withHTTP("func F(w (http.ResponseWriter), r (*(http.Request))) {}")},
		"a parameter called http":  {"a.go": withHTTP("func F(http http.ResponseWriter, r *http.Request) {}")},
		"an empty list of results": {"a.go": withHTTP("func F(w http.ResponseWriter, r *http.Request) () {}")},
		"one file per system":      {"a_linux.go": withHTTP(handler), "a_windows.go": withHTTP("func F() {}")},
		"an excluded file that is no Go": {
			"a.go": withHTTP(handler), "b_windows.go": "package p\nfunc {", "c.go": "//go:build ignore\n\npackage q\n",
		},
		"an external test package":    {"a.go": withHTTP(handler), "a_test.go": "package p_test\nfunc {"},
		"hidden files":                {"a.go": withHTTP(handler), "_b.go": "package q", ".c.go": "package q", "_d.c": ""},
		"an own build tag":            {"a.go": "//go:build special && go1.26 && !go1.27\n\n" + withHTTP(handler)},
		"C for another system":        {"a.go": withHTTP(handler), "b_windows.s": "", "c.c": "//go:build ignore\n"},
		"C and Objective-C beside":    {"a.go": withHTTP(handler), "x.c": "int x;", "x.m": "", "x.cpp": "", "x.h": "", "x.swig": "", "x.S": ""},
		"import of C when excluded":   {"a.go": withHTTP(handler), "b.go": "//go:build windows\n\npackage p\nimport \"C\"\n"},
		"a method of the same name":   {"a.go": withHTTP("type T int\nfunc (T) F() {}\n" + handler)},
		"event functions beside":      {"a.go": withHTTP("func G(e int) error { return nil }\n" + handler)},
		"a package main without main": {"a.go": strings.Replace(withHTTP(handler), "package p", "package main", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := funcfw.Check(src.fs(), funcfw.Spec{Dir: ".", Name: "F"}, linux)
			require.NoError(t, err)
			assert.Empty(t, got.Deferred)
			assert.Empty(t, got.Note)
			assert.Equal(t, proto.KindHTTP, got.Kind)
			assert.Equal(t, got.PackageName == "main", got.IsMain)
		})
	}
}

func TestCheckSaysWhereTheFunctionIs(t *testing.T) {
	src := files{"x/y/a.go": "package p\n", "x/y/b.go": "//line /etc/passwd:7:7\n" + withHTTP("/**/ "+handler)}.fs()
	want := &funcfw.Target{
		Name: "F", Kind: proto.KindHTTP, Dir: "x/y", PackageName: "p", File: "x/y/b.go", Line: 4, Col: 11,
	}
	got, err := funcfw.Check(src, funcfw.Spec{Dir: "x/y/", Name: "F", File: "b.go"}, linux)
	require.NoError(t, err)
	assert.EqualExportedValues(t, *want, *got)

	got, err = funcfw.Check(src, funcfw.Spec{Dir: "./x/y", Name: "F", File: "a.go"}, linux)
	require.NoError(t, err)
	want.Note = "F is declared in x/y/b.go, not in x/y/a.go"
	assert.EqualExportedValues(t, *want, *got)

	_, err = funcfw.Check(src, funcfw.Spec{Dir: "x/y", Name: "F", File: "c.go"}, linux)
	assert.EqualError(t, err, "x/y/c.go: no such file in the package")
}

func TestCheckDefersToTheCompiler(t *testing.T) {
	for name, c := range map[string]struct{ src, want string }{
		"alias of the package": {withHTTP("type W = http.ResponseWriter\nfunc F(w W, r *http.Request) {}"), "the type of parameter 1 of F is known to the compiler alone"},
		"alias of the request": {withHTTP("type R = http.Request\nfunc F(w http.ResponseWriter, r *R) {}"), "the type of parameter 2 of F is known to the compiler alone"},
		"variable":             {withHTTP("var F = func(w http.ResponseWriter, r *http.Request) {}"), "F is a variable"},
		"another http":         {"package p\nimport http \"example.com/http\"\nfunc F(w http.ResponseWriter, r *http.Request) {}", "the type of parameter 1 of F is known to the compiler alone"},
		"another http, perhaps": {
			"package p\nimport \"example.com/http\"\nfunc F(w http.ResponseWriter, r *http.Request) {}", "the type of parameter 1 of F is known to the compiler alone",
		},
		"dot import and alias":      {"package p\nimport . \"net/http\"\ntype W = ResponseWriter\nfunc F(w W, r *Request) {}", "the type of parameter 1 of F is known to the compiler alone"},
		"a type that hides a basic": {withHTTP("type string = http.ResponseWriter\nfunc F(w string, r *http.Request) {}"), "the type of parameter 1 of F is known to the compiler alone"},
		"an import that is missing": {"package p\nfunc F(w http.ResponseWriter, r *http.Request) {}", "the type of parameter 1 of F is known to the compiler alone"},
		"a type of absurd depth":    {withHTTP("func F(w " + strings.Repeat("(", 5000) + "int" + strings.Repeat(")", 5000) + ", r *http.Request) {}"), "the type of parameter 1 of F is known to the compiler alone"},
		"a generic type's instance": {withHTTP("func F(w T[int], r *http.Request) {}"), "the type of parameter 1 of F is known to the compiler alone"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := funcfw.Check(files{"a.go": c.src}.fs(), funcfw.Spec{Dir: ".", Name: "F"}, linux)
			require.NoError(t, err)
			assert.Equal(t, c.want, got.Deferred)
		})
	}
}

func TestCheckRefuses(t *testing.T) {
	sig := func(decl string) files { return files{"a.go": withHTTP(decl)} }
	for name, c := range map[string]struct {
		src  files
		want string // place and reason
		fix  string // a part of it
	}{
		// shape
		"method":          {sig("type T int\nfunc (T) F(w http.ResponseWriter, r *http.Request) {}"), "a.go:4:10: F is a method; only a function can be deployed", "declare it as func F(w http.ResponseWriter, r *http.Request)"},
		"generic":         {sig("func F[T any](w http.ResponseWriter, r *http.Request) {}"), "a.go:3:7: F has type parameters", "declare it"},
		"no body":         {sig("func F(w http.ResponseWriter, r *http.Request)"), "a.go:3:6: F has no body", ""},
		"grouped":         {sig("func F(a, b http.ResponseWriter) {}"), "a.go:3:13: parameter 2 of F is net/http.ResponseWriter, want *net/http.Request", ""},
		"missing pointer": {sig("func F(w http.ResponseWriter, r http.Request) {}"), "a.go:3:33: parameter 2 of F is net/http.Request, want *net/http.Request (missing *)", ""},
		"pointer":         {sig("func F(w *http.ResponseWriter, r *http.Request) {}"), "a.go:3:10: parameter 1 of F is *net/http.ResponseWriter, want net/http.ResponseWriter (no *: it is an interface)", ""},
		"swapped":         {sig("func F(r *http.Request, w http.ResponseWriter) {}"), "a.go:3:10: the parameters of F are swapped", ""},
		"returns error":   {sig("func F(w http.ResponseWriter, r *http.Request) error { return nil }"), "a.go:3:48: F returns error, want no result", ""},
		"returns two":     {sig("func F(w http.ResponseWriter, r *http.Request) (int, error) { return 0, nil }"), "a.go:3:48: F returns (int, error), want no result", ""},
		"returns much":    {sig("func F(w http.ResponseWriter, r *http.Request) (" + strings.Repeat("int, ", 100) + "error) { return }"), "a.go:3:48: F returns (" + strings.Repeat("int, ", 11) + "int,…, want no result", ""},
		"one":             {sig("func F(w http.ResponseWriter) {}"), "a.go:3:7: F has 1 parameter, want 2", ""},
		"none":            {sig("func F() {}"), "a.go:3:7: F has 0 parameters, want 2", ""},
		"three":           {sig("func F(w http.ResponseWriter, r *http.Request, x int) {}"), "a.go:3:7: F has 3 parameters, want 2", ""},
		"variadic":        {sig("func F(w http.ResponseWriter, r ...*http.Request) {}"), "a.go:3:33: F is variadic", ""},
		"basic type":      {sig("func F(w http.ResponseWriter, r string) {}"), "a.go:3:33: parameter 2 of F is string, want *net/http.Request", ""},
		"written out":     {sig("func F(w []byte,\n\tr *http.Request) {}"), "a.go:3:10: parameter 1 of F is []byte, want net/http.ResponseWriter", ""},
		// name
		"other case": {sig("func Ff(w http.ResponseWriter, r *http.Request) {}\nfunc f() {}"), "a.go:4:6: package p has no function F", "rename f to F"},
		"missing":    {sig("func Other(w http.ResponseWriter, r *http.Request) {}"), "package p has no function F", "deploy its function Other, or declare it as"},
		"type":       {sig("type F int"), "a.go:3:6: F is a type, not a function", ""},
		"constant":   {sig("const F = 1"), "a.go:3:7: F is a constant, not a function", ""},
		// files
		"only in a test":           {files{"a.go": "package p", "a_test.go": withHTTP(handler)}, "a_test.go:3:6: F is declared in a file that is a test", "whose name does not end in _test.go"},
		"only on Windows":          {files{"a.go": "package p", "f_windows.go": withHTTP(handler)}, "f_windows.go:3:6: F is declared in a file that is excluded on linux/amd64", "change the file's name or its //go:build line"},
		"go:build ignore":          {files{"a.go": "package p", "b.go": "//go:build ignore\n\n" + withHTTP(handler)}, "b.go:5:6: F is declared in a file that is excluded on linux/amd64", ""},
		"no file joins":            {files{"a.go": "//go:build ignore\n\n" + withHTTP(handler)}, "a.go: is excluded on linux/amd64, and the folder has no other Go files", ""},
		"two packages":             {files{"a.go": withHTTP(handler), "b.go": "// b\npackage q"}, "b.go:2:9: package q in a folder whose package is p (a.go)", "a folder holds one package"},
		"syntax error":             {files{"a.go": withHTTP(handler), "b.go": "package p\n\nfunc {"}, "b.go:3:6: syntax error: expected 'IDENT', found '{'", ""},
		"a lie about the place":    {files{"a.go": "package p\n\n//line /etc/passwd:1\nfunc {"}, "a.go:4:6: syntax error: expected 'IDENT', found '{'", ""},
		"no Go files":              {files{"README.md": ""}, "the folder has no Go files", "packagePath of one in an archive"},
		"empty file":               {files{"a.go": ""}, "a.go:1:1: syntax error: expected 'package', found 'EOF'", ""},
		"a bad constraint":         {files{"a.go": "//go:build (\n\npackage p\n"}, "a.go: ", ""},
		"a NUL byte":               {files{"a.go": "\x00package p\n"}, "a.go: ", ""},
		"a program":                {files{"a.go": "package main\n\nfunc main() {}\n"}, "a.go:3:6: the package is a program: it has a func main", "of its own"},
		"cgo":                      {files{"a.go": "package p\n\nimport \"C\"\n\n" + handler, "b.go": "package p\n"}, `a.go:5:6: F is declared in a file that is left out, since it needs cgo`, "in Go alone"},
		"nothing but cgo":          {files{"a.go": "package p\n\nimport \"C\"\n\n" + handler}, `a.go: is left out, since it needs cgo, and the folder has no other Go files`, "in Go alone"},
		"Fortran":                  {files{"a.go": withHTTP(handler), "x.f90": ""}, "x.f90: assembly, Fortran and object files are not built", ""},
		"assembly":                 {files{"a.go": withHTTP(handler), "a_amd64.s": ""}, "a_amd64.s: assembly, Fortran and object files are not built", ""},
		"object file":              {files{"a.go": withHTTP(handler), "x.syso": ""}, "x.syso: assembly, Fortran and object files are not built", ""},
		"a reserved file":          {files{"a.go": withHTTP(handler), "zz_ryo_x.go": "package p"}, "zz_ryo_x.go: names beginning zz_ryo are reserved", "rename it"},
		"a reserved folder":        {files{"a.go": withHTTP(handler), "zz_ryo_main/x.go": "package p"}, "zz_ryo_main: names beginning zz_ryo are reserved", "rename it"},
		"a name that breaks lines": {files{"a.go": withHTTP(handler), "a\nb.go": "package p"}, "a\nb.go: malformed file path", "rename it"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := funcfw.Check(c.src.fs(), funcfw.Spec{Dir: ".", Name: "F"}, linux)
			var refusal *funcfw.Refusal
			require.ErrorAs(t, err, &refusal)
			if strings.HasSuffix(c.want, ": ") || strings.Contains(c.want, "malformed") {
				assert.ErrorContains(t, err, c.want)
			} else {
				assert.EqualError(t, err, c.want)
			}
			assert.Contains(t, refusal.Fix, c.fix)
			assert.ErrorIs(t, err, proto.ErrInvalid)
			assert.Equal(t, refusal.Fix, proto.AsError(err).Hint)
			assert.Equal(t, err.Error(), proto.AsError(err).Message)
		})
	}
}

func TestCheckRefusesNamesAndFolders(t *testing.T) {
	src := files{"d/a.go": withHTTP("func HelloWorld(w http.ResponseWriter, r *http.Request) {}")}.fs()
	for _, c := range []struct{ dir, name, want, fix string }{
		{"d", "", "the function's name is missing", ""},
		{"d", "Hello;rm", "is not a Go identifier", ""},
		{"d", "../x", "is not a Go identifier", ""},
		{"d", "helloWorld", "is not exported", "HelloWorld"},
		{"d", "HelloWord", "package p has no function HelloWord", "did you mean HelloWorld?"},
		{"d", "Helloworld", "d/a.go:3:6: package p has no function Helloworld", "did you mean HelloWorld?"},
		{"", "F", "the folder has no Go files", ""},
		{"e", "F", "e: no such folder", "packageDir"},
		{"d/a.go", "F", "d/a.go: is a file", "give d as the folder"},
		{"../d", "F", `package folder "../d" is not below the root`, "relative path"},
		{"/d", "F", `package folder "/d" is not below the root`, "relative path"},
	} {
		_, err := funcfw.Check(src, funcfw.Spec{Dir: c.dir, Name: c.name}, linux)
		var refusal *funcfw.Refusal
		require.ErrorAs(t, err, &refusal, "%+v", c)
		assert.ErrorContains(t, err, c.want)
		assert.Contains(t, refusal.Fix, c.fix)
	}
}

func TestCheckIsBounded(t *testing.T) {
	many := fstest.MapFS{}
	for i := range 2_001 {
		many[fmt.Sprintf("%04d.go", i)] = &fstest.MapFile{Data: []byte("package p")}
	}
	big := "package p\n" + strings.Repeat("// filler\n", 190_000)
	for _, c := range []struct {
		fsys fs.FS
		want string
	}{
		{many, "the folder has more than 2000 entries"},
		{files{"a.go": big + big}.fs(), "a.go: is larger than 2097152 bytes"},
		{files{"a.go": big, "b.go": big, "c.go": big, "d.go": big, "e.go": big}.fs(), "the package has more than 8388608 bytes of Go source"},
	} {
		_, err := funcfw.Check(c.fsys, funcfw.Spec{Dir: ".", Name: "F"}, linux)
		assert.EqualError(t, err, c.want)
	}
}

func TestCandidates(t *testing.T) {
	src := files{
		"a.go": withHTTP("func Two(w http.ResponseWriter, r *http.Request) {}\nfunc small(w http.ResponseWriter, r *http.Request) {}\nfunc Other() {}\nvar V http.HandlerFunc\ntype T int\nfunc Typed(T) error { return nil }"),
		"b.go": "package p\nimport h \"net/http\"\nfunc One(w h.ResponseWriter, r *h.Request) {}\nfunc (T) Three(w h.ResponseWriter, r *h.Request) {}",
		"c.go": "package p\nimport \"github.com/GoogleCloudPlatform/functions-framework-go/functions\"\nfunc init() {\n\tfunctions.HTTP(\"small\", small)\n\tfunctions.HTTP(\"Small\", small)\n}",
	}
	found, refused, err := funcfw.Candidates(src.fs(), ".", linux)
	require.NoError(t, err)
	var names, reasons []string
	for _, c := range found {
		names = append(names, fmt.Sprintf("%s:%d %s %s", c.File, c.Line, c.Kind, c.Name))
	}
	for _, r := range refused {
		reasons = append(reasons, r.Error())
	}
	assert.Equal(t, []string{"b.go:3 http One", "c.go:5 http Small", "a.go:3 http Two", "a.go:8 typed Typed", "a.go:6 http V"}, names)
	assert.Equal(t, []string{
		"a.go:5:11: Other has 0 parameters, want 2",
	}, reasons)

	found, refused, err = funcfw.Candidates(files{"a.go": "package p"}.fs(), ".", linux)
	require.NoError(t, err)
	assert.Empty(t, found)
	assert.Empty(t, refused)

	_, _, err = funcfw.Candidates(files{"a.go": "package"}.fs(), ".", linux)
	assert.ErrorIs(t, err, proto.ErrInvalid)
}

func TestCheckNamesOtherPlatforms(t *testing.T) {
	program := func(importPath string) string {
		return "package main\n\nimport _ \"" + importPath + "\"\n\nfunc main() {}\n"
	}
	for name, c := range map[string]struct{ src, fn, want, fix string }{
		"Lambda":              {program("github.com/aws/aws-lambda-go/lambda"), "F", "a.go:5:6: the package is an AWS Lambda program", "func(w http.ResponseWriter, r *http.Request)"},
		"the framework":       {program("github.com/GoogleCloudPlatform/functions-framework-go/funcframework"), "F", "a.go:5:6: the package is a program that starts the functions framework", "deploy the package that it imports"},
		"a program":           {program("fmt"), "F", "a.go:5:6: the package is a program: it has a func main", "of its own"},
		"OpenFaaS":            {"package function\n\nfunc Handle(req []byte) string { return \"\" }\n", "Handle", "a.go:3:6: Handle is an OpenFaaS function", "func Handle(w http.ResponseWriter, r *http.Request)"},
		"OpenFaaS, HTTP":      {"package function\n\nimport handler \"github.com/openfaas/templates-sdk/go-http\"\n\nfunc Handle(req handler.Request) (handler.Response, error) { return handler.Response{}, nil }\n", "Handle", "a.go:5:17: Handle is an OpenFaaS function", "func Handle(w"},
		"OpenFaaS, no alias":  {"package function\n\nimport \"github.com/openfaas/templates-sdk/go-http\"\n\nfunc Handle(req handler.Request) (handler.Response, error) { return handler.Response{}, nil }\n", "Handle", "a.go:5:17: Handle is an OpenFaaS function", ""},
		"Nuclio":              {"package p\n\nimport \"github.com/nuclio/nuclio-sdk-go\"\n\nfunc Handler(c *nuclio.Context, e nuclio.Event) (any, error) { return nil, nil }\n", "Handler", "a.go:5:16: Handler is a Nuclio function", "func Handler(w"},
		"OpenWhisk":           {"package main\n\nfunc Main(in map[string]interface{}) map[string]interface{} { return in }\n", "Main", "a.go:3:6: Main is an OpenWhisk function", "func Main(w"},
		"Knative, instance":   {withHTTP("type T struct{}\nfunc New() *T { return nil }\nfunc (*T) Handle(w http.ResponseWriter, r *http.Request) {}"), "New", "a.go:5:11: New and its method Handle are a Knative function instance", "http.HandlerFunc(New().Handle)"},
		"Knative, its method": {withHTTP("type T struct{}\nfunc New() *T { return nil }\nfunc (*T) Handle(w http.ResponseWriter, r *http.Request) {}"), "Handle", "a.go:5:11: New and its method Handle are a Knative function instance", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := funcfw.Check(files{"a.go": c.src}.fs(), funcfw.Spec{Name: c.fn}, linux)
			var refusal *funcfw.Refusal
			require.ErrorAs(t, err, &refusal)
			assert.EqualError(t, err, c.want)
			assert.Contains(t, refusal.Fix, c.fix)
		})
	}
	_, err := funcfw.Check(files{"a.go": withHTTP("func Handle(w http.ResponseWriter, r *http.Request) {}")}.fs(), funcfw.Spec{Name: "Handle"}, linux)
	require.NoError(t, err, "that is a function of ours")
}

// Optional files that need cgo are left out, as the go command leaves them out.
func TestFilesThatNeedCgoAreLeftOut(t *testing.T) {
	got, err := funcfw.Check(files{
		"a.go": withHTTP(handler), "x.c": "int x;\n", "c.go": "package p\n\nimport \"C\"\n\nfunc F(", "d.go": "//go:build cgo\n\npackage p\n\nimport \"C\"\n",
	}.fs(), funcfw.Spec{Name: "F"}, linux)
	require.NoError(t, err)
	assert.Equal(t, "c.go is left out, since it needs cgo", got.Note)
}

// The name that a function is declared by may be any text.
func TestDeclaredNames(t *testing.T) {
	src := files{
		"f.go": `package p

import (
	"net/http"
	"os"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"
)

const name = "ConstName"

func init() {
	functions.HTTP("blur-images", f)
	functions.HTTP("streamBigQuery", f)
	functions.HTTP(name+other, func(w http.ResponseWriter, r *http.Request) {})
	functions.HTTP("/", s{}.h)
	functions.HTTP("Method", mux().ServeHTTP)
	functions.HTTP(os.Getenv("NAME"), f)
	functions.HTTP("a-b", f)
	functions.HTTP("aB", f)
	for _, name := range []string{"x"} {
		functions.HTTP(name, f)
	}
}

func Exported(w http.ResponseWriter, r *http.Request) {}
`, "g.go": "package p\n\nconst other string = (\"2\")\n",
	}
	for _, c := range []struct{ name, target, declared, refused, fix string }{
		{"BlurImages", "", "blur-images", "", ""},
		{"BlurImages", "blur-images", "blur-images", "", ""},
		{"Blur", "blur-images", "blur-images", "", ""},
		{"BlurImages__main", "BlurImages", "blur-images", "", ""}, // a preview
		{"StreamBigQuery", "", "streamBigQuery", "", ""},
		{"ConstName2", "", "ConstName2", "", ""},
		{"Root", "/", "/", "", ""},
		{"Method", "", "Method", "", ""},
		{"Unseen", "unseen", "unseen", "", ""},
		{"AB", "aB", "aB", "", ""},
		{"Other", "Exported", "", "", ""},
		{"AB", "", "", `f.go:19:17: AB may be the one declared as "a-b" or as "aB"`, "target"},
		{"Blur", "blur-image", "", `target: the package declares no function "blur-image"`, `did you mean "blur-images"?`},
		{"Nothing", "", "", "package p has no function Nothing", "if functions.HTTP at f.go:18 declares it, give that name in the setting target"},
	} {
		t.Run(c.name+" "+c.target, func(t *testing.T) {
			got, err := funcfw.Check(src.fs(), funcfw.Spec{Name: c.name, Target: c.target}, linux)
			if c.refused != "" {
				var refusal *funcfw.Refusal
				require.ErrorAs(t, err, &refusal)
				assert.ErrorContains(t, err, c.refused)
				assert.Contains(t, refusal.Fix, c.fix)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.name, got.Name)
			assert.Equal(t, c.declared, got.Declared)
			assert.Equal(t, c.target == "unseen", got.Deferred != "")
		})
	}
	_, refused, err := funcfw.Candidates(src.fs(), ".", linux)
	require.NoError(t, err)
	var reasons []string
	for _, r := range refused {
		reasons = append(reasons, r.Reason+"; "+r.Fix)
	}
	assert.Equal(t, []string{
		`no function name can be made of "/"; choose one with the setting name, and give this one as target`,
		`AB may be the one declared as "a-b" or as "aB"; say which in the setting target`,
	}, reasons)
}

func FuzzCheck(f *testing.F) {
	for _, src := range []string{
		hello, sample, withHTTP(handler), "package p\nvar F func()", "package main\nfunc main() {}",
		"package p\nimport . \"net/http\"\nfunc F(...ResponseWriter) ([]struct{}, error)",
		"//go:build !linux\npackage p", "package p\n//line x:1:1\nfunc F[T interface{ ~int }](a, b (*T))", "package p\nimport \"C\"",
	} {
		f.Add(src, "F", "go.mod", "module a.b/c\n\ngo 1.21\n")
	}
	for _, decl := range []string{
		"func F(context.Context, v2.Event) error", "func F(c *gin.Context) {}", "func F(e struct{ A int }) (any, error) { return nil, nil }",
		"func init() { functions.HTTP(`F`, nil); if true { functions.Typed(\"F\", F) } }", "func init() { functions.CloudEvent(\"\\x\", func() {}) }",
	} {
		f.Add(kinds(decl), "F", "go.mod", "module m\nrequire github.com/gin-gonic/gin v1.12.0\n")
	}
	f.Add(hello, "HelloWorld", "go.sum", "x")
	f.Add(hello, "HelloWorld", "go.mod", "module time\nreplace a => ../../x\ntoolchain go9\nrequire a v0.0.0\ntool x\n")
	f.Fuzz(func(t *testing.T, src, name, other, text string) {
		if !fs.ValidPath(other) {
			other = "b.go"
		}
		fsys := files{"a.go": src, other: text}.fs()
		target, err := funcfw.Check(fsys, funcfw.Spec{Dir: ".", Name: name, File: "a.go"}, linux)
		if err != nil {
			requireRefusal(t, err)
			return
		}
		if target.Name != name || target.Line < 1 || target.Col < 1 {
			t.Fatalf("%+v", target)
		}
		if _, err := funcfw.Generate(fsys, target, linux); err != nil {
			requireRefusal(t, err)
		}
	})
}

// requireRefusal holds that what users send is never the platform's fault.
func requireRefusal(t *testing.T, err error) {
	t.Helper()
	var refusal *funcfw.Refusal
	require.ErrorAs(t, err, &refusal)
	require.NotEmpty(t, refusal.Reason)
}

func BenchmarkCheck(b *testing.B) {
	fsys := files{"hello.go": hello}.fs()
	for b.Loop() {
		if _, err := funcfw.Check(fsys, funcfw.Spec{Dir: ".", Name: "HelloWorld", File: "hello.go"}, linux); err != nil {
			b.Fatal(err)
		}
	}
}
