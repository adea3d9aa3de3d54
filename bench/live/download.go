package live

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"github.com/parquet-go/parquet-go"

	"weir/bench/record"
	"weir/bench/record/convert"
	"weir/bench/run"
)

// downloads are the files of a run that can be downloaded.
var downloads = map[string]struct {
	kind  string
	write func(w io.Writer, folder *run.Folder) error
}{
	"requests.csv":    {"text/csv; charset=utf-8", writeRequests},
	"statistics.csv":  {"text/csv; charset=utf-8", writeStatistics},
	"failures.csv":    {"text/csv; charset=utf-8", writeFailures},
	"history.csv":     {"text/csv; charset=utf-8", writeHistory},
	"records.parquet": {"application/vnd.apache.parquet", writeParquet},
}

// download sends one file of a run, made while it is sent. One that cannot be
// finished is cut off, so that no browser takes it for whole.
func (s *shelf) download(w http.ResponseWriter, r *http.Request) {
	folder, err := s.open(r)
	if err != nil {
		fail(w, err)
		return
	}
	name := mux.Vars(r)["file"]
	header := w.Header()
	header.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", folder.Name()+"-"+name))
	if name == "report.html" {
		s.reportHTML(w, r)
		return
	}
	file, known := downloads[name]
	if !known {
		header.Del("Content-Disposition")
		refuse(w, http.StatusNotFound, "there is no "+quoted(name)+" to download")
		return
	}
	header.Set("Content-Type", file.kind)
	sent := &counting{w: w}
	err = file.write(sent, folder)
	switch {
	case err == nil:
	case sent.n > 0:
		panic(http.ErrAbortHandler)
	default:
		header.Del("Content-Disposition")
		if errors.Is(err, record.ErrNoSegment) {
			err = &httpError{http.StatusNotFound, errors.New("nothing has been recorded yet: records are written about every second")}
		}
		fail(w, err)
	}
}

type counting struct {
	w io.Writer
	n int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func writeRequests(w io.Writer, folder *run.Folder) error {
	_, err := convert.Export(w, convert.CSV, func() (*record.Reader, error) { return folder.OpenRecords("") }, nil)
	return err
}

// each measures every plan of a run.
func each(folder *run.Folder, keep func(a *run.Attack, ring int, r row), done func(a *run.Attack, m *meter) error) error {
	for _, a := range folder.Manifest().Attacks {
		records, err := folder.OpenRecords(a.Plan.Name)
		if err != nil {
			return err
		}
		m, err := measure(records, &a.Plan, a.Started.UnixNano(), func(ring int, r row) {
			if keep != nil {
				keep(&a, ring, r)
			}
		})
		if err = errors.Join(err, records.Close()); err == nil {
			err = done(&a, m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func writeStatistics(w io.Writer, folder *run.Folder) error {
	out := newSheet(w, "plan", "kind", "name", "outcome", "requests", "mean_size_bytes", "p50_ms", "p95_ms", "p99_ms", "p999_ms", "mean_ms", "min_ms", "max_ms")
	err := each(folder, nil, func(a *run.Attack, m *meter) error {
		t := m.tables(0)
		lines := func(kind string, lines []Line) {
			for _, l := range lines {
				for _, o := range record.Outcomes {
					if h, any := l.Latency[o.String()]; any {
						out.put(a.Plan.Name, kind, l.Name, o.String(), h.Count, l.Size,
							h.P50, h.P95, h.P99, h.P999, h.Mean, h.Min, h.Max)
					}
				}
			}
		}
		lines("all", []Line{t.Total})
		lines("target", t.Targets)
		lines("keys", t.Groups)
		return nil
	})
	return errors.Join(err, out.close())
}

func writeFailures(w io.Writer, folder *run.Folder) error {
	out := newSheet(w, "plan", "what", "target", "count", "first", "last")
	err := each(folder, nil, func(a *run.Attack, m *meter) error {
		t := m.tables(0)
		for _, f := range t.Failures {
			out.put(a.Plan.Name, f.What, f.Target, f.Count, f.First.Format(time.RFC3339Nano), f.Last.Format(time.RFC3339Nano))
		}
		if t.Others > 0 {
			out.put(a.Plan.Name, "(others)", "", t.Others, "", "")
		}
		return nil
	})
	return errors.Join(err, out.close())
}

// writeHistory writes the steps of a second.
func writeHistory(w io.Writer, folder *run.Folder) error {
	out := newSheet(w, append([]string{"plan"}, columnNames[:]...)...)
	err := each(folder, func(a *run.Attack, ring int, r row) {
		if ring != 1 {
			return
		}
		values := []any{a.Plan.Name}
		for _, x := range r {
			values = append(values, x)
		}
		out.put(values...)
	}, func(*run.Attack, *meter) error { return nil })
	return errors.Join(err, out.close())
}

// A sheet is a CSV file that a spreadsheet may open: texts that it would take for
// a formula get a ' before them.
type sheet struct{ csv *csv.Writer }

func newSheet(w io.Writer, head ...string) *sheet {
	s := &sheet{csv.NewWriter(w)}
	_ = s.csv.Write(head) // close tells
	return s
}

func (s *sheet) put(values ...any) {
	line := make([]string, len(values))
	for i, value := range values {
		switch v := value.(type) {
		case string:
			if strings.HasPrefix(v, "=") || strings.HasPrefix(v, "+") || strings.HasPrefix(v, "-") || strings.HasPrefix(v, "@") {
				v = "'" + v
			}
			line[i] = v
		case time.Duration:
			line[i] = strconv.FormatFloat(float64(v)/1e6, 'f', -1, 64)
		case float64:
			if !math.IsNaN(v) {
				line[i] = strconv.FormatFloat(v, 'f', -1, 64)
			}
		default:
			line[i] = fmt.Sprint(v)
		}
	}
	_ = s.csv.Write(line) // close tells
}

func (s *sheet) close() error {
	s.csv.Flush()
	return s.csv.Error()
}

// writeParquet joins the segments of a run into one file, row group by row group.
func writeParquet(w io.Writer, folder *run.Folder) (err error) {
	var names []string
	for _, a := range folder.Manifest().Attacks {
		found, err := filepath.Glob(filepath.Join(folder.AttackDir(a.Plan.Name), "[0-9]*.parquet"))
		if err != nil {
			return err
		}
		slices.Sort(found)
		names = append(names, found...)
	}
	if len(names) == 0 {
		return record.ErrNoSegment
	}
	var out *parquet.GenericWriter[any]
	for _, name := range names {
		if out, err = appendSegment(w, out, name); err != nil {
			return fmt.Errorf("join %s: %w", filepath.Base(name), err)
		}
	}
	return out.Close()
}

func appendSegment(w io.Writer, out *parquet.GenericWriter[any], name string) (*parquet.GenericWriter[any], error) {
	file, err := os.Open(name)
	if err != nil {
		return out, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return out, err
	}
	segment, err := parquet.OpenFile(file, info.Size())
	if err != nil {
		return out, err
	}
	if out == nil {
		out = parquet.NewGenericWriter[any](w, segment.Schema(), parquet.Compression(&parquet.Snappy), parquet.CreatedBy("weir", "1", ""))
	}
	for _, group := range segment.RowGroups() {
		if _, err := out.WriteRowGroup(group); err != nil {
			return out, err
		}
	}
	return out, nil
}
