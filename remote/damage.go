package remote

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/remote/disk"
)

// damages are what the agent has found damaged on its disk since it started, and what
// was not mended since. Each is logged when it is found; the JSON has all.
type damages struct {
	logger hclog.Logger

	mu  sync.Mutex // guards the fields below
	all []disk.Damage
}

func (d *damages) add(one disk.Damage) {
	d.logger.Error("something on the disk is damaged; the rest goes on", "file", one.File, "why", one.Why, "set aside as", one.Aside, "way out", one.Way)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, one)
}

// mended removes what lies in a folder whose function serves again.
func (d *damages) mended(folder string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = slices.DeleteFunc(d.all, func(one disk.Damage) bool {
		return strings.HasPrefix(one.File, folder+string(filepath.Separator))
	})
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
