// Package doctor is what the commands doctor of the three programs share: findings, how
// they are printed, and the checks that more than one of them makes.
//
// A check looks and never changes anything: it makes no folder and takes no lock. What
// it cannot find out is a finding, too. Each finding that is not good says what to do.
//
// Decisions:
//   - There are two ways not to be well: bad, which keeps something from working, and
//     poor, which works but should be better. A doctor's exit code is 0 only if there is
//     neither, so that scripts and health checks need not read.
//   - A program that runs says most of itself (/readyz). Its doctor asks it, and looks for
//     itself where it does not run.
package doctor
