package record_test

import (
	"os"
	"path/filepath"
	"testing"

	"weir/bench/record"
)

// FuzzReader feeds any bytes to the reader of segments: it reads them, or names
// the file, and never panics.
func FuzzReader(f *testing.F) {
	dir := f.TempDir()
	writeAll(f, dir, sample(3))
	whole, err := os.ReadFile(segmentsIn(f, dir)[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte("PAR1PAR1"))
	name := filepath.Join(dir, "000002.parquet")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := record.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for batch := range r.Batches() {
			for i := range batch {
				_ = batch[i].Outcome.String() // which panics on none of the three
			}
		}
		if r.Err() != nil {
			t.Errorf("error %v, want it among the damages", r.Err())
		}
	})
}
