package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/api/limit"
	"weir/bench/judge"
	"weir/bench/plan"
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

	// one k6 scenario in place of the suite
	scenario string
	limit    limit.Limit
	duration time.Duration
}

// defaultLimit is the limited API's own default.
var defaultLimit = limit.Limit{Capacity: 20, Rate: limit.Rate{Tokens: 5, Seconds: 1}}

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
  weir run --only overload,shared --seed 7
  weir run --scenario soak --duration 1m --limit 50/s,capacity=50`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, other := range []string{"only", "quick", "no-k6"} {
				if o.scenario != "" && cmd.Flags().Changed(other) {
					return usageError("--scenario and --%s exclude each other", other)
				}
			}
			return runSuite(cmd, &o)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.quick, "quick", false, "short plans: within a minute instead of three")
	flags.StringSliceVar(&o.only, "only", nil, "only these plans, by name, with commas")
	flags.StringVar(&o.out, "out", run.ResultsDir, "folder of all runs; this one gets a folder in it, and the link latest")
	flags.Int64Var(&o.seed, "seed", 1, "seed of arrivals and keys")
	flags.BoolVar(&o.noK6, "no-k6", false, "leave out the plans of k6")
	flags.StringVar(&o.scenario, "scenario", "", "one k6 `SCENARIO` in place of the suite, e.g. soak (k6/README.md has them)")
	flags.TextVar(&o.limit, "limit", defaultLimit, "what the API promises each key, with --scenario")
	flags.DurationVar(&o.duration, "duration", 0, "how long, with --scenario (default the scenario's own)")
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
	switch {
	case o.scenario != "":
		return "k6-" + o.scenario
	case o.quick:
		return "quick"
	}
	return "standard"
}

// chooseScenario returns the one scenario that was asked for.
func (o *runOptions) chooseScenario(k6 *k6Program) ([]plan.Entry, error) {
	if k6 == nil {
		return nil, usageError("--scenario needs k6 beside weir (`make build-all` builds it)")
	}
	asked, err := k6.questions()
	if err != nil {
		return nil, err
	}
	question, there := asked[o.scenario]
	switch {
	case !there:
		return nil, usageError("--scenario %q: unknown (want one of %s)", o.scenario, strings.Join(slices.Sorted(maps.Keys(asked)), ", "))
	case o.duration < 0:
		return nil, usageError("--duration %s: want more than 0s", o.duration)
	}
	return []plan.Entry{plan.Scenario(o.scenario, question, o.limit, o.duration, o.seed)}, nil
}

// choose returns the plans to carry out, and what to note about the others.
func (o *runOptions) choose(k6 *k6Program) (entries []plan.Entry, notes []string, err error) {
	if o.scenario != "" {
		entries, err = o.chooseScenario(k6)
		return entries, nil, err
	}
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
	verdicts, err := reportRun(context.WithoutCancel(ctx), folder, stderr, func(written *report.Report) error {
		if err := written.WriteText(cmd.OutOrStdout()); err != nil {
			return fmt.Errorf("print the summary: %w", err)
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "\nreport: %s\n", shownPath(written.Files[0]))
		return err
	})
	switch {
	case failure != nil && !interrupted:
		return failure
	case interrupted && errors.Is(err, report.ErrNoRecords):
		return &exitError{exitInconclusive, errors.New("interrupted before anything was recorded")}
	case err != nil:
		return err
	}
	return outcome(verdicts, s.missed, interrupted)
}

// reportRun judges a run, writes its report, and has it shown.
func reportRun(ctx context.Context, folder *run.Folder, stderr io.Writer, show func(*report.Report) error) ([]judge.Verdict, error) {
	verdicts, err := judgeRun(folder)
	if err != nil {
		return nil, err
	}
	written, err := writeReport(ctx, folder, verdicts, stderr)
	if err != nil {
		return nil, err
	}
	return verdicts, show(written)
}

// outcome turns the verdicts into a command's end: the worst counts. Missed are
// thresholds of k6, each with its plan.
func outcome(verdicts []judge.Verdict, missed []string, interrupted bool) error {
	named := map[string][]string{}
	for i := range verdicts {
		v := &verdicts[i]
		named[v.Verdict] = append(named[v.Verdict], v.Plan)
	}
	switch broken, unclear := named[judge.Broken], named[judge.Inconclusive]; {
	case len(broken) > 0:
		return &exitError{exitFellShort, fmt.Errorf("the limit is broken in %s", strings.Join(broken, ", "))}
	case len(missed) > 0:
		return &exitError{exitFellShort, fmt.Errorf("k6 missed thresholds: %s", strings.Join(missed, "; "))}
	case interrupted:
		return &exitError{exitInconclusive, errors.New("interrupted before all was done")}
	case len(unclear) > 0:
		return &exitError{exitInconclusive, fmt.Errorf("inconclusive: %s", strings.Join(unclear, ", "))}
	}
	return nil
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
