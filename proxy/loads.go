package proxy

import (
	"context"
	"encoding/json"
	"maps"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// Each proxy of a store sees its own calls. It tells the others how many are under way of
// functions whose size is decided, so that whoever leads knows them all; and whoever leads
// tells why they have the sizes that they have.

const (
	loadsEvery = 250 * time.Millisecond // as often as a load is told, if it has changed
	loadsBeat  = 2 * time.Second        // and if it has not
	loadsAge   = 6 * time.Second        // after which one that was not told again counts no more
)

// load is what a proxy tells.
type load struct {
	Calls map[string]int    `json:"calls,omitempty"` // under way, by path
	Why   map[string]string `json:"why,omitempty"`   // sizes, by path: of the one that leads
}

// loads is what other proxies have told.
type loads struct {
	mu    sync.Mutex // guards the fields below:
	calls map[string]int
	why   map[string]string
}

// of returns how many calls of a path are under way at other proxies.
func (l *loads) of(path string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls[path]
}

func (l *loads) whyOf(path string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why[path]
}

// heard is a record of another proxy.
type heard struct {
	revision uint64
	at       time.Time // when it was that for the first time, by the clock here
}

// shareLoads tells other proxies of the calls here, and hears of theirs, until ctx is done.
func (p *Proxy) shareLoads(ctx context.Context) {
	if p.cfg.Common == nil || p.wishes == nil {
		return
	}
	records, key := p.cfg.Common.Registry(store.Loads), p.wishes.Owner()
	news := make(chan struct{}, 1)
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() {
		for ctx.Err() == nil {
			_ = records.Watch(ctx, "", func() {
				select {
				case news <- struct{}{}:
				default:
				}
			})
			rest(ctx, time.Second)
		}
	})
	ticker := time.NewTicker(loadsEvery)
	defer ticker.Stop()
	var told load
	var last time.Time
	var revision uint64
	seen := map[string]heard{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-news:
			p.hearLoads(ctx, records, key, seen)
			continue
		case <-ticker.C:
		}
		now := p.load()
		if len(now.Calls) == 0 && len(told.Calls) == 0 {
			continue // no function is sized
		}
		if maps.Equal(now.Calls, told.Calls) && maps.Equal(now.Why, told.Why) && time.Since(last) < loadsBeat {
			continue
		}
		value, err := json.Marshal(now)
		if err != nil {
			return
		}
		if revision == 0 {
			revision, err = records.Create(ctx, key, value)
		} else {
			revision, err = records.Update(ctx, key, value, revision)
		}
		if err != nil { // it may have aged, or the answer was lost
			if e, err := records.Get(ctx, key); err == nil {
				revision = e.Revision
			} else {
				revision = 0
			}
			continue
		}
		told, last = now, time.Now()
		p.hearLoads(ctx, records, key, seen) // of those that tell nothing more
	}
}

// load is what this proxy tells.
func (p *Proxy) load() load {
	l := load{Calls: map[string]int{}, Why: p.sizes.all()}
	for path := range p.fleet.Sized() {
		l.Calls[path] = p.table.Calls(path).UnderWay()
	}
	return l
}

// hearLoads reads what other proxies have told.
func (p *Proxy) hearLoads(ctx context.Context, records store.Registry, own string, seen map[string]heard) {
	entries, err := records.List(ctx, "")
	if err != nil {
		return // what is known ages
	}
	calls, why, now := map[string]int{}, map[string]string{}, map[string]heard{}
	for _, e := range entries {
		if e.Key == own {
			continue
		}
		was := seen[e.Key]
		if was.revision != e.Revision {
			was = heard{e.Revision, time.Now()}
		}
		now[e.Key] = was
		var l load
		if time.Since(was.at) > loadsAge || json.Unmarshal(e.Value, &l) != nil {
			continue
		}
		for path, n := range l.Calls {
			calls[path] += n
		}
		maps.Copy(why, l.Why)
	}
	clear(seen)
	maps.Copy(seen, now)
	p.loads.mu.Lock()
	defer p.loads.mu.Unlock()
	p.loads.calls, p.loads.why = calls, why
}

// whySize says why a function has the size that it has; "": nobody decides.
func (p *Proxy) whySize(row *proto.FunctionJsonRsp) string {
	path := proto.Path(row.GetName())
	if why := p.sizes.of(path); why != "" {
		return why
	}
	return p.loads.whyOf(path)
}
