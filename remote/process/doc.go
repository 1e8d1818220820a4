// Package process runs one operating system process: it starts a program on
// sockets that outlive it, knows when it is ready and when it has ended, stops
// it with its children, and keeps what it prints.
//
// What the two sides agree on: the environment says RYO_MOUNT (the path that the
// function is called under), RYO_LISTEN (the number of listening sockets, from
// descriptor 3 on) and RYO_DRAIN (how long requests in flight may take after
// SIGTERM). The descriptor after the listeners is the control connection, on
// which the process answers GET /_ryo/healthz with 200 once it accepts, and
// which it closes when it no longer does. The other half is package
// remote/funcfw/serve.
//
// Data enters as a Spec and leaves as an Exit and as a Log. The package must
// never decide whether a process should run, and never signals a process that
// is not its own.
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
//   - Output goes straight to a file in append mode. A pipe would end or block
//     the function with its reader. Keeper frees the head of files that grow
//     beyond their limit, so neither side ever waits for the other.
package process
