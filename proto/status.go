package proto

import "slices"

// Status is the state of a function on an agent.
type Status string

// The states. Deployed is only ever said after the function has been seen ready.
const (
	Deploying Status = "Deploying"
	Deployed  Status = "Deployed"
	Failed    Status = "Failed"
	Stopped   Status = "Stopped"
)

// moves is the table of legal moves. The empty status is a function that is not
// known yet. Staying in a state is always legal.
var moves = map[Status][]Status{
	"":        {Deploying},
	Deploying: {Deployed, Failed, Stopped},
	Deployed:  {Deploying, Failed, Stopped},
	Failed:    {Deploying, Deployed, Stopped}, // Deployed: after a crash loop a process stays up
	Stopped:   {Deploying},
}

// CanMove reports whether a function may go from one status to another.
func CanMove(from, to Status) bool {
	return from == to || slices.Contains(moves[from], to)
}

// Settled reports whether a deploy in this status is finished.
func (s Status) Settled() bool { return s == Deployed || s == Failed || s == Stopped }

// What the reason of a Failed function says, in one word.
const (
	ReasonCheck = "check" // the source was refused
	ReasonBuild = "build" // the compiler refused it
	ReasonStart = "start" // the process exited, or did not answer, before it was ready
	ReasonCrash = "crash" // the process keeps exiting
	ReasonAgent = "agent" // the platform could not do its part
	// The build met a limit of time, could not reach what it needs, used up what the
	// machine has, or got a module of another checksum.
	ReasonTimeout     = "timeout"
	ReasonUnavailable = "unavailable"
	ReasonExhausted   = "exhausted"
	ReasonChecksum    = "checksum"
	// ReasonProgram is for an agent that neither has the program nor can build it.
	ReasonProgram = "program"
	// ReasonUnreachable is for an agent that does not answer its proxy.
	ReasonUnreachable = "unreachable"
	// ReasonBehind is for an agent that has not followed a change of the function yet.
	ReasonBehind = "behind"
	// ReasonAside is for a replica where calls of a proxy fail, so that it calls others.
	ReasonAside = "aside"
	// ReasonPlacement is for a replica on an agent without the labels that its function asks
	// for. It serves.
	ReasonPlacement = "placement"
	// ReasonFrozen is for a process that was stopped by a signal and not continued.
	ReasonFrozen = "frozen"
	// ReasonRollout is for an agent that was not changed, or went back, since another
	// one failed.
	ReasonRollout = "rollout"
	// ReasonDamaged is for a function whose files on the agent's disk are damaged.
	ReasonDamaged = "damaged"
)

// Available reports whether a replica can take calls of a version at once. Others wait
// for its agent, or for a process that does not run: they get calls only where no replica
// is available. One that is idle is available: a call starts its process.
func (r *FunctionJsonRsp) Available(of *Serving) bool {
	if r.GetReason() == ReasonUnreachable || r.GetReason() == ReasonAside {
		return false
	}
	return of.GetInstances() > 0 || r.GetRetry() == "" && r.GetReason() != ReasonFrozen
}

// Unchanged begins the error of a Deployed row whose last deploy has failed; the
// error of that deploy follows.
const Unchanged = "the last deploy failed and changed nothing: "

// What a Deploying function waits for.
const (
	StageQueued   = "queued"
	StageChecking = "checking"
	StageBuilding = "building"
	StageStarting = "starting"
)
