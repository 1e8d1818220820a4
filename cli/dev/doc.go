// Package dev serves the functions of a folder on the machine of whoever writes
// them: it watches the sources, builds what changed, and has callers wait the
// fraction of a second that this takes.
//
// Data enters as a folder and leaves as answers below /functions/NAME, as a proxy
// gives them, and as words about what happens. A source that does not pass the
// check or the compiler is answered with what they said of it, until it does.
//
// The package must never write to the user's folder, change the user's go.mod, or
// leave a process or a file behind when Run returns.
//
// Decisions:
//   - What runs is what a deploy would run: the same check, the same generated
//     files, the same flags of the compiler, and the environment that an agent
//     gives, of which the user's shell is no part. Only who builds differs: the
//     user's own go command with its caches and its settings for modules. It needs
//     no sandbox, for the code is the user's and runs on the user's machine anyway.
//   - Events of the file system are only hints to look: what was tried is compared
//     with what is there, by content, so that a save that changes nothing builds
//     nothing, and a lost event costs a save at most.
//   - Calls that come between a save and what it leads to wait for it. Whoever saves
//     and calls never sees the answer of the code before.
//   - Each function has a socket that its processes come and go on: the next one
//     answers before the one before is told to stop taking calls, and what neither
//     has taken waits in the backlog. No call is lost between two versions that work.
//   - A process that ends is started again by the next call, not by itself: one that
//     always ends would fill the terminal.
package dev
