package wire

// How a proxy asks an agent for a connection to one of its functions: by a request for
// DoorPrefix and the port of the function, which upgrades to DoorProtocol.
const (
	DoorPrefix   = "/door/"
	DoorProtocol = "ryo-door"
)
