// Package scale decides how many processes a function needs for the calls that it has, and on how
// many machines. It is a policy: figures and times come in, a number and its reason go out. It
// knows no network, no clock and no function.
//
// # The rule
//
// What counts is calls in flight, with those that wait. Their number, divided by how many
// a process should have (the target), is how many processes are needed.
//
// Up goes by the last second, at once: callers wait meanwhile. The need must be a tenth above
// the size, so that a load that stays just where one size turns into another changes
// nothing.
//
// Down goes to what the busiest six seconds (the panic window) of the last minute (the
// stable window) needed, with a fifth of each process left free: bursts come in groups, and
// calls come by chance. It halves at most, and then waits for six seconds. So it follows no
// lull, and what was started for a queue that is gone does not stay for long.
//
// The windows are those of Knative, which goes up and down by the average of the stable one
// and, in a panic, up by that of the other. Here callers wait less, and the size turns less
// often; simulation_test.go shows how it does under several loads.
//
// Over machines a function goes once its processes have no room on those that it is on, at once,
// and back once all had room on fewer for another stable window.
//
// To zero goes what had no call for its idle time, and the first call brings it back.
package scale
