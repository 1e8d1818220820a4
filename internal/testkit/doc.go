// Package testkit is what the tests of several rooms share: the sources of small
// functions, certificates, how long to wait, and a guard that lets nothing outlive a run
// of tests.
//
// A package whose tests start processes runs them like this:
//
//	func TestMain(m *testing.M) {
//		guarded := testkit.Guarded(m) // first of all
//		…
//		goleak.VerifyTestMain(guarded)
//	}
//
// All temporary files of such a run lie in one folder, its root. A process belongs to
// the run when its program, its working folder, its command line or its environment
// names the root. The guard is a process in a session of its own, so that neither
// Ctrl-C nor the exit of the tests stops it. When the tests have exited it kills what
// belongs to the run and removes the root. Tests that were not interrupted fail when
// something of them still runs or lies there. When the guard was killed too, the next
// run does its work.
//
// Processes are found through /proc; on systems without it the guard removes folders.
package testkit
