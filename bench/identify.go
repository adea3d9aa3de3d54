package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/textproto"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weir/api/limit"
	"weir/bench/attack"
	"weir/bench/identify"
	"weir/bench/judge"
	"weir/bench/plan"
	"weir/bench/progress"
	"weir/bench/record"
	"weir/bench/run"
)

// identifying is the command line of weir identify.
type identifying struct {
	attackOptions

	identify.Config

	keyHeader string
	routes    []string
	json      bool
	thenCheck bool
}

func newIdentifyCommand() *cobra.Command {
	var o identifying
	cmd := &cobra.Command{
		Use:   "identify URL",
		Short: "Find out an unknown API's limit from outside",
		Long: `Find out how an unknown API limits its clients: the kind of limiter, rate and capacity with the intervals that the
answers prove, what the limit is kept for, and whether Retry-After, Reset and Remaining are true.

Kinds: token bucket (GCRA is the same), fixed window, sliding log, sliding counter, leaky queue (delays rather than
throttles), concurrency, several limits (two buckets), none found.

It spends up to --max-requests and about --max-time, each request chosen for what it tells, and needs the client's limit
to be unused otherwise. What the answers do not tell it does not guess: then it is inconclusive, and says what is missing.

Clients from other loopback addresses are compared with the first one, and HEAD with GET; --key-header and --route
compare more. Where answers carry X-RateLimit-Decided-At, the limiter's own clock is used.

Exit codes: 0 identified, or none found · 4 inconclusive · 3 --then-check: broken · 2 wrong usage · 1 weir failed`,
		Example: `  weir identify http://127.0.0.1:8000/items
  weir identify http://127.0.0.1:8000/items --key-header X-API-Key --then-check
  weir identify http://127.0.0.1:8000/items --json | jq .rate`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.urls = args
			return o.run(cmd)
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *identifying) addFlags(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.IntVar(&o.MaxRequests, "max-requests", 2000, "most requests to send")
	flags.DurationVar(&o.MaxTime, "max-time", time.Minute, "about the longest to take")
	flags.StringVar(&o.keyHeader, "key-header", "", "header that may name the client, e.g. X-API-Key: is the limit kept for each value?")
	flags.StringArrayVar(&o.routes, "route", nil, "another `URL` of the API: does it share the limit? May be repeated")
	flags.StringVar(&o.method, "method", http.MethodGet, "HTTP method")
	flags.StringArrayVar(&o.headers, "header", nil, "header of every request, as 'Name: value'; may be repeated")
	flags.IntSliceVar(&o.plan.ThrottleStatus, "throttle-status", []int{http.StatusTooManyRequests}, "statuses that mean throttled")
	flags.BoolVar(&o.json, "json", false, "print the answer as JSON")
	flags.BoolVar(&o.thenCheck, "then-check", false, "judge these requests by the limit that was found, as weir check does")
	flags.Int64Var(&o.Seed, "seed", 1, "seed of random pauses")
	flags.StringVar(&o.out, "out", run.ResultsDir, "`DIR` of all runs; this one gets a folder in it")
	flags.BoolVar(&o.config.Insecure, "insecure", false, "do not verify certificates")
	flags.BoolVar(&o.config.HTTP2, "http2", false, "use HTTP/2, over plain text too")
	flags.BoolVar(&o.config.AllowRemote, "allow-remote", false, "allow a target that is not on loopback: be sure that you may load it")
}

// complete makes the plan: the first target is the client's, the others differ in one way.
func (o *identifying) complete() error {
	switch {
	case o.MaxRequests < 50:
		return fmt.Errorf("--max-requests %d: want at least 50", o.MaxRequests)
	case o.MaxTime < time.Second:
		return fmt.Errorf("--max-time %s: want at least 1s", o.MaxTime)
	}
	targets, err := o.targets(strings.NewReader(""))
	if err != nil {
		return err
	}
	shape, err := plan.ParseShape("users:1")
	if err != nil {
		return err
	}
	p := &o.plan
	p.Name, p.Question = "identify", "Which limit is this?"
	p.Shape, p.Duration, p.Timeout, p.Seed, p.Fresh = shape, o.MaxTime, o.MaxTime, o.Seed, true
	p.Targets = targets
	o.compareAddresses()
	if o.keyHeader != "" {
		o.compareHeader()
	}
	for _, url := range o.routes {
		o.compareTarget("route", func(t *plan.Target) { t.URL = url })
	}
	if o.method == http.MethodGet {
		o.compareTarget("method", func(t *plan.Target) { t.Method = http.MethodHead })
	}
	return p.Validate()
}

func (o *identifying) compareAddresses() {
	if !strings.HasPrefix(o.urls[0], "http://127.") && !strings.HasPrefix(o.urls[0], "http://localhost") {
		return // only loopback has addresses to spare
	}
	other := identify.Other{Name: "client address"}
	for i := range 3 {
		other.Calls = append(other.Calls, attack.Call{Source: fmt.Sprintf("127.0.1.%d", i+1)})
	}
	o.Others = append(o.Others, other)
}

func (o *identifying) compareHeader() {
	name := textproto.CanonicalMIMEHeaderKey(o.keyHeader)
	with := func(t *plan.Target, value string) {
		header := http.Header(t.Header).Clone()
		if header == nil {
			header = http.Header{}
		}
		header.Set(name, value)
		t.Header = header
	}
	if http.Header(o.plan.Targets[0].Header).Get(name) == "" {
		with(&o.plan.Targets[0], "weir-0")
	}
	other := identify.Other{Name: "header " + name}
	for i := range 3 {
		t := o.plan.Targets[0]
		with(&t, fmt.Sprintf("weir-%d", i+1))
		other.Calls = append(other.Calls, attack.Call{Target: len(o.plan.Targets)})
		o.plan.Targets = append(o.plan.Targets, t)
	}
	o.Others = append(o.Others, other)
}

// compareTarget compares a target that differs from the first by a change.
func (o *identifying) compareTarget(name string, change func(*plan.Target)) {
	t := o.plan.Targets[0]
	change(&t)
	call := attack.Call{Target: len(o.plan.Targets)}
	o.plan.Targets = append(o.plan.Targets, t)
	o.Others = append(o.Others, identify.Other{Name: name, Calls: []attack.Call{call}})
}

func (o *identifying) run(cmd *cobra.Command) error {
	ctx, p := cmd.Context(), &o.plan
	if err := o.complete(); err != nil {
		return &exitError{exitUsage, err}
	}
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
	if err := folder.Update(func(m *run.Manifest) { m.Command, m.Seed = repeating(cmd)+" "+o.urls[0], p.Seed }); err != nil {
		return err
	}
	answer, err := o.identifyInto(ctx, folder, cmd.ErrOrStderr())
	if err != nil {
		return fmt.Errorf("%w (what was recorded is in %s)", err, folder.Path)
	}
	if err := o.write(cmd.OutOrStdout(), folder, answer); err != nil {
		return err
	}
	switch {
	case !answer.Conclusive():
		return &exitError{exitInconclusive, errors.New("the answers do not tell the limit")}
	case o.thenCheck && answer.Kind != identify.None:
		out := cmd.OutOrStdout()
		if o.json {
			out = cmd.ErrOrStderr() // stdout is one object
		}
		c := checking{tick: judge.DefaultTick, drift: judge.DefaultDrift, plain: true, stdout: out, stderr: cmd.ErrOrStderr()}
		fmt.Fprintf(out, "\njudged by %s:\n", promised(answer))
		return c.check(folder.Path)
	}
	return nil
}

// identifyInto works the limit out, and keeps the records, the answer and its page
// in the run's folder, also when it fails.
func (o *identifying) identifyInto(ctx context.Context, folder *run.Folder, stderr io.Writer) (*identify.Answer, error) {
	p := &o.plan
	wire, hangUp := context.WithTimeout(ctx, o.MaxTime+o.MaxTime/4)
	defer hangUp()
	caller, err := attack.NewCaller(wire, p, o.config)
	if err != nil {
		return nil, err
	}
	bar := progress.Start(stderr, "identify", int64(o.MaxRequests))
	o.Progress = func(at identify.Progress) {
		bar.Set(int64(at.Requests), fmt.Sprintf("%.0f s: %s", at.Elapsed.Seconds(), at.Belief))
	}
	started := time.Now()
	answer, records, err := identify.Run(wire, caller, o.Config)
	bar.Done()
	if keepErr := o.keep(folder, answer, records, started); err == nil {
		err = keepErr
	}
	return answer, err
}

// keep writes the records: those of the client whose limit was worked out as a plan
// that promises it, all others as one that promises nothing.
func (o *identifying) keep(folder *run.Folder, answer *identify.Answer, records []record.Record, started time.Time) error {
	mine := o.plan
	if answer.Conclusive() && answer.Kind != identify.None {
		found := promised(answer)
		mine.Limit = &found
	}
	theirs := o.plan
	theirs.Name, theirs.Question, theirs.Limit = "compared", "Whose limit is it?", nil
	slices.SortFunc(records, func(a, b record.Record) int { return cmp.Compare(a.Sent, b.Sent) })
	for _, p := range []plan.Plan{mine, theirs} {
		var kept []record.Record
		for _, r := range records {
			if r.Plan = p.Name; (r.Key == "") == (p.Name == mine.Name) {
				kept = append(kept, r)
			}
		}
		if len(kept) == 0 {
			continue
		}
		w, err := folder.Records(p.Name)
		if err != nil {
			return err
		}
		n := int64(len(kept))
		done := run.Attack{Plan: p, Engine: "identify", Started: started, Ended: time.Now(), Counts: run.Counts{Planned: n, Sent: n, Done: n}}
		if err := errors.Join(w.Append(kept), w.Close(), folder.PutAttack(done)); err != nil {
			return err
		}
	}
	return errors.Join(
		folder.Update(func(m *run.Manifest) { m.Ended = time.Now() }),
		folder.WriteFile("identify.json", func(w io.Writer) error { return writeAnswer(w, answer) }),
		folder.WriteFile("report.html", func(w io.Writer) error { return answer.WriteHTML(w, o.urls[0]) }),
	)
}

func (o *identifying) write(w io.Writer, folder *run.Folder, answer *identify.Answer) error {
	if o.json {
		return writeAnswer(w, answer)
	}
	_, err := fmt.Fprintf(w, "%s\nevidence: %s\n", answer.Sentence, shownPath(filepath.Join(folder.Path, "report.html")))
	return err
}

func writeAnswer(w io.Writer, answer *identify.Answer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(answer)
}

// promised is the answer as a limit to judge by: the roundest rate within the
// interval, as whoever set it has written it.
func promised(a *identify.Answer) limit.Limit {
	l := limit.Limit{Capacity: int64(a.Capacity), Rate: limit.Rate{Tokens: int64(math.Round(a.Rate * 3600)), Seconds: 3600}}
	if a.Kind == identify.LeakyQueue {
		l.Capacity++ // one goes at once, the others wait
	}
	for _, unit := range []int64{1, 60, 3600} {
		if n := math.Round(a.Rate * float64(unit)); n >= a.RateInterval[0]*float64(unit) && n <= a.RateInterval[1]*float64(unit) && n > 0 {
			l.Rate = limit.Rate{Tokens: int64(n), Seconds: unit}
			break
		}
	}
	if whole, err := limit.Parse(l.String()); err == nil {
		return whole // in lowest terms
	}
	return l
}
