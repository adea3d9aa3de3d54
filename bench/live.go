package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weir/api/limit"
	"weir/bench/live"
	"weir/bench/plan"
	"weir/bench/progress"
	"weir/bench/run"
	"weir/bench/stack"
)

// liveOptions are the flags of weir live.
type liveOptions struct {
	config   live.Config
	listen   string
	withAPI  bool
	apiLimit string
}

func newLiveCommand() *cobra.Command {
	var o liveOptions
	cmd := &cobra.Command{
		Use:   "live",
		Short: "Serve a page to watch APIs, start and edit attacks, and compare runs",
		Long: `Serve one web page that watches weir APIs, starts, edits and stops attacks, and shows and compares runs.

The page is served on loopback unless --listen says otherwise, and then it wants a token: the one of --token or
WEIR_LIVE_TOKEN, or one made up and printed. Whoever can open the page can start load, so targets must be on
loopback or listed by --allow-target, and --max-rate, --max-users and --max-duration bound what it can ask for.

Ctrl-C stops the attack that runs, writes its run to the end, and leaves; a second one leaves at once.`,
		Example: `  weir live --with-api
  weir live --api http://127.0.0.1:8000 --api http://127.0.0.1:8001
  weir live --listen 0.0.0.0:8089 --token "$TOKEN" --allow-target staging.example:8000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *liveOptions) addFlags(flags *pflag.FlagSet) {
	c := &o.config
	flags.SortFlags = false
	flags.StringVar(&o.listen, "listen", "127.0.0.1:8089", "`ADDRESS` to serve the page on; port 0 takes a free one")
	flags.StringArrayVar(&c.APIs, "api", nil, "base `URL` of a weir API to watch; may be repeated")
	flags.BoolVar(&o.withAPI, "with-api", false, "start a Redis and the limited API too, and watch it")
	flags.StringVar(&o.apiLimit, "api-limit", "100/s,capacity=100", "limit of the API that --with-api starts, per X-API-Key")
	flags.StringVar(&c.Results, "out", run.ResultsDir, "`DIR` of all runs")
	flags.StringArrayVar(&c.Targets, "allow-target", nil, "`HOST` or HOST:PORT that may be attacked beside loopback, or the path of a unix socket; may be repeated")
	flags.StringArrayVar(&c.Hosts, "allow-host", nil, "`NAME` by which browsers may call the page beside localhost and addresses; may be repeated")
	flags.StringVar(&c.Token, "token", os.Getenv("WEIR_LIVE_TOKEN"), "token that browsers need; made up when --listen is not loopback")
	flags.Lookup("token").DefValue = "" // the help must not print the environment's
	flags.Float64Var(&c.MaxRate, "max-rate", 10_000, "most requests a second that the page may ask for")
	flags.IntVar(&c.MaxUsers, "max-users", 1000, "most users that the page may ask for")
	flags.DurationVar(&c.MaxDuration, "max-duration", time.Hour, "longest attack that the page may ask for")
}

func (o *liveOptions) run(cmd *cobra.Command) error {
	ctx, stderr := cmd.Context(), cmd.ErrOrStderr()
	if err := o.check(); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("%w (give another address with --listen)", err)
	}
	defer listener.Close()
	address := listener.Addr().(*net.TCPAddr) //nolint:forcetypeassert // it listens on tcp
	if !address.IP.IsLoopback() && o.config.Token == "" {
		o.config.Token = rand.Text()
	}
	c := &o.config
	c.Commit = buildCommit()
	c.Log = slog.New(slog.NewTextHandler(stderr, nil))
	c.Start = live.Form{Name: "live", Method: "GET", Shape: "constant:50/s", Duration: "1m", Via: "header:X-API-Key"}
	if o.withAPI {
		st, err := o.startAPI(ctx, stderr)
		if err != nil {
			return err
		}
		defer st.Close()
	} else if len(c.APIs) > 0 {
		c.Start.Targets = []string{strings.TrimSuffix(c.APIs[0], "/") + "/items"}
	}
	if err := o.addK6(); err != nil {
		return err
	}
	server, err := live.New(*c)
	if err != nil {
		return usageError("%w", err)
	}
	fmt.Fprintf(stderr, "weir: the page is at %s (Ctrl-C ends it)\n", pageURL(address, c.Token))
	return server.Serve(ctx, listener)
}

// check refuses flags that do not go together.
func (o *liveOptions) check() error {
	c := &o.config
	switch {
	case c.MaxRate <= 0:
		return usageError("--max-rate %g: want more than 0", c.MaxRate)
	case c.MaxUsers < 1:
		return usageError("--max-users %d: want at least 1", c.MaxUsers)
	case c.MaxDuration <= 0:
		return usageError("--max-duration %s: want more than 0s", c.MaxDuration)
	case c.Token != "" && len(c.Token) < minToken:
		return usageError("--token: want at least %d characters", minToken)
	}
	if _, _, err := net.SplitHostPort(o.listen); err != nil {
		return usageError("--listen %q: want HOST:PORT, e.g. 127.0.0.1:8089", o.listen)
	}
	return nil
}

// minToken is how long a token must be.
const minToken = 8

// pageURL is the address to open, the token included.
func pageURL(address *net.TCPAddr, token string) string {
	host := address.IP.String()
	if address.IP.IsUnspecified() {
		host = "localhost"
		if name, err := os.Hostname(); err == nil && token != "" {
			host = name
		}
	}
	page := "http://" + net.JoinHostPort(host, strconv.Itoa(address.Port)) + "/"
	if token != "" {
		page += "?token=" + token
	}
	return page
}

// startAPI starts a Redis and the limited API, and aims page and form at it.
func (o *liveOptions) startAPI(ctx context.Context, stderr io.Writer) (*stack.Stack, error) {
	promise, err := limit.Parse(o.apiLimit)
	if err != nil {
		return nil, usageError("--api-limit: %w", err)
	}
	logs, err := os.MkdirTemp("", "weir-live-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for logs: %w", err)
	}
	st, err := stack.Start(ctx, stack.Config{LogDir: logs})
	if err != nil {
		return nil, err
	}
	api, err := st.StartAPI(ctx, "live", map[string]string{
		"TB_RATE": promise.Rate.String(), "TB_CAPACITY": strconv.FormatInt(promise.Capacity, 10), "KEY_BY": "header:X-API-Key",
	})
	if err != nil {
		st.Close()
		return nil, err
	}
	c := &o.config
	c.Store, c.Notes = st.Store(), st.Notes()
	c.APIs = append(c.APIs, api.URL)
	c.Start.Targets, c.Start.Limit, c.Start.Keys = []string{api.URL + "/items"}, promise.String(), 1
	c.Start.Shape = "constant:" + promise.Rate.String()
	fmt.Fprintf(stderr, "weir: the limited API is at %s, its logs in %s\n", api.URL, logs)
	return st, nil
}

// addK6 offers the scenarios of the k6 that stands beside weir, if any.
func (o *liveOptions) addK6() error {
	k6 := findK6()
	if k6 == nil {
		return nil
	}
	questions, err := k6.questions()
	if err != nil {
		return err
	}
	o.config.Scenarios = questions
	o.config.OfferK6 = func(ctx context.Context, folder *run.Folder, scenario string, p *plan.Plan, base, path string) (run.Attack, error) {
		s := &suite{folder: folder, k6: k6, stderr: io.Discard}
		if err := os.MkdirAll(filepath.Join(folder.Path, "logs"), 0o755); err != nil {
			return run.Attack{Plan: *p}, fmt.Errorf("make a folder for k6's logs: %w", err)
		}
		bar := progress.Start(io.Discard, "", 0)
		defer bar.Done()
		done, err := s.offerByK6(ctx, &plan.Entry{Scenario: scenario, Paths: []string{path}}, p, base, bar)
		if err == nil && len(s.missed) > 0 {
			done.Error = "k6 missed thresholds: " + strings.Join(s.missed, "; ")
		}
		if errors.Is(err, context.Canceled) {
			return done, context.Canceled
		}
		return done, err
	}
	return nil
}
