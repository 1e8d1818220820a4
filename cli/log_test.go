package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
)

// twoAgents is a proxy whose function Twin runs on two agents. All callers get the same
// lines; some requests break off.
type twoAgents struct {
	transport.Interface
	asked []*proto.LogsRequest
}

// moment is a time within the run of Twin.
func moment(n int) string { return time.Unix(int64(n), 0).UTC().Format(time.RFC3339Nano) }

func (s *twoAgents) Details(context.Context) ([]*proto.FunctionJsonRsp, error) {
	return []*proto.FunctionJsonRsp{{Name: "Twin", AtAgent: "a:1"}, {Name: "Twin", AtAgent: "b:1"}, {Name: "Other", AtAgent: "c:1"}}, nil
}

// Logs sends lines as a proxy merges them from two agents: b lags behind a when the
// first connection breaks off.
func (s *twoAgents) Logs(_ context.Context, req *proto.LogsRequest, on func(*proto.LogLines) error) error {
	s.asked = append(s.asked, req)
	send := func(agent string, times ...int) error {
		batch := &proto.LogLines{}
		for _, n := range times {
			batch.Lines = append(batch.Lines, &proto.LogLine{Time: moment(n), Text: fmt.Sprint("line ", n), AtAgent: agent})
		}
		return on(batch)
	}
	switch len(s.asked) {
	case 1:
		if err := send("b:1", 1, 2); err != nil {
			return err
		}
		if err := send("a:1", 5, 6); err != nil {
			return err
		}
		return proto.Errorf(proto.ErrUnavailable, "the agent b:1 is lost")
	case 2:
		return proto.Errorf(proto.ErrUnavailable, "the agent b:1 is lost still")
	}
	if err := send("b:1", 2, 3); err != nil {
		return err
	}
	if err := on(&proto.LogLines{Lost: 7}); err != nil {
		return err
	}
	return send("a:1", 5, 6, 7)
}

func TestFollowedLinesComeOnceOverLostConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &twoAgents{}
		c := newConsole(false)
		q := &query{req: &proto.LogsRequest{Name: "twin", Follow: true, Tail: 9}, until: map[string]time.Time{}}
		begin := time.Now()
		require.NoError(t, c.lines(t.Context(), s, q), "the function was stopped")
		assert.Equal(t, 2*reconnect, time.Since(begin))
		assert.Equal(t, "b:1  line 1\nb:1  line 2\na:1  line 5\na:1  line 6\nb:1  line 3\na:1  line 7\n", c.stdout.String())
		assert.Equal(t, "the agent b:1 is lost; trying again\n7 lines were lost\n", c.stderr.String())
		require.Len(t, s.asked, 3)
		assert.EqualValues(t, 9, s.asked[0].GetTail())
		for _, again := range s.asked[1:] {
			assert.Equal(t, moment(2), again.GetSince())
			assert.Zero(t, again.GetTail())
		}
	})
}

func TestNextLinesAreAskedForFromWhereTheyStopped(t *testing.T) {
	a, b := time.Unix(5, 0).UTC(), time.Unix(2, 0).UTC()
	tests := map[string]struct {
		tail  uint32
		until map[string]time.Time
		want  *proto.LogsRequest
	}{
		"nothing came":                     {0, nil, &proto.LogsRequest{Since: "10m"}},
		"nothing of the last lines came":   {3, nil, &proto.LogsRequest{Since: "10m", Tail: 3}},
		"both came":                        {0, map[string]time.Time{"a": a, "b": b}, &proto.LogsRequest{Since: moment(2)}},
		"nothing came of the other":        {0, map[string]time.Time{"a": a}, &proto.LogsRequest{Since: "10m"}},
		"nothing of the other's last came": {3, map[string]time.Time{"a": a}, &proto.LogsRequest{Since: moment(5)}},
	}
	for name, tt := range tests {
		q := &query{req: &proto.LogsRequest{Since: "10m", Tail: tt.tail}, agents: 2, until: tt.until}
		assert.True(t, protobuf.Equal(tt.want, q.next()), "%s: %v", name, q.next())
	}
}

// Followers who want new lines alone ask for those since they began, by the clock of
// each agent.
func TestOnlyNewLinesAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &query{req: &proto.LogsRequest{Since: "10m", Follow: true}, agents: 2, begun: time.Now(), until: map[string]time.Time{}}
		assert.Equal(t, "0s", q.next().GetSince())
		<-time.After(2 * time.Second) // the connection was lost before a line came
		assert.Equal(t, "2s", q.next().GetSince())
		q.until["a"] = time.Unix(5, 0)
		assert.Equal(t, "2s", q.next().GetSince(), "no line of the other agent came")
		q.until["b"] = time.Unix(2, 0)
		assert.Equal(t, moment(2), q.next().GetSince())
	})
}

// A follower waits for lines and goes on when its server is restarted. Interrupted it
// prints nothing and exits with 130.
func TestFollowGoesOnWithTheNextServer(t *testing.T) {
	for _, kind := range []transport.Kind{transport.RPC, transport.HTTP} {
		t.Run(string(kind), func(t *testing.T) {
			fake := transporttest.NewFake(t)
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(dir+"/f.go", []byte(printer), 0o600))
			rows, err := fake.Deploy(t.Context(), &proto.FunctionJson{Name: "F", Dir: dir, Wait: true})
			require.NoError(t, err)

			l, err := net.Listen("tcp", testkit.Address(t))
			require.NoError(t, err)
			stop := serveOn(t, l, fake)
			out := &lockedBuffer{}
			c := newConsole(false)
			c.app.stdout = out
			c.proxy, c.kind = l.Addr().String(), string(kind)
			ctx, interrupt := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				ended <- c.ask(func(client *transport.Client) error {
					return c.lines(ctx, client, &query{req: &proto.LogsRequest{Name: "F", Follow: true}, until: map[string]time.Time{}})
				})
			}()
			call := func(want string) {
				_, err := get(t.Context(), rows[0].GetProxy()+"/f")
				require.NoError(t, err)
				require.Eventually(t, func() bool { return out.String() == want }, callLimit, 5*time.Millisecond, "%q", want)
			}
			call("deploying at /f\nhi\n")
			stop()
			l, err = net.Listen("tcp", c.proxy)
			require.NoError(t, err)
			serveOn(t, l, fake)
			call("deploying at /f\nhi\nhi\n")

			interrupt()
			err = <-ended
			assert.Equal(t, exitInterrupted, exitCode(ctx, err))
			assert.Equal(t, reported(exitInterrupted), err)
			assert.Equal(t, 1, strings.Count(c.stderr.String(), "\n"), c.stderr.String())
			assert.Contains(t, c.stderr.String(), "; trying again\n")
		})
	}
}

const printer = `package f

import (
	"fmt"
	"net/http"
)

func F(w http.ResponseWriter, r *http.Request) {
	fmt.Println("hi")
}
`

// lockedBuffer is written and read at the same time.
type lockedBuffer struct {
	mu   sync.Mutex // guards the fields below
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
