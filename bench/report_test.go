package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/api/limit"
	"weir/bench/plan"
	"weir/bench/record"
	"weir/bench/run"
	"weir/bench/stats/statstest"
)

// recorded makes a run with records in it, below the results folder of a new
// working directory.
func recorded(t *testing.T) *run.Folder {
	t.Helper()
	t.Chdir(t.TempDir())
	start := time.Date(2026, 11, 23, 18, 12, 0, 0, time.UTC)
	folder, err := run.Create(run.ResultsDir, "attack", "1a2b3c4", start)
	if err != nil {
		t.Fatal(err)
	}
	w, err := folder.Records("overload")
	if err != nil {
		t.Fatal(err)
	}
	promise := limit.Limit{Capacity: 20, Rate: limit.Rate{Tokens: 5, Seconds: 1}}
	a := statstest.Attack{Start: start, Duration: time.Second, Limit: promise, Rate: func(float64) float64 { return 100 }}
	a.Each(func(r *record.Record) {
		if err := w.Append([]record.Record{*r}); err != nil {
			t.Fatal(err)
		}
	})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := folder.PutAttack(run.Attack{Plan: plan.Plan{Name: "overload", Limit: &promise}, Started: start}); err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestReportPrintsAndWrites(t *testing.T) {
	folder := recorded(t)
	var out, narrative bytes.Buffer
	if code := execute(context.Background(), []string{"report"}, nil, &out, &narrative); code != exitOK {
		t.Fatalf("weir report = %d, want 0: %s", code, &narrative)
	}
	if !strings.HasPrefix(out.String(), "NOT JUDGED") || !strings.Contains(out.String(), "overload") {
		t.Errorf("weir report prints:\n%s\nwant the verdict first, then the plan", &out)
	}
	page := filepath.Join(folder.Path, "report.html")
	if !strings.Contains(narrative.String(), page) {
		t.Errorf("weir report tells %q, want the path %s", &narrative, page)
	}
	if _, err := os.Stat(page); err != nil {
		t.Error(err)
	}

	out.Reset()
	if code := execute(context.Background(), []string{"report", folder.Path, "--format", "json"}, nil, &out, &narrative); code != exitOK {
		t.Fatalf("weir report --format json = %d, want 0: %s", code, &narrative)
	}
	if !json.Valid(out.Bytes()) {
		t.Error("weir report --format json prints no JSON")
	}
}

func TestReportRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no such run", []string{"report", "nope"}, exitUsage, `"nope"`},
		{"no run at all", []string{"report"}, exitUsage, "weir run"},
		{"unknown format", []string{"report", "--format", "pdf"}, exitUsage, "text, md, json, html"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			var out, narrative bytes.Buffer
			if code := execute(context.Background(), test.args, nil, &out, &narrative); code != test.code {
				t.Errorf("weir %s = %d, want %d", strings.Join(test.args, " "), code, test.code)
			}
			if !strings.Contains(narrative.String(), test.want) {
				t.Errorf("weir %s says %q, want %q in it", strings.Join(test.args, " "), &narrative, test.want)
			}
		})
	}
}
