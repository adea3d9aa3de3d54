package server

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestPointsAreOneASecond(t *testing.T) {
	t.Parallel()
	p := newPoints(10 * time.Second)
	for range 3 {
		p.add(1000, true, 4_250_000, 2*time.Millisecond)
	}
	p.add(1000, false, 250_000, 10*time.Millisecond)
	p.add(1002, true, -1, 500*time.Nanosecond)
	got := p.since(1002)
	want := []Point{
		{TS: 1000, Allowed: 3, Blocked: 1, Tokens: 0.25, LatencyMS: 4},
		{TS: 1002, Allowed: 1, Tokens: 0.25, LatencyMS: 0.001}, // unknown tokens: the last known
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("since(1002) = %v, want %v", got, want)
	}
}

func TestPointsForget(t *testing.T) {
	t.Parallel()
	p := newPoints(5 * time.Second)
	size := len(p.ring)
	for ts := range int64(100_000) {
		p.add(1+ts, ts%3 == 0, 1, 1)
	}
	got := p.since(100_000)
	if len(got) != 5 || got[0].TS != 99_996 || got[4].TS != 100_000 || len(p.ring) != size {
		t.Errorf("after 100000 seconds: %d points of a ring of %d, want the last 5 of %d: %v", len(got), len(p.ring), size, got)
	}
	p.add(7, true, 1, 1) // hopelessly late: its place is taken
	if after := p.since(100_000); fmt.Sprint(after) != fmt.Sprint(got) {
		t.Errorf("a late decision changed %v to %v", got, after)
	}
	if idle := p.since(200_000); len(idle) != 0 {
		t.Errorf("since(200000) = %v, want nothing left", idle)
	}
}

func TestPointsLoseNothing(t *testing.T) {
	t.Parallel()
	p := newPoints(time.Minute)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range int64(10_000) {
				p.add(1000+i/1000, true, 1, 1)
			}
		})
	}
	all.Wait()
	total := int64(0)
	for _, point := range p.since(1020) {
		total += point.Allowed
	}
	if total != 80_000 {
		t.Errorf("points hold %d decisions, want all 80000", total)
	}
}

func TestBusiestKeysAreFoundInBoundedMemory(t *testing.T) {
	t.Parallel()
	b := newBusiest()
	for i := range 100_000 {
		b.observe(fmt.Sprintf("once-%d", i), 0, 5)
		if i%10 == 0 {
			b.observe("busy", 7_000_000, 5)
		}
	}
	found := b.snapshot(5)
	if len(found) != watchedKeys || len(b.place) != watchedKeys {
		t.Fatalf("%d keys and %d places after 100001 keys, want %d", len(found), len(b.place), watchedKeys)
	}
	best := found[0]
	for _, w := range found {
		if w.count > best.count {
			best = w
		}
	}
	if best.key != "busy" || best.tokens() != 7 {
		t.Errorf("busiest = %+v, want busy with 7 tokens", best)
	}
	if left := b.snapshot(5 + 40*halfLife); len(left) != 0 || len(b.place) != 0 {
		t.Errorf("%d keys left after 40 half-lives, want none", len(left))
	}
}

func TestBusiestNeverWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(*testing.T) { // a wait for the lock would be a deadlock here
		b := newBusiest()
		b.mu.Lock()
		b.observe("alice", 1, 1)
		b.mu.Unlock()
	})
}
