package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/joho/godotenv"
	"github.com/spf13/pflag"

	"weir/api/limit"
	"weir/api/limit/guard"
	"weir/api/limit/redislimit"
	"weir/api/server"
)

// memoryURL as REDIS_URL keeps the buckets in this process.
const memoryURL = "memory:"

// settings is what the API runs with.
type settings struct {
	redisURL        string
	listen          string
	limit           limit.Limit // of /items, where routes do not say otherwise
	routes          []route     // /items first
	bucketPrefix    string
	identity        server.Identity
	away            guard.Policy
	awayShare       *big.Rat
	deadline        time.Duration
	batch           int           // takes that share a call to Redis
	remember        time.Duration // as redislimit.Config has it
	lease           int64
	breakerFailures int
	breakerCooldown time.Duration
	metricsMaxAge   time.Duration
	drain           time.Duration
	logLevel        slog.Level
	logJSON         bool
}

// A setting is one line of --help. Its flag is its name in small letters with
// dashes: TB_RATE is --tb-rate.
type setting struct {
	name  string // of the environment variable
	unit  string // what its value is, e.g. "tokens"
	value string // the default
	about string
	set   func(s *settings, value string) error
}

func (s setting) flag() string { return strings.ToLower(strings.ReplaceAll(s.name, "_", "-")) }

// table has every setting, those first that others build on.
var table = []setting{
	{
		"REDIS_URL", "URL", "redis://127.0.0.1:6379/0",
		"where the buckets are: redis://[user:password@]host:port/db, rediss://…, unix:///path?db=0, or memory: for this process alone",
		func(s *settings, value string) error {
			s.redisURL = value
			if value == memoryURL {
				return nil
			}
			return checkRedisURL(value)
		},
	},
	{
		"LISTEN_ADDR", "host:port", "127.0.0.1:8000", "where the API listens; port 0 takes a free one, see the log",
		func(s *settings, value string) error {
			s.listen = value
			_, port, err := net.SplitHostPort(value)
			if err == nil {
				_, err = strconv.ParseUint(port, 10, 16)
			}
			if err != nil {
				return errors.New("want host:port with a port from 0 to 65535, e.g. 127.0.0.1:8000")
			}
			return nil
		},
	},
	{
		"TB_CAPACITY", "tokens", "20", "what a bucket of /items holds: the burst",
		func(s *settings, value string) (err error) {
			if s.limit.Capacity, err = strconv.ParseInt(value, 10, 64); err != nil || s.limit.Capacity < 1 {
				return errors.New("want a whole number of tokens, at least 1, e.g. 20")
			}
			return nil
		},
	},
	{
		"TB_RATE", "tokens/s", "5", "what it gains: 5, 0.5, or with a unit, 10/m, 1000/h; 0 never refills",
		func(s *settings, value string) (err error) {
			s.limit.Rate, err = limit.ParseRate(value)
			return err //nolint:wrapcheck // it says what would be right
		},
	},
	{
		"BUCKET_PREFIX", "text", "tb:user:", "stands before every bucket's name in Redis",
		func(s *settings, value string) error {
			s.bucketPrefix = value
			return nil
		},
	},
	{
		"KEY_BY", "what", "address", "whose bucket: the client's address, or header:NAME, e.g. header:X-API-Key (hashed; the address without it)",
		func(s *settings, value string) (err error) {
			s.identity.Header, err = server.ParseKeyBy(value)
			return err //nolint:wrapcheck // it says what would be right
		},
	},
	{
		"KEY_IPV6_PREFIX", "bits", "64", "how much of an IPv6 address names a client, 1 to 128",
		func(s *settings, value string) (err error) {
			if s.identity.IPv6Bits, err = strconv.Atoi(value); err != nil || s.identity.IPv6Bits < 1 || s.identity.IPv6Bits > 128 {
				return errors.New("want a whole number of bits from 1 to 128")
			}
			return nil
		},
	},
	{
		"TRUSTED_PROXIES", "ranges", "", "whose X-Forwarded-For is believed: addresses and CIDR ranges with commas, e.g. 127.0.0.1,10.0.0.0/8; none when empty",
		func(s *settings, value string) (err error) {
			s.identity.Trusted, err = server.ParseProxies(value)
			return err //nolint:wrapcheck // it says what would be right
		},
	},
	{
		"REDIS_AWAY", "policy", "closed", "what a request gets while Redis is away: closed (503), open (admitted), local (a share of the limit in this process)",
		func(s *settings, value string) (err error) {
			s.away, err = guard.ParsePolicy(value)
			return err //nolint:wrapcheck // it says what would be right
		},
	},
	{
		"REDIS_AWAY_SHARE", "part", "1/2", "this process's part of each limit under policy local, e.g. 0.25 or 1/4 for four processes",
		func(s *settings, value string) error {
			share, ok := new(big.Rat), len(value) <= 20 && !strings.ContainsAny(value, "eEpPxX_")
			if ok {
				_, ok = share.SetString(value)
			}
			if !ok || share.Sign() <= 0 || share.Cmp(big.NewRat(1, 1)) > 0 {
				return errors.New("want more than 0 and at most 1, e.g. 0.5 or 1/3")
			}
			s.awayShare = share
			return nil
		},
	},
	{
		"REDIS_DEADLINE", "duration", "250ms", "how long one decision may wait for Redis, 1ms to 1m",
		func(s *settings, value string) error {
			return setDuration(&s.deadline, value, time.Millisecond, time.Minute)
		},
	},
	{
		"REDIS_BATCH", "takes", "128", "how many decisions may share one call when they wait for Redis, 1 to 1000; 1 for a call each",
		func(s *settings, value string) (err error) {
			if s.batch, err = strconv.Atoi(value); err != nil || s.batch < 1 || s.batch > 1000 {
				return errors.New("want a whole number from 1 to 1000")
			}
			return nil
		},
	},
	{
		"LOCAL_THROTTLE", "duration", "1s", "how long an empty bucket is throttled without asking Redis, never longer than until its next token, 0s to 1m; 0s always asks",
		func(s *settings, value string) error {
			err := setDuration(&s.remember, value, 0, time.Minute)
			if s.remember == 0 {
				s.remember = -1
			}
			return err
		},
	},
	{
		"LEASE", "tokens", "0", "how many tokens of a busy client this process may take in advance: faster, and up to processes × LEASE more admitted at once; 0 for none",
		func(s *settings, value string) (err error) {
			if s.lease, err = strconv.ParseInt(value, 10, 64); err != nil || s.lease < 0 {
				return errors.New("want a whole number of tokens, 0 or more")
			}
			return nil
		},
	},
	{
		"BREAKER_FAILURES", "count", "5", "failures in a row after which Redis counts as away, 1 to 1000000",
		func(s *settings, value string) (err error) {
			if s.breakerFailures, err = strconv.Atoi(value); err != nil || s.breakerFailures < 1 || s.breakerFailures > 1_000_000 {
				return errors.New("want a whole number from 1 to 1000000")
			}
			return nil
		},
	},
	{
		"BREAKER_COOLDOWN", "duration", "500ms", "how often one request tries whether Redis is back, 1ms to 1h",
		func(s *settings, value string) error {
			return setDuration(&s.breakerCooldown, value, time.Millisecond, time.Hour)
		},
	},
	{
		"ROUTES", "routes", "", "limited paths with limits of their own, /items too: PATH=RATE/UNIT[,capacity=N][,cost=N][,away=POLICY], several with semicolons",
		func(s *settings, value string) (err error) {
			s.routes, err = parseRoutes(value, s.away)
			return err
		},
	},
	{
		"METRICS_MAX_AGE_SECONDS", "seconds", "1800", "how long the JSON of /metrics remembers, 1 to 86400; 40 bytes each",
		func(s *settings, value string) error {
			seconds, err := strconv.Atoi(value)
			if err != nil || seconds < 1 || seconds > 86400 {
				return errors.New("want a whole number of seconds from 1 to 86400")
			}
			s.metricsMaxAge = time.Duration(seconds) * time.Second
			return nil
		},
	},
	{
		"DRAIN_TIMEOUT", "duration", "10s", "how long requests in flight may take after SIGTERM or Ctrl-C, 0s to 1h",
		func(s *settings, value string) error { return setDuration(&s.drain, value, 0, time.Hour) },
	},
	{
		"LOG_LEVEL", "level", "info", "debug, info, warn or error",
		func(s *settings, value string) error {
			if !slices.Contains([]string{"debug", "info", "warn", "error"}, value) {
				return errors.New("want debug, info, warn or error")
			}
			return s.logLevel.UnmarshalText([]byte(value)) //nolint:wrapcheck // it is one of the four
		},
	},
	{
		"LOG_FORMAT", "format", "text", "text or json",
		func(s *settings, value string) error {
			s.logJSON = value == "json"
			if value != "text" && value != "json" {
				return errors.New("want text or json")
			}
			return nil
		},
	},
}

// checkRedisURL refuses what no Redis can be behind. Whether one is there is
// another question: it may come later.
func checkRedisURL(value string) error {
	client, err := redislimit.NewClient(value)
	if err != nil {
		return fmt.Errorf("%w, or memory: for this process alone", err)
	}
	_ = client.Close() // it has no connection yet
	if parsed, err := url.Parse(value); err == nil && parsed.Port() != "" {
		if _, err := strconv.ParseUint(parsed.Port(), 10, 16); err != nil {
			return fmt.Errorf("port %s: want one from 0 to 65535, e.g. 6379", parsed.Port())
		}
	}
	return nil
}

func setDuration(d *time.Duration, value string, least, most time.Duration) (err error) {
	if *d, err = time.ParseDuration(value); err != nil || *d < least || *d > most {
		return fmt.Errorf("want a duration from %s to %s with its unit, e.g. 250ms, 1s or 2m", least, most)
	}
	return nil
}

// addFlags makes a flag of each setting. All are text until readSettings has
// chosen among the sources, so that each source is refused alike.
func addFlags(flags *pflag.FlagSet) {
	for _, s := range table {
		flags.String(s.flag(), s.value, s.about)
	}
}

// readSettings takes each setting from the first that has it: flag, environment,
// the .env file, default. An empty variable counts as absent.
func readSettings(flags *pflag.FlagSet, env func(string) (string, bool), file string) (settings, error) {
	dotenv, err := godotenv.Read(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return settings{}, fmt.Errorf("%s: %w (want lines of NAME=value, as in .env.example)", file, err)
	}
	var s settings
	for _, setting := range table {
		value, source := setting.value, "default"
		if flag := flags.Lookup(setting.flag()); flag.Changed {
			value, source = flag.Value.String(), "flag --"+setting.flag()
		} else if set, ok := env(setting.name); ok && set != "" {
			value, source = set, "environment"
		} else if set := dotenv[setting.name]; set != "" {
			value, source = set, file
		}
		if err := setting.set(&s, value); err != nil {
			return settings{}, fmt.Errorf("%s %q (%s): %w", setting.name, redacted(value), source, err)
		}
	}
	if err := s.limit.Validate(); err != nil {
		return settings{}, fmt.Errorf("TB_CAPACITY and TB_RATE: %w", err)
	}
	s.routes = itemsFirst(s)
	return s, nil
}

// itemsFirst returns the routes with /items in front: as ROUTES has it, or else by
// TB_CAPACITY and TB_RATE.
func itemsFirst(s settings) []route {
	items := route{path: defaultPath, limit: s.limit, cost: 1, away: s.away}
	rest := make([]route, 0, len(s.routes))
	for _, r := range s.routes {
		if r.path == defaultPath {
			items = r
		} else {
			rest = append(rest, r)
		}
	}
	return append([]route{items}, rest...)
}

// redacted hides what may be a password: in a URL, or in what was to be one.
func redacted(value string) string {
	at := strings.LastIndexByte(value, '@')
	if at < 0 {
		return value
	}
	if parsed, err := url.Parse(value); err == nil && parsed.User != nil {
		return parsed.Redacted()
	}
	return "xxxxx" + value[at:]
}

const helpHead = `weir-api is a rate-limited HTTP API: every client has a token bucket, in Redis or in this process.

Usage:
  weir-api [flags]

Examples:
  weir-api --redis-url memory: --tb-capacity 100 --tb-rate 10/m
  TB_RATE=50 KEY_BY=header:X-API-Key weir-api --routes '/items=100/m;/export=1/s,capacity=5,cost=2,away=open'

Settings, each from the first that has it: flag, environment, .env in this folder, default:

`

const helpTail = `
Routes: GET /items (limited), /free (the same without a limiter), /metrics, /healthz, /readyz, and those in ROUTES.
Exit codes: 0 stopped when asked · 1 could not serve, or cut requests off at the stop · 2 a setting is wrong
`

func writeHelp(w io.Writer) {
	_, _ = io.WriteString(w, helpHead)
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(columns, "  FLAG\tENVIRONMENT\tDEFAULT\tMEANING")
	for _, s := range table {
		value := s.value
		if value == "" {
			value = "none"
		}
		fmt.Fprintf(columns, "  --%s %s\t%s\t%s\t%s\n", s.flag(), s.unit, s.name, value, s.about)
	}
	_ = columns.Flush() // nobody to tell when help cannot be written
	_, _ = io.WriteString(w, helpTail)
}
