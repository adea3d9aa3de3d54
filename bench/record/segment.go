package record

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"
)

// Segments are named by their number, so that the order of names is the order of
// time. One that is being written has a name that no reader looks for.
const (
	segmentFormat = "%06d.parquet"
	segmentSuffix = ".parquet"
	partialPrefix = ".partial-"
)

// A row is a Record as a segment stores it: one column for each field, named in
// the project's words with the unit last. What an answer did not carry is null,
// which DuckDB, pandas and polars leave out of their sums by themselves; a NaN
// they would not.
//
// Delta encoding suits what grows steadily and shrinks a constant to nothing, a
// dictionary what takes few values.
type row struct {
	Seq        int64    `parquet:"seq,delta"`
	Plan       string   `parquet:"plan,dict"`
	Key        string   `parquet:"key,dict"`
	Target     string   `parquet:"target,dict"`
	Cost       int64    `parquet:"cost,delta"`
	Planned    int64    `parquet:"planned_ns,delta"`
	Sent       int64    `parquet:"sent_ns,delta"`
	Done       int64    `parquet:"done_ns,delta"`
	Status     int32    `parquet:"status,delta"`
	Outcome    string   `parquet:"outcome,dict"`
	Error      string   `parquet:"error,dict"`
	Written    int64    `parquet:"written_bytes,delta"`
	Read       int64    `parquet:"read_bytes,delta"`
	DecidedAt  *int64   `parquet:"decided_at_us,optional"`
	Limit      *float64 `parquet:"limit_tokens,optional,dict"`
	Rate       *float64 `parquet:"rate_tokens_per_s,optional,dict"`
	Remaining  *float64 `parquet:"remaining_tokens,optional,dict"`
	Reset      *float64 `parquet:"reset,optional,dict"`
	RetryAfter *float64 `parquet:"retry_after_s,optional,dict"`
	FieldLeft  *float64 `parquet:"field_left_tokens,optional,dict"`
	FieldReset *float64 `parquet:"field_reset_s,optional,dict"`
	Quota      *float64 `parquet:"quota_tokens,optional,dict"`
	Window     *float64 `parquet:"window_s,optional,dict"`
}

// rowOf is r as a row. The row points into r, and is good until r changes.
func rowOf(r *Record) row {
	q := &r.Quota
	decidedAt := &q.DecidedAt
	if q.DecidedAt == 0 {
		decidedAt = nil
	}
	return row{
		Seq: int64(r.Seq), Plan: r.Plan, Key: r.Key, Target: r.Target, Cost: r.Cost,
		Planned: r.Planned, Sent: r.Sent, Done: r.Done,
		Status: int32(r.Status), Outcome: r.Outcome.String(), Error: r.Error,
		Written: r.Written, Read: r.Read, DecidedAt: decidedAt,
		Limit: present(&q.Limit), Rate: present(&q.Rate), Remaining: present(&q.Remaining),
		Reset: present(&q.Reset), RetryAfter: present(&q.RetryAfter),
		FieldLeft: present(&q.FieldLeft), FieldReset: present(&q.FieldReset),
		Quota: present(&q.Quota), Window: present(&q.Window),
	}
}

func present(n *float64) *float64 {
	if math.IsNaN(*n) {
		return nil
	}
	return n
}

// segments lists the whole segments in dir, in order.
func segments(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasSuffix(name, segmentSuffix) && !strings.HasPrefix(name, ".") && !entry.IsDir() {
			names = append(names, filepath.Join(dir, name))
		}
	}
	return names, nil
}

// A segment is one that is being read.
type segment struct {
	file    *os.File
	parquet *parquet.File
	groups  []parquet.RowGroup // still to be read
	left    int64              // rows left in the current group
	columns map[string]*column // of the current group
	intern  func([]byte) string
}

// openSegment opens a segment and checks that it holds records. Intern makes
// strings from bytes.
func openSegment(name string, intern func([]byte) string) (*segment, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close() // it was not read
		return nil, err
	}
	s, err := newSegment(file, info.Size(), intern)
	if err != nil {
		_ = file.Close() // what it holds is of no use
		return nil, err
	}
	s.file = file
	return s, nil
}

func newSegment(r io.ReaderAt, size int64, intern func([]byte) string) (s *segment, err error) {
	defer catch(&err)
	file, err := parquet.OpenFile(r, size,
		parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.ReadBufferSize(1<<16))
	if err != nil {
		return nil, err
	}
	for name, kinds := range columnKinds {
		leaf, ok := file.Schema().Lookup(name)
		if !ok {
			if slices.Contains(needed, name) {
				return nil, fmt.Errorf("it has no column %q, so it holds no records of weir", name)
			}
			continue
		}
		if err := wants(name, leaf, kinds...); err != nil {
			return nil, err
		}
	}
	return &segment{parquet: file, groups: file.RowGroups(), intern: intern, columns: map[string]*column{}}, nil
}

// The kinds of values that the columns of a row may have. Columns not named here
// are not read, so later versions of weir may add some.
var columnKinds = func() map[string][]parquet.Kind {
	kinds := map[string][]parquet.Kind{}
	for _, field := range parquet.SchemaOf(row{}).Fields() {
		switch kind := field.Type().Kind(); kind {
		case parquet.Int64, parquet.Int32:
			kinds[field.Name()] = []parquet.Kind{parquet.Int64, parquet.Int32}
		default:
			kinds[field.Name()] = []parquet.Kind{kind}
		}
	}
	return kinds
}()

// needed are the columns without which there is nothing to judge.
var needed = []string{"sent_ns", "done_ns", "outcome"}

// next fills batch from the segment. Whatever the bytes are, it does not panic.
func (s *segment) next(batch []Record) (n int, err error) {
	defer catch(&err)
	for s.left == 0 {
		if len(s.groups) == 0 {
			return 0, io.EOF
		}
		s.enter(s.groups[0])
		s.groups = s.groups[1:]
	}
	n = int(min(s.left, int64(len(batch))))
	if err := s.fill(batch[:n]); err != nil {
		return 0, err
	}
	s.left -= int64(n)
	return n, nil
}

func (s *segment) enter(group parquet.RowGroup) {
	s.closeColumns()
	s.left = group.NumRows()
	chunks := group.ColumnChunks()
	for name := range columnKinds {
		leaf, ok := group.Schema().Lookup(name)
		if !ok {
			continue
		}
		chunk := chunks[leaf.ColumnIndex]
		s.columns[name] = &column{
			kind: chunk.Type().Kind(), intern: s.intern, pages: chunk.Pages(), full: byte(leaf.MaxDefinitionLevel),
		}
	}
}

func (s *segment) closeColumns() {
	for _, c := range s.columns {
		c.close()
	}
	clear(s.columns)
}

func (s *segment) close() (err error) {
	defer catch(&err)
	s.closeColumns()
	return s.file.Close()
}

// fill reads the next rows of every column into the records.
func (s *segment) fill(batch []Record) error {
	for i := range batch {
		batch[i] = Record{Cost: 1, Quota: NoQuota}
	}
	f := filler{segment: s, n: len(batch)}
	f.int("seq", func(i int, v int64) { batch[i].Seq = uint64(v) })
	f.text("plan", func(i int, v string) { batch[i].Plan = v })
	f.text("key", func(i int, v string) { batch[i].Key = v })
	f.text("target", func(i int, v string) { batch[i].Target = v })
	f.int("cost", func(i int, v int64) { batch[i].Cost = v })
	f.int("sent_ns", func(i int, v int64) { batch[i].Sent, batch[i].Planned = v, v })
	f.int("planned_ns", func(i int, v int64) { batch[i].Planned = v })
	f.int("done_ns", func(i int, v int64) { batch[i].Done = v })
	f.int("status", func(i int, v int64) { batch[i].Status = int(v) })
	f.text("outcome", func(i int, v string) {
		outcome, err := ParseOutcome(v)
		batch[i].Outcome = outcome
		f.fail("outcome", err)
	})
	f.text("error", func(i int, v string) { batch[i].Error = v })
	f.int("written_bytes", func(i int, v int64) { batch[i].Written = v })
	f.int("read_bytes", func(i int, v int64) { batch[i].Read = v })
	f.int("decided_at_us", func(i int, v int64) { batch[i].Quota.DecidedAt = v })
	f.float("limit_tokens", func(i int, v float64) { batch[i].Quota.Limit = v })
	f.float("rate_tokens_per_s", func(i int, v float64) { batch[i].Quota.Rate = v })
	f.float("remaining_tokens", func(i int, v float64) { batch[i].Quota.Remaining = v })
	f.float("reset", func(i int, v float64) { batch[i].Quota.Reset = v })
	f.float("retry_after_s", func(i int, v float64) { batch[i].Quota.RetryAfter = v })
	f.float("field_left_tokens", func(i int, v float64) { batch[i].Quota.FieldLeft = v })
	f.float("field_reset_s", func(i int, v float64) { batch[i].Quota.FieldReset = v })
	f.float("quota_tokens", func(i int, v float64) { batch[i].Quota.Quota = v })
	f.float("window_s", func(i int, v float64) { batch[i].Quota.Window = v })
	return f.err
}

// A filler reads columns until the first error, which it keeps.
type filler struct {
	segment *segment
	n       int
	err     error
}

func (f *filler) int(name string, set func(i int, v int64)) {
	if c := f.segment.columns[name]; c != nil && f.err == nil {
		f.fail(name, c.each(f.n, func(i, at int) { set(i, c.int(at)) }))
	}
}

func (f *filler) float(name string, set func(i int, v float64)) {
	if c := f.segment.columns[name]; c != nil && f.err == nil {
		f.fail(name, c.each(f.n, func(i, at int) { set(i, c.float(at)) }))
	}
}

func (f *filler) text(name string, set func(i int, v string)) {
	if c := f.segment.columns[name]; c != nil && f.err == nil {
		f.fail(name, c.each(f.n, func(i, at int) { set(i, c.text(at)) }))
	}
}

func (f *filler) fail(name string, err error) {
	if err != nil && f.err == nil {
		f.err = fmt.Errorf("column %q: %w", name, err)
	}
}

// catch makes an error of a panic: the Parquet library panics on some damaged
// files.
func catch(err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("not a sound Parquet file: %v", cause)
	}
}
