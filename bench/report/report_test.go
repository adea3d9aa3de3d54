package report_test

import (
	"io"
	"testing"
	"time"

	"weir/api/limit"
	"weir/bench/judge"
	"weir/bench/plan"
	"weir/bench/progress"
	"weir/bench/record"
	"weir/bench/run"
	"weir/bench/stats/statstest"
)

var start = time.Date(2026, 11, 23, 18, 12, 0, 0, time.UTC)

// newRun makes the folder of a run in which the given attacks were carried out.
func newRun(tb testing.TB, attacks ...statstest.Attack) *run.Folder {
	tb.Helper()
	folder, err := run.Create(tb.TempDir(), "standard", "1a2b3c4", start)
	if err != nil {
		tb.Fatal(err)
	}
	for i := range attacks {
		putAttack(tb, folder, &attacks[i])
	}
	err = folder.Update(func(m *run.Manifest) {
		m.Ended = start.Add(3 * time.Minute)
		m.Command, m.Seed = "weir run --seed 42", 42
		m.Host = run.Host{OS: "linux", Arch: "amd64", CPU: "Example CPU @ 3.00GHz", Cores: 2, Go: "go1.26.0"}
		m.Store = run.Store{Kind: "redis-server", Version: "7.0.15"}
	})
	if err != nil {
		tb.Fatal(err)
	}
	return folder
}

func putAttack(tb testing.TB, folder *run.Folder, a *statstest.Attack) {
	tb.Helper()
	w, err := folder.Records(a.Plan)
	if err != nil {
		tb.Fatal(err)
	}
	sent := int64(0)
	batch := make([]record.Record, 0, 1024)
	a.Each(func(r *record.Record) {
		sent++
		if batch = append(batch, *r); len(batch) == cap(batch) {
			if err := w.Append(batch); err != nil {
				tb.Fatal(err)
			}
			batch = batch[:0]
		}
	})
	if err := w.Append(batch); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	rate, err := limit.ParseRate("100/s")
	if err != nil {
		tb.Fatal(err)
	}
	targets := []plan.Target{{Method: "GET", URL: "http://127.0.0.1:8000/items"}}
	if len(a.Targets) > 0 {
		targets = nil
		for _, name := range a.Targets {
			targets = append(targets, plan.Target{Method: "GET", URL: name[len("GET "):]})
		}
	}
	err = folder.PutAttack(run.Attack{
		Plan: plan.Plan{
			Name: a.Plan, Question: "Does the limit hold when " + a.Plan + " comes?", Duration: a.Duration, Shape: plan.Constant(rate),
			Keys: plan.Keys{Count: a.Keys, Spread: "zipf"}, Targets: targets, Limit: &a.Limit,
		},
		Engine: "vegeta", Started: a.Start, Ended: a.Start.Add(a.Duration),
		Counts: run.Counts{Planned: sent, Sent: sent, Done: sent},
	})
	if err != nil {
		tb.Fatal(err)
	}
}

func steady(rate float64) func(float64) float64 { return func(float64) float64 { return rate } }

func mustLimit(tb testing.TB, text string) limit.Limit {
	tb.Helper()
	l, err := limit.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// overload is ten seconds of ten times the limit.
func overload(tb testing.TB) statstest.Attack {
	return statstest.Attack{
		Plan: "overload", Start: start, Duration: 10 * time.Second, Rate: steady(50), Limit: mustLimit(tb, "5/s,capacity=20"), Seed: 1,
	}
}

func quiet() *progress.Bar { return progress.Start(io.Discard, "report", 0) }

func holds(name string) judge.Verdict {
	return judge.Verdict{Verdict: judge.Holds, Plan: name, Limit: "5/s,capacity=20", Sentence: "holds: no window admitted more than the limit allows."}
}
