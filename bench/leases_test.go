package main

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/api/limit"
	"weir/bench/attack"
	"weir/bench/judge"
	"weir/bench/plan"
	"weir/bench/record"
	"weir/bench/run"
	"weir/bench/stack"
)

// Three processes lease tokens of one bucket in one Redis. What they admit together
// is judged against the bound that leases promise, capacity + processes × lease
// in place of capacity, and against the bare capacity, to which the same records
// must show what leases cost: more at once, by no more than they may hold.
func TestLeasesOverProcessesKeepTheirBound(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three APIs and offers load for 6 s")
	}
	const processes, lease = 3, 16
	promise, err := limit.Parse("300/s,capacity=20")
	if err != nil {
		t.Fatal(err)
	}
	// While the load is half the rate the bucket is full and the leases are spent
	// and renewed; the ten times that follow find both.
	offered, records := attackLeases(t, &promise, processes, lease, "step:150/s,3000/s,150/s,3000/s,150/s,3000/s")

	bound := promise
	bound.Capacity += processes * lease
	over := judgeAdmission(t, offered, records, bound)
	if over.Verdict != judge.Holds {
		t.Errorf("with %d × %d leased tokens: over-admission is %s by %.1f tokens (%d admitted, bound %.1f), want that the bound holds",
			processes, lease, over.Verdict, over.ExcessTokens, over.Tokens, over.Bound)
	}
	bare := judgeAdmission(t, offered, records, promise)
	if bare.ExcessTokens > processes*lease {
		t.Errorf("over the bare capacity by %.1f tokens, want at most the %d that may be leased", bare.ExcessTokens, processes*lease)
	}
	leased := func(r record.Record) bool { return r.Outcome == record.Admitted && r.Quota.DecidedAt == 0 }
	if !slices.ContainsFunc(records, leased) {
		t.Error("every admitted answer says when Redis decided it: nothing was spent from a lease")
	}
	t.Logf("bound: %s with %.1f tokens of room; bare capacity: %s, %d admitted where %.1f may be, %.1f too many of the %d possible",
		over.Verdict, over.RoomTokens, bare.Verdict, bare.Tokens, bare.Bound, bare.ExcessTokens, processes*lease)
}

// attackLeases offers a shape, in turn to each of the processes that share a
// fresh bucket in a real Redis.
func attackLeases(t *testing.T, promise *limit.Limit, processes int, lease int64, shape string) (run.Attack, []record.Record) {
	t.Helper()
	t.Setenv("REDIS_URL", "")
	st, err := stack.Start(t.Context(), stack.Config{LogDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	if kind := st.Store().Kind; !strings.HasSuffix(kind, "-server") {
		if os.Getenv("REQUIRE_REDIS") == "1" {
			t.Fatalf("REQUIRE_REDIS=1, but the store is %q (install redis-server)", kind)
		}
		t.Skipf("the store is %q: leases over processes need a real Redis", kind)
	}
	var targets []plan.Target
	for n := range processes {
		api, err := st.StartAPI(t.Context(), strconv.Itoa(n+1), map[string]string{
			"TB_CAPACITY": strconv.FormatInt(promise.Capacity, 10), "TB_RATE": promise.Rate.String(),
			"LEASE": strconv.FormatInt(lease, 10),
		})
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, plan.Target{Method: "GET", URL: api.URL + "/items"})
	}
	offered, err := plan.ParseShape(shape)
	if err != nil {
		t.Fatal(err)
	}
	p := plan.Plan{
		Name: "leases", Seed: 1, Duration: 6 * time.Second, Shape: offered, Targets: targets, Limit: promise, Fresh: true,
		CatchUp: -1, // late requests are judged by when they were sent
	}
	var records []record.Record
	done, err := attack.Run(t.Context(), &p, attack.Config{Sink: func(batch []record.Record) error {
		records = append(records, batch...)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return done, records
}

// judgeAdmission judges how much was admitted, by a limit other than the plan's.
// Whom a larger bucket would have admitted is no question here.
func judgeAdmission(t *testing.T, offered run.Attack, records []record.Record, l limit.Limit) judge.OverAdmission {
	t.Helper()
	opt := judge.OptionsOf(&offered)
	opt.Limit = l
	j, err := judge.New(opt)
	if err == nil {
		err = j.Add(records)
	}
	if err != nil {
		t.Fatal(err)
	}
	return j.Verdict().OverAdmission
}
