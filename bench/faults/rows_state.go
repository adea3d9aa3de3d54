package faults

import (
	"time"

	"weir/bench/judge"
	"weir/bench/stack"
)

// denied is what a Redis in protected mode says to whoever is not on its own
// host; its own host it never refuses, so here the proxy says it.
const denied = "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user.\r\n"

// second is n seconds.
func second(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

// stateRows put Redis into the states in which it answers, but not as asked.
func stateRows() []Row { return append(refusingRows(), loadingRow()) }

func refusingRows() []Row {
	return []Row{
		{
			Name: "redis-states", Fault: "Redis becomes a read-only replica, full (noeviction), password-protected, protects itself (played by the proxy), 1.5 s each",
			Must: "each is named in the log once per state, not once per request; the policy applies",
			Rig:  Rig{Limit: ledger, Proxy: true, For: second(12)},
			Acts: []Act{
				{second(1), "replica", command("REPLICAOF", "127.0.0.1", "1")},
				{second(2.5), "primary", command("REPLICAOF", "NO", "ONE")},
				{second(4), "full", command("CONFIG", "SET", "maxmemory", "1")},
				{second(5.5), "roomy", command("CONFIG", "SET", "maxmemory", "0")},
				{second(7), "locked", lock("secret")},
				{second(8.5), "unlocked", lock("")},
				{second(9.5), "deny", func(s *Scene) error {
					s.proxy.Set(stack.Trouble{Say: denied})
					s.proxy.Cut()
					return nil
				}},
				{second(10.5), "allow", trouble(stack.Trouble{})},
			},
			Proofs: []Proof{
				named("READONLY", "OOM", "NOAUTH", "in protected mode"), statuses(200, 503), retryAfter, chargedOnce, announced(4), sane,
			},
		},
		{
			Name: "redis-wrong-password", Fault: "Redis' password is changed under the API for 2 s",
			Must: "named in the log once; the policy applies",
			Rig:  Rig{Limit: ledger, Proxy: true, For: second(6), Settings: map[string]string{}},
			Acts: []Act{
				{second(2), "change", lock("another")},
				{second(4), "back", lock("secret")},
			},
			Do: func(s *Scene) error {
				// The API knows the password that Redis has at the start.
				if err := lock("secret")(s); err != nil {
					return err
				}
				for _, api := range s.apis {
					api.Stop()
				}
				s.mu.Lock()
				s.apis = nil
				s.mu.Unlock()
				if err := s.startAPI(map[string]string{"REDIS_URL": "redis://:secret@" + s.proxy.Addr() + "/0"}); err != nil {
					return err
				}
				return s.attack()
			},
			Proofs: []Proof{named("WRONGPASS"), statuses(200, 503), retryAfter, chargedOnce, announced(1), sane, silent("secret", "another")},
		},
	}
}

func loadingRow() Row {
	return Row{
		Name: "redis-loading", Fault: "Redis with 300 buckets on disk is killed (−9) at 2 s and takes 2 s to load them again",
		Must: "that it is gone and that it is loading are named in the log once each; the policy applies; what was charged is still known",
		Rig:  Rig{Limit: ledger, Keys: 300, For: second(8), Redis: []string{"--appendonly", "yes", "--aof-use-rdb-preamble", "yes"}},
		Acts: []Act{
			{second(1), "rewrite", func(s *Scene) error {
				if err := s.redis.do(s.ctx, "BGREWRITEAOF"); err != nil {
					return err
				}
				return s.redis.await(s.ctx, "write its file", func() bool { return s.redis.info(s.ctx, "aof_rewrite_in_progress") == 0 })
			}},
			{second(2), "kill", kill},
			{second(2.8), "launch", func(s *Scene) error {
				return s.redis.launch("--key-load-delay", "800", "--loading-process-events-interval-bytes", "1024")
			}},
			{second(2.8), "loaded", func(s *Scene) error {
				return s.redis.await(s.ctx, "load its data", func() bool { return s.redis.admin.Ping(s.ctx).Err() == nil })
			}},
		},
		Proofs: []Proof{named("connection refused", "LOADING"), statuses(200, 503), retryAfter, chargedOnce, recovered("loaded"), announced(1), sane},
	}
}

// lock sets Redis' password, "" for none, and makes all clients log in again.
func lock(password string) func(*Scene) error {
	return func(s *Scene) error {
		if err := s.redis.do(s.ctx, "CONFIG", "SET", "requirepass", password); err != nil {
			return err
		}
		return s.redis.do(s.ctx, "CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "yes")
	}
}

// silent wants words never to be logged.
func silent(words ...string) Proof {
	return func(s *Scene) Finding {
		n := 0
		for _, word := range words {
			n += s.said(word)
		}
		return found(n == 0, "no password is logged", "%d lines hold one", n)
	}
}

// clockRows step Redis' wall clock.
func clockRows() []Row {
	by := func(d time.Duration) func(*Scene) error {
		return func(s *Scene) error { return s.step(d) }
	}
	return []Row{{
		Name: "clock-stepped", Fault: "Redis' wall clock is set back by 10 s at 3 s and right again at 5 s, forwards by 2 s at 7 s and right again at 9 s, under a C library clock that can be stepped",
		Must: "no free refill by a step back, at most the step's own refill, capped at the capacity, forwards",
		Rig:  Rig{Limit: overloaded, Preload: true, For: 11 * time.Second},
		Acts: []Act{
			{3 * time.Second, "back", by(-10 * time.Second)},
			{5 * time.Second, "right", by(0)},
			{7 * time.Second, "forwards", by(2 * time.Second)},
			{9 * time.Second, "right again", by(0)},
		},
		Proofs: []Proof{clockMoved, noFreeRefill, statuses(200, 429), excessAtMost(1), sane},
	}}
}

// clockMoved wants the steps to have reached Redis, or the row has shown nothing.
func clockMoved(s *Scene) Finding {
	least := int64(0)
	for i := range s.records {
		if r := &s.records[i]; r.Quota.DecidedAt > 0 {
			least = max(least, r.Quota.DecidedAt-r.Done/1000)
		}
	}
	return found(least > time.Second.Microseconds(), "the steps reached Redis", "it has decided up to %.1f s ahead of us", float64(least)/1e6)
}

// noFreeRefill judges the time around the step back by our own clock alone:
// neither the step back nor the way home may bring a token.
func noFreeRefill(s *Scene) Finding {
	const claim = "a step back and home again brings no token"
	j, err := judge.New(judge.Options{Limit: s.limit, Fresh: true, Incomplete: true})
	if err != nil {
		return unclear(claim, "%v", err)
	}
	end := s.began("forwards").UnixNano()
	kept := s.records[:0:0]
	for _, r := range s.records {
		if r.Done < end {
			r.Quota.DecidedAt = 0
			kept = append(kept, r)
		}
	}
	if err := j.Add(kept); err != nil {
		return unclear(claim, "%v", err)
	}
	v := j.Verdict()
	return found(v.OverAdmission.ExcessTokens == 0 && v.Requests.Throttled > 0, claim, "%.2f tokens too many; %d admitted, %d throttled before the step forwards",
		v.OverAdmission.ExcessTokens, v.Requests.Admitted, v.Requests.Throttled)
}
