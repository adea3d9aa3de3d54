package live_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"weir/bench/live"
	"weir/bench/record"
	"weir/bench/run"
	"weir/bench/stack"
)

var (
	screenshots = flag.String("screenshots", "", "`DIR` for pictures of the page in both themes and narrow")
	heapFor     = flag.Duration("heap-for", 0, "how long TestHeapIsFlat attacks; 0 skips it")
	pageTime    = flag.Duration("page-time", 4*time.Minute, "longest a test may use the browser")
)

// A stage is a page on a real API with a real Redis.
type stage struct {
	api     string
	results string
	server  *live.Server
	page    *httptest.Server
}

func setStage(t *testing.T, change func(*live.Config)) *stage {
	t.Helper()
	if os.Getenv("REDIS_URL") == "" {
		if _, err := exec.LookPath("redis-server"); err != nil {
			if os.Getenv("REQUIRE_REDIS") == "1" {
				t.Fatal("no redis-server in PATH, and REQUIRE_REDIS=1")
			}
			t.Skip("no redis-server in PATH: the page is tested on a real one")
		}
	}
	st, err := stack.Start(t.Context(), stack.Config{LogDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	api, err := st.StartAPI(t.Context(), "live", map[string]string{
		"TB_RATE": "50", "TB_CAPACITY": "100", "KEY_BY": "header:X-API-Key", "BUCKET_PREFIX": fmt.Sprintf("live-test-%d:", time.Now().UnixNano()),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{api: api.URL, results: t.TempDir()}
	config := live.Config{
		Results: s.results, APIs: []string{api.URL}, Commit: "test", Store: st.Store(),
		Start: live.Form{
			Name: "live", Targets: []string{api.URL + "/items"}, Method: "GET", Shape: "constant:120/s", Duration: "10m", Keys: 1, Limit: "50/s,capacity=100",
		},
	}
	if change != nil {
		change(&config)
	}
	if s.server, err = live.New(config); err != nil {
		t.Fatal(err)
	}
	s.page = httptest.NewServer(s.server)
	t.Cleanup(func() { s.server.Close(); s.page.Close() })
	return s
}

// openBrowser starts chromium on a blank tab. When it is strict, every error in its
// console fails the test.
func openBrowser(t *testing.T, strict bool) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("REQUIRE_BROWSER") == "1" {
			t.Fatal("no chromium in PATH, and REQUIRE_BROWSER=1")
		}
		t.Skip("no chromium in PATH: the page is tested in a real browser")
	}
	allocated, cancel := chromedp.NewExecAllocator(t.Context(), chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("enable-precise-memory-info", true), chromedp.Flag("js-flags", "--expose-gc"), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 900))
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocated)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, *pageTime)
	t.Cleanup(cancel)
	if !strict {
		return ctx
	}
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			refused := strings.Contains(m.Text, "the server responded with a status of 4") // told in the page
			if (m.IsException() || m.Type == "error") && !refused && t.Context().Err() == nil {
				t.Errorf("the browser complains: %s %s", m.Text, m.URL)
			}
		}
	}()
	return ctx
}

type action = chromedp.Action[chromedp.Void]

func must(t *testing.T, ctx context.Context, actions ...action) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

func visible(selector string) action { return chromedp.WaitVisible(chromedp.CSS(selector)) }
func click(selector string) action   { return chromedp.Click(chromedp.CSS(selector)) }

func enter(selector, value string) action { return chromedp.SetValue(chromedp.CSS(selector), value) }

// until waits until a JavaScript expression is true.
func until(t *testing.T, ctx context.Context, what, expression string) {
	t.Helper()
	if err := chromedp.Do(ctx, chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingInterval(50*time.Millisecond))); err != nil {
		text, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
		t.Fatalf("waiting until %s: %v\n%s", what, err, text)
	}
}

func js[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// cell is the text of a column in the statistics table's total.
func cell(column string) string {
	return fmt.Sprintf(`document.querySelector("tr.total td.%s")?.textContent.replaceAll(",","")`, column)
}

// TestAttackFromThePage is the story of a person with the page: start, look, edit,
// reload, stop, download, compare. The numbers must be the API's own, and those on
// disk.
func TestAttackFromThePage(t *testing.T) {
	s := setStage(t, nil)
	ctx := openBrowser(t, true)
	must(t, ctx, chromedp.Navigate(s.page.URL+"/#attack"), visible("form.start"))
	picture(t, ctx, "form")

	// A mistake is told beside the field.
	must(t, ctx, enter("#f-duration", "9 parsecs"), click("button[type=submit].go"), visible("form .error"))
	if wrong := js[string](t, ctx, `document.activeElement.id`); wrong != "f-duration" {
		t.Errorf("the focus is on %q, want the field that is wrong", wrong)
	}
	must(t, ctx, enter("#f-duration", "2m"), click("button[type=submit].go"), visible(".phase.running"))
	until(t, ctx, "plots are drawn and the bucket is empty", `document.querySelectorAll("#attack figure canvas").length >= 4 && Number(`+cell("throttled")+`) > 100`)
	until(t, ctx, "the judge speaks", `document.querySelector(".judge .chip")?.textContent === "holds so far"`)

	// Edit the rate: the plan is taken over, and the answers follow.
	must(t, ctx, enter("#edit-value", "300/s"), click(".edit button"))
	until(t, ctx, "the edit is told", `document.querySelector(".control .note")?.textContent.includes("300/s")`)
	until(t, ctx, "300/s are offered", `document.querySelector("#attack .tile dd").textContent === "300/s"`)
	until(t, ctx, "and answered, as far as this machine can", `Number(document.querySelector("tr.total td.rate").textContent.replace(/\/s|,/g, "")) > 150`)

	// A reload, and a late joiner, see the whole run from its first second.
	must(t, ctx, chromedp.Reload(), visible(".phase.running"))
	until(t, ctx, "the history is back", `document.querySelectorAll("#attack figure canvas").length >= 4`)
	var snapshot live.Snapshot
	get(t, s.page.URL+"/api/snapshot", &snapshot)
	if at := snapshot.Rings[0].Columns["at_s"]; len(at) == 0 || at[0] != 0 {
		t.Errorf("a late joiner's history begins at %v, want 0 s", at)
	}
	// The picture is to show a minute of it.
	if *screenshots != "" {
		must(t, ctx, chromedp.Sleep(25*time.Second))
		must(t, ctx, enter("#edit-value", "90/s"), click(".edit button"))
		must(t, ctx, chromedp.Sleep(14*time.Second))
	}
	picture(t, ctx, "attack")

	must(t, ctx, click("button.stop"), visible(".phase.done"))
	// A machine that could not offer the plan makes it inconclusive, never broken.
	until(t, ctx, "the final verdict", `["holds", "inconclusive"].includes(document.querySelector(".judge .chip")?.textContent)`)
	name := checkNumbers(t, ctx, s)
	checkDownloads(t, s, name)
	picture(t, ctx, "ended")

	must(t, ctx, click("nav [data-tab=watch]"), visible("#watch .api"))
	until(t, ctx, "the API is watched", `document.querySelectorAll("#watch figure canvas").length >= 3`)
	picture(t, ctx, "watch")

	// A second run, to compare with the first.
	must(t, ctx, click("nav [data-tab=attack]"), click("#attack .control button.go"), visible("form.start"),
		enter("#f-duration", "4s"), enter("#f-keys", "20"), click("button[type=submit].go"), visible(".phase.done"))
	must(t, ctx, click("nav [data-tab=runs]"), visible("#run-list tbody tr[data-run]"))
	until(t, ctx, "both runs have a sparkline", `document.querySelectorAll("svg.sparkline").length === 2`)
	picture(t, ctx, "runs")
	must(t, ctx, chromedp.Evaluate[chromedp.Void](`document.querySelectorAll("#run-list input").forEach((box) => box.click())`), click("#runs button.go"))
	until(t, ctx, "the comparison is drawn", `document.querySelectorAll(".pair figure canvas").length === 4`)
	newest, err := run.Open(filepath.Join(s.results, run.Latest))
	if err != nil {
		t.Fatal(err)
	}
	second, _ := newest.Attack("live")
	if got := js[string](t, ctx, `document.querySelector("table.compare tbody td:nth-child(3)").textContent.replaceAll(",", "")`); got != strconv.FormatInt(second.Counts.Done, 10) {
		t.Errorf("run B has %s requests in the comparison, want %d", got, second.Counts.Done)
	}
	picture(t, ctx, "compare")
}

// checkNumbers holds the page's table against the API's own counters and against
// the records on disk. It returns the run's name.
func checkNumbers(t *testing.T, ctx context.Context, s *stage) string {
	t.Helper()
	folders, err := run.List(s.results)
	if err != nil || len(folders) != 1 {
		t.Fatalf("%d runs on disk (%v), want one", len(folders), err)
	}
	records, err := folders[0].OpenRecords("live")
	if err != nil {
		t.Fatal(err)
	}
	defer records.Close()
	onDisk := map[record.Outcome]int64{}
	for batch := range records.Batches() {
		for i := range batch {
			onDisk[batch[i].Outcome]++
		}
	}
	allowed, blocked, undecided := countedByAPI(t, s) //nolint:contextcheck // the API has nothing to do with the browser
	shown := func(column string) string { return js[string](t, ctx, cell(column)) }
	for _, row := range []struct {
		column       string
		disk, theAPI int64
	}{
		{"admitted", onDisk[record.Admitted], allowed},
		{"throttled", onDisk[record.Throttled], blocked},
		{"failed", onDisk[record.Failed], undecided},
	} {
		if want := strconv.FormatInt(row.disk, 10); shown(row.column) != want || row.disk != row.theAPI {
			t.Errorf("%s: the page shows %s, on disk are %d, the API counted %d", row.column, shown(row.column), row.disk, row.theAPI)
		}
	}
	if onDisk[record.Throttled] == 0 || onDisk[record.Admitted] == 0 {
		t.Errorf("on disk are %v, want some of both", onDisk)
	}
	return folders[0].Name()
}

// countedByAPI reads both forms of the API's /metrics: what it admitted and
// throttled second by second, and what it could not decide, which it answers 503.
func countedByAPI(t *testing.T, s *stage) (allowed, blocked, undecided int64) {
	t.Helper()
	var metrics struct {
		Points []struct{ Allowed, Blocked int64 }
	}
	_, text, _ := ask(t, http.MethodGet, s.api+"/metrics", "", "Accept", contentJSON)
	if err := json.Unmarshal([]byte(text), &metrics); err != nil {
		t.Fatal(err)
	}
	for _, p := range metrics.Points {
		allowed, blocked = allowed+p.Allowed, blocked+p.Blocked
	}
	_, text, _ = ask(t, http.MethodGet, s.api+"/metrics", "", "Accept", "text/plain")
	for line := range strings.Lines(text) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		for _, outcome := range []string{"error_closed", "abandoned"} {
			if series == `weir_decisions_total{outcome="`+outcome+`",route="/items"}` {
				n, err := strconv.ParseInt(value, 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				undecided += n
			}
		}
	}
	return allowed, blocked, undecided
}

func checkDownloads(t *testing.T, s *stage, name string) {
	t.Helper()
	fetch := func(file string) []byte {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.page.URL+"/download/"+name+"/"+file, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Disposition"), "attachment") {
			t.Errorf("%s: %s, %v, %q", file, response.Status, err, response.Header.Get("Content-Disposition"))
		}
		return body
	}
	folder, err := run.Open(filepath.Join(s.results, name))
	if err != nil {
		t.Fatal(err)
	}
	attack, _ := folder.Attack("live")
	if lines := strings.Count(string(fetch("requests.csv")), "\n"); int64(lines) != attack.Counts.Done+1 {
		t.Errorf("requests.csv has %d lines, want a head and %d requests", lines, attack.Counts.Done)
	}
	parquet := filepath.Join(t.TempDir(), "records.parquet")
	if err := os.WriteFile(parquet, fetch("records.parquet"), 0o600); err != nil {
		t.Fatal(err)
	}
	records, err := record.Open(parquet)
	if err != nil {
		t.Fatal(err)
	}
	defer records.Close()
	n := int64(0)
	for batch := range records.Batches() {
		n += int64(len(batch))
	}
	if n != attack.Counts.Done || records.Err() != nil || len(records.Damaged()) > 0 {
		t.Errorf("records.parquet has %d records (%v, %v), want %d", n, records.Err(), records.Damaged(), attack.Counts.Done)
	}
	for file, want := range map[string]string{
		"statistics.csv": "live,all,all,admitted,", "failures.csv": "plan,what,target,count,first,last", "history.csv": "plan,at_s,offered", "report.html": "<!DOCTYPE html>",
	} {
		if text := string(fetch(file)); !strings.Contains(text, want) {
			t.Errorf("%s lacks %q:\n%.300s", file, want, text)
		}
	}
}

func get(t *testing.T, url string, into any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// picture keeps the page as it is: wide in both themes, and as on a phone.
func picture(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	if *screenshots == "" {
		return
	}
	take := func(file, theme string, width, height int64) {
		look(t, ctx, theme, width, height)
		must(t, ctx, chromedp.Sleep(800*time.Millisecond)) // plots are drawn again
		shot, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(*screenshots, "live-"+name+"-"+file+".png"), shot.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	whole := js[int64](t, ctx, `Math.min(document.documentElement.scrollHeight, 1560)`)
	take("dark", "dark", 1280, max(whole, 700))
	take("narrow", "light", 390, 1280)
	take("light", "light", 1280, max(whole, 700))
	look(t, ctx, "light", 1280, 900)
}

// look gives the browser a theme and a size.
func look(t *testing.T, ctx context.Context, theme string, width, height int64) {
	t.Helper()
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}},
	})
	if err != nil {
		t.Fatal(err)
	}
	must(t, ctx, chromedp.EmulateViewport(width, height))
}
