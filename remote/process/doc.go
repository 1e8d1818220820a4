// Package process runs one operating system process: it starts a program on
// sockets that outlive it, knows when it is ready, what it does and when and why
// it has ended, and stops it with its children. It takes processes and sockets
// over from an agent that has died, and waits for callers of sockets that have no
// process.
//
// What the two sides agree on is the environment and the control connection. The
// environment says RYO_MOUNT (the path that the function is called under),
// RYO_FUNCTION (which function of the program), RYO_LISTEN (the number of listening
// sockets, from descriptor 3 on), RYO_DRAIN (how long requests in flight may take
// after SIGTERM), RYO_CONCURRENCY (how many it may take at a time) and RYO_NONCE.
// The descriptor after the listeners is the control connection, on which the
// process answers GET /_ryo/healthz with 200 once it accepts and GET
// /_ryo/stats?q=TEXT with its Stats, the text and the nonce as JSON, and which it
// closes when it no longer accepts. The other half is package remote/funcfw/serve.
//
// Data enters as a Spec, or as an Identity and files from a Holder, and leaves as
// Stats, Usage and Exit. The package must never decide whether a process should
// run, and never signals a process that is not its own.
//
// Decisions:
//   - Sockets are opened here and only lent to processes. A caller that connects
//     while a process is replaced waits in the backlog and is never refused.
//     Their descriptors are handled as numbers: os.File.Fd would switch the
//     sockets, which all processes share, to blocking mode.
//   - Each process leads a session of its own, so that no terminal's signal
//     reaches it and one signal to its group reaches its children. There is no
//     parent death signal: functions outlive their agent. A child that leaves
//     the group escapes; only a cgroup could hold it.
//   - When the leader has ended its group is killed before the leader is waited
//     for: until then the kernel gives the group's number to nobody else.
//   - Adopt believes in a process only when the machine's start, the number and the
//     start time are the same and the process says its nonce over the connection
//     that an agent made. All is compared after a pidfd was opened, and signals go
//     through that: a number that is given to another one meanwhile does not matter.
//     The kernel tells start times in hundredths of a second, so the nonce counts.
//   - Sockets and connections are kept over the agent's death by a holder, a process
//     of some 4 MB of its own. pidfd_getfd(2) would need leave to trace the functions,
//     and would find nothing of a function without a process.
//   - A program that is replaced by execve(2) stays the parent of its processes:
//     Adopt reaps such a child as Start would, also one that has ended meanwhile.
//   - Waker gives idle sockets to one epoll, each for one event, and that epoll to
//     the runtime's own: whoever sleeps costs neither a thread nor a look.
//   - One question at a time is asked over a control connection, so that an asker
//     who leaves owes no more than one answer to skip.
//   - Output goes straight to a file in append mode. A pipe would end or block
//     the function with its reader. The holder keeps such files bounded: it alone is
//     there also while an agent is not. It is told of writes at most once in 25 ms,
//     and a flood of 4 GB/s leaves some 100 MB on the disk for a moment.
package process
