// Package funcfw turns a user's source into a program: it checks the source and
// generates what is built beside it. It is pure: it reads an fs.FS, writes
// nothing and starts nothing, so that the same check runs in the command line
// before an upload and in the agent after it.
//
// # The check
//
// Check reads the Go files of one folder that join a build for a Platform and finds the
// function. It knows syntax alone. What is surely wrong is a *Refusal with its place,
// the reason and the way out. What only types can tell (an alias, a variable, an import
// whose name is not known) is let through as Deferred: the compiler decides, and
// reports the user's own line, which the generated source tells it. Type checking here
// would need compiled export data and cost more than half of the build.
//
// # Kinds
//
// A function's declaration tells its kind:
//
//	http        func(http.ResponseWriter, *http.Request), with a context before them too;
//	            a variable that is an http.Handler, such as a router, or such a function
//	gin         func(*gin.Context)
//	cloudevent  func(context.Context, cloudevents.Event) error, also without the context
//	            or the error; with (*cloudevents.Event, error) it answers with one
//	event       func(context.Context, T) error
//	typed       func(T) (R, error), func(T) error, func(T); with a context before T too
//
// The setting kind may say it as well, and must where only types could tell, as behind
// an alias. A function that is surely of another kind is then refused. Without the
// setting, a function that may be an http one is taken for one. func(context.Context,
// T) error is an event, since that is exactly the framework's form of a background
// event, and such a function also takes plain JSON; with kind typed it is served as a
// typed one. Whether a variable holds a handler, and not nil, is seen when its process
// starts.
//
// An init function of the package may declare functions with functions.HTTP,
// functions.CloudEvent and functions.Typed. Such a function need not be exported: its
// declared name counts. That may be any text. Users give it as the setting target, or
// use the Go name that is made of it. Check finds names that are literals or constants
// of the package. A name that is declared elsewhere, or made at run time, is taken when
// target gives it; whether it exists is seen when its process starts. Package serve
// wraps what functions.Typed declares: the framework's own wrapper hands one caller's
// data to the next.
//
// Hostile sources cost bounded time and memory: files, folders and their number
// are limited, syntax trees are dropped file by file, and //line comments cannot
// blame another file.
//
// # The generated files
//
// Generate returns an overlay for go build, so that the user's folder is never
// written to. What it adds lies beside the bundle's root, where no go:embed pattern
// of the user's reaches it (a pattern * also takes folders and hidden files, and
// refuses other modules):
//
//   - ../zz_ryo/main, a module with the generated main, which registers the function
//     that RYO_FUNCTION names. Its path lies below that of the user's package, so that
//     it may import one in a nested internal/.
//   - ../zz_ryo/runtime, a module a.ryo.local: the packages boot and serve of this
//     folder, as source. Relative paths to both are recorded in the program, so two
//     folders give the same bytes. Since the main is no part of the user's module,
//     debug.ReadBuildInfo lists that among the dependencies.
//   - a go.mod, where the user has none.
//
// A package main without func main cannot be imported. There the main joins the
// text of the package's first file, whose lines keep their numbers.
//
// and an alternative go.mod and go.sum (go build -modfile): the user's, with the
// framework and all it needs.
//
// # One program for a package
//
// Which function was asked for leaves no trace in what Generate returns: a program
// serves every function of its package that Candidates finds, so that several deployed
// together, or one after another, have one build key and are built once. Only functions
// take part that syntax is sure of, so none but the one that was asked for can fail a
// build. A function that only types can tell has a program of its own, and so has one
// whose kind a setting changes. In a package of more than 32 functions each has its
// own. Nothing of a function runs before it is picked, but the package's init functions
// run for all of them, as they do at home.
//
// # What a module may look like
//
// No go.mod, a missing or old go line (raised to what the framework needs),
// local replacements inside the package: all are built. An alternative go.mod
// knows neither workspaces nor vendor folders, so what they say becomes lines of
// it. The other modules of a go.work are required and replaced by their folders,
// and what they require and replace counts as the module's own. A vendored
// module is replaced by its folder below vendor, where the overlay supplies the
// go.mod that vendoring has left out: it needs neither network, module cache nor
// checksum. Of a module that the framework requires as well the higher version
// is taken. What modules.txt does not list comes from the module proxy, so a
// vendor folder may hold private modules alone.
//
// Build with -mod=readonly and GOWORK=off. Refused are: a go line above the
// toolchain, also of a module beside, replacements and modules of a workspace
// that were not sent, a vendor folder that disagrees with go.mod, paths that
// cannot be imported or that the standard library has, assembly and object files of
// the package itself, names beginning zz_ryo. Files that need cgo are left out, as
// the go command leaves them out.
//
// # Decisions
//
//   - Package serve links to a function of functions-framework-go that is not
//     exported, so it is built with the one version that it is tested with. A
//     module that requires a later one is refused; a replacement in the
//     alternative go.mod keeps requirements of others from raising it.
//   - The framework's own requirements are raised to releases that start faster,
//     but not to ones whose go line is above 1.21: it would become that of the
//     user's module, and from 1.22 on loop variables mean something else.
//   - A module of the user's is built at a later version only where the framework, or
//     what it requires, needs that one: the user has tested another. Which ones is
//     known beforehand (framework.graph, with checksums), so that most builds need no
//     module graph from the network. Raised tells what the go command raises beyond
//     that. Each is a warning.
//   - The go command wants a go line that is not below those of required modules. So a
//     module of a workspace may get the line of a sibling. Then its loop variables
//     change their meaning when only the sibling has reached 1.22.
//   - Typed functions are wrapped by generic functions of package serve, one for
//     each form, so that the compiler infers types that may not even be exported.
//   - gin is imported by the generated main alone, in the version that the user's
//     module requires. Its engine has no routes: the function is what it calls when
//     none matches, so that no path is redirected and no method is left out. The
//     path is c.Param("path").
package funcfw

//go:generate sh framework.sh
