package remote

import (
	"encoding/json"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/remote/disk"
)

// damages are what the agent has found damaged on its disk since it started. It is
// told of each in the log, and of all in its JSON.
type damages struct {
	log hclog.Logger

	mu  sync.Mutex // guards the below
	all []disk.Damage
}

func (d *damages) add(one disk.Damage) {
	d.log.Error("something on the disk is damaged; the rest goes on", "file", one.File, "why", one.Why, "set aside as", one.Aside, "way out", one.Way)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, one)
}

// MarshalJSON implements json.Marshaler.
func (d *damages) MarshalJSON() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(d.all)
}
