package attack

import (
	"sync"
	"time"

	"weir/bench/record"
)

const (
	batchSize  = 512
	maxBatches = 128 // waiting for the sink: more than a second of records at full speed, about 16 MB
	flushEvery = 200 * time.Millisecond
)

// A batcher gathers records from many workers and gives them to one sink.
type batcher struct {
	sink func([]record.Record) error
	tell func()      // called at every flush, if set
	fail func(error) // told the sink's first error at once

	mu   sync.Mutex
	open []record.Record

	full chan []record.Record
	free chan []record.Record
}

func newBatcher(sink func([]record.Record) error) *batcher {
	b := &batcher{sink: sink, full: make(chan []record.Record, maxBatches), free: make(chan []record.Record, maxBatches)}
	b.open = b.fresh()
	return b
}

// add takes a copy of a record. It blocks only while maxBatches wait.
func (b *batcher) add(r *record.Record) {
	b.mu.Lock()
	b.open = append(b.open, *r)
	if len(b.open) < batchSize {
		b.mu.Unlock()
		return
	}
	full := b.open
	b.open = b.fresh()
	b.mu.Unlock()
	b.full <- full
}

func (b *batcher) fresh() []record.Record {
	select {
	case batch := <-b.free:
		return batch[:0]
	default:
		return make([]record.Record, 0, batchSize)
	}
}

// close says that no record will be added any more.
func (b *batcher) close() { close(b.full) }

// deliver gives records to the sink until the batcher is closed. After the
// sink's first error, which it returns, it gives it nothing more but still takes
// what comes, so that nobody waits for it.
func (b *batcher) deliver() (err error) {
	flush := time.NewTicker(flushEvery)
	defer flush.Stop()
	give := func(batch []record.Record) {
		if err == nil && len(batch) > 0 {
			if err = b.sink(batch); err != nil {
				b.fail(err)
			}
		}
		select {
		case b.free <- batch:
		default:
		}
	}
	for {
		select {
		case batch, more := <-b.full:
			if !more {
				give(b.open)
				return err
			}
			give(batch)
		case <-flush.C:
			b.mu.Lock()
			batch := b.open
			b.open = b.fresh()
			b.mu.Unlock()
			give(batch)
			if b.tell != nil {
				b.tell()
			}
		}
	}
}
