// Package rollout changes functions over several agents: a deploy, a rollback, a
// shift of a canary.
//
// A change is data: one Step for each agent, with what the agent had before, so that
// it can be done and undone (step.go). The policy is one function, roll (policy.go):
// one agent after the other, and at the first that fails all go back.
//
// A deploy that comes while one of the same function is under way takes its place,
// and goes back, if it must, to what was before both. Rollback and shift are refused
// meanwhile; a stop ends it. An agent that is lost while it deploys counts as failed;
// if it comes back with the new version, its row tells.
//
// A version has one number on all agents of a function: above all that any of them
// has had. An agent that has nothing to change keeps its version, and those after it
// take that number.
//
// One program serves all agents of a platform (programs.go): the first agent builds,
// the others are sent what it built, as a stream that passes through. An agent that
// does not build is sent a program that another connected one of its platform has,
// or builds for it.
//
// Deploys are sent to agents without waiting; those who wait do so on the fleet's
// watch, so that one slow build holds up no other deploy.
//
// The package must never touch calls of functions: routes follow what agents say.
package rollout
