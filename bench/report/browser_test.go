package report_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"weir/bench/run"
)

// browser starts a headless chromium, and skips the test when there is none.
// The returned function says what the page complained of.
func browser(t *testing.T) (ctx context.Context, complaints func() []string) {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("REQUIRE_BROWSER") == "1" {
			t.Fatal("REQUIRE_BROWSER=1, but chromium is not in PATH (install chromium)")
		}
		t.Skip("chromium is not in PATH: the page is not looked at in a browser")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()))
	allocator, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, stopTab := chromedp.NewContext(allocator)
	t.Cleanup(stopTab)
	ctx, stopTime := context.WithTimeout(ctx, 60*time.Second)
	t.Cleanup(stopTime)

	var mu sync.Mutex
	list := []string{}
	if err := chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			list = append(list, fmt.Sprintf("%+v", e.ExceptionDetails))
		case *log.EventEntryAdded: // refused by the content security policy, not found, …
			list = append(list, e.Entry.Text)
		case *runtime.EventConsoleAPICalled:
			list = append(list, "console."+string(e.Type))
		}
	}); err != nil {
		t.Fatal(err)
	}
	return ctx, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return list
	}
}

// Every plot of the page is drawn, wide and narrow, light and dark, and the
// page complains of nothing.
func TestPageDrawsInABrowser(t *testing.T) {
	ctx, complaints := browser(t)
	many, generous := overload(t), overload(t)
	many.Plan, many.Keys, many.Failing = "many-keys", 30, 0.05
	generous.Plan, generous.Limit = "generous", mustLimit(t, "8/s,capacity=30")
	promised := mustLimit(t, "5/s,capacity=20")
	folder := newRun(t, overload(t), many, generous)
	if err := folder.Update(func(m *run.Manifest) { m.Attacks[2].Plan.Limit = &promised }); err != nil {
		t.Fatal(err)
	}
	write(t, folder, holds("overload"), judged(t, folder, "generous", promised))

	page := "file://" + filepath.Join(folder.Path, "report.html")
	for _, view := range []struct {
		name   string
		width  int64
		scheme string
	}{{"wide and light", 1400, "light"}, {"phone and dark", 400, "dark"}} {
		t.Run(view.name, func(t *testing.T) {
			media := emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: view.scheme}},
			}
			if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, media); err != nil {
				t.Fatal(err)
			}
			err := chromedp.Do(ctx, chromedp.EmulateViewport(view.width, 900), chromedp.Navigate(page), chromedp.WaitReady(".uplot canvas"))
			if err != nil {
				t.Fatal(err)
			}
			drawn := evaluate(t, ctx, `document.querySelectorAll("figure .uplot canvas").length`)
			wanted := evaluate(t, ctx, `document.querySelectorAll("figure").length`)
			overflow := evaluate(t, ctx, `document.documentElement.scrollWidth - innerWidth`)
			if drawn != wanted || wanted != 3*6+1+1 { // six plots a plan, the sum of many keys, the witness
				t.Errorf("%d of %d plots are drawn, want 20", drawn, wanted)
			}
			if overflow > 0 {
				t.Errorf("page is %d pixels wider than the window", overflow)
			}
			if list := complaints(); len(list) > 0 {
				t.Errorf("page complains: %q", list)
			}
		})
	}
}

func evaluate(t *testing.T, ctx context.Context, expression string) int {
	t.Helper()
	n, err := chromedp.Run(ctx, chromedp.Evaluate[int](expression))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
