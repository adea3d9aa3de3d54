package live

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/mux"

	"weir/bench/judge"
	"weir/bench/progress"
	"weir/bench/report"
	"weir/bench/run"
)

const (
	maxListed   = 500 // runs in the list, the newest
	sparkSteps  = 48  // of a sparkline
	maxBriefs   = 512 // sparklines kept
	maxSparkled = 5_000_000
)

// A shelf is the folder of all runs.
type shelf struct {
	results string

	mu     sync.Mutex
	briefs map[string]brief // by name; those of runs that have ended never change
	reads  sync.Mutex       // one folder at a time is read whole: a list of hundreds must not eat the machine
}

func newShelf(results string) *shelf { return &shelf{results: results, briefs: map[string]brief{}} }

// RunRow is one run in the list.
type RunRow struct {
	Name     string    `json:"name"`
	Suite    string    `json:"suite"`
	Started  time.Time `json:"started"`
	Seconds  float64   `json:"seconds"` // 0 while it runs
	Verdict  string    `json:"verdict"`
	Sentence string    `json:"sentence"`
	Plans    int       `json:"plans"`
	Load     string    `json:"load"` // of the first plan
	Requests int64     `json:"requests"`
	Ended    bool      `json:"ended"`
	Notes    []string  `json:"notes"`
}

// list answers with every run, the newest first.
func (s *shelf) list(w http.ResponseWriter, _ *http.Request) {
	folders, err := run.List(s.results)
	answer := struct {
		Runs    []RunRow `json:"runs"`
		Problem string   `json:"problem"` // folders that could not be read
		More    int      `json:"more"`    // older ones that are not listed
	}{Runs: []RunRow{}}
	if err != nil {
		answer.Problem = err.Error()
	}
	if len(folders) > maxListed {
		answer.More = len(folders) - maxListed
		folders = folders[:maxListed]
	}
	for _, folder := range folders {
		answer.Runs = append(answer.Runs, rowOf(folder))
	}
	reply(w, http.StatusOK, answer)
}

func rowOf(folder *run.Folder) RunRow {
	m := folder.Manifest()
	r := RunRow{
		Name: folder.Name(), Suite: m.Suite, Started: m.Started, Verdict: report.NotJudged, Plans: len(m.Attacks),
		Ended: !m.Ended.IsZero(), Notes: m.Notes,
	}
	if r.Ended {
		r.Seconds = m.Ended.Sub(m.Started).Seconds()
	}
	for i := range m.Attacks {
		r.Requests += m.Attacks[i].Counts.Done
	}
	if len(m.Attacks) > 0 {
		r.Load = m.Attacks[0].Plan.Shape.String()
	}
	if verdicts, err := report.Verdicts(folder); err == nil && len(verdicts) > 0 {
		pointers := make([]*judge.Verdict, len(verdicts))
		for i := range verdicts {
			pointers[i] = &verdicts[i]
		}
		worst := judge.Worst(pointers)
		r.Verdict, r.Sentence = worst.Verdict, worst.Sentence
	}
	return r
}

// A brief is what the list shows of a run beside its row: admitted and throttled
// over time, all plans one after the other.
type brief struct {
	Admitted  report.Column `json:"admitted"`
	Throttled report.Column `json:"throttled"`
	Failed    report.Column `json:"failed"`
	Why       string        `json:"why"` // there is no sparkline
}

func (s *shelf) show(w http.ResponseWriter, r *http.Request) {
	folder, err := s.open(r)
	if err != nil {
		fail(w, err)
		return
	}
	s.mu.Lock()
	found, known := s.briefs[folder.Name()]
	s.mu.Unlock()
	if !known {
		if found, err = s.brief(r, folder); err != nil {
			fail(w, err)
			return
		}
		if m := folder.Manifest(); !m.Ended.IsZero() {
			s.mu.Lock()
			if len(s.briefs) >= maxBriefs {
				clear(s.briefs)
			}
			s.briefs[folder.Name()] = found
			s.mu.Unlock()
		}
	}
	reply(w, http.StatusOK, found)
}

func (s *shelf) brief(r *http.Request, folder *run.Folder) (brief, error) {
	if rowOf(folder).Requests > maxSparkled && !isThere(folder, "report.json") {
		return brief{Why: "too long to draw before its report is written"}, nil
	}
	built, err := s.report(r, folder)
	if errors.Is(err, report.ErrNoRecords) {
		return brief{Why: "nothing was recorded"}, nil
	}
	if err != nil {
		return brief{}, err
	}
	found := brief{}
	for i := range built.Plans {
		p := &built.Plans[i].PerSecond
		found.Admitted = append(found.Admitted, p.Admitted...)
		found.Throttled = append(found.Throttled, p.Throttled...)
		found.Failed = append(found.Failed, p.Failed...)
	}
	for _, column := range []*report.Column{&found.Admitted, &found.Throttled, &found.Failed} {
		*column = thin(*column, sparkSteps)
	}
	return found, nil
}

// thin takes means of neighbours until at most n numbers are left.
func thin(column report.Column, n int) report.Column {
	if len(column) <= n {
		return column
	}
	thinned := make(report.Column, n)
	for i := range thinned {
		from, to := i*len(column)/n, (i+1)*len(column)/n
		sum, seen := 0.0, 0
		for _, x := range column[from:to] {
			if !math.IsNaN(x) {
				sum += x
				seen++
			}
		}
		thinned[i] = sum / float64(max(seen, 1))
	}
	return thinned
}

// open opens the run that the address names: a folder right below results.
func (s *shelf) open(r *http.Request) (*run.Folder, error) {
	name := mux.Vars(r)["run"]
	if name == "" || strings.HasPrefix(name, ".") || !filepath.IsLocal(name) || strings.ContainsAny(name, `/\`) {
		return nil, &httpError{http.StatusNotFound, fmt.Errorf("%q cannot be a run", name)}
	}
	folder, err := run.Open(filepath.Join(s.results, name))
	if err != nil {
		return nil, &httpError{http.StatusNotFound, fmt.Errorf("there is no run %q any more", name)}
	}
	return folder, nil
}

// report is the run's report: from its folder, or made now.
func (s *shelf) report(r *http.Request, folder *run.Folder) (*report.Report, error) {
	if m := folder.Manifest(); !m.Ended.IsZero() {
		if text, err := os.ReadFile(filepath.Join(folder.Path, "report.json")); err == nil {
			read := &report.Report{}
			if err := json.Unmarshal(text, read); err == nil && read.Schema == report.Schema {
				return read, nil
			}
		}
	}
	s.reads.Lock()
	defer s.reads.Unlock()
	verdicts, err := report.Verdicts(folder)
	if err != nil {
		return nil, err
	}
	bar := progress.Start(io.Discard, "", 0)
	defer bar.Done()
	return report.Build(r.Context(), folder, verdicts, bar)
}

func (s *shelf) reportJSON(w http.ResponseWriter, r *http.Request) {
	folder, err := s.open(r)
	if err == nil {
		var built *report.Report
		if built, err = s.report(r, folder); err == nil {
			reply(w, http.StatusOK, built)
			return
		}
	}
	fail(w, err)
}

// reportHTML shows the run's page. It brings a policy of its own for the scripts
// inside it, so ours only shuts it off from this page: sandboxed, it is of another
// origin and can start nothing.
func (s *shelf) reportHTML(w http.ResponseWriter, r *http.Request) {
	folder, err := s.open(r)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Security-Policy", "sandbox allow-scripts allow-downloads; frame-ancestors 'none'")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if file, err := os.Open(filepath.Join(folder.Path, "report.html")); err == nil {
		defer file.Close()
		_, _ = io.Copy(w, file) // the browser may be gone
		return
	}
	built, err := s.report(r, folder)
	if err != nil {
		w.Header().Set("Content-Security-Policy", policy)
		fail(w, err)
		return
	}
	_ = built.WriteHTML(w) // the browser may be gone
}

func isThere(folder *run.Folder, name string) bool {
	_, err := os.Stat(filepath.Join(folder.Path, name))
	return !errors.Is(err, fs.ErrNotExist)
}
