package convert

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"weir/bench/record"
)

// Export writes records to w in one of the Outputs. It reads them
// twice for vegeta: open must open the same records each time. After each batch
// it tells tick, which may be nil, how many are written. What segments were
// damaged is returned beside the first error.
func Export(w io.Writer, format string, open func() (*record.Reader, error), tick func(written int64)) ([]*record.DamagedError, error) {
	if !slices.Contains(Outputs, format) {
		return nil, fmt.Errorf("unknown format %q (want one of %s)", format, strings.Join(Outputs, ", "))
	}
	out := bufio.NewWriterSize(w, 1<<16)
	encode, flush, err := encoder(out, format, open)
	if err != nil {
		return nil, err
	}
	written := int64(0)
	damaged, err := each(open, func(batch []record.Record) error {
		for i := range batch {
			if err := encode(&batch[i]); err != nil {
				return err
			}
		}
		if written += int64(len(batch)); tick != nil {
			tick(written)
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err == nil {
		err = out.Flush()
	}
	return damaged, err
}

func encoder(w io.Writer, format string, open func() (*record.Reader, error)) (func(*record.Record) error, func() error, error) {
	if format == CSV {
		return csvEncoder(w)
	}
	orders, err := ordersOf(open)
	if err != nil {
		return nil, nil, err
	}
	encode := map[string]func(io.Writer) vegeta.Encoder{
		VegetaGob: vegeta.NewEncoder, VegetaCSV: vegeta.NewCSVEncoder, VegetaJSON: vegeta.NewJSONEncoder,
	}[format](w)
	return func(r *record.Record) error { return encode(toVegeta(r, orders[r.Plan].next(r.Sent))) }, func() error { return nil }, nil
}

func each(open func() (*record.Reader, error), do func([]record.Record) error) ([]*record.DamagedError, error) {
	r, err := open()
	if err != nil {
		return nil, err
	}
	defer r.Close() // it was only read
	for batch := range r.Batches() {
		if err := do(batch); err != nil {
			return r.Damaged(), err
		}
	}
	return r.Damaged(), r.Err()
}

// An order numbers the records of one plan densely, in the order of sending, as
// vegeta does: its plot waits for each number in turn, and refuses one that was
// sent earlier than the number before. Records lie in the order in which they
// were done. It takes eight bytes a record.
type order struct {
	sent []int64          // sorted
	ties map[int64]uint64 // how many of an instant that several share are numbered
}

func ordersOf(open func() (*record.Reader, error)) (map[string]*order, error) {
	orders := map[string]*order{}
	_, err := each(open, func(batch []record.Record) error {
		for i := range batch {
			o := orders[batch[i].Plan]
			if o == nil {
				o = &order{ties: map[int64]uint64{}}
				orders[batch[i].Plan] = o
			}
			o.sent = append(o.sent, batch[i].Sent)
		}
		return nil
	})
	for _, o := range orders {
		slices.Sort(o.sent)
	}
	return orders, err
}

func (o *order) next(sent int64) uint64 {
	at, _ := slices.BinarySearch(o.sent, sent)
	if at+1 >= len(o.sent) || o.sent[at+1] != sent {
		return uint64(at)
	}
	tied := o.ties[sent]
	o.ties[sent]++
	return uint64(at) + tied
}
