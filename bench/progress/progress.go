// Package progress shows how far long work has come: a bar that moves when the
// writer is a terminal, a plain line every few seconds when it is not (a CI log,
// a file).
package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// every is how often a plain line is printed.
const every = 5 * time.Second

// A Bar shows one piece of work. Its methods are safe for concurrent use.
type Bar struct {
	mu    sync.Mutex
	bar   *progressbar.ProgressBar // nil when lines are printed
	out   io.Writer
	title string
	total int64
	done  int64
	note  string
	last  time.Time
}

// Start begins a piece of work of total units, or of unknown length when total
// is below 1: then a plain line shows the note alone. Nothing is shown for work that ends within a second, except on a
// terminal.
func Start(out io.Writer, title string, total int64) *Bar {
	b := &Bar{out: out, title: title, total: max(total, 0), last: time.Now()}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		b.bar = progressbar.NewOptions64(max(total, -1),
			progressbar.OptionSetWriter(out),
			progressbar.OptionSetDescription(title),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetWidth(30),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionClearOnFinish())
	}
	return b
}

// Set says that done units are done, with a note of a few words on the state
// of the work, e.g. "480 admitted, 20 throttled".
func (b *Bar) Set(done int64, note string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done, b.note = done, note
	if b.bar != nil {
		b.bar.Describe(b.title + "  " + note)
		_ = b.bar.Set64(done) // a bar that cannot be drawn must not stop the work
		return
	}
	if now := time.Now(); now.Sub(b.last) >= every {
		b.last = now
		b.line()
	}
}

// Done ends the work and takes the bar away.
func (b *Bar) Done() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bar != nil {
		_ = b.bar.Finish() // as in Set
	}
}

func (b *Bar) line() {
	if b.total > 0 {
		fmt.Fprintf(b.out, "%s: %d%%  %s\n", b.title, b.done*100/b.total, b.note)
		return
	}
	fmt.Fprintf(b.out, "%s: %s\n", b.title, b.note)
}
