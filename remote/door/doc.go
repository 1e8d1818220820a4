// Package door is the way by which proxies on other machines reach the functions of an
// agent: through the agent's one port, so that no function's port is open to the network.
//
// A proxy asks for GET /door/PORT with the header Upgrade: ryo-door. The port is that of
// a function's service here; no other is reached. The server has decided before that the
// caller may control this agent. After the answer 101 the connection is the function's:
// what either side sends passes unchanged, so that calls are as on the direct way, with
// their streams, trailers and websockets, and a connection carries one call after
// another, or several of HTTP/2 at a time. The door reads none of it, but for how many of
// those are under way.
//
// When the agent stops, idle connections are closed; others may finish their calls,
// within a limit.
package door
