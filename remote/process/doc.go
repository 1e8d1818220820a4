// Package process runs one operating system process: it starts a program on
// sockets that outlive it, knows when it is ready, what it does, and when and why
// it has exited, and stops it with its children. It takes processes and sockets
// over from an agent that was killed, and waits for callers on sockets that have no
// process.
//
// The two sides agree on the environment and the control connection. The
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
//   - When the leader has exited, its group is killed before the leader is reaped:
//     until then the kernel does not reuse the group's id.
//   - Leftovers finds processes by where their programs lie, also in other namespaces of
//     mounts: by device and path in the file system, since a path there may mean another file.
//   - Adopt accepts a process only when the boot id, the pid and the start time are
//     the same and the process says its nonce over the connection that an agent made.
//     They are compared after a pidfd was opened, and signals go through the pidfd, so
//     a pid that is reused meanwhile does no harm. Start times are in hundredths of a
//     second, too coarse without the nonce.
//   - A holder, a process of its own with some 4 MB, keeps sockets and connections
//     open while no agent runs. pidfd_getfd(2) would need permission to trace the
//     functions, and would find nothing of a function without a process.
//   - A program that execve(2) replaces stays the parent of its processes: Adopt
//     reaps such a child as Start would, also one that has become a zombie meanwhile.
//   - Waker adds idle sockets to one epoll, each for one event, and that epoll to the
//     runtime's own: an idle function costs neither a thread nor polling.
//   - One question at a time is asked over a control connection, so that a cancelled
//     one leaves at most one answer to skip.
//   - Output goes straight to a file in append mode. With a pipe the function would
//     fail or block when its reader does. The holder keeps such files bounded, since
//     it alone runs when no agent does. It looks at most once in 25 ms, so a flood
//     of 4 GB/s takes some 100 MB of the disk for a moment.
package process
