package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"weir/bench/attack"
	"weir/bench/plan"
	"weir/bench/progress"
	"weir/bench/run"
)

// probeInto probes Retry-After on a key that the attack did not use, and keeps the
// records in the run as a plan of their own.
func probeInto(ctx context.Context, folder *run.Folder, p *plan.Plan, config attack.Config, stderr io.Writer) error {
	shape, err := plan.ParseShape("users:1")
	if err != nil {
		return err
	}
	q := *p
	q.Name, q.Question = p.Name+"-probe", "Is a client admitted when Retry-After said, and not much sooner?"
	q.Shape, q.Duration, q.CatchUp, q.Workers = shape, time.Minute, 0, 1
	q.Keys.Count = min(p.Keys.Count, 1)
	q.Fresh = false // an API that tells clients apart by something else has the attack's bucket for it
	records, err := folder.Records(q.Name)
	if err != nil {
		return err
	}
	bar := progress.Start(stderr, q.Name, 0)
	config.Sink = records.Append
	done, err := attack.Probe(ctx, &q, config)
	bar.Done()
	if done.Error != "" {
		fmt.Fprintln(stderr, "weir: warning:", done.Error)
	}
	return errors.Join(err, records.Close(), folder.PutAttack(done))
}
