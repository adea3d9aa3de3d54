package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weir/api/limit"
	"weir/bench/plan"
	"weir/bench/progress"
	"weir/bench/record"
	"weir/bench/record/convert"
	"weir/bench/run"
)

func newImportCommand() *cobra.Command {
	var (
		options convert.Options
		promise string
		results string
	)
	cmd := &cobra.Command{
		Use:   "import FILE|-",
		Short: "Make a run of a recording that vegeta or k6 made",
		Long: `Make a run of a recording: vegeta's results as gob, CSV or JSON, what stock k6 writes with --out json=FILE or
--out csv=FILE, or weir's own CSV; gzipped or not. The run can then be judged and reported like any other.

The path of the run is printed.`,
		Example: `  vegeta attack -rate 50 -duration 10s < targets | weir import - --limit 5/s,capacity=20
  weir import out.json --plan spike --limit 100/m --key-header X-API-Key`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			im := importing{stderr: cmd.ErrOrStderr(), attacks: map[string]*imported{}, throttle: options.Throttle}
			if promise != "" {
				l, err := limit.Parse(promise)
				if err != nil {
					return usageError("--limit: %w", err)
				}
				im.limit = &l
			}
			if !slices.Contains(convert.Inputs, options.Format) {
				return usageError("unknown --format %q (want one of %s)", options.Format, strings.Join(convert.Inputs, ", "))
			}
			r, err := convert.Open(args[0], cmd.InOrStdin(), options)
			if err != nil {
				return usageError("%w", err)
			}
			defer r.Close() // it was only read
			im.create = func() error {
				if im.folder, err = run.Create(results, "import", buildCommit(), time.Now()); err != nil {
					return err
				}
				return im.folder.Update(func(m *run.Manifest) { m.Command = importCommandLine(cmd, args) })
			}
			if err := im.do(cmd.Context(), r); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), im.folder.Path)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&options.Format, "format", convert.Auto, "one of "+strings.Join(convert.Inputs, ", "))
	flags.StringVar(&options.Plan, "plan", "", "name of the plan for all records (default the attack's or scenario's name)")
	flags.StringVar(&promise, "limit", "", "what the API promises each key, e.g. 5/s,capacity=20")
	flags.StringVar(&options.KeyHeader, "key-header", "", "header of vegeta's recorded answers, or tag of k6's samples, that tells clients apart")
	flags.StringVar(&options.KeyQuery, "key-query", "", "query parameter of the URL that tells clients apart")
	flags.IntSliceVar(&options.Throttle, "throttle-status", nil, "statuses that mean throttled (default 429)")
	flags.StringVar(&results, "out", run.ResultsDir, "results folder")
	return cmd
}

// importCommandLine is the command that was given, with the flags that were.
func importCommandLine(cmd *cobra.Command, args []string) string {
	words := append([]string{cmd.CommandPath()}, args...)
	cmd.Flags().Visit(func(f *pflag.Flag) {
		words = append(words, fmt.Sprintf("--%s=%s", f.Name, strings.Trim(f.Value.String(), "[]")))
	})
	return strings.Join(words, " ")
}

// maxPlans bounds the files that are open at once.
const maxPlans = 100

// An importing run gets a folder of records for each plan of the recording.
type importing struct {
	stderr   io.Writer
	create   func() error // makes folder
	folder   *run.Folder  // nil until there is a record to put there
	limit    *limit.Limit
	throttle []int
	attacks  map[string]*imported
	names    []string // of attacks, in the order they came
	count    int64
}

type imported struct {
	attack      run.Attack
	writer      *record.Writer
	first, last int64
}

func (im *importing) do(ctx context.Context, r *record.Reader) error {
	bar := progress.Start(im.stderr, "import", 0)
	var failure error
	for batch := range r.Batches() {
		if failure = errors.Join(ctx.Err(), im.take(batch)); failure != nil {
			break
		}
		bar.Set(im.count, fmt.Sprintf("%d records", im.count))
	}
	bar.Done()
	for _, damage := range r.Damaged() {
		fmt.Fprintln(im.stderr, "weir: warning:", damage)
	}
	failure = errors.Join(failure, r.Err())
	if im.folder == nil {
		return cmp.Or(failure, errors.New("import: the recording holds no request"))
	}
	// What was read is kept, also when the rest could not be.
	return errors.Join(failure, im.finish(r.Granularity(), failure))
}

// take writes records of one plan after the other, in runs as long as they come.
func (im *importing) take(batch []record.Record) error {
	for len(batch) > 0 {
		n := 1
		for n < len(batch) && batch[n].Plan == batch[0].Plan {
			n++
		}
		to, err := im.open(batch[0].Plan)
		if err != nil {
			return err
		}
		for i := range batch[:n] {
			batch[i].Plan = to.attack.Plan.Name
			to.count(&batch[i])
		}
		if err := to.writer.Append(batch[:n]); err != nil {
			return err
		}
		im.count += int64(n)
		batch = batch[n:]
	}
	return nil
}

func (im *importing) open(planName string) (*imported, error) {
	name := folderName(planName)
	if a := im.attacks[name]; a != nil {
		return a, nil
	}
	if len(im.attacks) == maxPlans {
		return nil, fmt.Errorf("the recording has more than %d attacks or scenarios: give one name to all with --plan", maxPlans)
	}
	if im.folder == nil {
		if err := im.create(); err != nil {
			return nil, err
		}
	}
	w, err := im.folder.Records(name)
	if err != nil {
		return nil, err
	}
	a := &imported{writer: w, attack: run.Attack{Engine: "import", Plan: plan.Plan{
		Name: name, Question: "what does this recording show?", Limit: im.limit, ThrottleStatus: im.throttle,
	}}}
	im.attacks[name] = a
	im.names = append(im.names, name)
	return a, nil
}

// folderName is a plan's name where a folder may have it.
func folderName(name string) string {
	name = strings.TrimLeft(strings.Map(func(c rune) rune {
		if c < ' ' || strings.ContainsRune(`/\:`, c) {
			return '-'
		}
		return c
	}, name), ".")
	return cmp.Or(name, "import")
}

func (a *imported) count(r *record.Record) {
	c := &a.attack.Counts
	if c.Done == 0 || r.Sent < a.first {
		a.first = r.Sent
	}
	a.last = max(a.last, r.Done)
	c.Planned++
	c.Sent++
	c.Done++
	if r.Sent-r.Planned > int64(time.Millisecond) {
		c.Late++
	}
}

// finish closes the records and completes the manifest.
func (im *importing) finish(granularity time.Duration, failure error) error {
	var failures []error
	for _, name := range im.names {
		a := im.attacks[name]
		failures = append(failures, a.writer.Close())
		a.attack.Started, a.attack.Ended = time.Unix(0, a.first).UTC(), time.Unix(0, a.last).UTC()
		a.attack.Plan.Duration = time.Duration(a.last - a.first)
		a.attack.Granularity = granularity
		if failure != nil {
			a.attack.Error = failure.Error()
		}
		failures = append(failures, im.folder.PutAttack(a.attack))
	}
	failures = append(failures, im.folder.Update(func(m *run.Manifest) {
		m.Ended, m.Interrupted = time.Now().UTC(), failure != nil
		m.Notes = append(m.Notes, "imported: what the recording does not tell is absent")
	}))
	return errors.Join(failures...)
}
