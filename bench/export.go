package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"weir/bench/progress"
	"weir/bench/record"
	"weir/bench/record/convert"
	"weir/bench/run"
)

func newExportCommand() *cobra.Command {
	var format, planName, out string
	cmd := &cobra.Command{
		Use:   "export RUN",
		Short: "Write a run's records as vegeta's results or as CSV",
		Long: `Write a run's records as vegeta's results (gob, CSV or JSON) or as CSV with weir's own columns.

Each plan becomes one vegeta attack. A result lasts from sent to done, as vegeta itself would have measured
it; the quota headers, the key and the planned instant travel in the result's headers, so weir import gives
them back.`,
		Example: `  weir export latest --format vegeta-gob | vegeta report
  weir export latest --format vegeta-gob --plan overload | vegeta plot > plot.html
  weir export latest --format csv -o records.csv`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(convert.Outputs, format) {
				return usageError("unknown --format %q (want one of %s)", format, strings.Join(convert.Outputs, ", "))
			}
			folder, err := run.Open(args[0])
			if err != nil {
				return usageError("%w", err)
			}
			total, err := exportTotal(folder, planName)
			if err != nil {
				return err
			}
			write := func(w io.Writer) error { return exportRun(w, cmd.ErrOrStderr(), folder, format, planName, total) }
			if out != "-" {
				return run.WriteFile(filepath.Clean(out), write)
			}
			if stdout, ok := cmd.OutOrStdout().(*os.File); ok && format == convert.VegetaGob && term.IsTerminal(int(stdout.Fd())) {
				return usageError("%s is not for a terminal's eyes: pipe it (| vegeta report) or give -o FILE", format)
			}
			return write(cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&format, "format", convert.CSV, "one of "+strings.Join(convert.Outputs, ", "))
	flags.StringVar(&planName, "plan", "", "only the records of this plan (default all)")
	flags.StringVarP(&out, "output", "o", "-", "file to write, - for stdout")
	return cmd
}

// exportTotal is how many records there are to export, or 0 where the manifest
// does not tell.
func exportTotal(folder *run.Folder, planName string) (total int64, err error) {
	var names []string
	found := planName == ""
	for _, attack := range folder.Manifest().Attacks {
		names = append(names, attack.Plan.Name)
		if planName == "" || planName == attack.Plan.Name {
			found = true
			total += attack.Counts.Done
		}
	}
	if !found {
		return 0, usageError("run %s has no plan %q (it has %s)", folder.Name(), planName, strings.Join(names, ", "))
	}
	return total, nil
}

func exportRun(w, stderr io.Writer, folder *run.Folder, format, planName string, total int64) error {
	bar := progress.Start(stderr, "export "+folder.Name(), total)
	defer bar.Done()
	open := func() (*record.Reader, error) { return folder.OpenRecords(planName) }
	damaged, err := convert.Export(w, format, open, func(written int64) {
		bar.Set(written, fmt.Sprintf("%d records", written))
	})
	for _, damage := range damaged {
		fmt.Fprintln(stderr, "weir: warning:", damage)
	}
	return err
}
