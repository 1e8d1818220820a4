package gateway

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What goes over a connection of HTTP/2, byte by byte (RFC 9113).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

const (
	dataFrame     = 0
	headersFrame  = 1
	resetFrame    = 3
	settingsFrame = 4
	goAwayFrame   = 7
)

type frame struct {
	kind, flags byte
	stream      uint32
	payload     []byte
}

func (f frame) write(to io.Writer) error {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(f.payload))<<8|uint32(f.kind))
	b = append(b, f.flags)
	b = binary.BigEndian.AppendUint32(b, f.stream)
	_, err := to.Write(append(b, f.payload...))
	return err
}

func readFrame(in io.Reader) (f frame, err error) {
	var head [9]byte
	if _, err = io.ReadFull(in, head[:]); err != nil {
		return f, err
	}
	first := binary.BigEndian.Uint32(head[:])
	f = frame{byte(first), head[4], binary.BigEndian.Uint32(head[5:]), make([]byte, first>>8)}
	_, err = io.ReadFull(in, f.payload)
	return f, err
}

// next returns the first frame of a kind.
func next(in io.Reader, kind byte) (frame, error) {
	for {
		if f, err := readFrame(in); err != nil || f.kind == kind {
			return f, err
		}
	}
}

// literal is a header as it is, by its index in HPACK's table, or 0 and a name
// (RFC 7541 section 6.2.2).
func literal(index byte, name, value string) []byte {
	b := []byte{index}
	if index == 0 {
		b = append(append(b, byte(len(name))), name...)
	}
	return append(append(b, byte(len(value))), value...)
}

// A server that stops says which calls it has not begun, by GOAWAY or for each: those are
// sent again, with what had been sent of them, also while their callers are silent.
func TestCallsThatTheFunctionHasNotBegunAreSentAgain(t *testing.T) {
	goAway := frame{goAwayFrame, 0, 0, make([]byte, 8)}
	refused := frame{resetFrame, 0, 1, []byte{0, 0, 0, refusedStream}}
	internal := frame{resetFrame, 0, 1, []byte{0, 0, 0, 2}}
	for name, tt := range map[string]struct {
		says  []frame // one for each call of a connection
		times int32   // connections on which it is said
		again bool
	}{
		"GOAWAY":              {[]frame{goAway}, 1, true},
		"again and again":     {[]frame{goAway}, maxUnbegun - 1, true},
		"for ever":            {[]frame{goAway}, maxUnbegun, false},
		"the call is refused": {[]frame{refused, goAway}, 1, true},
		"the call has failed": {[]frame{internal}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			whole, _ := serveH2(t, "Hello", new(echo).server())
			var opened atomic.Int32
			row := scripted(t, func(conn net.Conn, in *bufio.Reader) {
				if opened.Add(1) > tt.times {
					tunnel(t, conn, in, whole.GetProxy()[len("http://"):])
					return
				}
				if _, err := io.CopyN(io.Discard, in, int64(len(preface))); err != nil {
					return // a probe
				}
				assert.NoError(t, frame{settingsFrame, 0, 0, nil}.write(conn))
				for _, f := range tt.says {
					_, err := next(in, dataFrame)
					assert.NoError(t, err)
					assert.NoError(t, f.write(conn))
				}
				_, _ = io.Copy(io.Discard, in)
			})
			s, err := grpcTo(t, front(t, row)).stream(t.Context(), "Say")
			require.NoError(t, err)
			require.NoError(t, s.SendMsg(text("first")))
			m := new(message)
			if err = s.RecvMsg(m); !tt.again {
				assert.Error(t, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "first", string(m.GetValue()))
			require.NoError(t, s.SendMsg(text("second")))
			require.NoError(t, s.CloseSend())
			require.NoError(t, s.RecvMsg(m))
			assert.Equal(t, "second", string(m.GetValue()))
			assert.ErrorIs(t, s.RecvMsg(m), io.EOF)
		})
	}
}

// tunnel passes a connection on.
func tunnel(t *testing.T, conn net.Conn, in io.Reader, to string) {
	far, err := new(net.Dialer).DialContext(context.WithoutCancel(t.Context()), "tcp", to)
	if !assert.NoError(t, err) {
		return
	}
	defer far.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(far, in)
		far.Close()
	}()
	_, _ = io.Copy(conn, far)
	conn.Close()
	<-done
}
