// Package confine starts programs that may do only what rules allow.
//
// Between the agent and a program stands a launcher: a process that takes the
// rules from a pipe, gives up what they do not name, and becomes the program by
// execve, so that nothing of the agent is left in it. Data enters as Rules and an
// exec.Cmd; what comes out is a started command, or an error and no program. The
// package must never run a program with less than the layers that New has
// found, and has no switch that turns one off.
//
// In this order the launcher sets: umask 077; resource limits; close-on-exec for
// all descriptors but the meant; an empty capability bounding set, so that root is
// root in name alone; no_new_privs; Landlock (files, TCP ports, signals and
// abstract sockets); seccomp (system calls). An error in any of them ends the
// launcher with a message on a second pipe, before the program.
//
// Decisions:
//   - The launcher is this program itself, started again under a name that Main
//     knows. It costs the start of a large Go program, some milliseconds, which
//     a build does not feel. Only Main and what it calls run in the launcher, so
//     a small program of its own can take over when functions are confined.
//   - System calls are allowed by default and denied by list: programs of all
//     kinds must run. Arguments that the kernel takes as 32 bits are allowed by
//     their low half, and only with an empty high half, since the filter sees 64.
//   - What a kernel lacks is not asked of it: Layers says so with the reason and
//     the remedy, and the agent repeats it when it starts and in /readyz.
//   - The number of processes is not limited: the kernel counts them for each
//     user, and programs of one agent share theirs. It takes a user of its own, a
//     user namespace or a cgroup.
//
// What no layer here stops: UDP, once a program has any network (Landlock knows
// TCP alone; programs that need no network get no socket); reading and changing
// metadata of files (stat, chmod of the own user's files), which Landlock does
// not see; threads without number; faults of the kernel, and covert channels.
package confine
