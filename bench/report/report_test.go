package report_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"html"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/perf/benchfmt"

	"weir/api/limit"
	"weir/bench/judge"
	"weir/bench/plan"
	"weir/bench/progress"
	"weir/bench/record"
	"weir/bench/report"
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

// write writes the report of a run and returns it.
func write(tb testing.TB, folder *run.Folder, verdicts ...judge.Verdict) *report.Report {
	tb.Helper()
	r, err := report.Write(context.Background(), folder, verdicts, quiet())
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func render(tb testing.TB, r *report.Report, format string) string {
	tb.Helper()
	var b strings.Builder
	if err := r.WriteFormat(&b, format); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

func TestWriteMakesEveryFile(t *testing.T) {
	folder := newRun(t, overload(t))
	r := write(t, folder, holds("overload"))
	got := []string{}
	for _, path := range r.Files {
		name, err := filepath.Rel(folder.Path, path)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, filepath.ToSlash(name))
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v, want a file with something in it", name, err)
		}
	}
	want := []string{
		"report.html", "report.md", "report.json", "benchmarks.txt",
		"plots/overload/outcomes.svg", "plots/overload/admitted.svg", "plots/overload/latency.svg", "plots/overload/plot.html",
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// The simulated bucket of 20 + 5/s admits exactly 20 + 5·10 of ten seconds.
func TestNumbersAreThoseOfTheRecords(t *testing.T) {
	r := write(t, newRun(t, overload(t)), holds("overload"))
	var read report.Report
	if err := json.Unmarshal([]byte(render(t, r, "json")), &read); err != nil {
		t.Fatal(err)
	}
	if read.Schema != report.Schema {
		t.Errorf("schema = %d, want %d", read.Schema, report.Schema)
	}
	p := read.Plans[0]
	if p.Records != 500 || p.Outcomes[0].Count < 69 || p.Outcomes[0].Count > 70 || p.Outcomes[0].Count+p.Outcomes[1].Count != 500 {
		t.Errorf("%d records, %d admitted, %d throttled; want 500, 69 or 70, the rest", p.Records, p.Outcomes[0].Count, p.Outcomes[1].Count)
	}
	if p.PerSecond.Limit != 5 {
		t.Errorf("limit line = %v, want 5/s", p.PerSecond.Limit)
	}
	for i, admitted := range p.Admitted.Admitted {
		if admitted > p.Admitted.Allowed[i] {
			t.Fatalf("at %.3f s %v tokens admitted, more than the %v allowed", p.Admitted.At[i], admitted, p.Admitted.Allowed[i])
		}
	}
	if last := p.Admitted.Admitted[len(p.Admitted.Admitted)-1]; last != float64(p.Outcomes[0].Count) {
		t.Errorf("cumulative ends at %v, want all %d admitted", last, p.Outcomes[0].Count)
	}
}

// What was planned is drawn also where the generator was too late to send it,
// and no record tells of it.
func TestPlannedIsThePlans(t *testing.T) {
	folder := newRun(t, overload(t)) // 50/s were sent of a plan of 100/s
	a := folder.Manifest().Attacks[0]
	a.Counts = run.Counts{Planned: 1000, Dropped: 500, Sent: 500, Done: 500}
	if err := folder.PutAttack(a); err != nil {
		t.Fatal(err)
	}
	series := write(t, folder).Plans[0].PerSecond
	for i := range 10 {
		if series.Planned[i] != 100 || series.Sent[i] > 60 {
			t.Errorf("second %d: %v/s planned, %v/s sent; want 100 and about 50", i, series.Planned[i], series.Sent[i])
		}
	}
}

func TestWorstVerdictIsOnTop(t *testing.T) {
	verdict := func(kind, planName string) judge.Verdict {
		return judge.Verdict{Verdict: kind, Plan: planName, Sentence: kind + ": because of " + planName}
	}
	short := func(name string) statstest.Attack {
		a := overload(t)
		a.Plan, a.Duration = name, time.Second
		return a
	}
	for _, test := range []struct {
		name     string
		verdicts []judge.Verdict
		want     string // first line of the text
	}{
		{"nobody judged", nil, "NOT JUDGED  No verdict was recorded for this run: the numbers below describe the load, they do not prove that a limit held."},
		{"one holds, one not judged", []judge.Verdict{verdict(judge.Holds, "one")}, "HOLDS  Because of one. Not judged: 1 plan."},
		{"both hold", []judge.Verdict{verdict(judge.Holds, "one"), verdict(judge.Holds, "two")}, "HOLDS  The limit held in each of 2 judged plans."},
		{
			"inconclusive beats holds",
			[]judge.Verdict{verdict(judge.Holds, "one"), verdict(judge.Inconclusive, "two")},
			"INCONCLUSIVE  No fault was found, but 1 of 2 judged plans cannot tell. In two: Because of two.",
		},
		{
			"broken beats inconclusive",
			[]judge.Verdict{verdict(judge.Inconclusive, "one"), verdict(judge.Broken, "two")},
			"BROKEN  The limit was broken in 1 of 2 judged plans. In two: Because of two.",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := write(t, newRun(t, short("one"), short("two")), test.verdicts...)
			got, _, _ := strings.Cut(render(t, r, "text"), "\n")
			if got != test.want {
				t.Errorf("first line:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
}

func TestEmbeddedRedisIsSaidFirst(t *testing.T) {
	folder := newRun(t, overload(t))
	err := folder.Update(func(m *run.Manifest) { m.Store = run.Store{Kind: "embedded miniredis", Version: "2.40.0"} })
	if err != nil {
		t.Fatal(err)
	}
	r := write(t, folder)
	for _, format := range []string{"text", "md", "html"} {
		text := render(t, r, format)
		said, table := strings.Index(text, "embedded miniredis, not a Redis server"), strings.Index(text, "planned")
		if said < 0 || said > table {
			t.Errorf("%s does not say before its numbers that Redis was embedded", format)
		}
	}
}

// What decisions cost Redis stands with the plan, in every format; where the store
// does not say there is nothing about it.
func TestRedisSaysWhatItSpent(t *testing.T) {
	const about = "its own commandstats"
	folder := newRun(t, overload(t))
	for _, format := range []string{"text", "md", "html"} {
		if text := render(t, write(t, folder), format); strings.Contains(text, about) {
			t.Errorf("%s tells of commandstats that nobody has read", format)
		}
	}
	a := folder.Manifest().Attacks[0]
	a.Redis = &run.CommandCost{Calls: 4000, UsecPerCall: 5.1}
	if err := folder.PutAttack(a); err != nil {
		t.Fatal(err)
	}
	r := write(t, folder)
	answered := float64(r.Plans[0].Outcomes[0].Count + r.Plans[0].Outcomes[1].Count)
	want := fmt.Sprintf("Redis: 4,000 EVALSHA calls, 5.1 µs each by %s, %.3g requests answered for each call", about, answered/4000)
	for _, format := range []string{"text", "md", "html"} {
		if text := render(t, r, format); !strings.Contains(text, want) {
			t.Errorf("%s does not say %q", format, want)
		}
	}
}

// Whatever an API answers or a user names must stay text.
func TestHostileTextStaysText(t *testing.T) {
	const evil = `</script><script>alert(1)</script><img src=x onerror=alert(2)>`
	folder := newRun(t)
	a := statstest.Attack{Plan: "evil", Start: start, Duration: time.Second, Rate: steady(50), Limit: mustLimit(t, "5/s"), Keys: 1}
	w, err := folder.Records("evil")
	if err != nil {
		t.Fatal(err)
	}
	a.Each(func(r *record.Record) {
		r.Key, r.Target = evil+string(rune('a'+r.Seq%3)), "GET http://h/"+evil
		r.Outcome, r.Status, r.Error = record.Failed, 0, evil
		if err := w.Append([]record.Record{*r}); err != nil {
			t.Fatal(err)
		}
	})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := folder.PutAttack(run.Attack{Plan: plan.Plan{Name: "evil", Question: evil}, Started: start, Error: evil}); err != nil {
		t.Fatal(err)
	}
	r := write(t, folder, judge.Verdict{Verdict: judge.Broken, Plan: "evil", Sentence: evil})
	for _, format := range []string{"html", "md"} {
		text := render(t, r, format)
		if strings.Contains(text, "<script>alert") || strings.Contains(text, "<img") {
			t.Errorf("%s carries markup from a record", format)
		}
		if !strings.Contains(text, "alert(1)") {
			t.Errorf("%s does not show the text at all", format)
		}
	}
}

// The page is one file: it names no other, and its policy allows exactly its
// own scripts and styles.
func TestPageNeedsNothingElse(t *testing.T) {
	page := render(t, write(t, newRun(t, overload(t))), "html")
	for _, pattern := range []string{`(?i)<[^>]+\s(src|srcset|action)=`, `(?i)<link`, `(?i)@import`, `(?i)\surl\(`, `(?i)<[a-z]+[^>]*\son[a-z]+=`, `(?i)<[a-z]+[^>]*\sstyle=`} {
		body := regexp.MustCompile(`(?s)<script>.*?</script>`).ReplaceAllString(page, "")
		if found := regexp.MustCompile(pattern).FindString(body); found != "" {
			t.Errorf("page has %q", found)
		}
	}
	policy := regexp.MustCompile(`Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(page)
	if policy == nil {
		t.Fatal("page has no content security policy")
	}
	allowed := html.UnescapeString(policy[1])
	parts := regexp.MustCompile(`(?s)<(?:script|style)>(.*?)</(?:script|style)>`).FindAllStringSubmatch(page, -1)
	if len(parts) != 4 {
		t.Fatalf("page has %d scripts and styles, want 4", len(parts))
	}
	for _, part := range parts {
		hash := sha256.Sum256([]byte(part[1]))
		if !strings.Contains(allowed, base64.StdEncoding.EncodeToString(hash[:])) {
			t.Errorf("policy does not allow the part that begins %.40q", part[1])
		}
	}
}

func TestBenchmarkLinesAreRead(t *testing.T) {
	cost := statstest.Attack{
		Plan: "cost", Start: start, Duration: time.Second, Rate: steady(1000), Limit: mustLimit(t, "1000/s,capacity=1000"),
		Targets: []string{"GET http://h/items", "GET http://h/free"}, Seed: 1,
	}
	folder := newRun(t, overload(t), cost)
	write(t, folder)
	file, err := os.Open(filepath.Join(folder.Path, "benchmarks.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	units := map[string][]string{}
	for lines := benchfmt.NewReader(file, "benchmarks.txt"); lines.Scan(); {
		result, ok := lines.Result().(*benchfmt.Result)
		if !ok {
			t.Fatalf("line is no result: %v", lines.Result())
		}
		for _, v := range result.Values {
			units[string(result.Name)] = append(units[string(result.Name)], cmp.Or(v.OrigUnit, v.Unit))
		}
		if got := result.GetConfig("commit"); got != "1a2b3c4" {
			t.Errorf("%s has commit %q, want 1a2b3c4", result.Name, got)
		}
	}
	want := map[string][]string{
		"Load/plan=overload": {
			"admitted-p50-ns", "admitted-p99-ns", "admitted/s", "throttled-p50-ns", "throttled-p99-ns", "throttled/s", "sendlag-p99-ns",
		},
		"Load/plan=cost":                  {"admitted-p50-ns", "admitted-p99-ns", "admitted/s", "sendlag-p99-ns"},
		"Load/plan=cost/target=GET-items": {"service-p50-ns", "service-p99-ns"},
		"Load/plan=cost/target=GET-free":  {"service-p50-ns", "service-p99-ns"},
	}
	if diff := gocmp.Diff(want, units); diff != "" {
		t.Errorf("units by benchmark (-want +got):\n%s", diff)
	}
}

func TestPlotsAreXML(t *testing.T) {
	r := write(t, newRun(t, overload(t)))
	for _, path := range r.Files {
		if filepath.Ext(path) != ".svg" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := xml.Unmarshal(text, new(struct{ XMLName xml.Name })); err != nil {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
		if bytes.Contains(text, []byte("NaN")) {
			t.Errorf("%s has a NaN in it", filepath.Base(path))
		}
	}
}

func TestPlanWithoutRecordsIsSaidToHaveNone(t *testing.T) {
	empty := overload(t)
	empty.Plan, empty.Duration = "never", 0
	r := write(t, newRun(t, overload(t), empty))
	if got := render(t, r, "html"); !strings.Contains(got, "No request was recorded") {
		t.Error("page does not say that the second plan has no record")
	}
	_, err := report.Write(context.Background(), newRun(t, empty), nil, quiet())
	if !errors.Is(err, report.ErrNoRecords) {
		t.Errorf("Write(run without records) = %v, want ErrNoRecords", err)
	}
}

// A verdict that the judge itself reached over records of a bucket that gives
// more than it promised.
func TestBrokenVerdictShowsItsWitness(t *testing.T) {
	generous := overload(t)
	generous.Limit = mustLimit(t, "8/s,capacity=30")
	folder := newRun(t, generous)
	promised := mustLimit(t, "5/s,capacity=20")
	if err := folder.Update(func(m *run.Manifest) { m.Attacks[0].Plan.Limit = &promised }); err != nil {
		t.Fatal(err)
	}
	r := write(t, folder, judged(t, folder, "overload", promised))
	w := r.Plans[0].Witness
	if r.Verdict != judge.Broken || w == nil {
		t.Fatalf("verdict = %s with witness %v, want broken with one", r.Verdict, w)
	}
	last := len(w.At) - 1
	if math.Abs(w.Admitted[last]-w.Tokens) > 1e-6 || math.Abs(w.Tokens-w.Bound-w.Excess) > 1e-6 || w.Excess < 20 {
		t.Errorf("witness ends at %v of %v tokens, bound %v, excess %v", w.Admitted[last], w.Tokens, w.Bound, w.Excess)
	}
	if _, err := os.Stat(filepath.Join(folder.Path, "plots", "overload", "witness.svg")); err != nil {
		t.Error(err)
	}
}

func judged(tb testing.TB, folder *run.Folder, planName string, l limit.Limit) judge.Verdict {
	tb.Helper()
	j, err := judge.New(judge.Options{Limit: l, Plan: planName, Fresh: true, Planned: true})
	if err != nil {
		tb.Fatal(err)
	}
	records, err := folder.OpenRecords(planName)
	if err != nil {
		tb.Fatal(err)
	}
	defer records.Close()
	for batch := range records.Batches() {
		if err := j.Add(batch); err != nil {
			tb.Fatal(err)
		}
	}
	return *j.Verdict()
}

// Verdicts come back from verdict.json as they were written there.
func TestVerdictsAreRead(t *testing.T) {
	folder := newRun(t, overload(t))
	if got, err := report.Verdicts(folder); err != nil || got != nil {
		t.Errorf("Verdicts() of a run nobody judged = %v, %v, want none", got, err)
	}
	for _, test := range []struct{ name, text, want string }{
		{"a list", `[{"verdict":"holds","plan":"overload"}]`, "holds"},
		{"one alone", ` {"verdict":"broken","plan":"overload"}`, "broken"},
		{"damaged", `[{"verdict`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(folder.Path, "verdict.json"), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := report.Verdicts(folder)
			if test.want == "" {
				if err == nil || !strings.Contains(err.Error(), "verdict.json") {
					t.Errorf("Verdicts() = %v, want an error that names the file", err)
				}
				return
			}
			if err != nil || len(got) != 1 || got[0].Verdict != test.want {
				t.Errorf("Verdicts() = %+v, %v, want one that says %s", got, err, test.want)
			}
		})
	}
}
