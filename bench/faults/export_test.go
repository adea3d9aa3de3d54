package faults

import "time"

// Teeth are rows none of whose proofs can hold.
func Teeth() []Row {
	return []Row{
		{
			Name: "gone-for-good", Rig: Rig{Limit: overloaded, For: 4 * time.Second},
			Acts:   []Act{{time.Second, "kill", kill}, {1100 * time.Millisecond, "restart", func(*Scene) error { return nil }}},
			Proofs: []Proof{nothingFailed, statuses(200, 429), recovered("restart"), announced(1), named("LOADING")},
		},
		{
			Name: "given-twice", Rig: Rig{Limit: "50/s,capacity=1000", Rate: 4000, For: 4 * time.Second, Keys: 2},
			Acts:   []Act{{2 * time.Second, "flush", command("FLUSHALL")}},
			Proofs: []Proof{holds, excessAtMost(0)},
		},
		{
			// What a limiter charges twice looks like what somebody else was charged.
			Name: "charged-twice", Rig: Rig{Limit: ledger, Keys: 2, For: 3 * time.Second},
			Acts: []Act{{time.Second, "charge", func(s *Scene) error {
				for range 500 { // more than a busy machine makes fail
					if _, err := s.remaining(s.plan().Chooser().Names()[0]); err != nil {
						return err
					}
				}
				return nil
			}}},
			Proofs: []Proof{chargedExactly, chargedOnce},
		},
		{
			Name: "unprotected", Rig: Rig{Limit: overloaded, Settings: map[string]string{"REDIS_AWAY": "open"}, For: 3 * time.Second},
			Acts:   []Act{{time.Second, "kill", kill}, {2500 * time.Millisecond, "end", func(*Scene) error { return nil }}},
			Proofs: []Proof{only503("kill", "end"), localShare("kill", "end"), retryAfter},
		},
	}
}
