package record

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"time"
)

// batchRecords is how many records a Reader hands out at a time: few enough to
// stay in the processor's cache.
const batchRecords = 1 << 10

// A Reader streams records from the segments of a folder, or from a foreign
// recording, in batches. Its memory does not grow with their number. It is for
// one goroutine.
//
//	r, err := record.Open("results/latest")
//	…
//	defer r.Close()
//	for batch := range r.Batches() {
//		…
//	}
//	if err := r.Err(); err != nil {
//		…
//	}
//	for _, damage := range r.Damaged() {
//		… // a segment that could not be read to its end
//	}
type Reader struct {
	source  Source
	batch   []Record
	err     error
	damaged []*DamagedError
}

// A Source is where a Reader gets its records.
type Source interface {
	// Next fills batch from its front and returns how many records it put there,
	// which count beside an error too. It returns io.EOF at the end; after a
	// DamagedError it goes on with what follows, after any other it is not asked
	// again.
	Next(batch []Record) (n int, err error)
	// Granularity is as Reader.Granularity.
	Granularity() time.Duration
	Close() error
}

// NewReader reads from any Source. It closes the source.
func NewReader(source Source) *Reader {
	return &Reader{source: source, batch: make([]Record, batchRecords)}
}

// A DamagedError is a file of records that could not be read, or not to its end:
// a copy cut short, a disk gone bad. The others are read all the same.
type DamagedError struct {
	File string
	Read int64 // records of it that were read before
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s is damaged after %d records, the rest of it is left out: %v", e.File, e.Read, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// ErrNoSegment reports a folder in which nothing was recorded.
var ErrNoSegment = errors.New("no segment")

// Open reads the records at path: one segment, the folder of one plan, or the
// folder of a run with a folder for each plan. Segments come in the order of
// their names, plans too. A path without any segment is an
// error, ErrNoSegment.
func Open(path string) (*Reader, error) {
	files, err := find(path)
	if err != nil {
		return nil, fmt.Errorf("open records: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("open records: %w (*%s) in %q or in its folders", ErrNoSegment, segmentSuffix, path)
	}
	return NewReader(&folder{files: files, names: interner{}}), nil
}

func find(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	files, err := segments(path)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		more, err := segments(filepath.Join(path, entry.Name()))
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	return files, nil
}

// Batches goes over all records. A batch is good until the next one.
func (r *Reader) Batches() iter.Seq[[]Record] {
	return func(yield func([]Record) bool) {
		for r.err == nil {
			n, err := r.source.Next(r.batch)
			if n > 0 && !yield(r.batch[:n]) {
				return
			}
			damage := (*DamagedError)(nil)
			switch {
			case errors.As(err, &damage):
				r.damaged = append(r.damaged, damage)
			case errors.Is(err, io.EOF):
				return
			default:
				r.err = err
			}
		}
	}
}

// Err is what ended Batches early.
func (r *Reader) Err() error { return r.err }

// Damaged lists the segments so far that could not be read to their end.
func (r *Reader) Damaged() []*DamagedError { return r.damaged }

// Granularity is the step of the coarsest clock behind the records: an instant t
// may have been anything in [t, t + Granularity). It is 0 for weir's own segments,
// and known for a foreign recording when that has been read.
func (r *Reader) Granularity() time.Duration { return r.source.Granularity() }

// Close lets go of the files. Batches must not be used after it.
func (r *Reader) Close() error { return r.source.Close() }

// A folder is the source that reads segments one after the other.
type folder struct {
	files []string
	open  *segment
	names interner
	read  int64 // of the open segment
}

// Next reads from the first segment that has records left.
func (f *folder) Next(batch []Record) (int, error) {
	for {
		if f.open == nil {
			if len(f.files) == 0 {
				return 0, io.EOF
			}
			f.read = 0
			open, err := openSegment(f.files[0], f.names.text)
			if errors.Is(err, os.ErrPermission) {
				return 0, fmt.Errorf("open records: %w", err)
			}
			if err != nil {
				return 0, f.damage(err)
			}
			f.open = open
		}
		n, err := f.open.next(batch)
		f.read += int64(n)
		if err == nil {
			return n, nil
		}
		if !errors.Is(err, io.EOF) {
			return n, f.damage(err)
		}
		if err := f.Close(); err != nil {
			return n, err
		}
		f.files = f.files[1:]
	}
}

func (f *folder) damage(err error) error {
	damage := &DamagedError{File: f.files[0], Read: f.read, Err: err}
	_ = f.Close() // the damage says more
	f.files = f.files[1:]
	return damage
}

// Granularity is 0: weir reads a clock of nanoseconds.
func (f *folder) Granularity() time.Duration { return 0 }

// Close closes the segment that is open.
func (f *folder) Close() error {
	if f.open == nil {
		return nil
	}
	err := f.open.close()
	f.open = nil
	return err
}

// An interner makes one string of equal texts, so that a consumer that keeps
// keys keeps each once. It starts over when it has grown large.
type interner map[string]string

func (names interner) text(b []byte) string {
	if s, ok := names[string(b)]; ok {
		return s
	}
	if len(names) >= 1<<17 {
		clear(names)
	}
	s := string(b)
	names[s] = s
	return s
}
