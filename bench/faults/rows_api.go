package faults

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"syscall"
	"time"

	"weir/bench/record"
	"weir/bench/stack"
)

// apiRows end the API's processes.
func apiRows() []Row {
	return []Row{
		{
			Name: "api-killed", Fault: "one of three API processes is killed (−9) at 2 s",
			Must: "the limit still holds over all; the others serve on",
			Rig:  Rig{Limit: overloaded, APIs: 3, For: 6 * time.Second},
			Acts: []Act{{2 * time.Second, "kill", func(s *Scene) error {
				s.take(0).Process().Signal(syscall.SIGKILL)
				return nil
			}}},
			Proofs: []Proof{holds, othersServe, sane},
		},
		{
			Name: "api-drained", Fault: "one of three API processes is told to stop (SIGTERM) at 2 s",
			Must:   "no admitted request is lost; the process ends with its requests done",
			Rig:    Rig{Limit: ledger, APIs: 3, For: 5 * time.Second},
			Acts:   []Act{{2 * time.Second, "stop", func(s *Scene) error { s.take(0).Stop(); return nil }}},
			Proofs: []Proof{chargedExactly, othersServe, drained(1), sane},
		},
		{
			Name: "api-rolled", Fault: "three API processes are replaced one after the other (SIGTERM, then a new one at the same address) from 2 s on",
			Must:   "no admitted request is lost; every request that reaches a process is answered",
			Rig:    Rig{Limit: ledger, APIs: 3, For: 8 * time.Second},
			Acts:   []Act{{2 * time.Second, "roll", roll}},
			Proofs: []Proof{chargedExactly, drained(3), sane},
		},
		{
			Name: "api-rolled-limit", Fault: "three API processes are replaced one after the other, under twice the limit",
			Must:   "the limit holds over all",
			Rig:    Rig{Limit: overloaded, APIs: 3, For: 8 * time.Second},
			Acts:   []Act{{2 * time.Second, "roll", roll}},
			Proofs: []Proof{holds, drained(3), sane},
		},
	}
}

// take takes an API process out of those that run.
func (s *Scene) take(i int) *stack.API {
	s.mu.Lock()
	defer s.mu.Unlock()
	api := s.apis[i]
	s.apis = append(s.apis[:i:i], s.apis[i+1:]...)
	s.gone = append(s.gone, api)
	return api
}

// roll replaces every API process.
func roll(s *Scene) error {
	for range len(s.apis) {
		old := s.take(0)
		old.Stop()
		if err := s.startAPI(map[string]string{"LISTEN_ADDR": strings.TrimPrefix(old.URL, "http://")}); err != nil {
			return err
		}
	}
	return nil
}

// othersServe wants nothing to fail at a process that was left alone.
func othersServe(s *Scene) Finding {
	failed, served, refused := 0, 0, 0
	for i := range s.records {
		r := &s.records[i]
		here := strings.Contains(r.Target, s.gone[0].URL)
		switch {
		case r.Outcome != record.Failed:
			served++
		case here:
			refused++
		default:
			failed++
		}
	}
	return found(failed == 0 && refused > 0, "the other processes answer everything", "%d failed at the others, %d at the one that is gone, %d answered", failed, refused, served)
}

// drained wants so many processes to have ended well, with nothing cut off.
func drained(n int) Proof {
	return func(s *Scene) Finding {
		clean := 0
		for _, api := range s.gone {
			if api.Process().Wait() == nil {
				clean++
			}
		}
		lost := map[string]int{}
		for i := range s.records {
			if r := &s.records[i]; r.Outcome == record.Failed {
				lost[r.Error]++
			}
		}
		return found(clean == n && s.said("msg=stopped") == n, "each process ends by itself with exit code 0 and its requests done",
			"%d of %d; requests without an answer: %v", clean, n, lost)
	}
}

// hashed is what the API calls a client that is known by a header.
func hashed(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}
