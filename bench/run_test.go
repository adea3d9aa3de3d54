package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/bench/judge"
	"weir/bench/run"
)

// runQuick carries out quick plans against the API built from this tree, and
// returns the exit code and the run.
func runQuick(ctx context.Context, t *testing.T, results, only string) (code int, stdout string, folder *run.Folder) {
	t.Helper()
	var out, narrative bytes.Buffer
	code = execute(ctx, []string{"run", "--quick", "--no-k6", "--seed", "7", "--only", only, "--out", results}, strings.NewReader(""), &out, &narrative)
	folder, err := run.Open(filepath.Join(results, run.Latest))
	if err != nil {
		t.Fatalf("exit %d: %v\n%s", code, err, narrative.String())
	}
	t.Logf("exit %d\n%s%s", code, narrative.String(), out.String())
	return code, out.String(), folder
}

// A right limiter is never called broken. Whether a run can tell that it holds
// depends on how well this machine keeps the plan, so inconclusive will do.
func TestRunReportsWhatHeld(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the API and offers load for 8 s")
	}
	t.Setenv("REDIS_URL", "")
	code, stdout, folder := runQuick(t.Context(), t, t.TempDir(), "overload,shared")
	if code != exitOK && code != exitInconclusive {
		t.Errorf("exit %d, want %d or %d", code, exitOK, exitInconclusive)
	}
	m := folder.Manifest()
	if m.Suite != "quick" || m.Seed != 7 || m.Ended.IsZero() || m.Interrupted || m.Store.Kind == "" || len(m.Attacks) != 2 {
		t.Errorf("manifest = %+v, want an ended quick run of 2 plans with seed 7 and the store it used", m)
	}
	for _, want := range []string{"weir run", "--seed=7", "--only=overload", "--only=shared"} {
		if !strings.Contains(m.Command, want) {
			t.Errorf("command = %q, want %q in it", m.Command, want)
		}
	}
	for _, a := range m.Attacks {
		n, err := countRecords(folder, a.Plan.Name)
		if err != nil || n.total == 0 || n.total != a.Counts.Sent {
			t.Errorf("plan %s: %d records (%v), want the %d that were sent", a.Plan.Name, n.total, err, a.Counts.Sent)
		}
		if embedded := strings.Contains(m.Store.Kind, "miniredis"); embedded != (a.Redis == nil) {
			t.Errorf("plan %s: Redis cost %+v on %s, want one where the store keeps account", a.Plan.Name, a.Redis, m.Store.Kind)
		}
		if a.API["BUCKET_PREFIX"] == "" || a.API["TB_RATE"] != "100/s" {
			t.Errorf("plan %s: API settings %v, want the limit and buckets of its own", a.Plan.Name, a.API)
		}
	}
	if shared, _ := folder.Attack("shared"); len(shared.Plan.Targets) != 2 {
		t.Errorf("plan shared has targets %v, want one on each of two processes", shared.Plan.Targets)
	}
	verdicts, err := judgeRun(folder)
	if err != nil || len(verdicts) != 2 {
		t.Fatalf("judgeRun = %d verdicts, %v; want 2", len(verdicts), err)
	}
	for i := range verdicts {
		if verdicts[i].Verdict == judge.Broken {
			t.Errorf("plan %s: %s", verdicts[i].Plan, verdicts[i].Sentence)
		}
	}
	if !strings.Contains(stdout, "report: ") || !strings.Contains(stdout, "overload") {
		t.Errorf("stdout = %q, want the summary and the path of the report", stdout)
	}
	for _, name := range []string{"report.html", "verdict.json", "logs/api-shared-2.log"} {
		if !isThere(filepath.Join(folder.Path, name)) {
			t.Errorf("%s is missing in the run's folder", name)
		}
	}
}

// Stopped by Ctrl-C, a run reports what was done, and leaves no plan half-told.
func TestRunInterrupted(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the API and offers load for some seconds")
	}
	t.Setenv("REDIS_URL", "")
	results := t.TempDir()
	ctx, interrupt := context.WithCancel(t.Context())
	go func() { // presses Ctrl-C once the first segment is whole
		for ctx.Err() == nil {
			if found, _ := filepath.Glob(filepath.Join(results, "*", "overload", "0*.parquet")); len(found) > 0 {
				interrupt()
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	code, stdout, folder := runQuick(ctx, t, results, "overload,shared")
	interrupt()
	if code != exitInconclusive {
		t.Errorf("exit %d, want %d", code, exitInconclusive)
	}
	m := folder.Manifest()
	if !m.Interrupted || m.Ended.IsZero() || len(m.Attacks) != 1 || m.Attacks[0].Error != "interrupted" {
		t.Errorf("manifest = %+v, want an interrupted run whose one plan says so", m)
	}
	if _, err := os.Stat(filepath.Join(folder.Path, "report.html")); err != nil || !strings.Contains(stdout, "stopped before its plans were done") {
		t.Errorf("report: %v; stdout %q; want a report that says it was stopped", err, stdout)
	}
}
