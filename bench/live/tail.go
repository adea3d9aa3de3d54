package live

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"weir/bench/record"
)

// tail reads the segments of a folder as they become whole, until over is closed
// and no further one is there. A segment becomes whole about every second.
func tail(dir string, over <-chan struct{}, add func([]record.Record)) error {
	poll := time.NewTicker(tickEvery)
	defer poll.Stop()
	seen := map[string]bool{}
	for {
		last := false
		select {
		case <-over:
			last = true
		case <-poll.C:
		}
		entries, err := os.ReadDir(dir) // by name, and so by age
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("follow records: %w", err)
		}
		for _, entry := range entries {
			name := entry.Name()
			if seen[name] || !strings.HasSuffix(name, ".parquet") || strings.HasPrefix(name, ".") {
				continue
			}
			seen[name] = true
			if err := readSegment(filepath.Join(dir, name), add); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
	}
}

func readSegment(path string, add func([]record.Record)) error {
	records, err := record.Open(path)
	if err != nil {
		return fmt.Errorf("follow records: %w", err)
	}
	defer records.Close() // they were only read
	for batch := range records.Batches() {
		add(batch)
	}
	return records.Err()
}
