package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"weir/api/limit"
	"weir/bench/judge"
	"weir/bench/record"
	"weir/bench/record/convert"
	"weir/bench/run"
)

// checking is the command line of weir check.
type checking struct {
	limit       *limit.Limit // nil: as the run's plans promise
	plan        string
	cost        int64
	fresh, json bool
	granularity time.Duration
	tick        time.Duration
	drift       int64
	input       convert.Options
	plain       bool // nothing was asked for but the run's own promises
	stdin       io.Reader
	stdout      io.Writer
	stderr      io.Writer
}

func newCheckCommand() *cobra.Command {
	var c checking
	var promise string
	cmd := &cobra.Command{
		Use:   "check RUN|FILE|-",
		Short: "Judge a run or a recording: did the limit hold?",
		Long: `Judge a run of weir, or a recording that vegeta or k6 made, against a limit. A limit is RATE/UNIT[,capacity=N];
units are s, m and h, and the capacity defaults to the number before the slash. A run of weir knows its limits.

What is proved, for each key alone:
  over-admission       more was admitted in some window than capacity + rate × its length
  wrongful throttling  a request was throttled although its tokens were there whenever it was decided
  Retry-After          the promised wait is too short, or a client that waited was throttled again
  headers              what answers say is left cannot be

A correct limiter is never accused, whatever the latencies. For that, the limiter's clock may stand still for --tick
and differ in speed by --drift, and a failed request may have been charged or not. Over-admission by less than one
request can pass unseen when requests overlap; where answers carry X-RateLimit-Decided-At and --fresh is true, nothing does.

A load that never passed the limit proves little: it is inconclusive, unless a plan of weir asked for it.

Exit codes: 0 holds · 3 broken · 4 inconclusive · 2 wrong usage · 1 weir failed`,
		Example: `  weir check latest
  vegeta attack -rate 50 -duration 10s < targets | weir check - --limit 5/s,capacity=20
  weir check out.json --limit 100/m,capacity=100 --key-header X-API-Key`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.stdin, c.stdout, c.stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			if promise != "" {
				l, err := limit.Parse(promise)
				if err != nil {
					return usageError("--limit: %w", err)
				}
				c.limit = &l
			}
			if err := c.validate(); err != nil {
				return err
			}
			c.plain = !slices.ContainsFunc([]string{"limit", "plan", "cost", "fresh", "granularity", "tick", "drift", "throttle-status"}, cmd.Flags().Changed)
			return c.check(args[0])
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&promise, "limit", "", "what the API promises each key, e.g. 5/s,capacity=20 (default what the run's plans promise)")
	flags.StringVar(&c.input.KeyHeader, "key-header", "", "header of vegeta's recorded answers, or tag of k6's samples, that tells clients apart")
	flags.StringVar(&c.input.KeyQuery, "key-query", "", "query parameter of the URL that tells clients apart")
	flags.StringVar(&c.input.Format, "format", convert.Auto, "one of "+strings.Join(convert.Inputs, ", "))
	flags.IntSliceVar(&c.input.Throttle, "throttle-status", nil, "statuses that mean throttled (default 429, or the run's)")
	flags.BoolVar(&c.fresh, "fresh", false, "every key's bucket was full before its first request")
	flags.Int64Var(&c.cost, "cost", 0, "tokens that each request takes (default 1, or the run's)")
	flags.StringVar(&c.plan, "plan", "", "judge this plan only")
	flags.DurationVar(&c.granularity, "granularity", 0, "recorded instants are rounded to this (default what the recording's digits show)")
	flags.DurationVar(&c.tick, "tick", judge.DefaultTick, "the limiter's clock stands still for at most so long")
	flags.Int64Var(&c.drift, "drift", judge.DefaultDrift, "the limiter's clock and the recorder's differ in speed by at most so many parts in a million")
	flags.BoolVar(&c.json, "json", false, "print the verdict as JSON")
	return cmd
}

func (c *checking) validate() error {
	switch {
	case c.cost < 0:
		return usageError("--cost %d is negative", c.cost)
	case c.granularity < 0 || c.tick < 0:
		return usageError("--granularity and --tick cannot be negative")
	case c.drift < 0 || c.drift > 100_000:
		return usageError("--drift %d: want 0 to 100000 parts in a million", c.drift)
	case !slices.Contains(convert.Inputs, c.input.Format):
		return usageError("unknown --format %q (want one of %s)", c.input.Format, strings.Join(convert.Inputs, ", "))
	}
	return nil
}

func (c *checking) check(path string) error {
	folder, err := c.openRun(path)
	if err != nil {
		return usageError("%w", err)
	}
	var verdicts []*judge.Verdict
	if folder != nil {
		verdicts, err = c.checkRun(folder)
	} else {
		verdicts, err = c.checkRecording(path)
	}
	if err != nil {
		return err
	}
	if folder != nil && c.plain {
		// Whoever may read a run may not be allowed to write into it.
		if err := judge.Write(folder, verdicts); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	worst := judge.Worst(verdicts)
	if c.json {
		err = judge.WriteJSON(c.stdout, verdicts)
	} else {
		err = writeVerdicts(c.stdout, verdicts, worst)
	}
	if err != nil {
		return err
	}
	switch worst.Verdict {
	case judge.Broken:
		return &exitError{exitFellShort, errors.New("the limit is broken")}
	case judge.Inconclusive:
		return &exitError{exitInconclusive, errors.New("the records do not tell whether the limit holds")}
	}
	return nil
}

// openRun opens the run at path, nil when path is a recording.
func (c *checking) openRun(path string) (*run.Folder, error) {
	if path == "-" {
		return nil, nil
	}
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		return nil, nil
	}
	folder, runErr := run.Open(path)
	if runErr == nil {
		return folder, nil
	}
	if err != nil {
		if _, err := os.Stat(filepath.Join(run.ResultsDir, path)); err == nil {
			return nil, runErr
		}
		return nil, fmt.Errorf("no recording and no run %q (want a file, the folder of a run, its name in %s/, %q, or - for stdin)", path, run.ResultsDir, run.Latest)
	}
	if _, err := os.Stat(filepath.Join(path, "manifest.json")); errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a folder of segments
	}
	return nil, runErr
}

func (c *checking) checkRun(folder *run.Folder) ([]*judge.Verdict, error) {
	attacks := folder.Manifest().Attacks
	promised := slices.ContainsFunc(attacks, func(a run.Attack) bool { return a.Plan.Limit != nil })
	var verdicts []*judge.Verdict
	var names []string
	for _, a := range attacks {
		names = append(names, a.Plan.Name)
		switch {
		case c.plan != "" && a.Plan.Name != c.plan:
			continue
		case c.limit != nil && (a.Plan.Limit != nil || !promised || c.plan != ""):
			a.Plan.Limit = c.limit
		case a.Plan.Limit == nil:
			continue
		}
		v, err := c.checkAttack(folder, &a)
		if err != nil {
			return nil, err
		}
		verdicts = append(verdicts, v)
	}
	switch {
	case len(verdicts) > 0:
		return verdicts, nil
	case c.plan != "" && !slices.Contains(names, c.plan):
		return nil, usageError("no plan %q in %s (want one of %s)", c.plan, folder.Path, strings.Join(names, ", "))
	}
	return nil, usageError("no plan of %s promises a limit: give one with --limit, e.g. --limit 5/s,capacity=20", folder.Path)
}

func (c *checking) checkAttack(folder *run.Folder, a *run.Attack) (*judge.Verdict, error) {
	opt := judge.OptionsOf(a)
	c.allow(&opt)
	r, err := folder.OpenRecords(a.Plan.Name)
	if errors.Is(err, record.ErrNoSegment) {
		j, err := judge.New(opt)
		if err != nil {
			return nil, err
		}
		return j.Verdict(), nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close() // it was only read
	return c.judge(r, opt, func(r *record.Record) bool {
		if len(c.input.Throttle) > 0 && r.Status != 0 {
			r.Outcome = record.OutcomeOf(r.Status, c.input.Throttle...)
		}
		return true
	})
}

func (c *checking) checkRecording(path string) ([]*judge.Verdict, error) {
	if c.limit == nil {
		return nil, usageError("a recording does not say what the API promised: give it with --limit, e.g. --limit 5/s,capacity=20")
	}
	r, err := convert.Open(path, c.stdin, c.input)
	if err != nil {
		return nil, usageError("%w", err)
	}
	defer r.Close() // it was only read
	opt := judge.Options{Limit: *c.limit, Plan: c.plan}
	c.allow(&opt)
	v, err := c.judge(r, opt, func(r *record.Record) bool { return c.plan == "" || r.Plan == c.plan })
	if err != nil {
		return nil, usageError("%w", err)
	}
	return []*judge.Verdict{v}, nil
}

// allow sets what the command line says beside the run.
func (c *checking) allow(opt *judge.Options) {
	opt.Fresh = opt.Fresh || c.fresh
	opt.Granularity = max(opt.Granularity, c.granularity)
	opt.Tick, opt.Drift = c.tick, c.drift
	if c.tick == 0 {
		opt.Tick = -1
	}
	if c.drift == 0 {
		opt.Drift = -1
	}
}

func (c *checking) judge(r *record.Reader, opt judge.Options, keep func(*record.Record) bool) (*judge.Verdict, error) {
	v, err := judge.Records(r, opt, func(r *record.Record) bool {
		if c.cost > 0 {
			r.Cost = c.cost
		}
		return keep(r)
	})
	for _, damage := range r.Damaged() {
		fmt.Fprintln(c.stderr, "weir: warning:", damage)
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// writeWaits writes by how much each promised wait was off, in both directions.
func writeWaits(w io.Writer, verdicts []*judge.Verdict) {
	for _, v := range verdicts {
		if v.RetryAfter.Promises == 0 {
			continue
		}
		fmt.Fprint(w, "\nRetry-After, promised against needed")
		if len(verdicts) > 1 {
			fmt.Fprintf(w, " (plan %s)", v.Plan)
		}
		fmt.Fprintln(w)
		for _, bucket := range v.RetryAfter.Errors {
			bar := strings.Repeat("▪", int(1+29*bucket.Count/v.RetryAfter.Promises))
			fmt.Fprintf(w, "  %s\t%d\t%s\n", bucket, bucket.Count, bar)
		}
	}
}

// writeVerdicts writes for a person: the sentence that counts first.
func writeVerdicts(w io.Writer, verdicts []*judge.Verdict, worst *judge.Verdict) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(verdicts) == 1 {
		fmt.Fprintln(out, worst.Sentence)
	} else {
		fmt.Fprintf(out, "%s (plan %s, one of %d)\n\n", worst.Sentence, worst.Plan, len(verdicts))
		for _, v := range verdicts {
			fmt.Fprintf(out, "%s\t%s\n", v.Plan, v.Sentence)
		}
	}
	fmt.Fprintln(out)
	for _, line := range worst.Evidence() {
		fmt.Fprintf(out, "%s\t%s\t%s\n", line.Check, line.Verdict, line.Text)
	}
	writeWaits(out, verdicts)
	fmt.Fprintln(out)
	for _, a := range worst.Assumptions {
		fmt.Fprintln(out, "assumed:", a)
	}
	return out.Flush()
}
