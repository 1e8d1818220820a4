// Package peercred says whose the other end of a local connection is, as the kernel
// knows it. Headers and addresses prove nothing: any user, any function and any
// gateway of a machine calls from 127.0.0.1.
//
// A connection enters, a Peer comes out: the uid of the process that opened the other
// end, and on demand whether that process is confined. The package must never guess:
// what the kernel does not tell is an error, and its callers refuse then.
//
// Decisions:
//   - For TCP the kernel is asked over a netlink socket for the one socket that has
//     the addresses of the connection in reverse (sock_diag(7)). It answers in some
//     microseconds to any user, however many sockets there are; the table in
//     /proc/net/tcp took 50 ms with 10,000 of them. For unix sockets it is
//     SO_PEERCRED.
//   - A socket that its process has closed already is reported as root's. So only the
//     answer for an established socket that a file still stands for counts, and Of is
//     to be called before anything is read.
//   - A uid does not tell a function from its agent where they share one. What tells
//     them apart for good is the number of seccomp filters: each function is started
//     with one more than its agent, its children inherit it, and nothing takes one
//     away. The kernel shows it to everybody. A proxy must not run under more filters than
//     the agents of its machine, as by a unit of systemd: a function could add filters
//     until it has as many. The units in dist have equally many. The process is the one whose table of
//     files has the socket. To look for it in all processes takes about a millisecond
//     on a small machine, so Confined is asked only where it matters. A control group
//     (INET_DIAG_CGROUP_ID) tells nothing where version 1 is mounted, and a network
//     namespace of each function's own would part it from the network.
//   - A plain user's program cannot look into processes that are not dumpable, such
//     as those of sshd, which carry tunnels, or that have more capabilities. If no other process has the socket, it may
//     belong to one of them: it counts as confined if any process of the user is. So,
//     while functions run under the user, such a tunnel needs a token.
//
// Other systems than Linux do not tell whose a TCP connection is. There, Of says so
// (ErrUnknown).
package peercred
