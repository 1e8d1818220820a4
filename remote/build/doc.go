// Package build turns checked source with its generated main into a program,
// with the go command of this machine.
//
// Data enters as a Spec: an unpacked package and what package funcfw generated
// for it. It leaves as one file, or as a *Failure with the compiler's words about
// the user's own files; what the go command says meanwhile goes to Spec.Output. Any
// other error is the platform's. The package must never run what it builds, nor any
// program that an upload names.
//
// Decisions:
//   - The environment of the go command is written out whole and nothing is
//     inherited: with cgo off, no workspace, no env file and no version control,
//     go build runs no code of the user's. GOTELEMETRY cannot be set by the
//     environment, so a private home folder says off.
//   - Every go command runs under package confine. To compile it has no network and
//     no sockets; it reads the toolchain, the modules and the source, writes to its
//     work folder and the cache, and runs the toolchain's own programs alone. It has
//     no way to the agent's folders, to other functions, to /etc and /proc.
//   - Modules are fetched by a phase of its own, and only when compiling has said
//     that the cache lacks one: a build that lacks nothing costs nothing more. It
//     may dial the ports of the configured module proxies and of the checksum
//     database, writes the module cache and what that database has signed last, and
//     runs no other program. Another build verifies both again when it reads them:
//     modules by go.sum or the database, the database by its key. GOPROXY's
//     "direct" is left out: a module's path would choose whom the agent dials.
//     Private modules come from a module proxy too, one of the company's; Private
//     keeps their names from the checksum database. HTTP proxies and certificates of
//     the agent's owner are known to this phase alone.
//   - All builds of the agent write to its caches. Compilers run no code of users, and
//     entries are named by all that made them, so poisoning a cache takes a fault in a
//     compiler: what one build compiles does not change what another links, to the byte
//     (TestOneBuildCannotChangeWhatAnotherLinks). Who does not trust compilers that far
//     gives each tenant an agent.
//   - Processor time limits a build, not the clock: on a busy
//     machine a large client library waits most of the time. Errors of the platform and
//     of time have kinds of their own (explain.go), so that nobody corrects a source for
//     them.
//   - A build that takes longer than an edited function gives its place to the next one
//     and goes on with less priority. Limits apply to each process of a build. All of
//     them are killed with their process group, which they cannot leave, and with the
//     agent.
//   - The user's tree is not written to. Generated files come by -overlay, the
//     requirements of the framework by an alternative go.mod (-modfile).
//   - All builds share one cache. Flags are part of its keys, so Run first builds a
//     function of its own by the same way: the standard library and the framework
//     are compiled before the first user waits for them, and again each day, since
//     the go command removes what it has not used for five days.
//     A file in the cache says for which toolchain and framework it has been filled, so
//     that an agent that is started again builds nothing.
//   - An empty cache begins with copies of what the agent's owner has compiled, as by
//     building the agent. The owner's cache is read for Run's own function alone, and is
//     never written to.
//   - The two caches have a limit each. Above it goes what was not used for the longest: of
//     the build cache entries, by the times that the go command sets, and of the module
//     cache modules, by the times that Build sets on their archives. What the function of
//     Run links, as the go command says, and its modules stay. A file that builds lock
//     together and a trim alone keeps the two apart, of all agents that share the caches;
//     so they may be larger while builds follow each other without a gap.
//   - What every function is built with, the framework and its requirements, comes
//     with the agent as the files of a module proxy, whole and unchanged, so that
//     the go command checks them by go.sum like all modules. Smaller forms were
//     weighed: 6.5 of the 7.4 MB are one program that lies in the framework's module,
//     but a module that is packed anew has another checksum, and local replacements
//     would bind modules that the user may require later versions of. Nothing
//     foreign is committed: the Makefile gathers the files before it builds the
//     agent. An agent of go install has none and fetches them at its first start.
//     The module cache of the machine is not used instead: it may hold modules that
//     are no function's business.
//   - A program that was built once is not built again: a Store keeps programs by
//     the Key of all that entered their build. Of the source that is what the go
//     command can read, taken too widely where it cannot be known without asking it:
//     a changed data file must not cost a build, a changed embedded one must.
//   - A program that was built elsewhere is taken with its digest. It must look like
//     one for this machine, and no more is checked: its sender may run any code anyway.
//   - Linking without symbol tables takes half the time of linking with them;
//     panics still name file and line. Without garbage collection the compiler
//     saves another 8 %, up to a memory limit from which on it collects.
package build
