package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// With this in the environment the test binary is weir-api.
const asAPI = "WEIR_TEST_AS_API"

func TestMain(m *testing.M) {
	if os.Getenv(asAPI) != "" {
		main()
	}
	m.Run()
}

// A process is weir-api as it runs.
type process struct {
	tb    testing.TB
	cmd   *exec.Cmd
	lines chan string // of stderr
	seen  []string
	addr  string
}

// launch starts weir-api with settings NAME=value, in a folder without .env.
func launch(tb testing.TB, settings ...string) *process {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Dir = tb.TempDir()
	cmd.Env = append([]string{asAPI + "=1", "LISTEN_ADDR=127.0.0.1:0"}, settings...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p := &process{tb: tb, cmd: cmd, lines: make(chan string, 1000)}
	go func() {
		defer close(p.lines)
		for scanner := bufio.NewScanner(stderr); scanner.Scan(); {
			p.lines <- scanner.Text()
		}
	}()
	tb.Cleanup(func() { _ = cmd.Process.Kill() })
	return p
}

// line waits for a line of the log that has text, and returns it.
func (p *process) line(text string) string {
	p.tb.Helper()
	for line := range p.lines {
		p.seen = append(p.seen, line)
		if strings.Contains(line, text) {
			return line
		}
	}
	p.tb.Fatalf("weir-api never said %q, but:\n%s", text, strings.Join(p.seen, "\n"))
	return ""
}

// listening waits until the API listens.
func (p *process) listening() *process {
	p.tb.Helper()
	found := regexp.MustCompile(`level=INFO msg=listening addr=(\S+) `).FindStringSubmatch(p.line("msg=listening"))
	if found == nil {
		p.tb.Fatal("the line of the log has no addr")
	}
	p.addr = found[1]
	return p
}

// exit waits for the end and returns the exit code.
func (p *process) exit() int {
	p.tb.Helper()
	for line := range p.lines {
		p.seen = append(p.seen, line)
	}
	err := p.cmd.Wait()
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		p.tb.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) stop() {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.tb.Fatal(err)
	}
}

func (p *process) get(path string) (status int, body string) {
	p.tb.Helper()
	status, body, err := fetch(p.tb.Context(), "http://"+p.addr+path)
	if err != nil {
		p.tb.Fatal(err)
	}
	return status, body
}

func fetch(ctx context.Context, url string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// A gate is a network in front of a Redis: shut, it holds what is sent.
type gate struct {
	net.Listener
	mu      sync.Mutex
	opened  *sync.Cond
	shut    bool
	holding chan struct{} // closed when something is held
	once    sync.Once
}

func newGate(tb testing.TB, target string) *gate {
	tb.Helper()
	listener, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	g := &gate{Listener: listener, holding: make(chan struct{})}
	g.opened = sync.NewCond(&g.mu)
	tb.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			go func() { _, _ = io.Copy(client, server); _ = client.Close() }()
			go g.forward(server, client)
		}
	}()
	return g
}

func (g *gate) forward(to, from net.Conn) {
	defer to.Close()
	buffer := make([]byte, 4096)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		g.mu.Lock()
		if g.shut {
			g.once.Do(func() { close(g.holding) })
		}
		for g.shut {
			g.opened.Wait()
		}
		g.mu.Unlock()
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	g.opened.Broadcast()
}

// SIGTERM while Redis is still deciding: the request gets its answer, and the
// process ends well.
func TestSIGTERMDrains(t *testing.T) {
	t.Parallel()
	redis := miniredis.RunT(t)
	g := newGate(t, redis.Addr())
	p := launch(t, "REDIS_URL=redis://"+g.Addr().String(), "REDIS_DEADLINE=1m", "DRAIN_TIMEOUT=1m").listening()

	g.set(true)
	answered := make(chan string, 1)
	go func() {
		status, body, err := fetch(context.Background(), "http://"+p.addr+"/items")
		answered <- fmt.Sprint(status, body, err)
	}()
	<-g.holding
	p.stop()
	p.line("msg=stopping")
	g.set(false)
	if answer := <-answered; !strings.HasPrefix(answer, `200{"ok":true,"ts":`) {
		t.Errorf("request in flight got %s, want its answer", answer)
	}
	if code := p.exit(); code != exitOK {
		t.Errorf("exit %d, want 0:\n%s", code, strings.Join(p.seen, "\n"))
	}
}

func TestBucketsInRedis(t *testing.T) {
	t.Parallel()
	redis := miniredis.RunT(t)
	p := launch(t, "REDIS_URL=redis://"+redis.Addr(), "ROUTES=/export=1/s,capacity=2,cost=2", "TB_RATE=1/h", "TB_CAPACITY=1").listening()
	for _, test := range []struct {
		path   string
		status int
	}{{"/items", 200}, {"/items", 429}, {"/export", 200}, {"/readyz", 200}} {
		if status, body := p.get(test.path); status != test.status {
			t.Errorf("GET %s = %d %s, want %d", test.path, status, body, test.status)
		}
	}
	if keys := strings.Join(redis.Keys(), " "); keys != "tb:user:/export:127.0.0.1 tb:user:127.0.0.1" {
		t.Errorf("keys in Redis = %s", keys)
	}
}

// Redis is away at the start and comes later: the API says so once, answers by
// its policy, and needs no restart.
func TestRedisAwayAtStart(t *testing.T) {
	t.Parallel()
	redis := miniredis.NewMiniRedis()
	if err := redis.Start(); err != nil {
		t.Fatal(err)
	}
	address := redis.Addr()
	redis.Close()
	p := launch(t, "REDIS_URL=redis://"+address, "BREAKER_COOLDOWN=1ms", "BREAKER_FAILURES=1")
	if line := p.line("level=WARN"); !strings.Contains(line, "connection refused") || !strings.Contains(line, "policy=closed") {
		t.Errorf("warning %s does not say why, and what happens now", line)
	}
	p.listening()
	if status, body := p.get("/readyz"); status != 503 || !strings.Contains(body, "connection refused") {
		t.Errorf("/readyz = %d %s, want 503 with the reason", status, body)
	}
	if status, body := p.get("/items"); status != 503 || body != `{"detail":"rate limiter unavailable","retry_after":1}` {
		t.Errorf("/items = %d %s, want 503", status, body)
	}
	if err := redis.StartAddr(address); err != nil {
		t.Skipf("somebody took the port of the stopped Redis meanwhile: %v", err)
	}
	defer redis.Close()
	for status := 0; status != 200; {
		status, _ = p.get("/items") // until the breaker's next probe
	}
	p.line("backend is back")
	if status, body := p.get("/readyz"); status != 200 {
		t.Errorf("/readyz = %d %s, want 200", status, body)
	}
}

// What Redis refuses is told at the start and by /readyz, with the way out.
func TestRedisRefuses(t *testing.T) {
	t.Parallel()
	locked := miniredis.RunT(t)
	locked.RequireAuth("secret")
	for _, test := range []struct{ name, url, want string }{
		{"needs a password", "redis://" + locked.Addr(), "put user and password into REDIS_URL"},
		{"wrong password", "redis://:hunter2@" + locked.Addr(), "put user and password into REDIS_URL"},
		{"loading", "redis://" + loadingRedis(t), "wait until it has"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := launch(t, "REDIS_URL="+test.url)
			line := p.line("level=WARN")
			p.listening()
			status, body := p.get("/readyz")
			if !strings.Contains(line, test.want) || status != 503 || !strings.Contains(body, test.want) {
				t.Errorf("log %s\n/readyz %d %s\nwant both to say %q", line, status, body, test.want)
			}
			if strings.Contains(line+body, "hunter2") {
				t.Error("the password is repeated")
			}
		})
	}
}

// loadingRedis answers LOADING to everything, as Redis does while it reads its data.
func loadingRedis(tb testing.TB) (addr string) {
	tb.Helper()
	listener, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					if strings.HasPrefix(lines.Text(), "*") { // a command begins
						fmt.Fprint(conn, "-LOADING Redis is loading the dataset in memory\r\n")
					}
				}
			}()
		}
	}()
	return listener.Addr().String()
}

// A Redis that takes connections and says nothing holds a request for the
// deadline, and then no more requests.
func TestSilentRedis(t *testing.T) {
	t.Parallel()
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // the kernel accepts
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	p := launch(t, "REDIS_URL=redis://"+silent.Addr().String(), "REDIS_AWAY=open", "REDIS_DEADLINE=20ms", "BREAKER_FAILURES=2", "BREAKER_COOLDOWN=1h").listening()
	for range 50 {
		if status, body := p.get("/items"); status != 200 {
			t.Fatalf("/items = %d %s, want 200: the policy is open", status, body)
		}
	}
	p.line("backend is away")
	_, metrics := p.get("/metrics")
	for _, want := range []string{`weir_decisions_total{outcome="error_open",route="/items"} 50`, "weir_backend_up 0"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	p := launch(t, "REDIS_URL=memory:", "LISTEN_ADDR="+taken.Addr().String())
	if code := p.exit(); code != exitFailed {
		t.Errorf("exit %d, want 1", code)
	}
	if len(p.seen) != 1 || !strings.Contains(p.seen[0], taken.Addr().String()) || !strings.Contains(p.seen[0], "choose another port") {
		t.Errorf("stderr = %q, want one line that names the address and the way out", p.seen)
	}
}

func TestMemoryBackend(t *testing.T) {
	t.Parallel()
	p := launch(t, "REDIS_URL=memory:", "TB_CAPACITY=3", "TB_RATE=0").listening()
	for i, want := range []int{200, 200, 200, 429} {
		if status, body := p.get("/items"); status != want {
			t.Errorf("request %d = %d %s, want %d", i, status, body, want)
		}
	}
	if _, body := p.get("/items"); body != `{"detail":"rate limit exceeded","retry_after":-1}` {
		t.Errorf("a bucket that never refills: %s", body)
	}
	if status, _ := p.get("/readyz"); status != 200 {
		t.Errorf("/readyz = %d, want 200", status)
	}
	p.stop()
	if code := p.exit(); code != exitOK {
		t.Errorf("exit %d after SIGTERM, want 0", code)
	}
}

// The second signal does not wait for anybody.
func TestSecondSignalLeaves(t *testing.T) {
	t.Parallel()
	g := newGate(t, miniredis.RunT(t).Addr())
	p := launch(t, "REDIS_URL=redis://"+g.Addr().String(), "REDIS_DEADLINE=1m", "DRAIN_TIMEOUT=1h").listening()
	g.set(true)
	defer g.set(false)
	go func() { _, _, _ = fetch(context.Background(), "http://"+p.addr+"/items") }()
	<-g.holding
	p.stop()
	p.line("msg=stopping")
	ended := make(chan int, 1)
	go func() { ended <- p.exit() }()
	for {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // once the first has been seen, this one kills
		select {
		case code := <-ended:
			if code == exitOK {
				t.Error("exit 0, although a request was cut off")
			}
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}
