package store

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// memoryRoom bounds what streams in memory may have, in bytes. There is none; 0 would stand for most
// of the machine's memory.
const memoryRoom = 16 * mib

// embedded is a server in this process, which nobody reaches over a network.
type embedded struct{ *server.Server }

// startServer opens a folder that this process has locked: the server itself does not look
// whether another one has it, and writes over what that one writes. failed is called when it
// cannot write.
func startServer(dir string, logger hclog.Logger, failed func(why string)) (*embedded, error) {
	s, err := server.NewServer(&server.Options{
		ServerName: "ryo", DontListen: true, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: dir, SyncAlways: true,
		JetStreamMaxMemory: memoryRoom, JetStreamMaxStore: room(),
		MaxPayload: MaxValue + 64<<10, // the largest value, or message with its header, which may be four times as long as it is stored
	})
	if err != nil {
		return nil, err
	}
	fatal := make(chan string, 1)
	s.SetLoggerV2(engineLog{logger, fatal, failed}, false, false, false)
	s.Start()
	e := &embedded{s}
	if !s.ReadyForConnections(openLimit) || !s.JetStreamEnabled() {
		e.stop()
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

// stop returns when nothing is written any more. With 1,000 topics that takes ten seconds.
func (s *embedded) stop() {
	s.Shutdown()
	s.WaitForShutdown()
}

// engineLog gives what a server reports to a logger.
type engineLog struct {
	logger hclog.Logger
	fatal  chan string
	failed func(why string)
}

var _ server.Logger = engineLog{}

func (l engineLog) say(level hclog.Level, format string, v []any) {
	l.logger.Log(level, "the engine reports", "text", strings.TrimSpace(fmt.Sprintf(format, v...)))
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
