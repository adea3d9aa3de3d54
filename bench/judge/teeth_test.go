package judge_test

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/api/limit"
	"weir/api/limit/guard"
	"weir/api/limit/limittest"
	"weir/api/limit/memlimit"
	"weir/api/limit/redislimit"
	"weir/api/server"
	"weir/bench/attack"
	"weir/bench/judge"
	"weir/bench/plan"
	"weir/bench/record"
	"weir/bench/run"
)

// Each known fault is served over HTTP, attacked, recorded to disk and judged,
// and the check that is named for it must catch it. At the same time, under the
// same load, correct limiters are attacked and must not be accused of anything.
//
//	make reproduce-ttl-rounded-down
//
// shows one fault, and leaves its records under results/ for weir check and
// weir report.
func TestTeeth(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("attacks for 15 s; not in -short")
	}
	redisURL, haveRedis := limittest.TryRedis(t)
	if !haveRedis {
		t.Log("neither redis-server nor valkey-server is in PATH: only the correct limiter in memory stands beside the faults")
	}
	shown := 0
	for _, fault := range limittest.Faults {
		t.Run(fault.Name, func(t *testing.T) {
			shown++
			t.Parallel()
			s := &scene{fault: fault, redisURL: redisURL}
			var err error
			if s.limit, err = limit.Parse(fault.Limit); err != nil {
				t.Fatal(err)
			}
			s.prove(t)
		})
	}
	if shown == 0 {
		t.Errorf("no such fault; there are: %s", strings.Join(faultNames(), " "))
	}
}

func faultNames() (names []string) {
	for _, fault := range limittest.Faults {
		names = append(names, fault.Name)
	}
	return names
}

// A scene is one fault beside correct limiters.
type scene struct {
	fault    limittest.Fault
	limit    limit.Limit
	redisURL string // "" without
	folder   *run.Folder
}

// attempts bounds how often a load is offered again that this machine was too
// busy to offer as planned.
const attempts = 5

func (s *scene) prove(t *testing.T) {
	load := s.fault.Load
	say := func(format string, args ...any) { fmt.Fprintf(t.Output(), format+"\n", args...) }
	say("%s: %s\npromise %s; load %s for %s; clients: %d", s.fault.Name, s.fault.What, s.limit, load.Shape, load.Duration, max(load.Keys, 1))
	var missed error
	for range attempts {
		s.newFolder(t)
		s.attackAll(t)
		for _, name := range s.names()[1:] {
			v := s.judge(t, name, nil)
			say("%-10s  %s", name, v.Sentence)
			if v.Verdict == judge.Broken || v.Headers.Count > 0 || v.RetryAfter.Broken > 0 {
				t.Fatalf("a correct limiter was accused: %s", v.Sentence)
			}
		}
		v := s.judge(t, faultyName, nil)
		say("%-10s  %s", faultyName, v.Sentence)
		if missed = s.caught(t, v); missed == nil {
			say("caught by %s", s.fault.Check)
			if os.Getenv(keep) != "" {
				say("see it again: bin/weir check %s --plan %s", s.folder.Path, faultyName)
			}
			return
		}
		a, _ := s.folder.Attack(faultyName)
		if onTime(&a, v) {
			t.Fatal(missed)
		}
		say("the load was not offered as planned (%d of %d sent, up to %s late): once more", a.Counts.Sent, a.Counts.Planned, v.Generator.MostLag)
	}
	t.Fatalf("inconclusive: this machine did not offer the planned load in any of %d attempts; the last one: %v", attempts, missed)
}

// onTime says that the generator did what was planned, so that a missed fault is the judge's miss.
func onTime(a *run.Attack, v *judge.Verdict) bool {
	return a.Error == "" && a.Counts.Sent == a.Counts.Planned && v.Requests.Failed == 0 && v.Generator.MostLag < 20*time.Millisecond
}

// caught reports why the named check did not catch the fault from the whole
// evidence, or from the clocks that the fault's row names.
func (s *scene) caught(t *testing.T, v *judge.Verdict) error {
	if v.Verdict != judge.Broken || !accused(v, s.fault.Check) {
		return fmt.Errorf("not caught by %s: %s", s.fault.Check, v.Sentence)
	}
	if v := s.judge(t, faultyName, clientsClock); !accused(v, s.fault.Check) {
		return fmt.Errorf("not caught by %s from the client's clock alone: %s", s.fault.Check, v.Sentence)
	}
	if s.fault.Clock == limittest.ClientOnly {
		if v.Requests.SharpKeys > 0 {
			return fmt.Errorf("its decision times should be of no use, yet they were used: %s", v.Sentence)
		}
		return nil
	}
	if v.Requests.SharpKeys != v.Requests.Keys {
		return fmt.Errorf("sharp mode was used for %d of %d keys", v.Requests.SharpKeys, v.Requests.Keys)
	}
	if v := s.judge(t, faultyName, limitersClock); !accused(v, s.fault.Check) {
		return fmt.Errorf("not caught by %s from the limiter's clock alone: %s", s.fault.Check, v.Sentence)
	}
	return nil
}

// accused says whether the named part of a verdict is broken.
func accused(v *judge.Verdict, check limittest.Check) bool {
	return map[limittest.Check]string{
		limittest.OverAdmission:      v.OverAdmission.Verdict,
		limittest.WrongfulThrottling: v.Throttling.Verdict,
		limittest.RetryAfter:         v.RetryAfter.Verdict,
		limittest.Headers:            v.Headers.Verdict,
		limittest.Isolation:          v.Isolation.Verdict,
	}[check] == judge.Broken
}

// A view is what a judge is shown of a record, and by what clocks.
type view func(*judge.Options, *record.Record)

// clientsClock leaves out the limiter's decision times.
func clientsClock(_ *judge.Options, r *record.Record) { r.Quota.DecidedAt = 0 }

// limitersClock makes each interval the point that the limiter names.
func limitersClock(opt *judge.Options, r *record.Record) {
	opt.Tick, opt.Drift = -1, -1
	if r.Outcome != record.Failed {
		r.Sent = r.Quota.DecidedAt * 1000
		r.Done = r.Sent
	}
	r.Quota.DecidedAt = 0
}

// judge judges what is on disk of the named limiter.
func (s *scene) judge(t *testing.T, name string, show view) *judge.Verdict {
	t.Helper()
	a, found := s.folder.Attack(name)
	if !found {
		t.Fatalf("no attack on %s in %s", name, s.folder.Path)
	}
	records, err := s.folder.OpenRecords(name)
	if err != nil {
		t.Fatal(err)
	}
	opt := judge.OptionsOf(&a)
	if show == nil {
		v, err := judge.Records(records, opt, nil)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	var batches []record.Record
	for batch := range records.Batches() {
		for i := range batch {
			show(&opt, &batch[i])
		}
		batches = append(batches, batch...)
	}
	if err := records.Err(); err != nil {
		t.Fatal(err)
	}
	return mustJudge(t, opt, batches)
}

// newFolder makes the folder of an attempt: under results/ where KEEP says so.
func (s *scene) newFolder(t *testing.T) {
	t.Helper()
	dir := os.Getenv(keep)
	if dir == "" {
		dir = t.TempDir()
	}
	var err error
	if s.folder, err = run.Create(dir, "fault-"+s.fault.Name, "test", time.Now()); err != nil {
		t.Fatal(err)
	}
}

const (
	faultyName = "faulty"
	keep       = "KEEP" // in the environment: the folder that records are left in
)

// names are the limiters of the scene, and the plans against them.
func (s *scene) names() []string {
	names := []string{faultyName, "memlimit"}
	if s.redisURL != "" {
		names = append(names, "redislimit")
	}
	return names
}

// attackAll attacks all limiters of the scene at once.
func (s *scene) attackAll(t *testing.T) {
	t.Helper()
	var attacks sync.WaitGroup
	failures := make([]error, len(s.names()))
	for i, name := range s.names() {
		target := serve(t, s.limiter(t, name))
		attacks.Go(func() { failures[i] = s.attack(t, name, target) })
	}
	attacks.Wait()
	if err := errors.Join(failures...); err != nil {
		t.Fatal(err)
	}
	if err := s.folder.Update(func(m *run.Manifest) { m.Ended = time.Now() }); err != nil {
		t.Fatal(err)
	}
}

// prefixes keeps the buckets of scenes and attempts apart in one Redis.
var prefixes atomic.Int64

func (s *scene) limiter(t *testing.T, name string) limit.Limiter {
	t.Helper()
	switch name {
	case "memlimit":
		l, err := memlimit.New(s.limit, memlimit.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return l
	case "redislimit":
		rdb, err := redislimit.NewClient(s.redisURL)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = rdb.Close() })
		l, err := redislimit.New(rdb, s.limit, redislimit.Config{Prefix: fmt.Sprintf("%d:", prefixes.Add(1))})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	return s.fault.New(t, s.limit, nil)
}

// serve serves a limiter as the limited API does, and returns the URL of its route.
func serve(t *testing.T, l limit.Limiter) (url string) {
	t.Helper()
	breaker := guard.NewBreaker(guard.BreakerConfig{})
	api := httptest.NewServer(server.New(server.Config{
		Routes:   []server.Route{{Path: "/items", Cost: 1, Guard: guard.New(l, breaker, guard.Config{})}},
		Identity: server.Identity{Header: "X-Api-Key"},
		Breaker:  breaker,
		MaxAge:   time.Minute,
	}))
	t.Cleanup(api.Close)
	return api.URL + "/items"
}

// attack offers the fault's load to a target, and keeps the records.
func (s *scene) attack(t *testing.T, name, target string) error {
	shape, err := plan.ParseShape(s.fault.Load.Shape)
	if err != nil {
		return err
	}
	p := plan.Plan{
		Name: name, Question: "Does the judge see what is wrong: " + s.fault.What + "?", Seed: 1,
		Duration: s.fault.Load.Duration, Shape: shape, Limit: &s.limit, Fresh: true,
		Keys:    plan.Keys{Count: s.fault.Load.Keys, Spread: plan.Turn},
		Targets: []plan.Target{{Method: "GET", URL: target}},
		CatchUp: -1, // a late request proves as much; of what must not be late there is onTime
	}
	records, err := s.folder.Records(name)
	if err != nil {
		return err
	}
	done, err := attack.Run(t.Context(), &p, attack.Config{Sink: records.Append})
	if err := errors.Join(err, records.Close()); err != nil {
		return err
	}
	return s.folder.PutAttack(done)
}

// The table of faults in the README is made from limittest.Faults:
//
//	UPDATE=1 go test ./bench/judge -run TestFaultTable
func TestFaultTable(t *testing.T) {
	t.Parallel()
	const name = "README.md"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("<!-- faults -->\n| fault | what is wrong, and where it was | caught by | by whose clock | shown by |\n|---|---|---|---|---|\n")
	for _, f := range limittest.Faults {
		fmt.Fprintf(&table, "| %s | %s (%s) | `%s` | %s | `make reproduce-%s` |\n", f.Name, f.What, f.Where, f.Check, f.Clock, f.Name)
	}
	table.WriteString("<!-- /faults -->")
	place := regexp.MustCompile(`(?s)<!-- faults -->.*<!-- /faults -->`)
	want := place.ReplaceAllLiteralString(string(text), table.String())
	switch {
	case !place.Match(text):
		t.Fatalf("%s has no place for the table between <!-- faults --> and <!-- /faults -->", name)
	case want == string(text):
	case os.Getenv("UPDATE") != "":
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the table of faults in %s is not that of limittest.Faults; update it with UPDATE=1 go test ./bench/judge -run TestFaultTable", name)
	}
}
