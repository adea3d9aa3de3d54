package faults

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"weir/bench/judge"
	"weir/bench/run"
)

// Write writes faults.md and faults.json into the run's folder.
func Write(folder *run.Folder, results []Result) error {
	if err := folder.WriteFile("faults.md", func(w io.Writer) error { return WriteMarkdown(w, folder, results) }); err != nil {
		return fmt.Errorf("write the table of faults: %w", err)
	}
	err := folder.WriteFile("faults.json", func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(results)
	})
	if err != nil {
		return fmt.Errorf("write the table of faults: %w", err)
	}
	return nil
}

// WriteMarkdown writes the table, and under it what was found.
func WriteMarkdown(w io.Writer, folder *run.Folder, results []Result) error {
	m := folder.Manifest()
	b := &strings.Builder{}
	fmt.Fprintf(b, "# Faults: %s\n\n", Summary(results))
	fmt.Fprintf(b, "weir %s on %s, %s, %d cores, %s. Records, one folder for each row, and logs are beside this file; `weir check %s --plan ROW` judges a row again.\n\n",
		m.Commit, m.Host.OS, m.Host.CPU, m.Host.Cores, m.Host.Go, folder.Name())
	b.WriteString("| row | fault | must show | verdict |\n|---|---|---|---|\n")
	for i := range results {
		r := &results[i]
		fmt.Fprintf(b, "| [%s](#%s) | %s | %s | %s |\n", r.Name, r.Name, cell(r.Fault), cell(r.Must), r.Verdict)
	}
	for i := range results {
		r := &results[i]
		fmt.Fprintf(b, "\n## %s\n\n%s. %.1f s, **%s**.\n\n| claim | verdict | figure |\n|---|---|---|\n", r.Name, r.Fault, r.Seconds, r.Verdict)
		for _, f := range r.Findings {
			fmt.Fprintf(b, "| %s | %s | %s |\n", cell(f.Claim), f.Verdict, cell(f.Figure))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err //nolint:wrapcheck // the caller knows where it writes
}

// cell makes text fit a cell of a Markdown table.
func cell(text string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ", "<", "&lt;").Replace(text)
}

// Summary counts the verdicts, e.g. "12 rows, 11 hold, 0 broken, 1 inconclusive".
func Summary(results []Result) string {
	n := Count(results)
	return fmt.Sprintf("%d rows, %d hold, %d broken, %d inconclusive", len(results), n[judge.Holds], n[judge.Broken], n[judge.Inconclusive])
}

// Count counts the verdicts.
func Count(results []Result) map[string]int {
	n := map[string]int{}
	for i := range results {
		n[results[i].Verdict]++
	}
	return n
}
