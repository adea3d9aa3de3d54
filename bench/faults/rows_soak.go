package faults

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"weir/bench/attack"
	"weir/bench/judge"
)

// DefaultSoak is how long the soak takes unless it is told.
const DefaultSoak = 10 * time.Minute

// soakRow is load without a fault: what grows with time is one.
func soakRow() Row {
	return Row{
		Name: "soak", Long: true, Fault: "none: 5,000/s over 100 keys for as long as --soak says",
		Must: "heap, goroutines and file descriptors of the API, and weir's own, end where they began; the limit holds",
		Rig:  Rig{Limit: "25/s,capacity=50", Rate: 5000, Keys: 100}, Do: soak, Proofs: []Proof{sane},
	}
}

func soak(s *Scene) error {
	s.row.Rig.For = s.config.Soak
	setDefault(&s.row.Rig.For, DefaultSoak)
	p := s.plan()
	begin := scrape(s.ctx, s.apis[0].URL)
	if begin == nil {
		return errors.New("the API does not answer /metrics")
	}
	own, ownHeap := runtime.NumGoroutine(), liveHeap()
	writer, err := s.config.Folder.Records(p.Name)
	if err != nil {
		return err //nolint:wrapcheck // it names the folder
	}
	var beside sync.WaitGroup
	stop := make(chan struct{})
	beside.Go(func() { s.sample(stop) })
	s.done, err = attack.Run(s.ctx, p, attack.Config{Sink: writer.Append})
	close(stop)
	beside.Wait()
	if err := errors.Join(err, writer.Close(), s.config.Folder.PutAttack(s.done)); err != nil {
		return err
	}
	scraper.CloseIdleConnections()
	var end map[string]float64
	claim := fmt.Sprintf("goroutines and descriptors of the API end where they began, after %s", s.row.Rig.For)
	waited := await(s.ctx, "the API to let go of the load's connections", func() bool {
		end = scrape(s.ctx, s.apis[0].URL)
		return end != nil && end[goroutines] <= begin[goroutines]+10 && end[files] <= begin[files]+10
	})
	s.findings = append(s.findings, found(waited == nil && end != nil, claim, "goroutines %.0f, then %.0f; descriptors %.0f, then %.0f",
		begin[goroutines], end[goroutines], begin[files], end[files]), timely((*Scene).heapFlat)(s))
	scraper.CloseIdleConnections()
	ownAfter, ownHeapAfter := runtime.NumGoroutine(), liveHeap()
	s.findings = append(s.findings, found(ownAfter <= own+10 && ownHeapAfter < ownHeap+32<<20, "weir's own end where they began",
		"goroutines %d, then %d; live heap %.1f MB, then %.1f MB", own, ownAfter, float64(ownHeap)/(1<<20), float64(ownHeapAfter)/(1<<20)))
	return s.judgeSoak()
}

// liveHeap is what is in use after a collection.
func liveHeap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// heapFlat compares the least heap in use, which is the live one after a collection, in
// the second eighth of the load with that in the last.
func (s *Scene) heapFlat() Finding {
	const claim = "the API's live heap is flat: the last eighth of the time needs no more than 4 MB above the second"
	n := len(s.samples)
	if n < 16 {
		return unclear(claim, "only %d samples", n)
	}
	least := func(samples []sample) float64 {
		values := make([]float64, len(samples))
		for i := range samples {
			values[i] = samples[i].of(heap) / (1 << 20)
		}
		return slices.Min(values)
	}
	first, last := least(s.samples[n/8:n/4]), least(s.samples[n*7/8:])
	_, most, _ := s.extent(resident)
	return found(last <= first+4, claim, "%.1f MB, then %.1f MB; resident %.1f MB at most", first, last, most/(1<<20))
}

// judgeSoak judges the records from the disk: they may be millions.
func (s *Scene) judgeSoak() error {
	reader, err := s.config.Folder.OpenRecords(s.row.Name)
	if err != nil {
		return err //nolint:wrapcheck // it names the folder
	}
	defer reader.Close()
	v, err := judge.Records(reader, judge.OptionsOf(&s.done), nil)
	if err != nil {
		return err //nolint:wrapcheck // it says judge
	}
	s.findings = append(s.findings, Finding{"the limit holds", v.Verdict, v.Sentence}, timely(func(*Scene) Finding {
		return found(v.Requests.Failed == 0, "no request fails", "%d of %d", v.Requests.Failed, v.Requests.Offered)
	})(s))
	return nil
}
