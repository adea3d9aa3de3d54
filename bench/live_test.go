package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// A heard is what a command says, readable while it still speaks.
type heard struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(p)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

// startLive runs weir live until the test is over, and returns the address that
// it tells people to open.
func startLive(t *testing.T, args ...string) string {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	said := &heard{}
	ended := make(chan int, 1)
	go func() {
		ended <- execute(ctx, append([]string{"live", "--out", t.TempDir()}, args...), strings.NewReader(""), io.Discard, said)
	}()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != exitOK {
			t.Errorf("weir live ended with %d: %s", code, said)
		}
	})
	page := regexp.MustCompile(`the page is at (\S+)`)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if found := page.FindStringSubmatch(said.String()); found != nil {
			return found[1]
		}
	}
	t.Fatalf("weir live names no page: %s", said)
	return ""
}

func statusOf(t *testing.T, url string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(request) // no redirect is followed
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

func TestLiveOnLoopbackIsOpen(t *testing.T) {
	t.Parallel()
	page := startLive(t, "--listen", "127.0.0.1:0")
	if strings.Contains(page, "token") {
		t.Errorf("the page on loopback is %s, want none with a token", page)
	}
	if status := statusOf(t, page); status != http.StatusOK {
		t.Errorf("%s answers %d", page, status)
	}
}

func TestLiveElsewhereWantsAToken(t *testing.T) {
	t.Parallel()
	page := startLive(t, "--listen", "0.0.0.0:0")
	port := regexp.MustCompile(`:(\d+)/\?token=(.{20,})$`).FindStringSubmatch(page)
	if port == nil {
		t.Fatalf("the page is %s, want a token in it that was made up", page)
	}
	base := "http://127.0.0.1:" + port[1] + "/"
	for url, want := range map[string]int{
		base: http.StatusUnauthorized, base + "?token=guess": http.StatusUnauthorized, base + "?token=" + port[2]: http.StatusSeeOther,
	} {
		if status := statusOf(t, url); status != want {
			t.Errorf("%s answers %d, want %d", url, status, want)
		}
	}
}

func TestLiveRefusesFlags(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"--listen":        {"--listen", "nowhere"},
		"--max-rate":      {"--max-rate", "0"},
		"--max-users":     {"--max-users", "0"},
		"--max-duration":  {"--max-duration", "0s"},
		"at least 8":      {"--token", "short"},
		"want a URL such": {"--listen", "127.0.0.1:0", "--api", "127.0.0.1:8000"},
	} {
		said := &heard{}
		if code := execute(t.Context(), append([]string{"live"}, args...), strings.NewReader(""), io.Discard, said); code != exitUsage || !strings.Contains(said.String(), want) {
			t.Errorf("weir live %v: %d %s, want %d and %q", args, code, said, exitUsage, want)
		}
	}
}
