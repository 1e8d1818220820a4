package fleet

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/Ishan27g/ryo-faas/proto"
)

// State is what people are told of an agent.
type State struct {
	Addr      string `json:"address"`
	ID        string `json:"id,omitempty"`
	Connected bool   `json:"connected"`
	Version   string `json:"version,omitempty"`
	Go        string `json:"go,omitempty"` // "": it does not build
	Platform  string `json:"platform,omitempty"`
	Problem   string `json:"problem,omitempty"` // why it is not connected
}

// States returns the state of each agent, ordered by address.
func (f *Fleet) States() []State {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := []State{}
	for _, addr := range slices.Sorted(maps.Keys(f.agents)) {
		a := f.agents[addr]
		s := State{Addr: a.addr, ID: a.id, Connected: a.client != nil}
		if s.Connected {
			s.Version, s.Go, s.Platform = a.info.GetVersion(), a.info.GetGoVersion(), a.info.GetPlatform()
		} else if a.problem != nil {
			s.Problem = proto.AsError(a.problem).Message
		}
		list = append(list, s)
	}
	return list
}

// MarshalJSON implements json.Marshaler: it is the states at that time.
func (f *Fleet) MarshalJSON() ([]byte, error) { return json.Marshal(f.States()) }

// Remembered returns the addresses of agents that the proxy of a folder remembers.
func Remembered(folder string) (addrs []string, err error) {
	data, err := os.ReadFile(filepath.Join(folder, agentsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var file agentsOnDisk
	err = json.Unmarshal(data, &file)
	for _, a := range file.Agents {
		addrs = append(addrs, a.Addr)
	}
	return addrs, err
}
