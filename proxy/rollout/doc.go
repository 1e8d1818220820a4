// Package rollout changes functions over several agents: a deploy, a rollback, a
// shift of a canary.
//
// A change is data: one Step for each agent, with what the agent had before, so that
// the step can be taken and undone (step.go). The policy is one function, roll
// (policy.go): one agent after the other, and when one fails all go back.
//
// A deploy that comes while one of the same function is under way takes its place and,
// if it fails, goes back to what was before both. Rollback and shift are refused
// meanwhile; a stop cancels the deploy. An agent whose connection fails while it
// deploys counts as failed; if it comes back with the new version, its row says so.
//
// A Ledger is told of a change before its first step, and of its end: who finds a change
// whose process is gone can Resume it. A step that was taken is known by what the agent
// serves. Agents that do not answer may be spared: they are left out of the change.
//
// A version has one number on all agents of a function, higher than any that one of
// them has had. An agent that has nothing to change keeps its version, and the agents
// after it take that number.
//
// One program serves all agents of a platform (programs.go): the first agent builds it
// and the others get it, as a stream that passes through. An agent that does not build
// gets its program from another of its platform, which has it or builds it.
//
// Agents are asked to deploy without waiting. A rollout waits on the fleet's watch, so
// that one slow build delays no other deploy.
//
// The package must never touch calls of functions: routes follow what agents say.
package rollout
