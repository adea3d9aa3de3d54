package faults

import (
	"net/http"
	"time"

	"weir/bench/stack"
)

// What limits most rows: 2,000/s over 20 keys are twice what they may have.
const overloaded = "50/s,capacity=50"

// ledger never refills and is never used up, so that it counts charges.
const ledger = "0/s,capacity=1000000"

func redisRows() []Row {
	return append(killedRows(), append(flushedRows(), slowRows()...)...)
}

// Acts on the Redis of the row.
func kill(s *Scene) error    { s.redis.kill(); return nil }
func restart(s *Scene) error { return s.redis.start(s.ctx) }
func halt(s *Scene) error    { s.redis.halt(); return nil }
func cont(s *Scene) error    { s.redis.cont(); return nil }

func command(words ...any) func(*Scene) error {
	return func(s *Scene) error { return s.redis.do(s.ctx, words...) }
}

// trouble sets what the proxy does.
func trouble(t stack.Trouble) func(*Scene) error {
	return func(s *Scene) error { s.proxy.Set(t); return nil }
}

// killedRows kill Redis and start it again, under each policy.
func killedRows() []Row {
	acts := []Act{{2 * time.Second, "kill", kill}, {4 * time.Second, "restart", restart}}
	row := func(name, fault, must string, rig Rig, proofs ...Proof) Row {
		rig.Limit, rig.For = overloaded, 7*time.Second
		return Row{
			Name: name, Fault: "Redis is killed (−9) at 2 s and started again at 4 s, " + fault, Must: must, Rig: rig, Acts: acts,
			Proofs: append(proofs, recovered("restart"), announced(1), sane),
		}
	}
	persistent := []string{"--appendonly", "yes", "--appendfsync", "everysec"}
	remembered := row("redis-killed-remembered", "empty; policy closed; buckets that were known to be empty, and are for 10 s more", "429 while a bucket is known to be empty, for 1 s at most, and 503; the breaker opens once",
		Rig{}, retryAfter, statuses(200, 429, 503), excessAtMost(1), forgotten)
	remembered.Rig.Limit = "6/m,capacity=10"
	return []Row{
		remembered,
		row("redis-killed-closed", "empty; policy closed", "503 + Retry-After meanwhile; at most one capacity extra per key",
			Rig{APIs: 2}, only503("kill", "restart"), retryAfter, statuses(200, 429, 503), excessAtMost(1), inTime(250*time.Millisecond)),
		row("redis-killed-persistent", "with its append-only file; policy closed", "503 meanwhile; nothing extra: what was charged is still known",
			Rig{Redis: persistent}, only503("kill", "restart"), retryAfter, statuses(200, 429, 503), holds),
		row("redis-killed-open", "empty; policy open", "all admitted meanwhile, and counted as such",
			Rig{Settings: map[string]string{"REDIS_AWAY": "open"}}, allAdmitted("kill", "restart"), statuses(200, 429)),
		row("redis-killed-local", "empty; policy local, two processes with half each", "within the local share meanwhile",
			Rig{APIs: 2, Settings: map[string]string{"REDIS_AWAY": "local"}}, localShare("kill", "restart"), statuses(200, 429)),
	}
}

func flushedRows() []Row {
	return []Row{
		{
			Name: "script-flush", Fault: "SCRIPT FLUSH three times", Must: "no failed request, nothing extra",
			Rig: Rig{Limit: overloaded, For: 5 * time.Second, APIs: 2},
			Acts: []Act{
				{time.Second, "flush 1", command("SCRIPT", "FLUSH")},
				{2 * time.Second, "flush 2", command("SCRIPT", "FLUSH")},
				{3 * time.Second, "flush 3", command("SCRIPT", "FLUSH")},
			},
			Proofs: []Proof{timely(nothingFailed), statuses(200, 429), holds, announced(0), sane},
		},
		{
			Name: "flushall", Fault: "FLUSHALL", Must: "no failed request; at most one capacity per key extra",
			Rig:    Rig{Limit: overloaded, For: 5 * time.Second},
			Acts:   []Act{{2500 * time.Millisecond, "flush", command("FLUSHALL")}},
			Proofs: []Proof{timely(nothingFailed), statuses(200, 429), excessAtMost(1), announced(0), sane},
		},
	}
}

// slowRows make Redis, or the way to it, slow or deaf.
func slowRows() []Row {
	const deadline = 250 * time.Millisecond
	counted := func(name, fault, must string, rig Rig, acts []Act, proofs ...Proof) Row {
		rig.Limit = ledger
		return Row{
			Name: name, Fault: fault, Must: must, Stalls: true, Rig: rig, Acts: acts,
			Proofs: append(proofs, statuses(200, 503), inTime(deadline), chargedOnce, timely(flat), sane),
		}
	}
	proxied := func(during stack.Trouble) []Act {
		return []Act{{2 * time.Second, "begin", trouble(during)}, {5 * time.Second, "end", trouble(stack.Trouble{})}}
	}
	return []Row{
		counted("redis-stopped", "Redis is stopped (SIGSTOP) for 5 s", "answers within the deadline; the breaker opens and closes; nothing charged twice",
			Rig{For: 9 * time.Second}, []Act{{2 * time.Second, "halt", halt}, {7 * time.Second, "cont", cont}},
			recovered("cont"), announced(1), retryAfter),
		counted("client-pause", "CLIENT PAUSE 3000 ALL", "answers within the deadline; the breaker opens and closes; nothing charged twice",
			Rig{}, []Act{{2 * time.Second, "pause", command("CLIENT", "PAUSE", 3000, "ALL")}}, announced(1), retryAfter),
		counted("delay-200ms", "every answer of Redis comes 200 ms late, for 3 s", "answers within the deadline of 250 ms; nothing charged twice",
			Rig{Proxy: true}, proxied(stack.Trouble{Delay: 200 * time.Millisecond}), backUp),
		counted("slow-drip", "Redis' answers come a byte each 10 ms, for 3 s", "answers within the deadline; the breaker opens and closes; nothing charged twice",
			Rig{Proxy: true}, proxied(stack.Trouble{Drip: 10 * time.Millisecond}), recovered("end"), backUp, retryAfter),
		counted("replies-lost", "every answer of Redis is lost after it has charged, for 3 s; no breaker", "nothing charged twice: each request that failed was charged at most once",
			Rig{Proxy: true, Settings: map[string]string{"BREAKER_FAILURES": "1000000"}, Rate: 500}, proxied(stack.Trouble{Lose: "evalsha"}), lostOnce),
		counted("stall", "the network to Redis takes everything and delivers nothing, for 3 s", "answers within the deadline; the breaker opens and closes; nothing charged twice",
			Rig{Proxy: true}, proxied(stack.Trouble{Stall: true}), recovered("end"), announced(1), retryAfter),
	}
}

// backUp wants the breaker closed at the end.
func backUp(s *Scene) Finding {
	for _, api := range s.apis {
		if up := scrape(s.ctx, api.URL)[backendUp]; up != 1 {
			return found(false, "Redis is asked again at the end", "%s = %g", backendUp, up)
		}
	}
	away, back := s.said("backend is away"), s.said("backend is back")
	return found(away == back, "Redis is asked again at the end", "%d times away, %d times back", away, back)
}

// lostOnce wants lost answers to be charges, or the row has shown nothing.
func lostOnce(s *Scene) Finding {
	failed := 0
	for i := range s.records {
		if s.records[i].Status == http.StatusServiceUnavailable {
			failed++
		}
	}
	return found(s.proxy.Lost() > 100 && failed > 100, "answers were lost", "%d answers of Redis, %d requests failed by it", s.proxy.Lost(), failed)
}

// forgotten wants nobody to be refused from memory once it is older than a second.
func forgotten(s *Scene) Finding {
	from := s.ended("kill").Add(time.Second + slack)
	seen := s.statusesWithin(from, s.began("restart"))
	return found(len(seen) == 1 && seen[http.StatusServiceUnavailable] > 0, "a second after Redis died nobody is throttled from memory", "%s", tally(seen))
}
