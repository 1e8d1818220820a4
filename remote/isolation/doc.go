// Package isolation decides how functions are kept from the rest of their machine: it
// turns a function's settings into rules of package confine.
//
// Which walls are possible depends on the machine and on the agent's user. New finds
// out, proves it with a process that tries to get out, and reports one of proto's
// tiers. It fails if the operator demands more, and Check refuses a function that asks
// for more. The package must never start a function with less than the tier that it has
// reported, and must say so where it has none.
//
// Decisions:
//   - What an ordinary function needs takes no setting: its program, its package, a
//     folder for temporary files, names and certificates of hosts, time zones, types of
//     files, /dev/null. All else of the file system is out of reach, also /sys,
//     /tmp, and /proc but for the name of its own program. Its package it can only read.
//   - A function may dial every port, unless network says less: a rule for "all but the
//     agent's" does not exist, and one for each port would cost more than the start. So
//     whom agents and proxies serve they decide themselves, and the ports of other
//     functions are within reach, as they are for every program of the machine.
//   - Landlock does not know UDP. Programs of the kernel close it where there is a list of
//     ports, but for DNS, without which names in it would be of no use. With any port they
//     are not asked: which UDP a function may use, no setting says.
//   - It cannot listen: it gets its sockets. Nobody would know of others.
//   - resolv.conf is often replaced by another file, which a rule on the file would not
//     let a running function read. So where it lies in a folder of /run, that folder
//     can be read. If it lies in /etc itself, a process sees only the one that was
//     there when it started.
//   - What a process takes is bounded by control groups: threads always, memory and
//     processors as its settings say. Without them, a user namespace bounds threads. Beside
//     that, each process has a limit of the memory that it can write to, at which Go's
//     runtime fails and says where.
//   - The users of functions are numbers of an agent's own, in a range that systems leave
//     free. Which one a function has is stored in its record, so that it is that of all its
//     versions, and of processes that the next agent takes over. Its files are the agent's on
//     the disk, so its user can be another function's when it is gone. A function's connections to
//     agents and proxies are its user's, so they need a token; its listening sockets are the
//     agent's, which opens them, so proxies know them as before.
//   - File sizes have no limit: what a function prints goes to a file that grows for
//     ever, and is freed at its front. What temporary files take is looked at every
//     second, those without a name too.
//   - A tmpfs of that size in the place of the folder, which a plain user can mount in the
//     namespaces of tier strong as well, would hold at once, and is not used. What lies in
//     it is memory: machines have less of that than of disk, and only tier full counts it,
//     as the function's, whose limit it would use up; RLIMIT_DATA does not see it. And it goes
//     with the process that has mounted it, while the folder is that of all processes
//     of a version, one after the other and at the same time. Quotas of the disk's file
//     system hold at once, too, but take root, and a mount option that few machines have.
package isolation
