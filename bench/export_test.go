package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"weir/bench/run"
)

// weir runs a command and returns what it said.
func weir(tb testing.TB, stdin string, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	tb.Helper()
	code = execute(tb.Context(), args, strings.NewReader(stdin), &out, &err)
	return code, out.String(), err.String()
}

func recording(tb testing.TB) string {
	tb.Helper()
	var out bytes.Buffer
	encode := vegeta.NewEncoder(&out)
	for i, attack := range []string{"a", "a", "b/c", ""} {
		code := uint16(200)
		if i == 1 {
			code = 429
		}
		err := encode(&vegeta.Result{
			Attack: attack, Seq: uint64(i), Code: code, Timestamp: time.Unix(1795457520, int64(i)+7), Latency: time.Millisecond,
			Method: "GET", URL: "http://127.0.0.1:8000/items?user=u1",
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	return out.String()
}

func TestImportThenExport(t *testing.T) {
	t.Parallel()
	results := t.TempDir()
	code, stdout, stderr := weir(t, recording(t), "import", "-", "--limit", "5/s,capacity=20", "--key-query", "user", "--out", results)
	if code != exitOK {
		t.Fatalf("import: exit %d: %s", code, stderr)
	}
	path := strings.TrimSpace(stdout)
	folder, err := run.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	m := folder.Manifest()
	if m.Ended.IsZero() || len(m.Attacks) != 3 {
		t.Fatalf("manifest %+v, want an ended run of 3 attacks", m)
	}
	for i, want := range []struct {
		name string
		done int64
	}{{"a", 2}, {"b-c", 1}, {"import", 1}} {
		a := m.Attacks[i]
		if a.Plan.Name != want.name || a.Counts.Done != want.done || a.Engine != "import" || a.Plan.Limit == nil || a.Plan.Limit.Capacity != 20 {
			t.Errorf("attack %d is %+v, want %s with %d records and its limit", i, a, want.name, want.done)
		}
	}

	code, stdout, stderr = weir(t, "", "export", path, "--format", "vegeta-json", "--plan", "a")
	if code != exitOK || strings.Count(stdout, "\n") != 2 || !strings.Contains(stdout, `"code":429`) || !strings.Contains(stdout, "u1") {
		t.Errorf("export of plan a: exit %d, %s, %s", code, stdout, stderr)
	}
	file := filepath.Join(results, "all.gob")
	if code, _, stderr = weir(t, "", "export", path, "--format", "vegeta-gob", "-o", file); code != exitOK {
		t.Errorf("export to a file: exit %d: %s", code, stderr)
	}
	code, stdout, stderr = weir(t, "", "import", file, "--plan", "again", "--out", results)
	if code != exitOK {
		t.Fatalf("import of the export: exit %d: %s", code, stderr)
	}
	again, err := run.Open(strings.TrimSpace(stdout))
	if err != nil {
		t.Fatal(err)
	}
	if a, ok := again.Attack("again"); !ok || a.Counts.Done != 4 {
		t.Errorf("imported again: %+v, want one plan of 4 records", again.Manifest().Attacks)
	}
}

func TestImportAndExportRefuse(t *testing.T) {
	t.Parallel()
	results := t.TempDir()
	_, stdout, _ := weir(t, recording(t), "import", "-", "--out", results)
	path := strings.TrimSpace(stdout)
	for _, test := range []struct {
		name, stdin string
		args        []string
		code        int
		says        string
	}{
		{"a run that is none", "", []string{"export", results}, exitUsage, "manifest.json"},
		{"a plan that is none", "", []string{"export", path, "--plan", "z"}, exitUsage, "it has a, b-c, import"},
		{"a format that is none", "", []string{"export", path, "--format", "xml"}, exitUsage, "vegeta-gob"},
		{"an output that cannot be", "", []string{"export", path, "-o", "/dev/null/x"}, exitFailed, "/dev/null/x"},
		{"a file that is missing", "", []string{"import", filepath.Join(results, "none")}, exitUsage, "none"},
		{"a limit that is none", "", []string{"import", "-", "--limit", "fast"}, exitUsage, "fast"},
		{"prose", "once upon a time\n", []string{"import", "-", "--out", results}, exitUsage, "stdin"},
		{"a bad line", "sent_ns,done_ns,outcome\nx,2,admitted\n\n", []string{"import", "-", "--out", results}, exitFailed, "stdin line 2"},
		{"no request", "sent_ns,done_ns,outcome\n", []string{"import", "-", "--out", results}, exitFailed, "no request"},
		{"results that cannot be", recording(t), []string{"import", "-", "--out", "/dev/null/x"}, exitFailed, "--out"},
	} {
		code, _, stderr := weir(t, test.stdin, test.args...)
		if code != test.code || !strings.Contains(stderr, test.says) {
			t.Errorf("%s: exit %d, %q; want %d and a word of %q", test.name, code, stderr, test.code, test.says)
		}
	}
	if runs, err := run.List(results); len(runs) != 1 || err != nil {
		t.Errorf("%d runs (%v) after the refusals, want the 1 from before", len(runs), err)
	}
}
