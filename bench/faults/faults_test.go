package faults_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/bench/faults"
	"weir/bench/judge"
	"weir/bench/run"
)

// programs is the folder of weir and weir-api, built once.
var programs string

func TestMain(m *testing.M) { os.Exit(testMain(m)) } //nolint:forbidigo // this is a main

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "weir-faults-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programs = dir
	return m.Run()
}

// config builds the programs, or skips: no row means anything without them.
func config(t *testing.T) faults.Config {
	t.Helper()
	if testing.Short() {
		t.Skip("faults under real load take minutes; not in -short")
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("REQUIRE_REDIS") == "1" {
			t.Fatal("REQUIRE_REDIS=1, but redis-server is not in PATH (install redis-server)")
		}
		t.Skip("redis-server is not in PATH: left out what breaks a real Redis")
	}
	for name, source := range map[string]string{"weir": "weir/bench", "weir-api": "weir/api"} {
		path := filepath.Join(programs, name)
		if _, err := os.Stat(path); err == nil {
			continue
		}
		if out, err := exec.Command("go", "build", "-o", path, source).CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	folder, err := run.Create(t.TempDir(), "faults", "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return faults.Config{
		Folder: folder, Weir: filepath.Join(programs, "weir"), API: filepath.Join(programs, "weir-api"), Stderr: io.Discard,
	}
}

// Every row that takes under 30 s holds. A machine that holds up the load itself
// makes a proof about time inconclusive, which is said and is no failure.
func TestRows(t *testing.T) {
	c := config(t)
	atOnce := make(chan struct{}, 2)
	for _, row := range faults.Short(faults.Rows()) {
		t.Run(row.Name, func(t *testing.T) {
			t.Parallel()
			atOnce <- struct{}{}
			defer func() { <-atOnce }()
			result := faults.Carry(t.Context(), &row, c)
			for _, f := range result.Findings {
				switch f.Verdict {
				case judge.Broken:
					t.Errorf("%s: %s: %s", f.Verdict, f.Claim, f.Figure)
				case judge.Inconclusive:
					if strings.HasPrefix(f.Claim, "the row was carried out") {
						t.Errorf("%s: %s", f.Claim, f.Figure)
					}
					t.Logf("%s: %s: %s", f.Verdict, f.Claim, f.Figure)
				}
			}
			if t.Failed() {
				t.Log(logs(filepath.Join(c.Folder.Path, "logs", row.Name)))
			}
		})
	}
}

// logs are the ends of all logs of a row.
func logs(dir string) string {
	b := &strings.Builder{}
	paths, _ := filepath.Glob(filepath.Join(dir, "*.log")) // the pattern is right
	for _, path := range paths {
		text, _ := os.ReadFile(path) // it is only told
		fmt.Fprintf(b, "%s:\n%s\n", filepath.Base(path), text[max(0, len(text)-3000):])
	}
	return b.String()
}

// The proofs have teeth: where Redis never comes back, where a bucket is given
// away twice, each that should say so does.
func TestProofsHaveTeeth(t *testing.T) {
	t.Parallel()
	c := config(t)
	for _, tooth := range faults.Teeth() {
		t.Run(tooth.Name, func(t *testing.T) {
			result := faults.Carry(t.Context(), &tooth, c)
			if len(result.Findings) != len(tooth.Proofs) {
				t.Fatalf("%d findings of %d proofs: %+v", len(result.Findings), len(tooth.Proofs), result.Findings)
			}
			for _, f := range result.Findings {
				if f.Verdict == judge.Holds {
					t.Errorf("%s: holds (%s), though it cannot", f.Claim, f.Figure)
				}
			}
			if result.Verdict == judge.Holds {
				t.Error("the row holds, though none of its proofs can")
			}
		})
	}
}

func TestSelect(t *testing.T) {
	t.Parallel()
	all, err := faults.Select(nil)
	if err != nil || len(all) != len(faults.Rows()) {
		t.Errorf("Select() = %d rows, %v, want all %d", len(all), err, len(faults.Rows()))
	}
	some, err := faults.Select([]string{"redis-killed", "soak"})
	if err != nil || len(some) != 6 {
		t.Errorf("Select(redis-killed, soak) = %d rows, %v, want 6", len(some), err)
	}
	if _, err := faults.Select([]string{"nothing"}); err == nil || !strings.Contains(err.Error(), "redis-killed-closed") {
		t.Errorf("Select(nothing) = %v, want the names there are", err)
	}
	names := map[string]bool{}
	for _, row := range faults.Rows() {
		if names[row.Name] || row.Fault == "" || row.Must == "" || len(row.Proofs) == 0 && row.Do == nil {
			t.Errorf("row %q is there twice, or says or shows nothing", row.Name)
		}
		names[row.Name] = true
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	folder, err := run.Create(t.TempDir(), "faults", "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	results := []faults.Result{
		{Name: "one", Fault: "a|b", Must: "c", Verdict: judge.Holds, Findings: []faults.Finding{{Claim: "d", Verdict: judge.Holds, Figure: "e\nf"}}},
		{Name: "two", Verdict: judge.Broken},
	}
	if err := faults.Write(folder, results); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(folder.Path, "faults.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# Faults: 2 rows, 1 hold, 1 broken, 0 inconclusive", `| [one](#one) | a\|b | c | holds |`, "| d | holds | e f |"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("faults.md has no %q:\n%s", want, text)
		}
	}
	if text, err := os.ReadFile(filepath.Join(folder.Path, "faults.json")); err != nil || !strings.Contains(string(text), `"claim": "d"`) {
		t.Errorf("faults.json: %v\n%s", err, text)
	}
}
