package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/bench/judge"
	"weir/bench/plan"
	"weir/bench/progress"
	"weir/bench/report"
	"weir/bench/run"
	"weir/bench/stack"
)

// runOptions are the flags of weir run.
type runOptions struct {
	quick bool
	only  []string
	out   string
	seed  int64
	noK6  bool
}

func newRunCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Attack the limited API with the standard suite and report what held",
		Long: `Attack the limited API with the standard suite, judge every plan's records, and write a report.

Everything it needs it starts, on free loopback ports, and stops again: the Redis that REDIS_URL names,
otherwise a private redis-server or valkey-server from PATH, otherwise one inside weir; weir-api, which
stands beside weir or is built from the source around; and k6 for the plans that are k6's.

Ctrl-C stops the load and still reports what was done; a second one leaves at once.

Plans:
` + planTable(),
		Example: `  weir run --quick
  weir run --only overload,shared --seed 7`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runSuite(cmd, &o)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.quick, "quick", false, "short plans: within a minute instead of three")
	flags.StringSliceVar(&o.only, "only", nil, "only these plans, by name, with commas")
	flags.StringVar(&o.out, "out", run.ResultsDir, "folder of all runs; this one gets a folder in it, and the link latest")
	flags.Int64Var(&o.seed, "seed", 1, "seed of arrivals and keys")
	flags.BoolVar(&o.noK6, "no-k6", false, "leave out the plans of k6")
	return cmd
}

// planTable lists the standard plans for the help text.
func planTable() string {
	b := &strings.Builder{}
	for _, entry := range plan.Standard(1, false) {
		fmt.Fprintf(b, "  %-12s %s\n", entry.Plan.Name, entry.Plan.Question)
	}
	return strings.TrimRight(b.String(), "\n")
}

// suiteName is the suite in the manifest and in the folder's name.
func (o *runOptions) suiteName() string {
	if o.quick {
		return "quick"
	}
	return "standard"
}

// choose returns the plans to carry out, and what to note about the others.
func (o *runOptions) choose(k6 *k6Program) (entries []plan.Entry, notes []string, err error) {
	entries = plan.Standard(o.seed, o.quick)
	names := make([]string, len(entries))
	for i := range entries {
		names[i] = entries[i].Plan.Name
	}
	for _, name := range o.only {
		if !slices.Contains(names, name) {
			return nil, nil, usageError("unknown plan %q in --only (want some of %s)", name, strings.Join(names, ", "))
		}
	}
	if len(o.only) > 0 {
		entries = slices.DeleteFunc(entries, func(e plan.Entry) bool { return !slices.Contains(o.only, e.Plan.Name) })
	}
	kept := slices.DeleteFunc(slices.Clone(entries), func(e plan.Entry) bool { return k6 == nil && e.Scenario != "" })
	if left := len(entries) - len(kept); left > 0 {
		reason := "--no-k6 was given"
		if !o.noK6 {
			reason = "there is no k6 beside weir (`make build-all` builds it)"
		}
		notes = append(notes, fmt.Sprintf("k6: %d of the plans left out, because %s", left, reason))
	}
	if len(kept) == 0 {
		return nil, nil, usageError("no plan is left to carry out: %s", strings.Join(notes, ""))
	}
	return kept, notes, nil
}

// runSuite carries out the suite, judges and reports it. When ctx is done it
// stops the load and reports what there is.
func runSuite(cmd *cobra.Command, o *runOptions) error {
	ctx, stderr := cmd.Context(), cmd.ErrOrStderr()
	var k6 *k6Program
	if !o.noK6 {
		k6 = findK6()
	}
	entries, notes, err := o.choose(k6)
	if err != nil {
		return err
	}
	folder, err := run.Create(o.out, o.suiteName(), buildCommit(), time.Now())
	if err != nil {
		return err
	}
	if err := folder.Update(func(m *run.Manifest) { m.Command, m.Seed, m.Notes = repeating(cmd), o.seed, notes }); err != nil {
		return err
	}
	for _, note := range notes {
		fmt.Fprintln(stderr, "weir:", note)
	}
	s := &suite{folder: folder, entries: entries, k6: k6, stderr: stderr}
	failure := s.carryOut(ctx)
	interrupted := ctx.Err() != nil
	if err := folder.Update(func(m *run.Manifest) {
		m.Ended, m.Interrupted = time.Now(), interrupted
		if failure != nil && !interrupted {
			m.Notes = append(m.Notes, "the run failed: "+failure.Error())
		}
	}); err != nil {
		return err
	}
	// The report of what was done is owed also to somebody who pressed Ctrl-C.
	verdicts, err := reportRun(context.WithoutCancel(ctx), folder, cmd.OutOrStdout(), stderr)
	switch {
	case failure != nil && !interrupted:
		return failure
	case interrupted && errors.Is(err, report.ErrNoRecords):
		return &exitError{exitInconclusive, errors.New("interrupted before anything was recorded")}
	case err != nil:
		return err
	}
	return s.outcome(verdicts, interrupted)
}

// reportRun judges a run, writes its report, and prints summary and path.
func reportRun(ctx context.Context, folder *run.Folder, stdout, stderr io.Writer) ([]judge.Verdict, error) {
	verdicts, err := judgeRun(folder)
	if err != nil {
		return nil, err
	}
	bar := progress.Start(stderr, "report", records(folder))
	written, err := report.Write(ctx, folder, verdicts, bar)
	bar.Done()
	if err != nil {
		return nil, err
	}
	if err := written.WriteText(stdout); err != nil {
		return nil, fmt.Errorf("print the summary: %w", err)
	}
	fmt.Fprintf(stdout, "\nreport: %s\n", shownPath(written.Files[0]))
	return verdicts, nil
}

// startStack starts what the suite needs, with logs in the run's folder.
func startStack(ctx context.Context, folder *run.Folder) (*stack.Stack, error) {
	logs := filepath.Join(folder.Path, "logs")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return nil, fmt.Errorf("make folder of logs: %w", err)
	}
	st, err := stack.Start(ctx, stack.Config{LogDir: logs})
	if err != nil {
		return nil, err
	}
	if err := folder.Update(func(m *run.Manifest) {
		m.Store = st.Store()
		m.Notes = append(st.Notes(), m.Notes...)
	}); err != nil {
		st.Close()
		return nil, err
	}
	return st, nil
}
