package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	vegeta "github.com/tsenart/vegeta/v12/lib"

	"weir/api/limit"
	"weir/bench/attack"
	"weir/bench/plan"
	"weir/bench/progress"
	"weir/bench/record"
	"weir/bench/report"
	"weir/bench/run"
	"weir/bench/stats"
)

// attackOptions are the flags of weir attack that are not a plan's field as they
// stand.
type attackOptions struct {
	plan        plan.Plan
	urls        []string
	targetsFile string
	rate, shape string
	users       int
	limit       string
	method      string
	headers     []string
	body        string
	bodyFile    string
	out         string
	probe       bool
	config      attack.Config
}

func newAttackCommand() *cobra.Command {
	var o attackOptions
	cmd := &cobra.Command{
		Use:   "attack",
		Short: "Offer load to any HTTP API and record every request",
		Long: `Offer load to any HTTP API, record every request into a run folder, and report. With --limit the run is judged as well,
and the exit code is the verdict's: 0 holds · 3 broken · 4 inconclusive.

Shapes, in place of --rate:
  constant:500/s        evenly spaced, what --rate 500/s means
  ramp:10/s-500/s       linearly over the duration
  step:100/s,200/s      each for an equal part of the duration
  burst:20@1s+5s        20 at once every second, here after 5 s of silence
  edge:20@1s            20 just before and 20 just after every second of the wall clock
  sine:50/s-150/s@10s   between two rates, one wave every 10 s
  poisson:100/s         random arrivals
  max, users:50         closed loops: as fast as it goes, what --rate max and --users 50 mean

Rates are a number of requests and a unit: 500/s, 30/m, 1000/h. Durations are 10s, 1m30s, 250ms.
The first Ctrl-C stops the load and keeps what was done; a second one leaves at once.`,
		Example: `  weir attack --target http://127.0.0.1:8000/items --rate 50/s --duration 10s --limit 5/s,capacity=20 --fresh
  weir attack --target http://127.0.0.1:8000/items --shape ramp:10/s-500/s --duration 30s --keys 100 --key-spread zipf`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, pair := range [][2]string{{"rate", "shape"}, {"rate", "users"}, {"shape", "users"}, {"body", "body-file"}} {
				if cmd.Flags().Changed(pair[0]) && cmd.Flags().Changed(pair[1]) {
					return usageError("--%s and --%s exclude each other", pair[0], pair[1])
				}
			}
			return o.run(cmd)
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *attackOptions) addFlags(flags *pflag.FlagSet) {
	p := &o.plan
	flags.SortFlags = false
	flags.StringArrayVar(&o.urls, "target", nil, "`URL` to ask: http://, https:// or unix:///PATH/TO.sock:/items; several are taken in turn")
	flags.StringVar(&o.targetsFile, "targets", "", "`FILE` of targets in vegeta's format, HTTP or JSON; - is standard input")
	flags.StringVar(&o.rate, "rate", "10/s", "constant `RATE`, or max")
	flags.StringVar(&o.shape, "shape", "", "`SHAPE` of the load over time, see above")
	flags.IntVar(&o.users, "users", 0, "closed loop of `N` users, each waiting for its answer")
	flags.DurationVar(&p.Duration, "duration", 5*time.Second, "how long to offer load")
	flags.IntVar(&p.Keys.Count, "keys", 0, "how many clients to play; 0 sends no key")
	flags.StringVar(&p.Keys.Spread, "key-spread", plan.Uniform, "how requests fall on keys: uniform, turn or zipf")
	flags.StringVar(&p.Keys.Via, "key-via", "header:X-API-Key", "how a key is sent: header:NAME, query:NAME or source (a loopback address each)")
	flags.StringVar(&o.limit, "limit", "", "what the target promises each key, e.g. 5/s,capacity=20; the run is judged by it")
	flags.Int64Var(&p.Cost, "cost", 1, "tokens one request takes")
	flags.BoolVar(&p.Fresh, "fresh", false, "every key's bucket is full at the start")
	flags.IntSliceVar(&p.ThrottleStatus, "throttle-status", []int{http.StatusTooManyRequests}, "statuses that mean throttled")
	flags.StringVar(&o.method, "method", http.MethodGet, "HTTP method")
	flags.StringArrayVar(&o.headers, "header", nil, "header of every request, as 'Name: value'; may be repeated")
	flags.StringVar(&o.body, "body", "", "body of every request")
	flags.StringVar(&o.bodyFile, "body-file", "", "`FILE` with the body of every request")
	flags.Int64Var(&p.Seed, "seed", 1, "seed of random arrivals and keys")
	flags.DurationVar(&p.Timeout, "timeout", 10*time.Second, "of one request")
	flags.IntVar(&p.Workers, "workers", 0, "most requests in flight; 0 is 10,000 for open shapes, 32 for max")
	flags.DurationVar(&p.CatchUp, "catch-up", 0, "how late a request may be sent before it is dropped; 0 is 10ms (bursts: a tenth of their period), negative never drops")
	flags.StringVar(&p.Name, "name", "attack", "name of the plan, part of the folder's name and of the keys'")
	flags.StringVar(&o.out, "out", run.ResultsDir, "`DIR` of all runs; this one gets a folder in it")
	flags.BoolVar(&o.probe, "probe-retry-after", false, "afterwards ask one key around the instants that Retry-After promises: plan NAME-probe")
	flags.BoolVar(&o.config.Insecure, "insecure", false, "do not verify certificates")
	flags.BoolVar(&o.config.HTTP2, "http2", false, "use HTTP/2, over plain text too")
	flags.BoolVar(&o.config.AllowRemote, "allow-remote", false, "allow a target that is not on loopback: be sure that you may load it")
}

// run is the command.
func (o *attackOptions) run(cmd *cobra.Command) error {
	ctx, stderr := cmd.Context(), cmd.ErrOrStderr()
	if err := o.complete(cmd.InOrStdin()); err != nil {
		return &exitError{exitUsage, err}
	}
	p := &o.plan
	if err := attack.CheckLoopback(ctx, p); err != nil && !o.config.AllowRemote {
		return usageError("%w (give --allow-remote if you may load it)", err)
	}
	if err := attack.Reach(ctx, p); err != nil {
		return err
	}
	folder, err := run.Create(o.out, p.Name, buildCommit(), time.Now())
	if err != nil {
		return err
	}
	if err := folder.Update(func(m *run.Manifest) { m.Command, m.Seed = repeating(cmd), p.Seed }); err != nil {
		return err
	}
	bar := progress.Start(stderr, p.Name, p.Duration.Milliseconds())
	done, failure := offerInto(ctx, folder, p, o.config, bar)
	bar.Done()
	if o.probe && failure == nil {
		failure = probeInto(ctx, folder, p, o.config, stderr)
	}
	interrupted := ctx.Err() != nil
	if err := folder.Update(func(m *run.Manifest) { m.Ended, m.Interrupted = time.Now(), interrupted }); err != nil {
		return err
	}
	if failure != nil && !interrupted {
		return fmt.Errorf("%w (what was recorded is in %s)", failure, folder.Path)
	}
	if err := summarize(cmd.OutOrStdout(), folder, &done); err != nil {
		return err
	}
	// What was done is judged and reported also for somebody who pressed Ctrl-C.
	verdicts, err := reportRun(context.WithoutCancel(ctx), folder, stderr, func(written *report.Report) error {
		return conclude(cmd.OutOrStdout(), written, p.Limit != nil)
	})
	if err != nil && !errors.Is(err, report.ErrNoRecords) {
		return err
	}
	return outcome(verdicts, nil, interrupted)
}

// conclude prints the verdict, or how to have one, and where the report is.
func conclude(w io.Writer, written *report.Report, promised bool) error {
	sentence := "not judged: --limit says what the target promises each key, e.g. --limit 5/s,capacity=20"
	if promised {
		sentence = written.Plans[0].Verdict.Sentence
	}
	_, err := fmt.Fprintf(w, "\n%s\nreport: %s\n", sentence, shownPath(written.Files[0]))
	return err
}

// complete makes the plan of the flags.
func (o *attackOptions) complete(stdin io.Reader) error {
	p := &o.plan
	shape := o.shape
	switch {
	case shape != "":
	case o.users != 0:
		shape = fmt.Sprintf("users:%d", o.users)
	case o.rate == "max":
		shape = o.rate
	default:
		shape = "constant:" + o.rate
	}
	var err error
	if p.Shape, err = plan.ParseShape(shape); err != nil {
		return err
	}
	if o.limit != "" {
		promise, err := limit.Parse(o.limit)
		if err != nil {
			return err
		}
		p.Limit = &promise
	}
	if p.Targets, err = o.targets(stdin); err != nil {
		return err
	}
	return p.Validate()
}

// targets are those of --target, then those of --targets.
func (o *attackOptions) targets(stdin io.Reader) (targets []plan.Target, err error) {
	header := http.Header{}
	for _, line := range o.headers {
		name, value, found := strings.Cut(line, ":")
		if !found {
			return nil, fmt.Errorf("header %q: no colon (want 'Name: value')", line)
		}
		name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
		header[name] = append(header[name], strings.TrimSpace(value))
	}
	body := []byte(o.body)
	if o.bodyFile != "" {
		if body, err = os.ReadFile(o.bodyFile); err != nil {
			return nil, fmt.Errorf("read body: %w", err)
		}
	}
	for _, url := range o.urls {
		targets = append(targets, plan.Target{Method: o.method, URL: url, Header: header, Body: body})
	}
	if o.targetsFile != "" {
		read, err := readTargets(o.targetsFile, stdin, body, header)
		if err != nil {
			return nil, fmt.Errorf("read targets from %s: %w", o.targetsFile, err)
		}
		targets = append(targets, read...)
	}
	return targets, nil
}

// readTargets reads vegeta's format of targets: HTTP or JSON, whichever it is.
func readTargets(name string, stdin io.Reader, body []byte, header http.Header) ([]plan.Target, error) {
	source := stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, errors.Unwrap(err) // it names the file once more
		}
		defer file.Close()
		source = file
	}
	text, err := io.ReadAll(source)
	if err != nil {
		return nil, err
	}
	targeter := vegeta.NewHTTPTargeter(bytes.NewReader(text), body, header)
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		targeter = vegeta.NewJSONTargeter(bytes.NewReader(text), body, header)
	}
	read, err := vegeta.ReadAllTargets(targeter)
	if err != nil {
		return nil, err
	}
	targets := make([]plan.Target, len(read))
	for i, t := range read {
		targets[i] = plan.Target{Method: t.Method, URL: t.URL, Header: t.Header, Body: t.Body}
	}
	return targets, nil
}

// offerInto offers a plan, keeps its records in a run's folder, and puts what was
// done into the manifest: before the attack, so that a run that is killed
// describes itself, and after it.
func offerInto(ctx context.Context, folder *run.Folder, p *plan.Plan, config attack.Config, bar *progress.Bar) (run.Attack, error) {
	begun := run.Attack{Plan: *p, Engine: attack.Engine, Started: time.Now()}
	records, err := folder.Records(p.Name)
	if err == nil {
		err = folder.PutAttack(begun)
	}
	if err != nil {
		return begun, err
	}
	config.Sink = records.Append
	config.Progress = func(at attack.Progress) {
		bar.Set(min(at.Elapsed, p.Duration).Milliseconds(), fmt.Sprintf("%d admitted, %d throttled, %d failed",
			at.Outcomes[record.Admitted], at.Outcomes[record.Throttled], at.Outcomes[record.Failed]))
	}
	done, err := attack.Run(ctx, p, config)
	return done, errors.Join(err, records.Close(), folder.PutAttack(done))
}

// summarize prints what the attack amounts to.
func summarize(w io.Writer, folder *run.Folder, done *run.Attack) error {
	s := stats.New(done.Started.UnixNano())
	records, err := folder.OpenRecords(done.Plan.Name)
	if err != nil && !errors.Is(err, record.ErrNoSegment) {
		return err
	}
	if err == nil {
		defer records.Close()
		for batch := range records.Batches() {
			for i := range batch {
				s.Add(&batch[i])
			}
		}
		if err := records.Err(); err != nil {
			return err
		}
	}
	n := done.Counts
	fmt.Fprintf(w, "%s for %s: %d planned, %d sent, %d of them late by over 1 ms, %d dropped%s\n\n",
		done.Plan.Shape, done.Ended.Sub(done.Started).Round(time.Millisecond), n.Planned, n.Sent, n.Late, n.Dropped, catchUp(&done.Plan))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "outcome\trequests\tper s\tp50\tp99\tmax\t")
	for _, outcome := range record.Outcomes {
		o := s.Outcome(outcome)
		if o.Count == 0 {
			fmt.Fprintf(table, "%s\t0\t0\t-\t-\t-\t\n", outcome)
			continue
		}
		perSecond := float64(o.Count) / max(done.Ended.Sub(done.Started).Seconds(), 1e-9)
		fmt.Fprintf(table, "%s\t%d\t%.1f\t%s\t%s\t%s\t\n", outcome, o.Count, perSecond,
			brief(o.Latency.Quantile(0.5)), brief(o.Latency.Quantile(0.99)), brief(o.Latency.Max()))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, e := range s.Errors.List() {
		fmt.Fprintf(w, "failed %d times: %s\n", e.Count, e.Value)
	}
	if done.Error != "" {
		fmt.Fprintln(w, "note:", done.Error)
	}
	return nil
}

// catchUp says why requests of the plan are dropped.
func catchUp(p *plan.Plan) string {
	if late, bounded := p.MaxLate(); bounded && !p.Shape.Closed() {
		return fmt.Sprintf(" as late by over %s", late)
	}
	return ""
}

// brief rounds a latency to about three digits.
func brief(d time.Duration) time.Duration {
	for unit := time.Second; unit >= time.Microsecond; unit /= 1000 {
		if d >= unit {
			return d.Round(unit / 100)
		}
	}
	return d
}

// plain is what needs no quotes in a shell.
var plain = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// repeating writes the command that repeats this one: with the flags that were given, and the seed.
func repeating(cmd *cobra.Command) string {
	words := []string{cmd.CommandPath()}
	add := func(name, value string) {
		if !plain.MatchString(value) {
			value = "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
		}
		words = append(words, "--"+name+"="+value)
	}
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		switch values := flag.Value.(type) {
		case pflag.SliceValue:
			for _, value := range values.GetSlice() {
				if flag.Changed {
					add(flag.Name, value)
				}
			}
		default:
			if flag.Changed || flag.Name == "seed" {
				add(flag.Name, flag.Value.String())
			}
		}
	})
	return strings.Join(words, " ")
}
