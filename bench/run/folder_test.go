package run_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir/bench/plan"
	"weir/bench/record"
	"weir/bench/run"
)

var now = time.Date(2026, 11, 23, 18, 12, 0, 0, time.UTC)

func mustCreate(tb testing.TB, results string, at time.Time) *run.Folder {
	tb.Helper()
	f, err := run.Create(results, "standard", "1a2b3c4", at)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

func TestRunIsOpenedAsItWasLeft(t *testing.T) {
	t.Parallel()
	results := filepath.Join(t.TempDir(), "deep", "results")
	f := mustCreate(t, results, now)
	if want := filepath.Join(results, "20261123T181200Z-standard-1a2b3c4"); f.Path != want {
		t.Errorf("Path = %s, want %s", f.Path, want)
	}
	attack := run.Attack{Plan: plan.Plan{Name: "overload"}, Engine: "vegeta", Started: now}
	for _, planned := range []int64{0, 500} { // the second replaces the first
		attack.Counts.Planned = planned
		if err := f.PutAttack(attack); err != nil {
			t.Fatal(err)
		}
	}
	w, err := f.Records("overload")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append([]record.Record{{Plan: "overload", Quota: record.NoQuota}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}

	for _, path := range []string{f.Path, filepath.Join(results, run.Latest)} {
		opened, err := run.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(f.Manifest(), opened.Manifest()); diff != "" {
			t.Errorf("Open(%s), -saved +loaded:\n%s", path, diff)
		}
		if opened.Name() != f.Name() {
			t.Errorf("Open(%s).Name() = %s, want %s", path, opened.Name(), f.Name())
		}
		if got, ok := opened.Attack("overload"); !ok || got.Counts.Planned != 500 {
			t.Errorf("Attack(overload) = %+v, %t, want the one that planned 500", got, ok)
		}
		for _, name := range []string{"overload", ""} {
			r, err := opened.OpenRecords(name)
			if err != nil {
				t.Fatal(err)
			}
			for batch := range r.Batches() {
				if len(batch) != 1 || batch[0].Plan != "overload" {
					t.Errorf("OpenRecords(%q) read %v, want the one record", name, batch)
				}
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestTwoRunsInOneSecond(t *testing.T) {
	t.Parallel()
	results := t.TempDir()
	older := mustCreate(t, results, now.Add(-time.Hour))
	first, second := mustCreate(t, results, now), mustCreate(t, results, now)
	if first.Path == second.Path {
		t.Fatalf("both are %s", first.Path)
	}
	target, err := os.Readlink(filepath.Join(results, run.Latest))
	if err != nil || target != second.Name() {
		t.Errorf("latest points to %q (%v), want %q: relative, so that results can move", target, err, second.Name())
	}
	runs, err := run.List(results)
	if err != nil {
		t.Fatal(err)
	}
	if len(runs) != 3 || runs[2].Path != older.Path {
		t.Errorf("List has %d runs, want 3, the oldest last", len(runs))
	}
}

func TestListSkipsWhatIsNoRun(t *testing.T) {
	t.Parallel()
	results := t.TempDir()
	good := mustCreate(t, results, now)
	for name, manifest := range map[string]string{"newer": `{"schema": 99}`, "broken": `{`, "other": `{}`} {
		dir := filepath.Join(results, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(manifest), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(results, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	runs, err := run.List(results)
	if len(runs) != 1 || runs[0].Path != good.Path {
		t.Errorf("List has %d runs, want the good one", len(runs))
	}
	for _, want := range []string{"schema 99", "newer weir", "broken", "names no schema"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("List error %v does not say %q", err, want)
		}
	}
	if runs, err := run.List(filepath.Join(results, "none")); len(runs) > 0 || err != nil {
		t.Errorf("List of a missing folder = %v, %v, want nothing", runs, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, unwritable := run.Create(filepath.Join(file, "results"), "standard", "c", now)
	_, badSuite := run.Create(dir, "../up", "c", now)
	_, badPlan := mustCreate(t, dir, now).Records("a/b")
	_, noRun := run.Open(dir)
	for _, test := range []struct {
		name string
		err  error
		want []string
	}{
		{"results below a file", unwritable, []string{file, "--out"}},
		{"suite that climbs out", badSuite, []string{`"../up"`}},
		{"plan with a slash", badPlan, []string{`"a/b"`}},
		{"folder that is no run", noRun, []string{dir, "manifest.json", `"latest"`}},
	} {
		for _, want := range test.want {
			if test.err == nil || !strings.Contains(test.err.Error(), want) {
				t.Errorf("%s: error %v does not say %s", test.name, test.err, want)
			}
		}
	}
}

func TestWriteFileIsAllOrNothing(t *testing.T) {
	t.Parallel()
	f := mustCreate(t, t.TempDir(), now)
	write := func(text string, fail error) error {
		return f.WriteFile("report.md", func(w io.Writer) error {
			if _, err := io.WriteString(w, text); err != nil {
				return err
			}
			return fail
		})
	}
	if err := write("whole", nil); err != nil {
		t.Fatal(err)
	}
	if err := write("half", io.ErrShortWrite); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("WriteFile = %v, want the writer's own error", err)
	}
	if got, err := os.ReadFile(filepath.Join(f.Path, "report.md")); string(got) != "whole" {
		t.Errorf("the file holds %q (%v), want what was there before", got, err)
	}
	if left, _ := filepath.Glob(filepath.Join(f.Path, ".partial-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
