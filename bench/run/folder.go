package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/bench/record"
)

const (
	// ResultsDir is where runs are kept unless said otherwise.
	ResultsDir = "results"
	// Latest is the link beside the runs that points to the newest one.
	Latest = "latest"

	manifestName = "manifest.json"
)

// A Folder is the folder of one run. Its methods are safe for concurrent use.
type Folder struct {
	Path string // e.g. "results/20261123T181200Z-standard-1a2b3c4"

	mu       sync.Mutex
	manifest Manifest
}

// Create makes the folder of a run that starts now, writes its first manifest
// with the facts about this machine, and points latest at it.
func Create(results, suite, commit string, now time.Time) (*Folder, error) {
	if err := checkName("suite", suite); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(results, 0o755); err != nil {
		return nil, fmt.Errorf("create results folder: %w (give another with --out)", err)
	}
	now = now.UTC()
	path, err := makeUnique(filepath.Join(results, now.Format("20060102T150405Z")+"-"+suite+"-"+commit))
	if err != nil {
		return nil, fmt.Errorf("create run folder: %w (give another results folder with --out)", err)
	}
	f := &Folder{Path: path, manifest: Manifest{
		Schema: SchemaVersion, Suite: suite, Commit: commit, Started: now, Host: ThisHost(), Attacks: []Attack{},
	}}
	if err := f.save(); err != nil {
		return nil, err
	}
	return f, link(path)
}

// makeUnique makes a folder that was not there: two runs may start in one second.
func makeUnique(path string) (string, error) {
	unique := path
	for n := 2; ; n++ {
		err := os.Mkdir(unique, 0o755)
		if !errors.Is(err, fs.ErrExist) {
			return unique, err
		}
		unique = fmt.Sprintf("%s-%d", path, n)
	}
}

// link points latest at the run, at once for those who look at it meanwhile.
func link(path string) error {
	latest := filepath.Join(filepath.Dir(path), Latest)
	temporary := latest + ".partial"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("link %s: %w", latest, err)
	}
	if err := os.Symlink(filepath.Base(path), temporary); err != nil {
		return fmt.Errorf("link %s: %w", latest, err)
	}
	if err := os.Rename(temporary, latest); err != nil {
		return fmt.Errorf("link %s: %w (is it a real folder? move it away)", latest, err)
	}
	return nil
}

// Open opens the run at path: its folder, or the name of one in results, or
// "latest".
func Open(path string) (*Folder, error) {
	f, err := load(path)
	if errors.Is(err, fs.ErrNotExist) && filepath.IsLocal(path) {
		if inResults, err := load(filepath.Join(ResultsDir, path)); !errors.Is(err, fs.ErrNotExist) {
			return inResults, err
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open run %q: no %s in it (want the folder of a run, its name in %s/, or %q)", path, manifestName, ResultsDir, Latest)
	}
	return f, err
}

func load(path string) (*Folder, error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // latest may point elsewhere tomorrow
	}
	name := filepath.Join(path, manifestName)
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("open run: %w", err)
	}
	f := &Folder{Path: path}
	if err := json.Unmarshal(text, &f.manifest); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	switch schema := f.manifest.Schema; {
	case schema > SchemaVersion:
		return nil, fmt.Errorf("read %s: it has schema %d, this weir reads up to %d (use a newer weir)", name, schema, SchemaVersion)
	case schema < 1:
		return nil, fmt.Errorf("read %s: it names no schema, so it is not the manifest of a run", name)
	}
	return f, nil
}

// List opens the runs in results, newest first. A folder without a manifest is
// no run; manifests that cannot be read are in the error, beside the others.
func List(results string) ([]*Folder, error) {
	entries, err := os.ReadDir(results)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	var runs []*Folder
	var failures []error
	for _, entry := range entries {
		if !entry.IsDir() { // latest is a link
			continue
		}
		f, err := load(filepath.Join(results, entry.Name()))
		switch {
		case err == nil:
			runs = append(runs, f)
		case !errors.Is(err, fs.ErrNotExist):
			failures = append(failures, err)
		}
	}
	slices.SortStableFunc(runs, func(a, b *Folder) int { return b.manifest.Started.Compare(a.manifest.Started) })
	return runs, errors.Join(failures...)
}

// Name is the folder's name, which tells the run from all others.
func (f *Folder) Name() string { return filepath.Base(f.Path) }

// Manifest is the manifest as it stands.
func (f *Folder) Manifest() Manifest {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.manifest
	m.Notes, m.Attacks = slices.Clone(m.Notes), slices.Clone(m.Attacks)
	return m
}

// Update changes the manifest and saves it.
func (f *Folder) Update(change func(*Manifest)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.manifest)
	return f.save()
}

// PutAttack adds an attack to the manifest, or replaces the one of the same
// plan, and saves it.
func (f *Folder) PutAttack(a Attack) error {
	return f.Update(func(m *Manifest) {
		i := slices.IndexFunc(m.Attacks, func(b Attack) bool { return a.Plan.Name == b.Plan.Name })
		if i < 0 {
			m.Attacks = append(m.Attacks, a)
			return
		}
		m.Attacks[i] = a
	})
}

// Attack is the attack of the named plan.
func (f *Folder) Attack(planName string) (Attack, bool) {
	m := f.Manifest()
	for _, a := range m.Attacks {
		if a.Plan.Name == planName {
			return a, true
		}
	}
	return Attack{}, false
}

// AttackDir is where the records of the named plan are.
func (f *Folder) AttackDir(planName string) string { return filepath.Join(f.Path, planName) }

// Records starts the records of the named plan.
func (f *Folder) Records(planName string) (*record.Writer, error) {
	if err := checkName("plan", planName); err != nil {
		return nil, err
	}
	return record.Create(f.AttackDir(planName))
}

// OpenRecords opens the records of the named plan, of all plans when it is "".
func (f *Folder) OpenRecords(planName string) (*record.Reader, error) {
	return record.Open(f.AttackDir(planName))
}

// WriteFile writes a file of the run, as the function WriteFile does.
func (f *Folder) WriteFile(name string, write func(io.Writer) error) error {
	return WriteFile(filepath.Join(f.Path, name), write)
}

// WriteFile writes a file under a temporary name and renames it when it is whole:
// whoever reads it sees the old one or the new one.
func WriteFile(path string, write func(io.Writer) error) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".partial-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(temporary.Name()) // gone already when all went well
	err = write(temporary)
	if err == nil {
		err = temporary.Chmod(0o644)
	}
	if closeErr := temporary.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func (f *Folder) save() error {
	text, err := json.MarshalIndent(f.manifest, "", "  ")
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return f.WriteFile(manifestName, func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(append(text, '\n')))
		return err
	})
}

// checkName refuses what cannot be part of a folder's name.
func checkName(what, name string) error {
	if name == "" || strings.ContainsAny(name, `/\`) || strings.HasPrefix(name, ".") || !filepath.IsLocal(name) {
		return fmt.Errorf("%s %q cannot name a folder (want letters, digits, - and _)", what, name)
	}
	return nil
}
