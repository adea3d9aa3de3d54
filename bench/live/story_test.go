package live_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"weir/bench/live"
	"weir/bench/plan"
)

// Another web page, in a real browser, can neither start an attack here nor read
// what the page says.
func TestAForeignPageIsRefused(t *testing.T) {
	asked := atomic.Int64{}
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer target.Close()
	page := newPage(t, live.Config{})
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!doctype html><title>a foreign page</title><form method="post" enctype="text/plain"></form>`)
	}))
	defer foreign.Close()
	ctx := openBrowser(t, false)
	must(t, ctx, chromedp.Navigate(foreign.URL))
	form := fmt.Sprintf(`JSON.stringify({targets: [%q], shape: "constant:50/s", duration: "1s"})`, target.URL)
	attempt := func(options string) string {
		return js[string](t, ctx, fmt.Sprintf(`fetch(%q, {method: "POST", body: %s, %s}).then((r) => "answered " + r.status + " " + r.type, (e) => "refused")`,
			page.URL+"/api/attack/start", form, options))
	}
	if got := attempt(`headers: {"Content-Type": "application/json"}`); got != "refused" {
		t.Errorf("JSON from a foreign page: %s", got)
	}
	if got := attempt(`mode: "no-cors"`); got != "answered 0 opaque" && got != "refused" {
		t.Errorf("a simple request from a foreign page: %s", got)
	}
	if got := js[string](t, ctx, fmt.Sprintf(`fetch(%q).then(() => "read", () => "refused")`, page.URL+"/api/snapshot")); got != "refused" {
		t.Errorf("a foreign page has %s the snapshot", got)
	}
	var snapshot live.Snapshot
	get(t, page.URL+"/api/snapshot", &snapshot)
	if snapshot.State.Phase != "idle" || asked.Load() != 0 {
		t.Errorf("after the attempts the page is %s and the target was asked %d times", snapshot.State.Phase, asked.Load())
	}
}

// When the target dies in the middle, the page goes on: failures are counted and
// named, and the attack can be stopped. What the target's address says stays text.
func TestTheTargetDies(t *testing.T) {
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	page := newPage(t, live.Config{Start: live.Form{
		Targets: []string{target.URL + "/<img src=x onerror=document.title='hacked'>"}, Shape: "users:3", Duration: "1m", Keys: 30, Limit: "1000000/s,capacity=1000000",
	}})
	ctx := openBrowser(t, true)
	must(t, ctx, chromedp.Navigate(page.URL), visible("form.start"), click("button[type=submit].go"), visible(".phase.running"))
	until(t, ctx, "answers come", `Number(`+cell("admitted")+`) > 20`)
	if users := js[string](t, ctx, `document.querySelector(".edit label").textContent`); users != "Users" {
		t.Errorf("a closed loop is edited by %q, want its users", users)
	}
	must(t, ctx, enter("#edit-value", "7"), click(".edit button"))
	until(t, ctx, "seven users are told", `document.querySelector("#attack .tile dd").textContent === "7"`)
	target.CloseClientConnections()
	target.Close()
	until(t, ctx, "failures are named", `document.querySelector("#failures td.n.failed") !== null && document.querySelector("#failures td.what").textContent.length > 5`)
	must(t, ctx, click("button.stop"), visible(".phase.done"))
	if title := js[string](t, ctx, `document.title + document.querySelectorAll("#attack img").length`); title != "weir live0" {
		t.Errorf("the target's address became part of the page: %s", title)
	}
	if rows := js[int](t, ctx, `document.querySelectorAll("#statistics tr.keys").length`); rows != 3 {
		t.Errorf("30 keys are %d rows, want those of 0, 1 to 9, 10 to 29", rows)
	}
}

// A person without a mouse, on a phone, in the dark.
func TestKeyboardPhoneAndThemes(t *testing.T) {
	page := newPage(t, live.Config{APIs: []string{"http://127.0.0.1:1"}})
	ctx := openBrowser(t, true)
	look(t, ctx, "dark", 360, 740)
	must(t, ctx, chromedp.Navigate(page.URL), visible("form.start"))
	for key, tab := range map[string]string{"1": "watch", "2": "attack", "3": "runs"} {
		must(t, ctx, chromedp.KeyEvent(key))
		until(t, ctx, "key "+key+" shows "+tab, `document.querySelector("[aria-current=page]").dataset.tab === "`+tab+`" && !document.getElementById("`+tab+`").hidden`)
		if over := js[int](t, ctx, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
			t.Errorf("%s is %d pixels wider than a phone", tab, over)
		}
	}
	background := func() string { return js[string](t, ctx, `getComputedStyle(document.body).backgroundColor`) }
	if got := background(); got != "rgb(20, 23, 26)" {
		t.Errorf("in the dark the page is %s", got)
	}
	must(t, ctx, chromedp.KeyEvent("t"))
	until(t, ctx, "the theme is light", `getComputedStyle(document.body).backgroundColor === "rgb(255, 255, 255)"`)
	must(t, ctx, chromedp.KeyEvent("1"))
	until(t, ctx, "a dead API is told of", `document.querySelector(".api .note").textContent.includes("cannot be read")`)
	must(t, ctx, chromedp.KeyEvent("3"))
	until(t, ctx, "no run is told of", `document.querySelector("#run-list .empty").textContent.startsWith("No run yet")`)
}

// TestFirstPlot measures how long a page with an hour of history takes to its
// first plot, and fails only when it is far beyond what a person waits for.
func TestFirstPlot(t *testing.T) {
	server, err := live.New(live.Config{Results: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	shape, err := plan.ParseShape("constant:40/s")
	if err != nil {
		t.Fatal(err)
	}
	server.Remember(time.Hour, shape)
	page := httptest.NewServer(server)
	defer page.Close()
	ctx := openBrowser(t, true)
	for range 5 {
		must(t, ctx, chromedp.Navigate("about:blank"), chromedp.Navigate(page.URL))
		until(t, ctx, "the first plot is drawn", `performance.getEntriesByName("first-plot").length > 0`)
		took := js[float64](t, ctx, `performance.getEntriesByName("first-plot")[0].startTime`)
		size := js[float64](t, ctx, `performance.getEntriesByType("resource").find((r) => r.name.endsWith("/api/snapshot")).transferSize`)
		t.Logf("first plot after %.0f ms, snapshot %.0f kB", took, size/1e3)
		if took > 5000 {
			t.Errorf("the first plot took %.0f ms", took)
		}
	}
	// The hour that is only on the page has no attack to end.
	page.CloseClientConnections()
}

// TestHeapIsFlat runs an attack for -heap-for and looks at the heaps of page and
// server, both after collecting garbage. Once the rings are full, neither grows.
func TestHeapIsFlat(t *testing.T) {
	if *heapFor == 0 {
		t.Skip("it takes minutes: give -heap-for 10m")
	}
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer target.Close()
	page := newPage(t, live.Config{Start: live.Form{Targets: []string{target.URL}, Shape: "constant:200/s", Duration: "1h", Keys: 100, Limit: "1/s,capacity=100"}})
	ctx := openBrowser(t, true)
	must(t, ctx, chromedp.Navigate(page.URL), visible("form.start"), click("button[type=submit].go"), visible(".phase.running"))
	until(t, ctx, "plots are drawn", `document.querySelectorAll("#attack figure canvas").length >= 4`)
	begun := time.Now()
	first := 0.0
	for last := time.Duration(0); last < *heapFor; {
		must(t, ctx, chromedp.Sleep(*heapFor/6))
		last = time.Since(begun)
		used := js[float64](t, ctx, `(gc(), gc(), performance.memory.usedJSHeapSize / 1e6)`)
		runtime.GC()
		var snapshot live.Snapshot
		get(t, page.URL+"/api/snapshot", &snapshot)
		t.Logf("after %s: page %.1f MB, server %.1f MB", last.Round(time.Second), used, float64(snapshot.Server.Heap)/1e6)
		if first == 0 {
			first = used
		}
		if used > 2*first+10 {
			t.Errorf("the page's heap grew from %.1f to %.1f MB", first, used)
		}
	}
	must(t, ctx, click("button.stop"), visible(".phase.done"))
}
