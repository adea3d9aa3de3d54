package live_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"weir/bench/live"
)

func newPage(t *testing.T, config live.Config) *httptest.Server {
	t.Helper()
	config.Results = t.TempDir()
	server, err := live.New(config)
	if err != nil {
		t.Fatal(err)
	}
	page := httptest.NewServer(server)
	t.Cleanup(func() { server.Close(); page.Close() })
	return page
}

// ask sends one request with headers as name, value pairs; "Host" is the Host.
func ask(t *testing.T, method, url, body string, headers ...string) (status int, text string, header http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			request.Host = headers[i+1]
		}
		request.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content := &bytes.Buffer{}
	if _, err := content.ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, content.String(), response.Header
}

const contentJSON = "application/json"

func TestWhoMayReachThePage(t *testing.T) {
	t.Parallel()
	page := newPage(t, live.Config{Hosts: []string{"bench.example"}})
	own := strings.TrimPrefix(page.URL, "http://")
	for _, test := range []struct {
		name, method, path string
		headers            []string
		status             int
	}{
		{"the page itself", "GET", "/", nil, 200},
		{"by the name localhost", "GET", "/api/snapshot", []string{"Host", "localhost:8089"}, 200},
		{"by IPv6 loopback", "GET", "/", []string{"Host", "[::1]:8089"}, 200},
		{"by a name that was given", "GET", "/", []string{"Host", "bench.example"}, 200},
		{"by a rebound name", "GET", "/api/snapshot", []string{"Host", "evil.example:8089"}, 403},
		{"by a name that only looks like loopback", "GET", "/", []string{"Host", "127.0.0.1.evil.example"}, 403},
		{"no name at all", "GET", "/", []string{"Host", " "}, 403},
		{"a stop from the page", "POST", "/api/attack/stop", []string{"Content-Type", contentJSON, "Origin", "http://" + own, "Sec-Fetch-Site", "same-origin"}, 409},
		{"a stop from a script without a browser", "POST", "/api/attack/stop", []string{"Content-Type", contentJSON}, 409},
		{"a stop from another page", "POST", "/api/attack/stop", []string{"Content-Type", contentJSON, "Origin", "http://evil.example"}, 403},
		{"from a page of another port here", "POST", "/api/attack/stop", []string{"Content-Type", contentJSON, "Origin", "http://127.0.0.1:1"}, 403},
		{"from a sandboxed page, such as a report", "POST", "/api/attack/stop", []string{"Content-Type", contentJSON, "Origin", "null"}, 403},
		{"from a browser that hides the origin", "POST", "/api/attack/stop", []string{"Content-Type", contentJSON, "Sec-Fetch-Site", "cross-site"}, 403},
		{"a form of another page", "POST", "/api/attack/start", []string{"Content-Type", "text/plain"}, 415},
		{"another page reads the stream", "GET", "/api/events", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"another page downloads", "GET", "/download/x/requests.csv", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "navigate"}, 403},
		{"a link to the page", "GET", "/", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 200},
		{"a command by GET", "GET", "/api/attack/stop", nil, 405},
		{"climbing out of results", "GET", "/api/runs/..%5c..%5cetc", nil, 404},
		{"a hidden folder", "GET", "/api/runs/.git", nil, 404},
		{"a download of any file", "GET", "/download/x/manifest.json", nil, 404},
	} {
		status, text, header := ask(t, test.method, page.URL+test.path, "{}", test.headers...)
		if status != test.status {
			t.Errorf("%s: %d, want %d: %s", test.name, status, test.status, text)
		}
		if policy := header.Get("Content-Security-Policy"); status != 404 && (strings.Contains(policy, "unsafe") || !strings.Contains(policy, "default-src 'none'")) {
			t.Errorf("%s: the policy is %q", test.name, policy)
		}
	}
}

func TestThePageHasNothingInline(t *testing.T) {
	t.Parallel()
	page := newPage(t, live.Config{})
	_, text, _ := ask(t, http.MethodGet, page.URL+"/", "")
	for _, inline := range []string{"style=", "<style", "onclick", "javascript:", "<script>", "http://", "https://"} {
		if strings.Contains(text, inline) {
			t.Errorf("the page has %q in it", inline)
		}
	}
	for _, path := range []string{"/assets/main.js", "/assets/uPlot.js", "/assets/uPlot.css", "/assets/live.css", "/assets/icon.svg", "/assets/uPlot.LICENSE"} {
		if status, _, header := ask(t, http.MethodGet, page.URL+path, ""); status != http.StatusOK || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", path, status, header)
		}
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	page := newPage(t, live.Config{Token: "correct horse"})
	for _, test := range []struct {
		name, path string
		headers    []string
		status     int
	}{
		{"without it", "/api/snapshot", nil, 401},
		{"with another", "/api/snapshot", []string{"Authorization", "Bearer wrong"}, 401},
		{"as a Bearer token", "/api/snapshot", []string{"Authorization", "Bearer correct horse"}, 200},
		{"in the address, which sets the cookie", "/?token=correct+horse", nil, 303},
		{"in the address of something else", "/api/snapshot?token=correct+horse", nil, 401},
		{"with another in the address", "/?token=wrong", nil, 401},
		{"an empty one", "/?token=", []string{"Authorization", "Bearer "}, 401},
	} {
		if status, text, _ := ask(t, http.MethodGet, page.URL+test.path, "", test.headers...); status != test.status {
			t.Errorf("%s: %d, want %d: %s", test.name, status, test.status, text)
		}
	}
	_, _, header := ask(t, http.MethodGet, page.URL+"/?token=correct+horse", "")
	cookie := header.Get("Set-Cookie")
	for _, want := range []string{"HttpOnly", "SameSite=Strict"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("the cookie %q is not %s", cookie, want)
		}
	}
	name, _, _ := strings.Cut(cookie, ";")
	if status, _, _ := ask(t, http.MethodGet, page.URL+"/api/snapshot", "", "Cookie", name); status != http.StatusOK {
		t.Errorf("with the cookie: %d, want 200", status)
	}
}

func TestWhatMayBeStarted(t *testing.T) {
	t.Parallel()
	// A listener that must never be asked: every form here is refused.
	asked := make(chan struct{}, 1)
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{} }))
	defer target.Close()
	page := newPage(t, live.Config{MaxRate: 100, MaxUsers: 5, MaxDuration: time.Minute})
	good := live.Form{Targets: []string{target.URL}, Shape: "constant:10/s", Duration: "1s"}
	for _, test := range []struct {
		name, field, want string
		change            func(*live.Form)
	}{
		{"another machine", "targets", "--allow-target", func(f *live.Form) { f.Targets = []string{"http://192.0.2.1/"} }},
		{"another machine behind a loopback one", "targets", "192.0.2.1", func(f *live.Form) { f.Targets = append(f.Targets, "http://192.0.2.1/") }},
		{"a unix socket", "targets", "unix socket", func(f *live.Form) { f.Targets = []string{"unix:///var/run/docker.sock:/"} }},
		{"nobody there", "targets", "is the API running", func(f *live.Form) { f.Targets = []string{"http://127.0.0.1:1/"} }},
		{"no target", "targets", "no target", func(f *live.Form) { f.Targets = nil }},
		{"no URL", "", "begins with http", func(f *live.Form) { f.Targets = []string{"file:///etc/passwd"} }},
		{"rate above the ceiling", "shape", "ceiling of 100", func(f *live.Form) { f.Shape = "ramp:1/s-101/s" }},
		{"burst above it", "shape", "ceiling of 100", func(f *live.Form) { f.Shape = "burst:1000@1h" }},
		{"users above it", "shape", "ceiling of 5", func(f *live.Form) { f.Shape = "users:6" }},
		{"max is many users", "shape", "ceiling of 5", func(f *live.Form) { f.Shape = "max" }},
		{"longer than allowed", "duration", "ceiling of 1m", func(f *live.Form) { f.Duration = "2m" }},
		{"no duration", "duration", "want e.g. 30s", func(f *live.Form) { f.Duration = "" }},
		{"a name that climbs", "", "names a folder", func(f *live.Form) { f.Name = "../x" }},
		{"a header with a line end", "", "cannot have the value", func(f *live.Form) { f.Headers = []string{"A: b\nC: d"} }},
		{"a header without a colon", "headers", "no colon", func(f *live.Form) { f.Headers = []string{"A"} }},
		{"a ramp of a shape that has its own", "ramp", "only constant", func(f *live.Form) { f.Shape, f.Ramp = "max", "1s" }},
		{"a limit nobody can read", "limit", "5", func(f *live.Form) { f.Limit = "5 apples" }},
		{"a scenario that is none", "scenario", "unknown scenario", func(f *live.Form) { f.Scenario = "../../x" }},
	} {
		form := good
		form.Targets = append([]string{}, good.Targets...)
		test.change(&form)
		if form.Shape == "max" && form.Ramp != "" { // so that the ceiling is not first
			form.Shape = "poisson:5/s"
		}
		body, err := json.Marshal(form)
		if err != nil {
			t.Fatal(err)
		}
		status, text, _ := ask(t, http.MethodPost, page.URL+"/api/attack/start", string(body), "Content-Type", contentJSON)
		var said struct{ Error, Field string }
		if err := json.Unmarshal([]byte(text), &said); err != nil {
			t.Fatalf("%s: %v in %s", test.name, err, text)
		}
		if status != http.StatusUnprocessableEntity || said.Field != test.field || !strings.Contains(said.Error, test.want) {
			t.Errorf("%s: %d, field %q: %s; want field %q and %q", test.name, status, said.Field, said.Error, test.field, test.want)
		}
	}
	if status, text, _ := ask(t, http.MethodPost, page.URL+"/api/attack/start", `{"shell":"rm"}`, "Content-Type", contentJSON); status != http.StatusBadRequest {
		t.Errorf("an unknown field: %d %s, want 400", status, text)
	}
	select {
	case <-asked:
		t.Error("a form that was refused asked the target")
	default:
	}
}
