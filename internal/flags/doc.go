// Package flags reads the command lines of the agent and the proxy, which must
// behave alike: a flag comes from the command line, else from its environment
// variable, else from its default. It is a thin layer over the standard flag
// package: flags are declared with the methods of the embedded FlagSet.
//
// It imports the standard library and proto only, and never exits or prints
// anywhere but to the writers it was given.
//
//	set := flags.New("agent", "runs Go functions on this machine", stdout, stderr)
//	port := set.String("port", ":9000", "`address` to listen on")
//	if code, ok := set.Parse(args[1:]); !ok {
//		return code
//	}
package flags
