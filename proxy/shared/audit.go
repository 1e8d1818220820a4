package shared

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/encoding/protojson"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/transport/auth"
)

// maxQueued is how many entries wait for the store: what a minute without it may bring.
const maxQueued = 1000

// Audit is the record of all proxies. Entries that the store does not get are in the
// folder of their proxy alone.
type Audit struct {
	registry store.Registry
	logger   hclog.Logger
	queue    chan *proto.AuditEntry
	lost     atomic.Uint64 // since it was last said
}

var _ auth.Others = (*Audit)(nil)

// NewAudit returns the record in a store. Run stores what is added.
func NewAudit(s store.Store, logger hclog.Logger) *Audit {
	return &Audit{registry: s.Registry(store.Audit), logger: logger, queue: make(chan *proto.AuditEntry, maxQueued)}
}

// Add implements auth.Others.
func (a *Audit) Add(e *proto.AuditEntry) {
	select {
	case a.queue <- protobuf.CloneOf(e):
	default:
		a.lost.Add(1)
	}
}

// Run stores what is added until ctx is done, and then what is left, if the store answers.
func (a *Audit) Run(ctx context.Context) {
	for {
		select {
		case e := <-a.queue:
			a.keep(ctx, e)
		case <-ctx.Done():
			for len(a.queue) > 0 {
				if !a.put(<-a.queue) {
					return
				}
			}
			return
		}
	}
}

// keep stores an entry, and tries again until ctx is done.
func (a *Audit) keep(ctx context.Context, e *proto.AuditEntry) {
	for pause := 100 * time.Millisecond; !a.put(e); pause = min(2*pause, lookEvery) {
		if !wait(ctx, pause) {
			return
		}
	}
	if n := a.lost.Swap(0); n > 0 {
		a.logger.Warn("the store was away: entries of the audit are in this proxy's folder alone", "entries", n)
	}
}

// put stores an entry, and reports whether it need not be tried again.
func (a *Audit) put(e *proto.AuditEntry) bool {
	ctx, cancel := context.WithTimeout(context.Background(), storeLimit)
	defer cancel()
	data, err := protojson.Marshal(e)
	if err == nil {
		var random [4]byte
		_, _ = rand.Read(random[:]) // it never fails
		_, err = a.registry.Create(ctx, e.GetTime()+"/"+hex.EncodeToString(random[:]), data)
	}
	if errors.Is(err, proto.ErrUnavailable) || errors.Is(err, proto.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if err != nil {
		a.logger.Error("an entry of the audit is in this proxy's folder alone", "error", err)
	}
	return true
}

// Last implements auth.Others.
func (a *Audit) Last(n int) ([]*proto.AuditEntry, error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeLimit)
	defer cancel()
	entries, err := a.registry.List(ctx, "")
	if err != nil {
		return nil, err
	}
	list := make([]*proto.AuditEntry, 0, min(n, len(entries)))
	for _, e := range slices.Backward(entries) {
		if len(list) == n {
			break
		}
		one := new(proto.AuditEntry)
		if err := protojson.Unmarshal(e.Value, one); err == nil { // else a proxy of a later version wrote it
			list = append(list, one)
		}
	}
	return list, nil
}
