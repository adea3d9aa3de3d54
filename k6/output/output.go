// Package output gives k6 an output that writes weir records, so that the judge
// and the report read a run of k6 as they read one of weir attack:
//
//	bin/k6 run --out weir=results/mine/polite k6/scenarios/polite.js
//
// Every HTTP request of any script becomes one [record.Record] in the folder,
// whose name is the name of the plan.
//
// # What k6 tells, and what it does not
//
//   - k6 reports a request when it has ended, with the durations of its phases.
//     Done is that end; Sent is done less sending, waiting and receiving, so that
//     the time it took to get a connection is left out. A request that never
//     got one has Sent equal to Done.
//   - k6 keeps no planned time. Planned is Sent: the records say nothing of send
//     lag. An arrival that k6 could not serve in time is dropped, and counted in
//     dropped_iterations, which every scenario here refuses.
//   - k6 reports nothing of the answer's headers. A script can tell them
//     afterwards: it numbers each request in the metadata weir_request, and then
//     adds any sample of its own with the same weir_request and, in weir_answer,
//     the headers as a JSON object. lib/client.js does so. Metadata is a feature
//     of stock k6, so the same script runs there; without it Quota is absent and
//     Read is 0. The body sent is not reported: Written is 0.
//   - A request that is still in flight when k6 stops waiting (gracefulStop) is
//     not reported at all, though the API may have charged it. The scenarios wait
//     longer than a request may take.
//
// Tags of a request that mean something here: key (whose bucket), cost (tokens, 1
// when absent), weir_slot (its place among requests sent with one number, as
// http.batch does), and weir=off (no part of the load: not recorded).
//
// # Licence
//
// This package is MIT. k6 is AGPL-3.0, and so is a program that links both.
package output

import (
	"fmt"
	"sync"
	"time"

	"go.k6.io/k6/v2/output"

	"weir/bench/record"
)

const flushPeriod = 200 * time.Millisecond

var _ output.WithTestRunStop = (*Output)(nil)

// An Output writes records into one folder. k6 calls Start, then AddMetricSamples
// from one goroutine, which only buffers, then Stop.
type Output struct {
	output.SampleBuffer

	config  config
	joiner  *joiner
	writer  *record.Writer
	flusher *output.PeriodicFlusher
	stopRun func(error)

	failOnce sync.Once // guards stopRun
}

// New returns the output that k6 knows as "weir".
func New(params output.Params) (output.Output, error) {
	config, err := configFrom(params)
	if err != nil {
		return nil, err
	}
	return &Output{config: config, stopRun: func(error) {}}, nil
}

// Description is shown by k6 when a run starts.
func (o *Output) Description() string {
	return fmt.Sprintf("weir records of plan %q (%s)", o.config.plan, o.config.dir)
}

// SetTestRunStopCallback takes what ends the run when records cannot be written.
func (o *Output) SetTestRunStopCallback(stop func(error)) { o.stopRun = stop }

// Start opens the folder and begins to write to it.
func (o *Output) Start() error {
	writer, err := record.Create(o.config.dir)
	if err != nil {
		return fmt.Errorf("output weir: %w", err)
	}
	o.writer, o.joiner = writer, newJoiner(o.config.plan, time.Now())
	o.flusher, err = output.NewPeriodicFlusher(flushPeriod, o.flush)
	return err
}

// Stop writes what is left and closes the folder.
func (o *Output) Stop() error {
	o.flusher.Stop()
	o.append(o.joiner.rest())
	if err := o.writer.Close(); err != nil {
		return fmt.Errorf("output weir: %w", err)
	}
	return nil
}

func (o *Output) flush() {
	for _, container := range o.GetBufferedSamples() {
		o.joiner.add(container)
	}
	o.append(o.joiner.take(time.Now()))
}

// append ends the run at the first record that cannot be written.
func (o *Output) append(records []record.Record) {
	if err := o.writer.Append(records); err != nil {
		o.failOnce.Do(func() { o.stopRun(fmt.Errorf("output weir: %w", err)) })
	}
}
