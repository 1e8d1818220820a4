// Package transporttest says what every transport.Interface must do: Run is a
// suite that any implementation is put through (agent, proxy, both clients, the
// fake), and Fake is an implementation in memory for the tests of those that
// call one.
//
// The suite deploys small real functions from folders of its own, so that an
// agent that compiles and runs them passes it as the fake does. It looks at
// answers only, of the implementation and of the functions' services, never
// behind them, and waits as long as the test may last: a real deploy takes half a
// second, the first one with cold caches much longer.
//
// The fake is no mock: nobody tells it what to answer. It packs into and reads from a
// real bundle.Store, parses the sources that it gets, and moves rows along proto's
// table of states. Its functions are called over real listeners, where it runs the few
// kinds of statements that the suite's functions are made of (process.go), in place of
// a compiler.
package transporttest
