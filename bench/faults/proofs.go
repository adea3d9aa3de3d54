package faults

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"weir/bench/judge"
	"weir/bench/record"
)

// slack is what a busy machine may add to a deadline: the load, the API and Redis
// share its processors.
const slack = 250 * time.Millisecond

// within reports whether a record lies inside two instants.
func within(r *record.Record, from, to time.Time) bool {
	return r.Sent >= from.UnixNano() && r.Done <= to.UnixNano()
}

// holds has the judge look at everything: no over-admission at all.
func holds(s *Scene) Finding { return excessAtMost(0)(s) }

// excessAtMost allows so many times the capacity beyond the limit, per key.
func excessAtMost(capacities int64) Proof {
	return func(s *Scene) Finding {
		allowed := float64(capacities * s.limit.Capacity)
		claim := "no key was admitted more than the limit"
		if capacities > 0 {
			claim = fmt.Sprintf("no key was admitted more than the limit and %d times its capacity extra", capacities)
		}
		v, err := s.judged(s.limit, nil)
		if err != nil {
			return unclear(claim, "%v", err)
		}
		if v.Requests.Throttled == 0 {
			return unclear(claim, "nothing was throttled: the load did not reach the limit")
		}
		excess := v.OverAdmission.ExcessTokens
		return found(excess <= allowed, claim, "at most %.2f tokens too many on one of %d keys, capacity %d (%s admitted, %s throttled, judged %s)",
			excess, v.Requests.Keys, s.limit.Capacity, count(v.Requests.Admitted), count(v.Requests.Throttled), v.Mode)
	}
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

// statuses are the only statuses there may be; "" stands for no answer.
func statuses(allowed ...int) Proof {
	return timely(func(s *Scene) Finding {
		seen, wrong := map[int]int{}, 0
		for i := range s.records {
			seen[s.records[i].Status]++
		}
		for status, n := range seen {
			ok := false
			for _, a := range allowed {
				ok = ok || a == status
			}
			if !ok {
				wrong += n
			}
		}
		return found(wrong == 0 && len(s.records) > 0, fmt.Sprintf("every request is answered, with a status of %v", allowed), "%s", tally(seen))
	})
}

func tally(seen map[int]int) string {
	var parts []string
	for status := range 600 {
		if n := seen[status]; n > 0 {
			name := strconv.Itoa(status)
			if status == 0 {
				name = "no answer"
			}
			parts = append(parts, fmt.Sprintf("%s: %d", name, n))
		}
	}
	return strings.Join(parts, ", ")
}

// retryAfter wants a Retry-After on every 503.
func retryAfter(s *Scene) Finding {
	n, with := 0, 0
	for i := range s.records {
		if r := &s.records[i]; r.Status == http.StatusServiceUnavailable {
			n++
			if r.Quota.RetryAfter >= 1 {
				with++
			}
		}
	}
	return found(n > 0 && n == with, "every 503 has a Retry-After of at least 1 s", "%d of %d", with, n)
}

// only503 wants nothing but 503 between the ends of two acts: while Redis is away.
// A remembered empty bucket may still be throttled, which is right.
func only503(from, to string) Proof {
	return func(s *Scene) Finding {
		seen := s.statusesWithin(s.ended(from), s.began(to))
		return found(seen[http.StatusServiceUnavailable] > 0 && len(seen) == 1+min(seen[http.StatusTooManyRequests], 1) && seen[http.StatusTooManyRequests]*20 < seen[http.StatusServiceUnavailable],
			"while Redis is away: 503, and 429 only where a bucket was known to be empty", "%s", tally(seen))
	}
}

func (s *Scene) statusesWithin(from, to time.Time) map[int]int {
	seen := map[int]int{}
	for i := range s.records {
		if r := &s.records[i]; within(r, from, to) {
			seen[r.Status]++
		}
	}
	return seen
}

// allAdmitted wants 200 between two acts, and the API to have counted them as such.
func allAdmitted(from, to string) Proof {
	return func(s *Scene) Finding {
		const claim = "while Redis is away all are admitted, and counted as such"
		seen := s.statusesWithin(s.ended(from), s.began(to))
		unbacked := int64(0)
		for i := range s.records {
			if r := &s.records[i]; r.Status == http.StatusOK && r.Quota.DecidedAt == 0 {
				unbacked++
			}
		}
		counted := s.decisions("error_open")
		ok := seen[http.StatusOK] > 0 && seen[http.StatusOK]*100 > 95*total(seen) && len(seen) == 1+min(seen[http.StatusTooManyRequests], 1)
		return found(ok && counted == unbacked, claim, "%s meanwhile (429: buckets known to be empty); %d answers without a decision, error_open counts %d", tally(seen), unbacked, counted)
	}
}

func total(seen map[int]int) (n int) {
	for _, m := range seen {
		n += m
	}
	return n
}

// localShare judges what was admitted between two acts by what all processes
// may admit by their shares.
func localShare(from, to string) Proof {
	return func(s *Scene) Finding {
		const claim = "while Redis is away no more is admitted than the processes' shares"
		a, b := s.ended(from), s.began(to)
		v, err := s.judged(s.limit, func(r *record.Record) bool { return within(r, a, b) })
		if err != nil {
			return unclear(claim, "%v", err)
		}
		return found(v.OverAdmission.ExcessTokens == 0 && v.Requests.Admitted > 0 && v.Requests.Throttled > 0 && v.Requests.Failed == 0, claim,
			"%s admitted, %s throttled, %s failed; %.2f tokens too many", count(v.Requests.Admitted), count(v.Requests.Throttled), count(v.Requests.Failed), v.OverAdmission.ExcessTokens)
	}
}

// recovered wants every API process to ask Redis again within a second of an
// act's end, by its own log.
func recovered(act string) Proof {
	return timely(func(s *Scene) Finding {
		const claim = "Redis decides again within 1 s of its return, in every process"
		back, longest := s.ended(act), time.Duration(0)
		for _, api := range s.apis {
			at, found := lastSaid(logOf(api), "backend is back")
			if !found || at.Before(s.began(act)) { // a process may find Redis before we do
				return unrecovered(claim, api.URL)
			}
			longest = max(longest, at.Sub(back))
		}
		return found(longest <= time.Second, claim, "%s after it", longest.Round(time.Millisecond))
	})
}

func unrecovered(claim, url string) Finding {
	return found(false, claim, "%s never said that Redis is back", url)
}

// lastSaid is when a text was last logged.
func lastSaid(lines []string, text string) (at time.Time, ok bool) {
	for _, line := range lines {
		if !strings.Contains(line, text) {
			continue
		}
		stamp, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		if t, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
			at, ok = t, true
		}
	}
	return at, ok
}

// announced wants the log to say once that Redis went away, and once that it came
// back, for each time and process.
func announced(times int) Proof {
	return timely(func(s *Scene) Finding {
		away, back := s.said("backend is away"), s.said("backend is back")
		return s.once(times*max(1, len(s.apis)), away, away == back, "the breaker opens and closes, said once for each time and process",
			fmt.Sprintf("%d away, %d back", away, back))
	})
}

// once weighs how often something was logged. A machine that is busy with other
// things may open a breaker more than once; once for each request is another matter.
func (s *Scene) once(want, got int, also bool, claim, figure string) Finding {
	figure += fmt.Sprintf(", want %d; %d lines of log for %d requests", want, len(s.logs()), len(s.records))
	if also && got > want && want > 0 && got <= 4*want {
		return unclear(claim, "%s: this machine has stalls of its own", figure)
	}
	return found(also && got == want, claim, "%s", figure)
}

// sane wants no panic, no 500 and no data race report in the log.
func sane(s *Scene) Finding {
	panics := s.said("panic") + s.said("goroutine ") + s.said("level=ERROR", "superfluous")
	return found(panics == 0, "no panic", "%d in the log", panics)
}

// timely is for proofs that a busy machine can spoil: where the load itself was
// held up, or the plan could not be kept, what they accuse is inconclusive.
func timely(proof Proof) Proof {
	return func(s *Scene) Finding {
		f := proof(s)
		if n := s.done.Counts; f.Verdict == judge.Broken && n.Dropped*100 >= n.Planned {
			return unclear(f.Claim, "%s; but this machine was too busy to keep the plan: %d of %d requests dropped", f.Figure, n.Dropped, n.Planned)
		}
		if n := s.said("no answer within"); f.Verdict == judge.Broken && n > 0 && !s.row.Stalls {
			return unclear(f.Claim, "%s; but this machine held Redis or the API up beyond the deadline (said %d times)", f.Figure, n)
		}
		if held := s.heldUp(); f.Verdict == judge.Broken && held > slack/2 {
			return unclear(f.Claim, "%s; but the machine held the load itself up for %s", f.Figure, held.Round(time.Millisecond))
		}
		return f
	}
}

// inTime wants every answer within a deadline.
func inTime(deadline time.Duration) Proof {
	return timely(func(s *Scene) Finding {
		longest := time.Duration(0)
		for i := range s.records {
			longest = max(longest, time.Duration(s.records[i].Done-s.records[i].Sent))
		}
		return found(longest <= deadline+slack && longest > 0, fmt.Sprintf("every answer comes within the deadline of %s (and %s of a busy machine)", deadline, slack),
			"the longest took %s", longest.Round(time.Millisecond))
	})
}

// flat wants nothing to be left over: a goroutine for each connection that is
// still open, and memory within what so many connections need.
func flat(s *Scene) Finding {
	const claim = "goroutines and memory of the API are flat: at most two for a busy connection, one for an idle one"
	g0, gMost, g1 := s.extent(goroutines)
	m0, mMost, m1 := s.extent(resident)
	f0, fMost, f1 := s.extent(files)
	if g0 == 0 {
		return unclear(claim, "the API never answered /metrics")
	}
	const mb = 1 << 20
	return found(g1 <= f1+100 && gMost <= 2*fMost+100 && mMost <= m0+64*mb, claim,
		"first/most/last: goroutines %.0f/%.0f/%.0f, resident %.0f/%.0f/%.0f MB, descriptors %.0f/%.0f/%.0f",
		g0, gMost, g1, m0/mb, mMost/mb, m1/mb, f0, fMost, f1)
}

// nothingFailed wants no failed request.
func nothingFailed(s *Scene) Finding {
	failed := 0
	for i := range s.records {
		if s.records[i].Outcome == record.Failed {
			failed++
		}
	}
	return found(failed == 0 && len(s.records) > 0, "no request fails", "%d of %d failed", failed, len(s.records))
}

// chargedOnce compares what was charged with what was answered: what is admitted
// is charged once, what failed at most once.
func chargedOnce(s *Scene) Finding {
	const claim = "nothing is charged twice, nothing admitted is free"
	charged, err := s.charged()
	if err != nil {
		return unclear(claim, "%v", err)
	}
	admitted, failed := int64(0), int64(0)
	for i := range s.records {
		switch s.records[i].Outcome {
		case record.Admitted:
			admitted++
		case record.Failed:
			failed++
		case record.Throttled:
		}
	}
	return found(charged >= admitted && charged <= admitted+failed, claim,
		"%d charged, %d admitted, %d failed: %d of the failed had been charged", charged, admitted, failed, charged-admitted)
}

// chargedExactly wants what was charged to be what was admitted, and so no
// admitted request lost.
func chargedExactly(s *Scene) Finding {
	const claim = "no admitted request is lost: what Redis charged is what clients got"
	charged, err := s.charged()
	if err != nil {
		return unclear(claim, "%v", err)
	}
	admitted := int64(0)
	for i := range s.records {
		if s.records[i].Outcome == record.Admitted {
			admitted++
		}
	}
	return found(charged == admitted, claim, "%d charged, %d admitted answers", charged, admitted)
}

// charged is what all buckets were charged, asked over HTTP; the asking itself is left out.
func (s *Scene) charged() (int64, error) {
	if s.limit.Rate.Tokens != 0 {
		return 0, fmt.Errorf("the buckets of %s refill", s.limit)
	}
	sum := int64(0)
	for _, key := range s.plan().Chooser().Names() {
		left, err := s.remaining(key)
		if err != nil {
			return 0, err
		}
		sum += s.limit.Capacity - left - 1
	}
	return sum, nil
}

// remaining takes one token of a key, and returns the whole tokens left.
func (s *Scene) remaining(key string) (int64, error) {
	request, err := http.NewRequestWithContext(s.ctx, http.MethodGet, s.apis[0].URL+"/items", http.NoBody)
	if err != nil {
		return 0, err //nolint:wrapcheck // cannot be
	}
	request.Header.Set("X-API-Key", key)
	response, err := scraper.Do(request)
	if err != nil {
		return 0, fmt.Errorf("ask what is left: %w", err)
	}
	defer response.Body.Close()
	left, err := strconv.ParseFloat(response.Header.Get("X-RateLimit-Remaining"), 64)
	if err != nil || response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("ask what is left: status %d, X-RateLimit-Remaining %q", response.StatusCode, response.Header.Get("X-RateLimit-Remaining"))
	}
	return int64(left), nil
}

// named wants the log to name each state once, by words of it.
func named(states ...string) Proof {
	return timely(func(s *Scene) Finding {
		want := max(1, len(s.apis))
		least, most, figures := math.MaxInt, 0, make([]string, 0, len(states))
		for _, state := range states {
			n := s.said("reason=", state)
			least, most = min(least, n), max(most, n)
			figures = append(figures, fmt.Sprintf("%q: %d", state, n))
		}
		return s.once(want, most, least >= want, "each state is named in the log once, not once per request", strings.Join(figures, ", "))
	})
}
