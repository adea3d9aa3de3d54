package stack_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/bench/stack"
)

// start starts a stack with the API built from this tree, on the Redis found here.
func start(t *testing.T) (*stack.Stack, string) {
	t.Helper()
	t.Setenv("REDIS_URL", "")
	dir := t.TempDir()
	s, err := stack.Start(t.Context(), stack.Config{LogDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, dir
}

func get(t *testing.T, url string) (status int, header http.Header) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header
}

// Two processes share the Redis, and so one limit; stopped, neither answers.
func TestAPIsShareTheRedis(t *testing.T) {
	s, dir := start(t)
	if s.Store().Version == "" {
		t.Errorf("store = %+v, want a version", s.Store())
	}
	settings := map[string]string{"TB_CAPACITY": "3", "TB_RATE": "1/h", "BUCKET_PREFIX": "shared:"}
	first, err := s.StartAPI(t.Context(), "first", settings)
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.StartAPI(t.Context(), "second", settings)
	if err != nil {
		t.Fatal(err)
	}
	for i, url := range []string{first.URL, second.URL, first.URL, second.URL} {
		want := http.StatusOK
		if i == 3 {
			want = http.StatusTooManyRequests
		}
		if status, header := get(t, url+"/items"); status != want || header.Get("X-RateLimit-Capacity") != "3" {
			t.Errorf("request %d = %d with capacity %q, want %d with 3", i+1, status, header.Get("X-RateLimit-Capacity"), want)
		}
	}
	first.Stop()
	s.Close()
	for _, url := range []string{first.URL, second.URL} {
		if response, err := http.Get(url + "/healthz"); err == nil {
			response.Body.Close()
			t.Errorf("%s still answers after the end", url)
		}
	}
	for _, name := range []string{"api-first.log", "api-second.log"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || len(text) == 0 {
			t.Errorf("log %s: %d bytes, %v; want the API's words", name, len(text), err)
		}
	}
}

// A setting that the API refuses comes back in its own words.
func TestAPIRefusesSetting(t *testing.T) {
	s, _ := start(t)
	_, err := s.StartAPI(t.Context(), "bad", map[string]string{"TB_RATE": "-1"})
	if err == nil || !strings.Contains(err.Error(), "ended before it was ready") || !strings.Contains(err.Error(), "TB_RATE") {
		t.Errorf("StartAPI with TB_RATE=-1 = %v, want that the API ended, and its words on TB_RATE", err)
	}
}

// The settings are those given and no others, from nowhere.
func TestAPIEnvironmentIsClean(t *testing.T) {
	t.Setenv("TB_CAPACITY", "77")
	s, _ := start(t)
	t.Chdir(t.TempDir())
	if err := os.WriteFile(".env", []byte("TB_CAPACITY=78\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	api, err := s.StartAPI(t.Context(), "clean", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, header := get(t, api.URL+"/items"); header.Get("X-RateLimit-Capacity") != "20" {
		t.Errorf("capacity = %q, want the API's default 20", header.Get("X-RateLimit-Capacity"))
	}
}
