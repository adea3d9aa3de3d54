// Command league attacks other people's rate limiters, and weir's own, over
// HTTP and has the judge decide whether each kept its limit.
//
//	make league                                  # all, under 3 minutes
//	make league ARGS='-only throttled,nginx'     # some
//
// Every limiter runs as its authors' documentation shows it, behind a real HTTP
// server in a process of its own, on loopback; those with their state in Redis
// share one private Redis. All are set to the same limit and get the same
// trials, each trial with a key that was never used before. What package attack
// records goes to package judge: the verdicts are those of `weir check`.
//
// It writes OUT.md, a table for people, and OUT.json, every verdict with its
// evidence. A limiter whose program is not installed is left out, and said so.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"weir/bench/run"
	"weir/bench/stack"
)

// Exit codes, those of weir. A limiter that falls short is a finding, not a failure.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code) //nolint:forbidigo // this is main
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "serve" {
		if err := serve(ctx, args[1:], stdout); err != nil {
			fmt.Fprintln(stderr, "league: serve:", err)
			return exitFailed
		}
		return 0
	}
	var l league
	flags := flag.NewFlagSet("league", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("only", "", "limiters to attack, with commas between them (default all)")
	flags.StringVar(&l.out, "out", "league", "write OUT.md and OUT.json")
	flags.StringVar(&l.api, "api", "../../bin/weir-api", "weir's limited API, as `make build` made it")
	flags.StringVar(&l.node, "node", "node", "folder of server.js, with its node_modules")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return exitUsage
	}
	if *only != "" {
		l.only = strings.Split(*only, ",")
	}
	l.stdout, l.stderr = stdout, stderr
	if unknown := l.unknown(); unknown != "" {
		fmt.Fprintf(stderr, "league: no limiter %q (want %s)\n", unknown, strings.Join(names(), ", "))
		return exitUsage
	}
	if err := l.play(ctx); err != nil {
		fmt.Fprintln(stderr, "league:", err)
		return exitFailed
	}
	return 0
}

// A league is one run of it.
type league struct {
	out, api, node string
	only           []string
	stdout, stderr io.Writer
	stack          *stack.Stack
	logs           string // folder of the servers' logs
}

// A table is all that was found.
type table struct {
	Started time.Time `json:"started"`
	Host    run.Host  `json:"host"`
	Store   run.Store `json:"store"`
	Notes   []string  `json:"notes,omitempty"`
	Rows    []row     `json:"limiters"`
}

// A row is one limiter.
type row struct {
	Name     string   `json:"name"`
	Version  string   `json:"version,omitempty"`
	State    string   `json:"state"`    // where its buckets are: "Redis", "memory"
	Promise  string   `json:"promise"`  // in its own words
	Windows  bool     `json:"windows"`  // it promises fixed windows, no bucket
	LeftOut  string   `json:"left_out"` // why it was not attacked; "" if it was
	Sample   string   `json:"retry_after_sample,omitempty"`
	Why      []string `json:"why,omitempty"` // known causes of what was found
	Findings []*trial `json:"trials,omitempty"`
}

// unknown is the first name after -only that is no limiter's.
func (l *league) unknown() string {
	for _, name := range l.only {
		if !slices.Contains(names(), name) {
			return name
		}
	}
	return ""
}

func names() []string {
	var list []string
	for _, c := range contestants {
		list = append(list, c.name)
	}
	return list
}

func (l *league) play(ctx context.Context) error {
	// The league's keys have no business in a Redis that somebody uses.
	if err := os.Unsetenv("REDIS_URL"); err != nil {
		return fmt.Errorf("unset REDIS_URL: %w", err)
	}
	var err error
	if l.logs, err = os.MkdirTemp("", "weir-league-"); err != nil {
		return fmt.Errorf("make a folder for logs: %w", err)
	}
	if l.stack, err = stack.Start(ctx, stack.Config{LogDir: l.logs, APIBinary: absolute(l.api)}); err != nil {
		return err
	}
	defer l.stack.Close()
	t := table{Started: time.Now().UTC(), Host: run.ThisHost(), Store: l.stack.Store(), Notes: l.stack.Notes()}
	for i := range contestants {
		c := &contestants[i]
		if len(l.only) > 0 && !slices.Contains(l.only, c.name) {
			continue
		}
		r, err := l.attack(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w (logs are in %s)", c.name, err, l.logs)
		}
		t.Rows = append(t.Rows, r)
	}
	if err := os.RemoveAll(l.logs); err != nil {
		return fmt.Errorf("remove logs: %w", err)
	}
	return l.write(&t)
}

func (l *league) write(t *table) error {
	text, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s.json: %w", l.out, err)
	}
	page := t.markdown()
	if err := os.WriteFile(l.out+".json", append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write league: %w", err)
	}
	if err := os.WriteFile(l.out+".md", []byte(page), 0o644); err != nil {
		return fmt.Errorf("write league: %w", err)
	}
	fmt.Fprintf(l.stderr, "league: wrote %s.md and %s.json\n", l.out, l.out)
	_, err = io.WriteString(l.stdout, page)
	return err //nolint:wrapcheck // stdout says enough
}
