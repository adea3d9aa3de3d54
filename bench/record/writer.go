package record

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parquet-go/parquet-go"
)

const (
	segmentAge  = time.Second // a segment is closed this long after its first record
	segmentRows = 1 << 18     // or when it has this many
	chunkRows   = 1 << 10     // records gathered before they are encoded
)

// A Writer writes records into the segments of one folder. Each segment is
// written under a temporary name and renamed when it is whole, about a second
// after its first record: a crash loses at most that second. Nothing is synced:
// a power cut may lose what the operating system still held.
//
// A folder has one Writer at a time. Its methods are safe for concurrent use. Its memory does not grow with the
// run.
type Writer struct {
	dir string

	mu      sync.Mutex
	next    int // number of the segment that is open, or will be
	file    *os.File
	parquet *parquet.GenericWriter[row]
	rows    int // in the open segment, pending ones left out
	opened  int // segments opened, so that a late timer leaves the next one alone
	timer   *time.Timer
	pending []Record
	chunk   []row
	closed  bool
	err     error // the first failure; the Writer takes no more records after it
}

// Create starts a Writer in dir, making the folder where it is missing.
// Segments already there stay, and new ones count on from them.
func Create(dir string) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create records folder: %w", err)
	}
	names, err := segments(dir)
	if err != nil {
		return nil, err
	}
	next := 1
	for _, name := range names {
		n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(name), segmentSuffix))
		if err == nil && n >= next {
			next = n + 1
		}
	}
	// Snappy by measure (BenchmarkWrite): 12 bytes a record at the speed of none,
	// which takes 17; zstd takes 9 and two to three times the time.
	w := &Writer{
		dir: dir, next: next,
		parquet: parquet.NewGenericWriter[row](nil, parquet.Compression(&parquet.Snappy), parquet.CreatedBy("weir", "1", "")),
		pending: make([]Record, 0, chunkRows),
		chunk:   make([]row, chunkRows),
	}
	// A folder that cannot be written to is better known before the attack than
	// a second into it.
	if err := w.open(); err != nil {
		return nil, err
	}
	return w, nil
}

// Append takes a copy of the records. After a failure it takes none and returns
// that failure again; the segments closed before it are whole and stay.
func (w *Writer) Append(records []Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return fmt.Errorf("append records to %s: %w", w.dir, os.ErrClosed)
	}
	for len(records) > 0 && w.err == nil {
		if w.rows+len(w.pending) == 0 {
			w.begin()
		}
		n := min(len(records), chunkRows-len(w.pending))
		w.pending = append(w.pending, records[:n]...)
		records = records[n:]
		if len(w.pending) == chunkRows {
			w.fail(w.encode())
		}
		if w.rows >= segmentRows {
			w.fail(w.closeSegment())
		}
	}
	return w.err
}

// Close closes the open segment. It returns the first failure of the Writer, and
// may be called again.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		w.fail(w.closeSegment())
	}
	return w.err
}

// begin opens a segment where none is open, and has it closed in time.
func (w *Writer) begin() {
	if w.file == nil {
		w.fail(w.open())
	}
	this := w.opened
	w.timer = time.AfterFunc(segmentAge, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.opened == this && w.err == nil {
			w.fail(w.closeSegment())
		}
	})
}

func (w *Writer) open() error {
	file, err := os.Create(w.path(partialPrefix + segmentFormat))
	if err != nil {
		return fmt.Errorf("create record segment: %w", err)
	}
	w.opened++
	w.file = file
	w.parquet.Reset(file)
	return nil
}

func (w *Writer) encode() error {
	for i := range w.pending {
		w.chunk[i] = rowOf(&w.pending[i])
	}
	n, err := w.parquet.Write(w.chunk[:len(w.pending)])
	w.rows += n
	w.pending = w.pending[:0]
	clear(w.chunk) // what it pointed to may go
	if err != nil {
		return fmt.Errorf("write record segment %s: %w", w.path(segmentFormat), err)
	}
	return nil
}

// closeSegment makes the open segment whole. One without records is taken away.
func (w *Writer) closeSegment() error {
	if w.file == nil {
		return nil
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	if w.rows+len(w.pending) == 0 {
		w.drop()
		return nil
	}
	if err := w.encode(); err != nil {
		return err
	}
	err := w.parquet.Close()
	if err == nil {
		err = w.file.Close()
	}
	if err == nil {
		err = os.Rename(w.file.Name(), w.path(segmentFormat))
	}
	if err != nil {
		return fmt.Errorf("write record segment %s: %w", w.path(segmentFormat), err)
	}
	w.file, w.rows = nil, 0
	w.next++
	return nil
}

// fail keeps the first failure and takes the broken segment away.
func (w *Writer) fail(err error) {
	if err == nil || w.err != nil {
		return
	}
	w.err = err
	if w.file != nil {
		w.drop()
	}
}

func (w *Writer) drop() {
	name := w.file.Name()
	_ = w.file.Close() // it is thrown away, whatever it says
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) && w.err == nil {
		w.err = err
	}
	w.file = nil
}

func (w *Writer) path(format string) string {
	return filepath.Join(w.dir, fmt.Sprintf(format, w.next))
}
