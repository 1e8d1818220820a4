package proto

// Explanation says what a word in an error means, and the way out.
type Explanation struct {
	// Component is the part that has failed, where the word is a reason of calls: caller,
	// gateway, function, agent, proxy, store or client.
	Component string
	Word      string
	Meaning   string
	Way       string
}

// Codes explains all kinds, in the order in which people look for them.
var Codes = []Explanation{
	{Word: string(ErrInvalid), Meaning: "the request is wrong, and would be wrong again", Way: "the message says what and where; correct it"},
	{Word: string(ErrUnauthenticated), Meaning: "the caller did not say who it is, or nobody knows its token", Way: "proxyCli login, or RYO_TOKEN; callers of functions send Authorization: Bearer"},
	{Word: string(ErrForbidden), Meaning: "the caller may not do this", Way: "take a token with the scope, and for the function, that the message names: proxyCli token create"},
	{Word: string(ErrNotFound), Meaning: "there is no such function, version, call or agent, or the caller may not know of it", Way: "proxyCli list -all shows what there is"},
	{Word: string(ErrConflict), Meaning: "it clashes with what is there, or with a change that is under way", Way: "the message names the other; remove it, choose another name, or wait"},
	{Word: string(ErrTooLarge), Meaning: "over a limit of size or number", Way: "the message names the limit; see limits"},
	{Word: string(ErrUnsupported), Meaning: "there is no such call, or not with this method, or not here: some are for proxies, or agents, alone", Way: "the hint says whom to ask"},
	{Word: string(ErrIncapable), Meaning: "these machines cannot do it; others may", Way: "deploy to others, ask for less isolation, or see agent doctor"},
	{Word: string(ErrTimeout), Meaning: "a time limit ran out", Way: "limit and elapsed say which and when; the function's setting timeout, or the caller's X-Ryo-Timeout, is the limit of a call"},
	{Word: string(ErrStalled), Meaning: "the caller stopped sending in the middle of the body", Way: "send it whole; look for a slow network in between"},
	{Word: string(ErrCanceled), Meaning: "the caller canceled", Way: "nothing: it was the caller's wish"},
	{Word: string(ErrUnavailable), Meaning: "a part cannot be reached now, or has no place; it may be later", Way: "try again, as Retry-After says; component and reason say which part"},
	{Word: string(ErrBadGateway), Meaning: "the function gave no valid answer, though it may have been executed", Way: "proxyCli log NAME and proxyCli crashes NAME"},
	{Word: string(ErrTooMany), Meaning: "too many at once, or too fast", Way: "wait, as Retry-After says; it passes by itself"},
	{Word: string(ErrExhausted), Meaning: "no port, disk or place is left", Way: "remove something first: functions that are not needed, files on the disk"},
	{Word: string(ErrInternal), Meaning: "a fault of this program", Way: "report it, with the request's id and the log around it"},
}

// CallReasons explains what is said of calls and requests in component and reason. A reason
// that is not here is the code, or one of RowReasons.
var CallReasons = []Explanation{
	{"caller", "invalid", "a header of the request cannot be read", "the message names the header and its form"},
	{"caller", "conflict", "the Idempotency-Key was used for another call, or calls follow each other in a circle", "use a key for one call alone; look at onSuccess and onFailure"},
	{"caller", "unsupported", "this form of call cannot be made later", "call it without /async"},
	{"caller", "body", "the body is over the limit, or could not be read", "the setting body is the limit"},
	{"caller", "stalled", "the body stopped coming", "send it without pauses longer than timeout"},
	{"caller", "canceled", "the caller closed the connection before the answer", "nothing, or a longer wait at the caller"},
	{"caller", "rate", "the caller calls more often than the setting rate allows", "wait, as Retry-After says"},
	{"caller", "address", "the caller's address is not in the setting allowIPs", "add its network; behind a gateway, see -trusted-proxies"},
	{"gateway", "not_found", "no function, and no agent, is known by this name", "proxyCli list; a function that is stopped is shown by list -all"},
	{"gateway", "version", "this version of the function is not kept", "proxyCli versions NAME"},
	{"gateway", "full", "as many calls wait for the function as may", "raise queue, concurrency, instances or max"},
	{"gateway", "queued", "the call waited for a place for as long as it may", "raise queueTimeout, concurrency, instances or max"},
	{"gateway", "starting", "the proxy has just started and does not know all agents yet, or a process did not start in time", "call again in a moment"},
	{"gateway", "stopped", "the proxy is stopping", "call again; behind several proxies, another one answers"},
	{"gateway", "agent", "no agent can have the function", "proxyCli agents; start one, or resume one that drains"},
	{"gateway", "ports", "no agent has a free port for another function", "stop functions, or start agents with a wider -ports"},
	{"gateway", "unavailable", "no replica can take the call now", "call again, or deploy it on more agents"},
	{"function", "deploying", "the function's first version is being built", "call again when it is Deployed: proxyCli details"},
	{"function", "timeout", "the function did not begin to answer in time", "proxyCli log NAME; the setting timeout"},
	{"function", "dial", "no process of the function takes connections", "proxyCli list says why; proxyCli crashes NAME"},
	{"function", "answer", "the process closed the connection, or answered with something that is not HTTP", "proxyCli log NAME; a panic before the answer does this"},
	{"agent", "dial", "the agent does not answer the proxy", "is it running, and is a firewall between? agent doctor"},
	{"agent", "lost", "the connection to the agent broke during the call, or the agents that have the function do not answer", "after a bad_gateway the call may have been executed; proxyCli agents"},
	{"agent", "timeout", "the agent stopped answering during the call", "proxyCli agents"},
	{"agent", "behind", "the agent has not followed a change yet, and no other has the function", "call again in a moment; proxyCli list"},
	{"agent", "paused", "the function is paused", "proxyCli resume NAME"},
	{"agent", "ports", "the agent has no free port", "stop functions, or start it with a wider -ports"},
	{"agent", "disk", "the agent's disk is nearly full", "make room; agent doctor says how much"},
	{"agent", "damaged", "the agent cannot open its secrets: its key has changed", "deploy with the secrets again"},
	{"proxy", "store", "what is wished cannot be stored, so nothing was changed", "the proxy's log; proxy doctor"},
	{"proxy", "moved", "another process has taken over, and the request was not begun", "ask again"},
	{"store", "unreachable", "no node of the engine can be reached", "the nodes, and the network to them"},
	{"store", "silent", "the engine does not answer; nothing was changed", "wait: a new leader takes up to ten seconds"},
	{"store", "unsure", "the engine did not answer, and the change may have been made", "look before you ask again"},
	{"client", "lost", "the connection to the proxy, or the agent, broke", "look at what has become of it, then ask again"},
}

// RowReasons explains what a function's row says in reason.
var RowReasons = []Explanation{
	{Word: ReasonCheck, Meaning: "the source was refused before it was built", Way: "error names file, line and column; proxyCli check says the same without an agent"},
	{Word: ReasonBuild, Meaning: "the compiler refused the source", Way: "error is what it said; correct it and deploy again"},
	{Word: ReasonStart, Meaning: "the process exited, or did not answer, before it was ready", Way: "proxyCli log NAME; an init that panics or waits does this"},
	{Word: ReasonCrash, Meaning: "the process keeps exiting", Way: "proxyCli crashes NAME; retry says when it is started again"},
	{Word: ReasonAgent, Meaning: "the agent could not do its part", Way: "error says what; agent doctor"},
	{Word: ReasonTimeout, Meaning: "the build took too long", Way: "deploy again; see limits"},
	{Word: ReasonUnavailable, Meaning: "the build could not reach what it needs, such as a module", Way: "the agent's network and -goproxy; or go mod vendor"},
	{Word: ReasonExhausted, Meaning: "the build used up what the machine has", Way: "a machine with more memory or disk"},
	{Word: ReasonChecksum, Meaning: "a module has another checksum than go.sum", Way: "go mod verify; somebody may have changed the module"},
	{Word: ReasonProgram, Meaning: "the agent neither has the program nor can build it", Way: "deploy again"},
	{Word: ReasonUnreachable, Meaning: "the agent does not answer its proxy", Way: "proxyCli agents; it follows when it is back"},
	{Word: ReasonBehind, Meaning: "the agent has not followed a change yet, and gets no calls", Way: "wait; error says what keeps it"},
	{Word: ReasonAside, Meaning: "the proxy's calls fail there, so it calls others", Way: "proxyCli log NAME; the machine, and the network to it"},
	{Word: ReasonPlacement, Meaning: "it serves on an agent without the labels of placement", Way: "an agent with the labels, or another placement"},
	{Word: ReasonFrozen, Meaning: "a signal has stopped its process", Way: "kill -CONT, or the setting liveness, which replaces such processes"},
	{Word: ReasonRollout, Meaning: "it was not changed, or went back, since another agent failed", Way: "the row of the other agent says why"},
	{Word: ReasonDamaged, Meaning: "files of the function on the agent's disk are damaged", Way: "deploy it again; look after the disk"},
}
