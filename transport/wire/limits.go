package wire

import (
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// How much may travel, in bytes where nothing else is said.
const (
	// MaxAnswer bounds a message to a client. 2,000 rows with long texts of
	// errors fit; so does the longest log.
	MaxAnswer = 16 << 20
	// MaxRequest bounds a gRPC message to a server; it is grpc's own default.
	MaxRequest = 4 << 20
	// MaxJSON bounds a JSON body. A function to deploy takes about 200 bytes.
	MaxJSON = 1 << 20
	// MaxOpen bounds the body of a request that takes no right. Agents join with some
	// hundred bytes; strangers may send as many requests as they like.
	MaxOpen = 16 << 10
	// MaxFunctions bounds the functions in one deploy: far more than a definition has,
	// far fewer than empty ones fit into MaxJSON.
	MaxFunctions = 1000
	// MaxPackages bounds the packages in one multipart body.
	MaxPackages = 64
	// MaxProgram bounds a program in plain bytes: large ones have 100 MiB. A compressed
	// stream that expands to more is refused at this size.
	MaxProgram = 200 << 20
	// MaxErrorText bounds an error's message: gRPC carries it in headers, which many
	// peers limit to 8 KiB. What a compiler says travels in rows.
	MaxErrorText = 2 << 10
	// MaxHeader bounds the headers of a request and of an answer.
	MaxHeader = 64 << 10
	// MaxConcurrent bounds the requests on one HTTP/2 connection.
	MaxConcurrent = 250
	// MaxConnBuffer bounds what waits on one HTTP/2 connection to be read by handlers, and
	// MaxStreamBuffer what does so of one request: what is sent slowly for one function does
	// not hold up the caller's other calls at once.
	MaxConnBuffer   = 2 << 20
	MaxStreamBuffer = MaxConnBuffer / 4
	// MaxFrame is the size of a frame, which must fit into that.
	MaxFrame = 64 << 10
	// ChunkSize is the data in one message of an upload: large enough that framing
	// costs nothing, small enough that progress is seen.
	ChunkSize = 128 << 10
	// programWindow bounds how far a compressed program refers back, and so the
	// memory that reading it takes: as far as RFC 8878 asks every reader to follow.
	programWindow = 8 << 20
)

// How long a client waits. A context's deadline takes the place of the limits for an
// answer.
const (
	// MovedTries is how often a request is made that another process of the server is to
	// answer, and MovedPause how long before the next time: that process accepts already.
	MovedTries   = 5
	MovedPause   = 50 * time.Millisecond
	ConnectLimit = 5 * time.Second  // for a connection that works
	RequestLimit = 30 * time.Second // for an answer
	DeployLimit  = 15 * time.Minute // for an upload, or a deploy that waits: a first build fills caches
	// WatchSilence is how long a watch may hear nothing: one heartbeat may be missing, and
	// the next one late.
	WatchSilence = 5 * time.Second
	// StreamSilence is the same for streams that do not say how often they beat. Servers
	// of earlier versions do so every 15 s.
	StreamSilence = 45 * time.Second

	// WakeLimit is for one process to start, on a machine that may be busy.
	WakeLimit = 2 * time.Minute
	// CallerWakeLimit is how long a caller of a function waits for that: callers
	// cancel sooner, and by then another replica may serve.
	CallerWakeLimit = 20 * time.Second
	// SettleLimit is for requests that drain a process and start another: Stop, Pause,
	// Resume, Rollback and Shift.
	SettleLimit = proto.MaxDrain + WakeLimit
)

// How long a server waits. Nothing limits how long an answer takes: functions
// and events stream for as long as they like.
const (
	HeaderLimit  = 10 * time.Second  // for a request's headers
	IdleLimit    = 120 * time.Second // without a request
	PingAfter    = 30 * time.Second  // of silence on HTTP/2: is the peer still there?
	BodySilence  = 30 * time.Second  // between two reads of a body
	WriteSilence = 30 * time.Second  // for a watcher to take an event
	SilentWrite  = 60 * time.Second  // for a caller to take anything of what it is sent, as long as nginx waits
	DrainLimit   = 10 * time.Second  // for requests in flight when the server stops
	// LeaveIdle is how long a connection may wait for one more request when another process
	// has the listeners: longer than busy callers pause, and nobody waits for it.
	LeaveIdle = 5 * time.Second
	// GreetLimit is for a connection to send its first request when the server
	// stops; a caller sends it right after connecting.
	GreetLimit = time.Second
	// ShareEvery is how often a proxy tells its agents its tokens, though they have not
	// changed: an agent that hears nothing for a day takes them no longer.
	ShareEvery = time.Hour
	// Heartbeat is how often a stream of events says that it lives: a proxy learns by it
	// that an agent is frozen or cut off, and firewalls on the way close connections that
	// are silent for a minute.
	Heartbeat = 2 * time.Second
)
