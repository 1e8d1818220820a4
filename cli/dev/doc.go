// Package dev serves the functions of a folder on the user's machine while the user
// edits them: it watches the sources and builds what changed. Callers wait the fraction
// of a second that this takes.
//
// Data enters as a folder. It comes out as answers below /functions/NAME, as a proxy
// gives them, and as messages to the user. While a source does not pass the check or
// the compiler, calls are answered with their errors.
//
// The package must never write to the user's folder or change the user's go.mod. When
// Run returns, no process and no file of it is left.
//
// Decisions:
//   - What runs is what a deploy would run: the same check, the same generated
//     files, the same compiler flags, and the environment that an agent gives, without
//     the user's shell's. Only the builder differs: the user's own go command, with
//     its caches and settings for modules. It needs no sandbox: the code is the
//     user's, and runs on the user's machine anyway.
//   - File system events are only hints to look: the files are compared by content
//     with those of the last attempt. So a save that changes nothing builds nothing,
//     and a missed event is made good by the next save.
//   - Calls that come after a save wait for its result. So a call after a save never
//     reaches the code before it.
//   - Each function has a socket that its processes share: the next one answers
//     before the old one is drained, and calls that neither has taken wait in the
//     backlog. No call fails between two versions that work.
//   - Pages are not parsed: the script that loads them anew is added after their end, so
//     that what comes in pieces does so still. Its tag names the state that served the page,
//     by which it knows what it has missed. What a policy of the page keeps out stays out.
//   - A process that exits is started again by the next call and not at once: one
//     that always exits would fill the terminal.
package dev
