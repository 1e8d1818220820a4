package disk

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
)

// Folder is the agent's folder:
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
type Folder struct{ *state.Dir }

// Open makes the folder if need be and holds it until Close. Another process that
// holds it is an ErrConflict.
func Open(dir string) (Folder, error) {
	held, err := state.Open(dir)
	if err != nil {
		return Folder{}, err
	}
	d := Folder{held}
	for _, sub := range []string{"functions", "run"} {
		if err := os.MkdirAll(d.Path(sub), 0o700); err != nil {
			d.Close()
			return Folder{}, err
		}
	}
	return d, nil
}

// Records returns what is stored. A record that cannot be read is an error: to
// guess would be to forget a function.
func (d Folder) Records() ([]*Record, error) {
	entries, err := os.ReadDir(d.Path("functions"))
	if err != nil {
		return nil, err
	}
	var list []*Record
	for _, e := range entries {
		rec := new(Record)
		found, err := d.Read(recordFile(e.Name()), rec)
		if err != nil {
			return nil, err
		}
		if !found { // a deploy that was never acknowledged, or a stop that was nearly done
			if err := os.RemoveAll(d.FunctionDir(e.Name())); err != nil {
				return nil, err
			}
			continue
		}
		if rec.Name == "" || proto.Path(rec.Name) != e.Name() {
			return nil, fmt.Errorf("read %s: it is the record of %q", d.Path(recordFile(e.Name())), rec.Name)
		}
		if rec.Next != nil { // the same version, not a copy of it
			rec.Next.Version = cmp.Or(rec.Find(rec.Next.Version.Number), rec.Next.Version)
		}
		list = append(list, rec)
	}
	return list, nil
}

// Save brings a record to the disk.
func (d Folder) Save(rec *Record) error { return d.Write(recordFile(proto.Path(rec.Name)), rec) }

func recordFile(path string) string { return "functions/" + path + "/record.json" }

// RunFile is the name of what runs of the function at a path.
func RunFile(path string) string { return "functions/" + path + "/run.json" }

// CrashFile is the name of how the processes of the function at a path ended.
func CrashFile(path string) string { return "functions/" + path + "/crashes.json" }

// FunctionDir is the folder of the function at a path.
func (d Folder) FunctionDir(path string) string { return d.Path("functions", path) }

// VersionDir is the folder of one of its versions.
func (d Folder) VersionDir(path string, number uint32) string {
	return filepath.Join(d.FunctionDir(path), strconv.FormatUint(uint64(number), 10))
}

// Tmp is the folder for what is needed as long as the agent lives.
func (d Folder) Tmp() string { return d.Path("tmp") }

// EmptyTmp removes what an agent that was killed had left in tmp.
func (d Folder) EmptyTmp() error {
	if err := os.RemoveAll(d.Tmp()); err != nil {
		return err
	}
	return os.Mkdir(d.Tmp(), 0o700)
}

// Sweep removes the folders of versions that a record does not keep: what an agent
// that was killed had not cleaned up.
func (d Folder) Sweep(rec *Record) error {
	path := proto.Path(rec.Name)
	entries, err := os.ReadDir(d.FunctionDir(path))
	if err != nil {
		return err
	}
	for _, e := range entries {
		number, err := strconv.ParseUint(e.Name(), 10, 32)
		if err != nil || rec.Find(uint32(number)) != nil {
			continue
		}
		if err := os.RemoveAll(d.VersionDir(path, uint32(number))); err != nil {
			return err
		}
	}
	return nil
}
