package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// defaultProxy is where a proxy on this machine listens for gRPC; it answers
// HTTP there as well.
const defaultProxy = "localhost:9001"

// Main runs proxyCli with the arguments args, the program's name first, and
// returns its exit code. SIGINT, SIGTERM and SIGHUP, which a closed terminal sends,
// cancel it, but for a SIGHUP that is ignored.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, isTerminal: isTerminal}
	signals := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal kills the program
	return a.run(ctx, args[min(1, len(args)):])
}

// app is one run of the program.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	isTerminal     func(stream any) bool

	// The flags that all commands share.
	proxy, kind, ca, output string
	errorFormat             string
	quiet, insecure         bool

	tls    *tls.Config // for https://
	secure bool        // the address of proxy has it
	token  string      // that goes with requests; "": there is none

	overlay string // of definitions; "": there is none
	hurried bool   // a deploy does not wait, by default
	vulnDB  string // the database of known faults; "": the usual one
	goesOn  string // what an interrupt does not end from now on; "": what the map of this name says
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (a *app) run(ctx context.Context, args []string) int {
	cmd, err := a.execute(ctx, args)
	code := exitCode(ctx, err)
	if err != nil && a.output == "text" && asksJSON(args) {
		a.output = "json" // the command line was refused before its flags were read
	}
	_, told := errors.AsType[reported](err)
	several, ok := errors.AsType[faults](err)
	if !ok {
		several = faults{err}
	}
	switch {
	case err == nil || told:
	case code == exitInterrupted:
		a.report(proto.Errorf(proto.ErrCanceled, "interrupted").WithHint(cmp.Or(a.goesOn, goesOn[strings.TrimPrefix(cmd.CommandPath(), "proxyCli ")])))
	default:
		for _, err := range several {
			a.report(err)
		}
	}
	return code
}

// asksJSON reports whether a command line asks for JSON, whatever else is wrong with it.
func asksJSON(args []string) bool {
	asked := os.Getenv(flags.Env("output"))
	for i, arg := range args {
		if arg == "--" {
			break
		}
		name, value, joined := strings.Cut(arg, "=")
		switch name {
		case "-o", "-output", "--output":
		case "-ojson":
			value, joined = "json", true
		default:
			continue
		}
		if !joined && i+1 < len(args) {
			value = args[i+1]
		}
		asked = value
	}
	return asked == "json"
}

// goesOn says what an interrupt of a command does not end.
var goesOn = map[string]string{
	"def":      "what has begun goes on; proxyCli details shows how it ends",
	"deploy":   "an agent that has begun the deploy goes on with it; proxyCli details shows how it ends",
	"rollback": "an agent that has begun goes on; proxyCli versions shows what serves",
	"canary":   "an agent that has begun goes on; proxyCli versions shows what serves",
	"promote":  "an agent that has begun goes on; proxyCli versions shows what serves",
	"drop":     "an agent that has begun goes on; proxyCli versions shows what serves",
	"pause":    "an agent that has begun goes on; proxyCli details shows what is paused",
	"resume":   "an agent that has begun goes on; proxyCli details shows what is paused",
	"stop":     "an agent that has begun goes on; proxyCli list shows what is left",
	"rm":       "an agent that has begun goes on; proxyCli list -all shows what is left",
	"apply":    "what has begun goes on; proxyCli details shows how it ends",
	"scale":    "the proxy goes on; proxyCli details shows which agents have it",
	"invoke":   "the function is told that its caller is gone, and may go on",

	"agents drain": "the agent stays drained; proxyCli agents shows what is left there, and agents resume ends it",
}

// execute runs the command that args name and returns it.
func (a *app) execute(ctx context.Context, args []string) (*cobra.Command, error) {
	root := a.root()
	if len(args) > 1 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		// A shell asks how a command line goes on. Errors in it are not printed yet,
		// and its last word stays as it is.
		last := len(args) - 1
		if before, err := normalize(root, args[1:last]); err == nil {
			if strings.HasPrefix(args[last], "-") {
				return root, a.completeFlags(root, before, args[last])
			}
			args = slices.Concat(args[:1], before, args[last:])
		}
		root.SetArgs(args)
		return root.ExecuteContextC(ctx)
	}
	args, err := normalize(root, args)
	if err != nil {
		return root, err
	}
	root.SetArgs(args)
	return root.ExecuteContextC(ctx)
}

// root is the tree of commands.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "proxyCli",
		Short: "deploys Go functions and shows how they run",
		Long: `
Exit codes: 0 ok, 1 other, 2 usage, 3 the user's code was refused, 4 unreachable,
5 not found, 6 partly failed, 7 not authorised, 8 timed out or unhealthy,
130 interrupted.`,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.HasParent() {
				return nil // it sends no request
			}
			return a.checkGlobals(cmd)
		},
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { a.help(cmd) })
	root.SetFlagErrorFunc(badFlag)

	fs := root.PersistentFlags()
	fs.SortFlags = false
	fs.StringVar(&a.proxy, "proxy", defaultProxy, "`ADDR` the proxy or agent to ask (RYO_PROXY, default "+defaultProxy+")")
	fs.StringVar(&a.kind, "transport", string(transport.RPC), "`rpc|http` how to talk to it (RYO_TRANSPORT, default rpc)")
	fs.StringVar(&a.ca, "ca", "", "`FILE` certificates of authorities to trust besides the system's, for addresses with https:// (RYO_CA)")
	fs.StringVarP(&a.output, "output", "o", "text", "`text|json` how answers are printed (RYO_OUTPUT, default text)")
	fs.StringVar(&a.errorFormat, "error-format", errorText, "`text|github-actions` how errors are printed: also as annotations of GitHub Actions (RYO_ERROR_FORMAT, default text)")
	fs.BoolVarP(&a.quiet, "quiet", "q", false, "print only answers and errors (RYO_QUIET)")
	fs.BoolVar(&a.insecure, "insecure", false, "send your token to another machine without encryption")
	offer(root, "transport", string(transport.RPC), string(transport.HTTP))
	offer(root, "output", "text", "json")
	offer(root, "error-format", errorText, errorGitHub)
	// Cobra's own version flag uses text/template, which keeps the linker from
	// removing unused methods.
	version := root.Flags().Bool("version", false, "print the version and exit")
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		if *version {
			return a.printVersion()
		}
		a.help(cmd)
		return nil
	}

	root.AddCommand(a.defCommand(), a.applyCommand(), a.newCommand(), a.checkCommand(), a.devCommand(), a.upCommand(), a.deployCommand(), a.listCommand(), a.detailsCommand(),
		a.planCommand(), a.schemaCommand(), a.versionsCommand(), a.rollbackCommand(), a.canaryCommand(), a.promoteCommand(), a.dropCommand(),
		a.pauseCommand(), a.resumeCommand(), a.stopCommand(), a.rmCommand(), a.logCommand(), a.crashesCommand(), a.topCommand(), a.scaleCommand(), a.agentsCommand(), a.invokeCommand(), a.clientCommand(), a.openCommand(), a.callsCommand(), a.cronCommand(),
		a.loginCommand(), a.contextCommand(), a.tokenCommand(), a.auditCommand(), a.doctorCommand(), a.versionCommand())
	root.SetHelpCommand(a.helpCommand())
	// Cobra adds these when it runs; normalize needs them earlier.
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	completion := child(root, "completion")
	completion.Short, completion.Long = "prints the completion script of a shell", ""
	completion.PersistentPreRunE = noChecks
	for _, shell := range completion.Commands() {
		shell.Short = "prints the completion script of " + shell.Name()
	}
	initHelp(root)
	return root
}

func initHelp(cmd *cobra.Command) {
	cmd.InitDefaultHelpFlag()
	cmd.Flags().Lookup("help").Usage = "print this text and exit"
	for _, c := range cmd.Commands() {
		initHelp(c)
	}
}

// checkGlobals takes flags that the command line does not have from the environment,
// and checks all. Only setting quiet can fail: the others are strings.
func (a *app) checkGlobals(cmd *cobra.Command) error {
	origin := map[string]string{}
	for _, name := range []string{"proxy", "transport", "ca", "output", "error-format", "quiet"} {
		value := os.Getenv(flags.Env(name))
		if f := cmd.Flag(name); f.Changed || value == "" {
			origin[name] = asWritten(f, f.Value.String())
		} else if err := f.Value.Set(value); err != nil {
			return usagef(cmd, "%s: %q is neither true nor false", flags.Env(name), value)
		} else {
			origin[name] = flags.Env(name)
		}
	}
	for _, name := range []string{"proxy", "transport", "ca", "output", "error-format", "name", "agent", "listen", "method", "since", "id", "reset", "scope", "function", "ttl", "grace", "overlay", "preview", "preview-ttl"} {
		// An unset variable of a script must not mean the default.
		f := cmd.Flag(name)
		if f == nil || !f.Changed {
			continue
		}
		value := f.Value.String()
		if of, ok := f.Value.(*settingFlag); ok {
			value = of.Text(of.fn)
		}
		if value == "" || value == "[]" {
			return usagef(cmd, "%s: the value is empty", asWritten(f, ""))
		}
	}
	known, err := loadContexts()
	if err != nil {
		return err
	}
	if current, ok := known.Contexts[known.Current]; ok && cmd.Name() != "login" && !cmd.Flag("proxy").Changed && os.Getenv(flags.Env("proxy")) == "" {
		a.proxy = current.Proxy
		if !cmd.Flag("transport").Changed && os.Getenv(flags.Env("transport")) == "" {
			a.kind = current.Transport
		}
	}
	if k := transport.Kind(a.kind); k != transport.RPC && k != transport.HTTP {
		return usagef(cmd, "%s: %q is neither rpc nor http", origin["transport"], a.kind)
	}
	if a.output != "text" && a.output != "json" {
		return usagef(cmd, "%s: %q is neither text nor json", origin["output"], a.output)
	}
	if a.errorFormat != errorText && a.errorFormat != errorGitHub {
		format := a.errorFormat
		a.errorFormat = errorText
		return usagef(cmd, "%s: %q is neither %s nor %s", origin["error-format"], format, errorText, errorGitHub)
	}
	addr, secure, err := transport.ParseAddr(a.proxy)
	if err != nil {
		return usagef(cmd, "%s: %v", origin["proxy"], err)
	}
	a.proxy = addr
	a.secure = secure
	place, given := known.of(a.address()), os.Getenv(flags.Env("token"))
	if given != "" && !isToken(given) {
		return usagef(cmd, "%s holds no token: one begins with %s and has no spaces", flags.Env("token"), wire.TokenPrefix)
	}
	a.token = cmp.Or(given, place.Token)
	a.insecure = a.insecure || place.Insecure && a.token == place.Token
	a.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	if a.ca = cmp.Or(a.ca, place.CA); a.ca != "" {
		if a.tls.RootCAs, err = authorities(a.ca); err != nil {
			return usagef(cmd, "%s: %v", cmp.Or(origin["ca"], "-ca"), err)
		}
	}
	return nil
}

// address is the proxy's with its scheme, if that says something.
func (a *app) address() string {
	if a.secure {
		return "https://" + a.proxy
	}
	return a.proxy
}

// authorities returns those of the system and of a file.
func authorities(file string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", file)
	}
	return pool, nil
}

// dial returns a client of the process that -proxy names.
func (a *app) dial(opts ...transport.Option) *transport.Client {
	opts = append(opts, transport.WithToken(a.token))
	if a.insecure {
		opts = append(opts, transport.WithClearToken())
	}
	if a.secure {
		opts = append(opts, transport.WithTLS(a.tls))
	}
	return transport.NewAgent(transport.Kind(a.kind), a.proxy, opts...)
}

// ask makes requests over one connection. The client limits how long each takes.
func (a *app) ask(requests func(*transport.Client) error) error {
	client := a.dial()
	defer func() { _ = client.Close() }()
	return requests(client)
}

// answer makes one request.
func answer[T any](a *app, call func(*transport.Client) (T, error)) (got T, err error) {
	err = a.ask(func(client *transport.Client) (err error) {
		got, err = call(client)
		return err
	})
	return got, err
}

// faults are several errors, each printed by itself.
type faults []error

func (f faults) Error() string   { return errors.Join(f...).Error() }
func (f faults) Unwrap() []error { return f }

// tryEach does something for each name, and returns what failed.
func tryEach(names []string, do func(name string) error) error {
	var failed faults
	for _, name := range names {
		if err := do(name); err != nil {
			failed = append(failed, err)
		}
	}
	if failed == nil {
		return nil
	}
	return failed
}
