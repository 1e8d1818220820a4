package remote

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/Ishan27g/ryo-faas/cmd/state"
	"github.com/Ishan27g/ryo-faas/proto"
)

// record is what must outlive the agent about one function: what should run.
type record struct {
	Name string
	// Port of the function's service, kept over deploys and restarts; 0 for none.
	Port int
	// Generation is that of the last deploy, counted from 1.
	Generation uint32
	// Current runs, or should.
	Current *version `json:",omitempty"`
	// Next was accepted and has neither come up nor failed yet.
	Next *version `json:",omitempty"`
	// Failure is why the last deploy came to nothing.
	Failure *failure `json:",omitempty"`
	// Stopping is set from the moment a stop is accepted.
	Stopping bool `json:",omitempty"`
}

// version is one accepted deploy.
type version struct {
	Generation uint32
	Kind       string `json:",omitempty"` // one of proto's; "" until the source was checked
	Spec       spec
}

// spec is a function to deploy, with Package set. Its JSON is that of protobuf.
type spec struct{ *proto.FunctionJson }

func (s spec) MarshalJSON() ([]byte, error) {
	data, err := protojson.Marshal(s.FunctionJson)
	if err != nil {
		return nil, err
	}
	return json.RawMessage(data).MarshalJSON()
}

func (s *spec) UnmarshalJSON(data []byte) error {
	s.FunctionJson = new(proto.FunctionJson)
	// A record written by a later agent must not stop this one.
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, s.FunctionJson)
}

// failure is why a deploy or a process came to nothing.
type failure struct {
	Generation uint32
	Kind       string `json:",omitempty"` // of the version that failed, when it is known
	Reason     string // one of proto's reasons
	Text       string
	At         time.Time
}

func (f *failure) Error() string { return f.Text }

// workspace is the agent's folder:
//
//	functions/<path>/record.json     what should run
//	functions/<path>/log             what its processes printed
//	functions/<path>/<generation>/   src: the unpacked package; fn: the binary
//	packages/                        archives by digest
//	programs/                        binaries by what they were built from
//	run/<port>.sock                  unix sockets of the functions
//	tmp/                             what one agent's life needs
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
		list = append(list, rec)
	}
	return list, nil
}

func (w workspace) save(rec *record) error { return w.Write(recordFile(proto.Path(rec.Name)), rec) }

func recordFile(path string) string { return "functions/" + path + "/record.json" }

func (w workspace) functionDir(path string) string { return w.Path("functions", path) }

func (w workspace) logFile(path string) string { return w.Path("functions", path, "log") }

func (w workspace) generationDir(path string, generation uint32) string {
	return filepath.Join(w.functionDir(path), strconv.FormatUint(uint64(generation), 10))
}

func (w workspace) tmp() string { return w.Path("tmp") }

// emptyTmp removes what an agent that was killed had left in tmp.
func (w workspace) emptyTmp() error {
	if err := os.RemoveAll(w.tmp()); err != nil {
		return err
	}
	return os.Mkdir(w.tmp(), 0o700)
}

// sweep removes the generations of a function that its record does not name:
// what an agent that was killed had not cleaned up.
func (w workspace) sweep(rec *record) error {
	path := proto.Path(rec.Name)
	entries, err := os.ReadDir(w.functionDir(path))
	if err != nil {
		return err
	}
	for _, e := range entries {
		generation, err := strconv.ParseUint(e.Name(), 10, 32)
		if err != nil || rec.Current != nil && uint64(rec.Current.Generation) == generation {
			continue
		}
		if err := os.RemoveAll(w.generationDir(path, uint32(generation))); err != nil {
			return err
		}
	}
	return nil
}
