// Package upgrade lets a running program be replaced by the one that is now in its place,
// without a listener closed in between.
//
// Data enters as the path, the arguments and the listeners of this process. It leaves as
// another process that has them. The package must never touch what a program stores: it
// only says whose turn it is.
//
// An agent executes its next program in its own process (Program.Prove, then execve):
// functions and their sockets are not its own, so nobody notices the moment without it. A
// proxy has the calls of others under way, which are to end well. So it is replaced in two
// steps, each of which is the same conversation over a socket (Give and Heir):
//
//	the proxy      starts a stand-in from the new program, which takes over and serves,
//	               while the proxy's calls end
//	the same pid   executes the new program, which takes over from the stand-in, and
//	               serves, while that one's calls end
//
// Decisions:
//   - The pid stays. A process that only forks, as nginx and most libraries do, leaves its
//     pid to another one: systemd must be told, a container ends with its first process, and
//     other supervisors and shells take the program for ended and start it once more, against
//     the one that runs. A process that watches over a worker, as haproxy's, keeps the pid as
//     well, and would cost a second process all the time.
//   - The stand-in proves the program by all that there is: flags, listeners, state, and the
//     agents' answers. Nothing is given up before.
//   - One process at a time owns the state. It gets the lock of the folder itself, over the
//     socket, so that nobody else can take it in between.
//   - A stand-in ends when the process ends whose place it holds: a supervisor that starts
//     that one again finds the ports and the folder free.
package upgrade
