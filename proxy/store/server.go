package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/Ishan27g/ryo-faas/proto"
)

// memoryRoom bounds what streams in memory may have, in bytes. There is none; 0 would stand for most
// of the machine's memory.
const memoryRoom = 16 * mib

// maxPayload is what a server takes at most in one piece, in bytes: the largest value, or
// message with its header, which may be four times as long as it is stored.
const maxPayload = MaxValue + 64<<10

// embedded is a server in this process, which nobody reaches over a network.
type embedded struct{ *server.Server }

// nodePrefix begins the names of servers of this program: they sync the disk before they
// acknowledge, which no client can see.
const nodePrefix = "ryo-"

// options are those that all servers of this program have in common.
func options(data string) *server.Options {
	return &server.Options{
		ServerName: nodePrefix + "embedded", DontListen: true, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: data, SyncAlways: true,
		JetStreamMaxMemory: memoryRoom, JetStreamMaxStore: room(),
		MaxPayload: maxPayload,
	}
}

// runServer runs a server in a folder that this process has locked: the server itself does not
// look whether another one has it, and writes over what that one writes. failed is called when
// it cannot write.
func runServer(o *server.Options, logger hclog.Logger, failed func(why string)) (*embedded, error) {
	s, err := server.NewServer(o)
	if err != nil {
		return nil, err
	}
	fatal := make(chan string, 1)
	s.SetLoggerV2(engineLog{logger, fatal, failed}, false, false, false)
	s.Start()
	e := &embedded{s}
	if !s.ReadyForConnections(openLimit) || !s.JetStreamEnabled() {
		e.Shutdown()
		e.WaitForShutdown()
		select {
		case why := <-fatal:
			return nil, errors.New(why)
		default:
			return nil, fmt.Errorf("it is not ready after %s", openLimit)
		}
	}
	return e, nil
}

// connect returns a connection that uses no socket.
func (s *embedded) connect() (*nats.Conn, error) {
	return nats.Connect("", nats.InProcessServer(s.Server), nats.NoReconnect(), nats.Timeout(answerLimit), nats.Name("ryo"))
}

// stop returns when nothing is written any more. If that takes longer than stopLimit it is an
// error, and something may still be written until this process ends.
func (s *embedded) stop() error {
	return bounded(stopLimit, func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
}

// bounded calls do, and waits for its end no longer than a limit.
func bounded(limit time.Duration, do func()) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		do()
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
		return proto.Errorf(proto.ErrTimeout, "the engine has not ended after %s", limit)
	}
}

// engineLog gives what a server reports to a logger.
type engineLog struct {
	logger hclog.Logger
	fatal  chan string
	failed func(why string)
}

var _ server.Logger = engineLog{}

// quiet are reports that a node says in words of its own, or that are no news.
var quiet = []string{"trying to connect to route", "health check, ", "Health check OK", "TLS route handshake error", "TLS handshake timeout", "Error flushing", "TLS Handshake First", "Waiting for routing", "contact with a meta leader", "TTL state is outdated", "Stream state outdated", "Recovering stream state", "blocking snapshot"}

func (l engineLog) say(level hclog.Level, format string, v []any) {
	text := strings.TrimSpace(fmt.Sprintf(format, v...))
	if slices.ContainsFunc(quiet, func(part string) bool { return strings.Contains(text, part) }) {
		level = hclog.Debug
	}
	l.logger.Log(level, "the engine reports", "text", text)
}

func (l engineLog) Noticef(format string, v ...any) { l.say(hclog.Debug, format, v) }
func (l engineLog) Warnf(format string, v ...any)   { l.say(hclog.Warn, format, v) }
func (l engineLog) Debugf(format string, v ...any)  { l.say(hclog.Trace, format, v) }
func (l engineLog) Tracef(format string, v ...any)  { l.say(hclog.Trace, format, v) }

// Errorf also notes that the server cannot write: callers see no more than a timeout.
func (l engineLog) Errorf(format string, v ...any) {
	l.say(hclog.Error, format, v)
	if text := fmt.Sprintf(format, v...); strings.Contains(text, "no space left") || strings.Contains(text, "input/output error") || strings.Contains(text, "quota exceeded") {
		l.failed(text)
	}
}

// Fatalf does not end the process: functions run without a store.
func (l engineLog) Fatalf(format string, v ...any) {
	l.say(hclog.Error, format, v)
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
	}
}
