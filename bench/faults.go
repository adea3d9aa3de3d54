package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"weir/bench/faults"
	"weir/bench/judge"
	"weir/bench/run"
)

// faultOptions are the flags of weir faults.
type faultOptions struct {
	only  []string
	short bool
	soak  time.Duration
	list  bool
	out   string
}

func newFaultsCommand() *cobra.Command {
	var o faultOptions
	cmd := &cobra.Command{
		Use:   "faults",
		Short: "Break Redis, the API and weir itself on purpose, and show what happens",
		Long: `Break Redis, the limited API and weir itself on purpose, under load, and show what happens: a table with the evidence.

Everything is started here, on free loopback ports, and stopped again. The table is printed and written to faults.md and
faults.json in a folder of its own under results, beside the records and logs. What cannot be done on this machine is
inconclusive, and says why.

Exit codes: 0 all hold · 3 one is broken · 4 one is inconclusive · 2 wrong usage · 1 weir failed`,
		Example: `  weir faults
  weir faults --only redis-killed,replies-lost
  weir faults --only soak --soak 10m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runFaults(cmd, &o) },
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&o.only, "only", nil, "only the rows whose names begin so, with commas")
	flags.BoolVar(&o.short, "short", false, "leave out the rows that take over 30 s")
	flags.DurationVar(&o.soak, "soak", 0, "how long to soak as well, e.g. 10m; 0 leaves the soak out unless --only names it")
	flags.BoolVar(&o.list, "list", false, "list the rows and do nothing")
	flags.StringVar(&o.out, "out", run.ResultsDir, "folder of all runs; this one gets a folder in it")
	return cmd
}

func runFaults(cmd *cobra.Command, o *faultOptions) error {
	ctx, stderr := cmd.Context(), cmd.ErrOrStderr()
	rows, err := faults.Select(o.only)
	if err != nil {
		return usageError("--only: %w", err)
	}
	if o.list {
		table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		for i := range rows {
			fmt.Fprintf(table, "%s\t%s\n", rows[i].Name, rows[i].Fault)
		}
		return table.Flush()
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find weir: %w", err)
	}
	api := filepath.Join(filepath.Dir(self), "weir-api")
	if _, err := os.Stat(api); err != nil {
		return fmt.Errorf("no weir-api beside weir: %w (run `make build`)", err)
	}
	folder, err := run.Create(o.out, "faults", buildCommit(), time.Now())
	if err != nil {
		return err
	}
	if err := folder.Update(func(m *run.Manifest) { m.Command, m.Seed = strings.Join(os.Args, " "), 1 }); err != nil {
		return err
	}
	if o.short {
		rows = faults.Short(rows)
	}
	if o.soak == 0 && len(o.only) == 0 {
		rows = faults.WithoutSoak(rows)
	}
	results, failure := faults.Run(ctx, rows, faults.Config{Folder: folder, Weir: self, API: api, Stderr: stderr, Soak: o.soak})
	interrupted := ctx.Err() != nil
	if err := folder.Update(func(m *run.Manifest) { m.Ended, m.Interrupted = time.Now(), interrupted }); err != nil {
		return err
	}
	if failure != nil && !interrupted {
		return failure
	}
	if err := faults.WriteMarkdown(cmd.OutOrStdout(), folder, results); err != nil {
		return err
	}
	fmt.Fprintln(stderr, "weir: table:", filepath.Join(shownPath(folder.Path), "faults.md"))
	switch n := faults.Count(results); {
	case n[judge.Broken] > 0:
		return &exitError{exitFellShort, errors.New(faults.Summary(results))}
	case interrupted:
		return &exitError{exitInconclusive, errors.New("interrupted before all was done")}
	case n[judge.Inconclusive] > 0:
		return &exitError{exitInconclusive, errors.New(faults.Summary(results))}
	}
	return nil
}
