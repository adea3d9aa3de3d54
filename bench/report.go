package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"weir/bench/judge"
	"weir/bench/progress"
	"weir/bench/report"
	"weir/bench/run"
)

func newReportCommand() *cobra.Command {
	format := "text"
	cmd := &cobra.Command{
		Use:   "report [RUN]",
		Short: "Write a run's report again, and print it",
		Long: `Reads the records and verdicts of a run, writes report.html, report.md, report.json, benchmarks.txt and plots/ into
its folder, and prints the report. RUN is the folder of a run, its name in results/, or "latest" (the default).`,
		Example: "  weir report\n  weir report results/latest --format json | jq .verdict",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := run.Latest
			if len(args) > 0 {
				path = args[0]
			}
			return rewriteReport(cmd, path, format)
		},
	}
	cmd.Flags().StringVar(&format, "format", format, "what to print: "+strings.Join(report.Formats, ", "))
	return cmd
}

// rewriteReport writes the report of an old run again and prints it.
func rewriteReport(cmd *cobra.Command, path, format string) error {
	if !report.KnownFormat(format) {
		return usageError("--format %q: unknown format (want %s)", format, strings.Join(report.Formats, ", "))
	}
	folder, err := run.Open(path)
	if err != nil {
		if path == run.Latest {
			return usageError("%w; start one with `weir run` or `weir attack`", err)
		}
		return usageError("%w", err)
	}
	verdicts, err := report.Verdicts(folder)
	if err != nil {
		return err
	}
	r, err := writeReport(cmd.Context(), folder, verdicts, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	if err := r.WriteFormat(cmd.OutOrStdout(), format); err != nil {
		return fmt.Errorf("print report: %w", err)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "report: %s\n", shownPath(r.Files[0]))
	return nil
}

// writeReport writes the files of a report, with progress.
func writeReport(ctx context.Context, folder *run.Folder, verdicts []judge.Verdict, stderr io.Writer) (*report.Report, error) {
	bar := progress.Start(stderr, "report", records(folder))
	defer bar.Done()
	return report.Write(ctx, folder, verdicts, bar)
}

// records is how many records a run has, as far as its manifest knows.
func records(folder *run.Folder) int64 {
	total := int64(0)
	for _, a := range folder.Manifest().Attacks {
		total += a.Counts.Done
	}
	return total
}

// shownPath is the path as a person would type it from here.
func shownPath(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	whole, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if local, err := filepath.Rel(here, whole); err == nil && filepath.IsLocal(local) {
		return local
	}
	return path
}
