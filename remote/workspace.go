package remote

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
)

// record is what must outlive the agent about one function: what should run.
type record struct {
	Name string
	// Port of the main service, kept over changes and restarts; 0 for none.
	Port int
	// Generation counts the changes that were accepted, and Last is the highest
	// number that a version has had. Both count from 1.
	Generation, Last uint32
	// Versions that have come up and are kept, the oldest first.
	Versions []*version `json:",omitempty"`
	// Main is the version that serves, or should; Before served before it. 0: none.
	Main, Before uint32
	// Canary serves beside it.
	Canary *canary `json:",omitempty"`
	// Next was accepted and has neither come up nor failed yet.
	Next *change `json:",omitempty"`
	// Failure is why the last change came to nothing.
	Failure *failure `json:",omitempty"`
	// Stopping is set from the moment a stop is accepted.
	Stopping bool `json:",omitempty"`
}

// canary is a version that gets a part of the calls.
type canary struct {
	Version uint32
	Weight  uint32 // percentage
	Port    int
}

// change is what a function is on its way to.
type change struct {
	Version *version // one that is kept, or a new one
	Canary  uint32   `json:",omitempty"` // percentage that it is to get; 0: all calls
}

// failure is why a deploy or a process came to nothing.
type failure struct {
	Version    uint32
	Generation uint32
	Kind       string `json:",omitempty"` // of the version that failed, when it is known
	Reason     string // one of proto's reasons
	Text       string
	At         time.Time

	crash *proto.Crash // how the process ended that it is about, if it is about one
}

// workspace is the agent's folder:
//
//	functions/<path>/record.json    what should run
//	functions/<path>/run.json       what runs
//	functions/<path>/crashes.json   how its processes ended by themselves
//	functions/<path>/<version>/     src: the unpacked package; fn: the binary
//	logs/                           what processes printed
//	packages/                       archives by digest
//	programs/                       binaries by what they were built from
//	run/<port>.sock                 unix sockets of the functions
//	secrets.key                     what seals the secrets in the records
//	tmp/                            what one agent's life needs
type workspace struct{ *state.Dir }

func openWorkspace(dir string) (workspace, error) {
	d, err := state.Open(dir)
	if err != nil {
		return workspace{}, err
	}
	w := workspace{d}
	for _, sub := range []string{"functions", "run"} {
		if err := os.MkdirAll(w.Path(sub), 0o700); err != nil {
			d.Close()
			return workspace{}, err
		}
	}
	return w, nil
}

// records returns what is stored. A record that cannot be read is an error: to
// guess would be to forget a function.
func (w workspace) records() ([]*record, error) {
	entries, err := os.ReadDir(w.Path("functions"))
	if err != nil {
		return nil, err
	}
	var list []*record
	for _, e := range entries {
		rec := new(record)
		found, err := w.Read(recordFile(e.Name()), rec)
		if err != nil {
			return nil, err
		}
		if !found { // a deploy that was never acknowledged, or a stop that was nearly done
			if err := os.RemoveAll(w.functionDir(e.Name())); err != nil {
				return nil, err
			}
			continue
		}
		if rec.Name == "" || proto.Path(rec.Name) != e.Name() {
			return nil, fmt.Errorf("read %s: it is the record of %q", w.Path(recordFile(e.Name())), rec.Name)
		}
		if rec.Next != nil { // the same version, not a copy of it
			rec.Next.Version = cmp.Or(rec.find(rec.Next.Version.Number), rec.Next.Version)
		}
		list = append(list, rec)
	}
	return list, nil
}

func (w workspace) save(rec *record) error { return w.Write(recordFile(proto.Path(rec.Name)), rec) }

func recordFile(path string) string { return "functions/" + path + "/record.json" }

func (w workspace) functionDir(path string) string { return w.Path("functions", path) }

func (w workspace) versionDir(path string, number uint32) string {
	return filepath.Join(w.functionDir(path), strconv.FormatUint(uint64(number), 10))
}

func (w workspace) tmp() string { return w.Path("tmp") }

// emptyTmp removes what an agent that was killed had left in tmp.
func (w workspace) emptyTmp() error {
	if err := os.RemoveAll(w.tmp()); err != nil {
		return err
	}
	return os.Mkdir(w.tmp(), 0o700)
}

// sweep removes the folders of versions that a record does not keep: what an agent
// that was killed had not cleaned up.
func (w workspace) sweep(rec *record) error {
	path := proto.Path(rec.Name)
	entries, err := os.ReadDir(w.functionDir(path))
	if err != nil {
		return err
	}
	for _, e := range entries {
		number, err := strconv.ParseUint(e.Name(), 10, 32)
		if err != nil || rec.find(uint32(number)) != nil {
			continue
		}
		if err := os.RemoveAll(w.versionDir(path, uint32(number))); err != nil {
			return err
		}
	}
	return nil
}
