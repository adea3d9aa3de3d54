package report

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"weir/bench/judge"
	"weir/bench/progress"
	"weir/bench/run"
)

// Write builds the report of a run and writes its files into the run's folder:
// report.html, report.md, report.json, benchmarks.txt, and for each plan a folder
// under plots. Each file is replaced whole or not at all.
func Write(ctx context.Context, folder *run.Folder, verdicts []judge.Verdict, bar *progress.Bar) (*Report, error) {
	r, err := Build(ctx, folder, verdicts, bar)
	if err != nil {
		return nil, err
	}
	for _, f := range r.files() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		path := filepath.Join(folder.Path, f.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, fmt.Errorf("write report: %w", err)
		}
		err := folder.WriteFile(f.name, func(w io.Writer) error {
			buffered := bufio.NewWriter(w)
			if err := f.write(buffered); err != nil {
				return err
			}
			return buffered.Flush()
		})
		if err != nil {
			return nil, err
		}
		r.Files = append(r.Files, path)
	}
	return r, nil
}

// A file is one file of a report.
type file struct {
	name  string // within the run's folder
	write func(io.Writer) error
}

func (r *Report) files() []file {
	files := []file{
		{"report.html", r.WriteHTML},
		{"report.md", r.WriteMarkdown},
		{"report.json", r.WriteJSON},
		{"benchmarks.txt", r.WriteBenchmarks},
	}
	for i := range r.Plans {
		p := &r.Plans[i]
		if p.Records == 0 {
			continue
		}
		dir := filepath.Join("plots", fileName(p.Name))
		for _, kind := range p.plots() {
			files = append(files, file{filepath.Join(dir, kind.file+".svg"), func(w io.Writer) error { return p.writeSVG(w, kind) }})
		}
		files = append(files, file{filepath.Join(dir, "plot.html"), p.writeVegeta})
	}
	return files
}

// WriteJSON writes the report as one JSON object, see [Report].
func (r *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(r)
}

// Formats are the forms that WriteFormat knows.
var Formats = []string{"text", "md", "json", "html"}

// KnownFormat says whether WriteFormat knows a form.
func KnownFormat(format string) bool { return slices.Contains(Formats, format) }

// WriteFormat writes the report in one of Formats.
func (r *Report) WriteFormat(w io.Writer, format string) error {
	switch format {
	case "text":
		return r.WriteText(w)
	case "md":
		return r.WriteMarkdown(w)
	case "json":
		return r.WriteJSON(w)
	case "html":
		return r.WriteHTML(w)
	}
	return fmt.Errorf("unknown format %q (want %s)", format, strings.Join(Formats, ", "))
}

// Verdicts reads the verdicts in a run's folder: those of verdict.json, one or
// a list, none when nobody has judged the run yet.
func Verdicts(folder *run.Folder) ([]judge.Verdict, error) {
	name := filepath.Join(folder.Path, "verdict.json")
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read verdicts: %w", err)
	}
	var verdicts []judge.Verdict
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) { // one verdict alone
		verdicts = make([]judge.Verdict, 1)
		err = json.Unmarshal(text, &verdicts[0])
	} else {
		err = json.Unmarshal(text, &verdicts)
	}
	if err != nil {
		return nil, fmt.Errorf("read verdicts %s: %w (delete it and judge the run again with `weir check`)", name, err)
	}
	return verdicts, nil
}
