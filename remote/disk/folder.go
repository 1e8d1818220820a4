package disk

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
)

// Folder is the agent's folder:
//
//	functions/<path>/record.json    what should run
//	functions/<path>/stopped.json   what should run if it is not left stopped
//	functions/<path>/run.json       what runs
//	functions/<path>/crashes.json   how its processes crashed
//	functions/<path>/<version>/     src: the unpacked package; fn: the binary
//	logs/                           what processes printed
//	packages/                       archives by digest
//	programs/                       binaries by what they were built from
//	run/<port>.sock                 unix sockets of the functions
//	id                              the agent's id
//	identity.pem                    the agent's key, and its certificate once it has joined
//	secrets.key                     what seals the secrets in the records
//	tmp/                            what is needed until the agent exits
//
// A damaged file is set aside: it gets a name that ends in .damaged- and the time.
type Folder struct {
	*state.Dir
	report func(Damage)
}

// Damage is a file that cannot be used.
type Damage struct {
	File  string `json:"file"`
	Why   string `json:"why"`
	Aside string `json:"setAside,omitempty"` // where it is now
	Way   string `json:"wayOut"`             // what an operator can do
}

// Open makes the folder if it is missing, and locks it until Close. ErrConflict: another
// process has locked it; ErrForbidden: other users may write to a folder in it. report
// is called for each damaged file, then and later.
func Open(dir string, report func(Damage)) (Folder, error) {
	held, err := state.Open(dir)
	if err != nil {
		return Folder{}, err
	}
	d := Folder{held, report}
	for _, sub := range []string{"functions", "logs", "packages", "programs", "run"} {
		err := os.MkdirAll(d.Path(sub), 0o700)
		if err == nil {
			err = state.Check(d.Path(sub))
		}
		if err != nil {
			d.Close()
			return Folder{}, err
		}
	}
	return d, nil
}

// Records returns the records and reports damaged ones. In place of a record that is
// damaged or missing it returns one that has failed with ReasonDamaged, which a later
// deploy or stop replaces.
func (d Folder) Records() ([]*Record, error) {
	entries, err := os.ReadDir(d.Path("functions"))
	if err != nil {
		return nil, err
	}
	var list []*Record
	for _, e := range entries {
		if !e.IsDir() || proto.Path(nameOf(e.Name())) != e.Name() || proto.CheckName(nameOf(e.Name())) != nil {
			d.report(Damage{File: d.Path("functions", e.Name()), Why: "it is no folder of a function", Way: "remove it"})
			continue
		}
		rec, err := d.record(e.Name())
		if err != nil {
			return nil, err
		}
		if rec != nil {
			list = append(list, rec)
		}
	}
	return list, nil
}

// record returns the record of the function at a path, nil if it never had one.
func (d Folder) record(path string) (*Record, error) {
	file := recordFile(path)
	rec := new(Record)
	found, err := d.Read(file, rec)
	if err == nil && !found {
		file = stoppedFile(path)
		if found, err = d.Read(file, rec); err == nil && found {
			rec.Stopped = d.stoppedAt(path)
		}
	}
	if err == nil && found {
		err = rec.check(path)
	}
	switch {
	case errors.Is(err, state.ErrDamaged):
		aside, asideErr := d.SetAside(file)
		if asideErr != nil {
			return nil, errors.Join(err, asideErr)
		}
		return d.standIn(path, err.Error(), aside)
	case err != nil:
		return d.standIn(path, err.Error(), "")
	case !found:
		return d.remains(path)
	}
	if rec.Next != nil { // the same version, not a copy of it
		rec.Next.Version = cmp.Or(rec.Find(rec.Next.Version.Number), rec.Next.Version)
	}
	if !rec.Stopped.IsZero() {
		rec = rec.AsStopped(rec.Stopped)
	}
	return rec, nil
}

// remains handles a folder without a record: an empty one, of a deploy that was never
// accepted, is removed.
func (d Folder) remains(path string) (*Record, error) {
	entries, err := os.ReadDir(d.FunctionDir(path))
	if err != nil {
		return nil, err
	}
	empty := true
	for _, e := range entries {
		if isAside(e.Name(), recordFile(path)) || isAside(e.Name(), stoppedFile(path)) {
			return d.standIn(path, "its record was damaged", filepath.Join(d.FunctionDir(path), e.Name()))
		}
		empty = empty && strings.HasPrefix(e.Name(), state.TempPrefix)
	}
	if empty {
		return nil, state.RemoveAll(d.FunctionDir(path))
	}
	return d.standIn(path, "its record, "+d.Path(recordFile(path))+", is missing", "")
}

// isAside reports whether a name is the one under which a file was set aside.
func isAside(name, file string) bool {
	return strings.HasPrefix(name, filepath.Base(file)+state.DamagedSuffix)
}

// standIn is a record in place of one that cannot be used. Its Last is the highest
// number among the folders of versions.
func (d Folder) standIn(path, why, aside string) (*Record, error) {
	entries, err := os.ReadDir(d.FunctionDir(path))
	if err != nil {
		return nil, err
	}
	rec := &Record{History: History{Name: nameOf(path)}}
	for _, e := range entries {
		if number, err := strconv.ParseUint(e.Name(), 10, 32); err == nil {
			rec.Last = max(rec.Last, uint32(number))
		}
	}
	rec.Generation = max(rec.Last, 1)
	text := "what is known of the function cannot be used: " + why
	if aside != "" {
		text += "; it is set aside as " + aside
		if name := d.namedIn(filepath.Base(aside), path); name != "" {
			rec.Name = name
		}
	}
	const way = "deploy the function again, or stop it to remove what is left"
	rec.Failure = &Failure{Generation: rec.Generation, Reason: proto.ReasonDamaged, Text: text + "\n" + way, At: time.Now().UTC()}
	d.report(Damage{File: d.Path(recordFile(path)), Why: why, Aside: aside, Way: way})
	return rec, nil
}

// nameOf is a name that leads to a path.
func nameOf(path string) string {
	first, size := utf8.DecodeRuneInString(path)
	return string(unicode.ToUpper(first)) + path[size:]
}

// namedIn finds the function's name in a damaged record.
func (d Folder) namedIn(file, path string) string {
	data, err := d.ReadFile("functions/" + path + "/" + file)
	if err != nil {
		return ""
	}
	for _, m := range nameInRecord.FindAllSubmatch(data, -1) {
		if name := string(m[1]); proto.Path(name) == path && proto.CheckName(name) == nil {
			return name
		}
	}
	return ""
}

var nameInRecord = regexp.MustCompile(`"[Nn]ame":\s*"([^"]+)"`)

// SetProgramAside moves the program of a version out of the version's folder, which is
// made again.
func (d Folder) SetProgramAside(path string, number uint32, why error) {
	file := filepath.Join(d.VersionDir(path, number), "fn")
	damage := Damage{File: file, Why: why.Error(), Way: "none is needed where it can be built again; else deploy the function again"}
	damage.Aside = fmt.Sprintf("%s-fn%s%s", d.VersionDir(path, number), state.DamagedSuffix, time.Now().UTC().Format(state.DamagedTime))
	if err := os.Rename(file, damage.Aside); err != nil {
		damage.Why, damage.Aside = damage.Why+"; "+err.Error(), ""
	}
	d.report(damage)
}

// Recall fills v from what Note stored under a name. A damaged file is reported, set
// aside and not found: the next Note writes a new one.
func (d Folder) Recall(name string, v any) (found bool) {
	found, err := d.Read(name, v)
	if err == nil {
		return found
	}
	damage := Damage{File: d.Path(filepath.FromSlash(name)), Why: err.Error(), Way: "none is needed: it is written anew"}
	if errors.Is(err, state.ErrDamaged) {
		if damage.Aside, err = d.SetAside(name); err != nil {
			damage.Why += "; " + err.Error()
		}
	}
	d.report(damage)
	return false
}

// Save brings a record to the disk, in place of that of a stop.
func (d Folder) Save(rec *Record) error {
	path := proto.Path(rec.Name)
	if err := d.Write(recordFile(path), rec); err != nil {
		return err
	}
	_ = os.Remove(d.Path(filepath.FromSlash(stoppedFile(path)))) // record.json goes before it
	return nil
}

// Stop records that the function at a path is not to run. That is one rename and takes
// no room: stopping what fills a disk is never refused. Of a function that is stopped
// already the error is fs.ErrNotExist.
func (d Folder) Stop(path string, now time.Time) error {
	stopped := d.Path(filepath.FromSlash(stoppedFile(path)))
	if err := os.Rename(d.Path(filepath.FromSlash(recordFile(path))), stopped); err != nil {
		return err
	}
	return os.Chtimes(stopped, now, now)
}

// stoppedAt is when a function was stopped.
func (d Folder) stoppedAt(path string) time.Time {
	info, err := os.Stat(d.Path(filepath.FromSlash(stoppedFile(path))))
	if err != nil {
		return time.Now()
	}
	return info.ModTime()
}

func stoppedFile(path string) string { return "functions/" + path + "/stopped.json" }

func recordFile(path string) string { return "functions/" + path + "/record.json" }

// RunFile is the file that says what runs of the function at a path.
func RunFile(path string) string { return "functions/" + path + "/run.json" }

// CrashFile is the file that says how processes of the function at a path crashed.
func CrashFile(path string) string { return "functions/" + path + "/crashes.json" }

// FunctionDir is the folder of the function at a path.
func (d Folder) FunctionDir(path string) string { return d.Path("functions", path) }

// VersionDir is the folder of one of its versions.
func (d Folder) VersionDir(path string, number uint32) string {
	return filepath.Join(d.FunctionDir(path), strconv.FormatUint(uint64(number), 10))
}

// Remove removes a function's folder. It first moves it into Tmp, so that an agent that
// is killed meanwhile leaves no half of it.
func (d Folder) Remove(path string) error {
	if err := os.MkdirAll(d.Tmp(), 0o700); err != nil {
		return err
	}
	trash, err := os.MkdirTemp(d.Tmp(), "removed-")
	if err != nil { // a full disk, perhaps, where removing helps
		return state.RemoveAll(d.FunctionDir(path))
	}
	if err := os.Rename(d.FunctionDir(path), filepath.Join(trash, path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return state.RemoveAll(trash)
}

// Tmp is the folder for what is needed until the agent exits.
func (d Folder) Tmp() string { return d.Path("tmp") }

// EmptyTmp removes what an agent that was killed has left in Tmp.
func (d Folder) EmptyTmp() error {
	if err := state.RemoveAll(d.Tmp()); err != nil {
		return err
	}
	return os.Mkdir(d.Tmp(), 0o700)
}

// Sweep removes the folders of versions that a record does not have, which an agent that
// was killed has left.
func (d Folder) Sweep(rec *Record) error {
	path := proto.Path(rec.Name)
	entries, err := os.ReadDir(d.FunctionDir(path))
	if err != nil {
		return err
	}
	for _, e := range entries {
		number, err := strconv.ParseUint(e.Name(), 10, 32)
		if err != nil || rec.Uses(uint32(number)) {
			continue
		}
		if err := state.RemoveAll(d.VersionDir(path, uint32(number))); err != nil {
			return err
		}
	}
	return nil
}
