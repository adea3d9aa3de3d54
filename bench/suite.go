package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"strconv"
	"strings"
	"time"

	"weir/bench/attack"
	"weir/bench/judge"
	"weir/bench/plan"
	"weir/bench/progress"
	"weir/bench/record"
	"weir/bench/run"
	"weir/bench/stack"
)

// A suite is plans being carried out into one folder, one after the other.
type suite struct {
	folder  *run.Folder
	entries []plan.Entry
	k6      *k6Program // nil when no entry needs it
	stderr  io.Writer
	missed  []string // thresholds of k6 that were missed, each with its plan
}

// carryOut offers every plan until ctx is done, and keeps the manifest current.
func (s *suite) carryOut(ctx context.Context) error {
	st, err := startStack(ctx, s.folder)
	if err != nil {
		return err
	}
	defer st.Close()
	store := st.Store()
	plans := "plans"
	if len(s.entries) == 1 {
		plans = "plan"
	}
	fmt.Fprintf(s.stderr, "weir: %d %s on %s %s, into %s\n", len(s.entries), plans, store.Kind, store.Version, s.folder.Path)
	for i := range s.entries {
		if err := s.attack(ctx, st, i); err != nil {
			return fmt.Errorf("plan %q: %w", s.entries[i].Plan.Name, err)
		}
	}
	return nil
}

// attack carries out one plan against API processes of its own.
func (s *suite) attack(ctx context.Context, st *stack.Stack, i int) error {
	entry := &s.entries[i]
	name := entry.Plan.Name
	settings := maps.Clone(entry.API)
	// Buckets nobody has used, whichever Redis this is.
	settings["BUCKET_PREFIX"] = "weir:" + s.folder.Name() + ":" + name + ":"
	var bases []string
	for n := range entry.Processes {
		api, err := st.StartAPI(ctx, name+"-"+strconv.Itoa(n+1), settings)
		if err != nil {
			return err
		}
		defer api.Stop()
		bases = append(bases, api.URL)
	}
	p := entry.At(bases)
	bar := progress.Start(s.stderr, s.title(i)+s.left(i), p.Duration.Milliseconds())
	var done run.Attack
	var err error
	spent := s.startAccount(ctx, st)
	if entry.Scenario == "" {
		done, err = offerInto(ctx, s.folder, &p, attack.Config{}, bar)
	} else {
		done, err = s.offerByK6(ctx, entry, &p, bases[0], bar)
	}
	bar.Done()
	done.API, done.Redis = settings, spent()
	if err := errors.Join(err, s.folder.PutAttack(done)); err != nil {
		return err
	}
	n, err := countRecords(s.folder, name)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.stderr, "%s: %d admitted, %d throttled, %d failed\n", s.title(i), n.outcomes[record.Admitted], n.outcomes[record.Throttled], n.outcomes[record.Failed])
	return nil
}

// startAccount begins to count what EVALSHA costs Redis, and returns what says how
// much it was; nil when the store does not tell.
func (s *suite) startAccount(ctx context.Context, st *stack.Stack) (spent func() *run.CommandCost) {
	none := func() *run.CommandCost { return nil }
	if strings.Contains(st.Store().Kind, "miniredis") {
		return none
	}
	ctx = context.WithoutCancel(ctx) // a run that was stopped is reported too
	read := func() (stack.CommandStats, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return stack.ReadCommandStats(ctx, st.RedisURL(), "evalsha")
	}
	before, err := read()
	if err != nil {
		fmt.Fprintf(s.stderr, "weir: what Redis spends is not known: %v\n", err)
		return none
	}
	return func() *run.CommandCost {
		after, err := read()
		if err != nil {
			fmt.Fprintf(s.stderr, "weir: what Redis has spent is not known: %v\n", err)
			return nil
		}
		cost := after.Since(before)
		return &run.CommandCost{Calls: cost.Calls, UsecPerCall: cost.PerCall()}
	}
}

// title says which plan this is, e.g. " 3/10 burst".
func (s *suite) title(i int) string {
	return fmt.Sprintf("%2d/%d %s", i+1, len(s.entries), s.entries[i].Plan.Name)
}

// left says how much load is still to come from plan i on.
func (s *suite) left(i int) string {
	left := time.Duration(0)
	for _, entry := range s.entries[i:] {
		left += entry.Plan.Duration
	}
	if left == 0 {
		return "" // a scenario of k6 that sets its own length
	}
	return fmt.Sprintf(" (%s left)", left.Round(time.Second))
}

// judgeRun judges every attack of a run that was promised a limit and left
// records, and keeps the verdicts in the run's folder.
func judgeRun(folder *run.Folder) ([]judge.Verdict, error) {
	var verdicts []*judge.Verdict
	var values []judge.Verdict
	for _, a := range folder.Manifest().Attacks {
		if a.Plan.Limit == nil {
			continue
		}
		err := withRecords(folder, a.Plan.Name, func(records *record.Reader) error {
			verdict, err := judge.Records(records, judge.OptionsOf(&a), nil)
			if err == nil {
				verdicts, values = append(verdicts, verdict), append(values, *verdict)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if len(verdicts) == 0 {
		return nil, nil
	}
	return values, judge.Write(folder, verdicts)
}

// withRecords opens the records of one plan for use. A plan that was
// interrupted before its first record has none, and then use is not called.
func withRecords(folder *run.Folder, planName string, use func(*record.Reader) error) error {
	records, err := folder.OpenRecords(planName)
	if errors.Is(err, record.ErrNoSegment) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer records.Close() // they were only read
	return use(records)
}

// recordCounts is what the records of one plan amount to.
type recordCounts struct {
	outcomes [len(record.Outcomes)]int64 // by record.Outcome
	total    int64
	first    int64 // planned, ns since the epoch; 0 without records
}

func countRecords(folder *run.Folder, planName string) (recordCounts, error) {
	var n recordCounts
	err := withRecords(folder, planName, func(records *record.Reader) error {
		for batch := range records.Batches() {
			for i := range batch {
				r := &batch[i]
				n.outcomes[r.Outcome]++
				n.total++
				if n.first == 0 || r.Planned < n.first {
					n.first = r.Planned
				}
			}
		}
		return records.Err()
	})
	return n, err
}
