package funcfw

import (
	"fmt"
	"go/token"
	"slices"
	"strings"
)

// programsOf lists other platforms by the package that func main hands over to, with
// what to do instead.
var programsOf = []struct{ importPath, platform, fix string }{
	{"github.com/aws/aws-lambda-go/lambda", "an AWS Lambda program", handlerInstead},
	{"github.com/fnproject/fdk-go", "an Fn program", handlerInstead},
	{"github.com/tencentyun/scf-go-lib/cloudfunction", "a Tencent SCF program", handlerInstead},
	{"github.com/aliyun/fc-runtime-go-sdk/fc", "an Alibaba Function Compute program", handlerInstead},
	{frameworkPath + "/funcframework", "a program that starts the functions framework", "deploy the package that it imports, which declares the functions"},
}

const handlerInstead = "move what it does to a package of its own, into a func(w http.ResponseWriter, r *http.Request), or one from JSON to JSON: func(ctx context.Context, in T) (R, error)"

// typesOf lists other platforms by the package whose types their functions take.
var typesOf = map[string]string{
	openFaaSPath: "an OpenFaaS function",
	"github.com/openfaas-incubator/go-function-sdk": "an OpenFaaS function",
	"github.com/nuclio/nuclio-sdk-go":               "a Nuclio function",
	"github.com/fnproject/fdk-go":                   "an Fn function",
}

const openFaaSPath = "github.com/openfaas/templates-sdk/go-http"

// program refuses a package that has a func main.
func (pkg *source) program(main *decl) error {
	for _, p := range programsOf {
		if pkg.imports[p.importPath] {
			return refuse(main.file.path, main.at, "the package is "+p.platform, p.fix)
		}
	}
	return refuse(main.file.path, main.at, "the package is a program: it has a func main", "move the function to a package of its own, or remove func main")
}

// ofAnotherPlatform refuses a function that is one of another platform, so that it
// is not taken for a function of ours of the same shape, or for a mistake.
func (pkg *source) ofAnotherPlatform(s *signature) error {
	refusal := func(at token.Position, what string) error {
		return refuse(s.file, at, fmt.Sprintf("%s is %s", s.name, what), wantFix(s.name, "http")+": read r.Body and write the answer to w")
	}
	for _, p := range slices.Concat(s.params, s.results) {
		typ := strings.TrimLeft(p.typ, "*[]")
		if i := strings.LastIndexByte(typ, '.'); i >= 0 && typesOf[typ[:i]] != "" {
			return refusal(p.at, typesOf[typ[:i]])
		}
	}
	shape := func(params, results string) bool {
		return len(s.params) == 1 && len(s.results) == 1 && strings.HasPrefix(s.params[0].typ, params) && strings.HasPrefix(s.results[0].typ, results)
	}
	switch {
	case s.name == "Handle" && (shape("[]byte", "string") || shape("[]byte", "[]byte")):
		return refusal(s.at, "an OpenFaaS function")
	case s.name == "Main" && shape("map[string]", "map[string]"):
		return refusal(s.at, "an OpenWhisk function")
	case s.name == "New" && len(s.params) == 0 && pkg.methods["Handle"] != nil:
		return pkg.instance()
	}
	return nil
}

// instance refuses the two halves of a Knative function instance.
func (pkg *source) instance() error {
	d := pkg.methods["Handle"]
	return refuse(d.file.path, d.at, "New and its method Handle are a Knative function instance", "export a handler that has one: var Handler = http.HandlerFunc(New().Handle)")
}
