// Package confine starts programs that may do only what rules allow.
//
// A child of the agent gives up what the rules do not name, and becomes the program by
// execve, so that nothing of the agent is left in it. Data enters as Rules and what
// syscall.ForkExec takes; what comes out is a process, or an error and no program. The
// package must never run a program with less than the layers that New has found, and
// has no switch that turns one off.
//
// The child does in this order: no handlers of signals; control groups; namespaces and a
// root of its own; session, folder and files; umask 077; resource limits; close-on-exec for all
// descriptors but the meant; an empty capability bounding set, so that root is root in
// name alone; another user, if the rules say so; no_new_privs; Landlock (files, TCP ports,
// signals and abstract sockets); seccomp (system calls); execve. An error in any of them
// ends the child before the program.
//
// Decisions:
//   - What the child does is a list of system calls, laid out beforehand with all that they
//     need, and a loop in assembler that makes them (spawn_linux.go). The child is one of
//     vfork: it shares the agent's memory, so it starts without a copy of it, and the
//     list says afterwards what came of each call; and it runs no Go, for which its
//     threads are missing. A launcher, a program between agent and program, was the way
//     before: it cost a start 2 ms as a small program of its own, and 4 to 8 as the agent
//     once more. The calls take some 0.1 ms. Package syscall has no place for them
//     between its fork and its execve.
//   - The agent's thread that starts a program waits for its execve, as in package syscall.
//     A collection of garbage that begins meanwhile waits, too, so the list has no call that
//     can block.
//   - Start holds a program and its children, which end with the caller, as builds do.
//     What ForkExec starts is on its own, with the pid that it begins with, as functions
//     are.
//   - Opening a listening socket is denied by system call as well as by port: a socket
//     without a port gets one that Landlock does not see.
//   - System calls are allowed by default and denied by list: programs of all
//     kinds must run. Arguments that the kernel takes as 32 bits are allowed by
//     their low half, and only with an empty high half, since the filter sees 64.
//   - What a kernel lacks is not asked of it: Layers says so with the reason and
//     the remedy, and the agent repeats it when it starts and in /readyz.
//   - A program with children is the first of a namespace of processes: the kernel
//     ends the others with it, and ends it with the thread of the agent that started
//     it. A watching process was weighed, which would cost a process and see later.
//   - How many processes such a program has, and their memory in all, is limited by a
//     control group (cgroup) where the agent may make one, as root may. A plain user
//     gets a user namespace instead, in which the kernel counts processes apart, and
//     no limit of memory in all. Root's processes the kernel does not limit that way.
//     In version 2 of control groups, those of programs lie beside that of the agent.
//   - To join a group of version 1, the child writes 0 to its file tasks, which moves
//     the thread that writes and takes 10 µs. To move a process into it takes 10 ms. In a
//     group of version 2 the process begins.
//   - Each program of ForkExec has a group of its own, with processors shared equally
//     among all of them.
//   - The root of a program of ForkExec is made anew at each start (apart_linux.go), of some
//     ten mounts, which take 0.5 ms. One that is made once would keep files that the machine
//     has replaced since, such as resolv.conf. What lies in it is coarse, such as all of
//     /etc: what may be read is Landlock's to say.
//   - A program with a user of its own sees its files as that user's through mounts with
//     mapped ids (mount_setattr(2)). On the disk they stay the agent's: so none is left of a
//     user who is given to another program, an agent may run as root today and with
//     fewer rights tomorrow, and nothing is chowned. The user need not reach through the
//     folders above, which are the agent's alone.
//   - A program of ForkExec is process 1 of a namespace of processes, which costs nothing
//     more than its start: there is no process between. With Children it is not: the orphans
//     of a namespace are its first process's to reap, which programs do not do, and their
//     zombies would count against Tasks.
//   - Programs without a network share one empty namespace of networks, where root may enter
//     it: to make one takes 1 to 3 ms. A plain user's program makes its own.
//   - UDP is denied to programs with a list of ports by programs of the kernel
//     (datagrams_linux.go), which take a control group of version 2, also where those of
//     version 1 limit the rest, and go with it.
//
// What no layer here stops: UDP where a program may dial any port, or the layer is off
// (Landlock knows TCP alone; programs that need no network get no socket); without
// namespaces, reading metadata of files (stat), which Landlock does not see, and threads
// without number, of programs without children; changing metadata where Attributes is
// set; faults of the kernel, and covert channels.
package confine
