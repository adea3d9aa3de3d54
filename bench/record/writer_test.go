package record_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"weir/bench/record"
)

// A program that dies, or an attack that falls silent, loses a second at most.
func TestSegmentIsClosedAfterASecond(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w, err := record.Create(dir)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if err := w.Append(sample(10)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(1100 * time.Millisecond)
			synctest.Wait()
			if n := len(segmentsIn(t, dir)); n != i+1 {
				t.Errorf("%d segments after %d s, want %d", n, i+1, i+1)
			}
		}
		time.Sleep(10 * time.Second)
		if n := len(segmentsIn(t, dir)); n != 3 {
			t.Errorf("%d segments after a silence, want the 3 from before", n)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	})
	if got, _ := readAll(t, dir); len(got) != 30 {
		t.Errorf("read %d records, want 30", len(got))
	}
}

func TestWriterLeavesNothingWhereNothingWasWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeAll(t, dir, nil)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("left %v (%v), want an empty folder", entries, err)
	}
}

func TestFullDiskIsOneClearErrorAndLosesNoSegment(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full here to stand for a full disk")
	}
	dir := t.TempDir()
	w, err := record.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	const full = 1 << 18 // rows that fill a segment
	if err := w.Append(sample(full)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", filepath.Join(dir, ".partial-000002.parquet")); err != nil {
		t.Fatal(err)
	}
	err = w.Append(sample(full))
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), filepath.Join(dir, "000002.parquet")) {
		t.Errorf("Append on a full disk = %v, want no space left, and the file's name", err)
	}
	if again := w.Append(sample(1)); !errors.Is(again, err) {
		t.Errorf("Append after that = %v, want the same error", again)
	}
	if closing := w.Close(); !errors.Is(closing, err) {
		t.Errorf("Close = %v, want the same error", closing)
	}
	if got, damaged := readAll(t, dir); len(got) != full || len(damaged) > 0 {
		t.Errorf("read %d records, damaged %v, want the %d of the first segment", len(got), damaged, full)
	}
}

func TestWriterTakesRecordsFromManyGoroutines(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w, err := record.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() {
			for range 50 {
				if err := w.Append(sample(37)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	senders.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, _ := readAll(t, dir); len(got) != 8*50*37 {
		t.Errorf("read %d records, want %d", len(got), 8*50*37)
	}
}
