package progress_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/bench/progress"
)

// A writer that is no terminal gets a plain line every five seconds, and nothing
// for work that ends before that.
func TestPlainLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out := &strings.Builder{}
		bar := progress.Start(out, "attack", 200)
		bar.Set(10, "10 admitted")
		if out.Len() > 0 {
			t.Fatalf("after no time it printed %q, want nothing", out)
		}
		time.Sleep(5 * time.Second)
		bar.Set(50, "40 admitted, 10 throttled")
		bar.Set(51, "too soon for a line")
		bar.Done()
		if want := "attack: 25%  40 admitted, 10 throttled\n"; out.String() != want {
			t.Errorf("it printed %q, want %q", out, want)
		}
	})
}

// Work of unknown length shows the note.
func TestUnknownLength(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out := &strings.Builder{}
		bar := progress.Start(out, "import", 0)
		time.Sleep(6 * time.Second)
		bar.Set(1234, "1234 records")
		if want := "import: 1234 records\n"; out.String() != want {
			t.Errorf("it printed %q, want %q", out, want)
		}
	})
}
