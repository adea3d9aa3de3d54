// Package convert reads recordings that other load testers made as weir's
// records, and writes weir's records as vegeta's results.
//
//	vegeta gob, CSV, JSON   both ways: vegeta report and vegeta plot work on a run
//	k6 JSON lines, k6 CSV   in: what stock k6 writes with --out json= and --out csv=
//	csv                     both ways: weir's own columns, named as in a segment
//
// What a recording does not tell stays absent. Neither vegeta nor k6 keeps when a
// request was planned, so Planned equals Sent; k6 keeps no answer headers, so
// records from it carry no Quota. Both tell when a request began at the latest
// and when it was done, so [Sent, Done] holds the instant of the decision, which
// is all that the judge's proofs need.
//
// Memory does not grow with the input.
package convert

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"weir/bench/record"
)

// Formats of recordings.
const (
	Auto       = "auto" // look at the first bytes
	VegetaGob  = "vegeta-gob"
	VegetaCSV  = "vegeta-csv"
	VegetaJSON = "vegeta-json"
	K6JSON     = "k6-json"
	K6CSV      = "k6-csv"
	CSV        = "csv"
)

// Inputs and Outputs list the formats that Import reads and Export writes.
var (
	Inputs  = []string{Auto, VegetaGob, VegetaCSV, VegetaJSON, K6JSON, K6CSV, CSV}
	Outputs = []string{VegetaGob, VegetaCSV, VegetaJSON, CSV}
)

// Options say how a recording is to be understood. The zero value guesses.
type Options struct {
	Name   string // of the input, for messages; "" means "input"
	Format string // one of Inputs; "" means Auto
	Plan   string // name of the plan for all records; "" keeps the attack's or scenario's, else "import"

	// KeyHeader names what tells the clients apart, e.g. "X-API-Key": a header
	// of vegeta's recorded answer, a tag of k6's sample. "" means weir's own
	// header (Export writes it), or a tag named "key".
	KeyHeader string
	// KeyQuery names a query parameter of the URL that tells the clients apart.
	KeyQuery string
	// Throttle are the statuses that mean throttled; none means 429.
	Throttle []int
}

// Open opens records of any kind: "-" is stdin; a folder or a Parquet file holds
// segments; any other file is imported.
func Open(path string, stdin io.Reader, o Options) (*record.Reader, error) {
	if path == "-" {
		o.Name = "stdin"
		return Import(struct{ io.Reader }{stdin}, o) // which others may still read
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open records: %w", err)
	}
	info, err := file.Stat()
	if err == nil && (info.IsDir() || magic(file, "PAR1")) {
		_ = file.Close() // only looked at
		return record.Open(path)
	}
	o.Name = path
	r, err := Import(file, o)
	if err != nil {
		_ = file.Close() // of no use
	}
	return r, err
}

func magic(file io.ReaderAt, want string) bool {
	got := make([]byte, len(want))
	n, _ := file.ReadAt(got, 0) // what cannot be read is not it
	return string(got[:n]) == want
}

// Import reads a recording, gzipped or not. The Reader closes r where it can be
// closed. An error names the line or the record that is wrong.
func Import(r io.Reader, o Options) (*record.Reader, error) {
	if o.Name == "" {
		o.Name = "input"
	}
	in := bufio.NewReaderSize(r, 1<<16)
	if start, _ := in.Peek(2); string(start) == "\x1f\x8b" {
		unzipped, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("import %s: %w", o.Name, err)
		}
		in = bufio.NewReaderSize(unzipped, 1<<16)
	}
	format := o.Format
	if format == "" || format == Auto {
		var err error
		if format, err = sniff(in); err != nil {
			return nil, fmt.Errorf("import %s: %w", o.Name, err)
		}
	}
	s := &stream{in: in, options: o}
	if closer, ok := r.(io.Closer); ok {
		s.closer = closer
	}
	switch format {
	case VegetaGob:
		s.decode = vegetaGob(s)
	case VegetaCSV:
		s.decode = vegetaCSV(s)
	case VegetaJSON:
		s.decode = vegetaJSON(s)
	case K6JSON:
		s.decode = k6JSON(s)
	case K6CSV:
		s.decode = k6CSV(s)
	case CSV:
		s.decode, s.exact = ownCSV(s), true
	default:
		return nil, fmt.Errorf("unknown format %q (want one of %s)", format, strings.Join(Inputs, ", "))
	}
	return record.NewReader(s), nil
}

// sniff tells the format by the first bytes.
func sniff(in *bufio.Reader) (string, error) {
	start, err := in.Peek(1 << 12)
	if len(start) == 0 {
		if err == nil || errors.Is(err, io.EOF) {
			return "", errors.New("it is empty")
		}
		return "", err
	}
	line, _, _ := bytes.Cut(start, []byte("\n"))
	compact := bytes.ReplaceAll(line, []byte(" "), nil)
	switch {
	case bytes.HasPrefix(compact, []byte(`{`)):
		if bytes.Contains(compact, []byte(`"type":"Metric"`)) || bytes.Contains(compact, []byte(`"type":"Point"`)) {
			return K6JSON, nil
		}
		return VegetaJSON, nil
	case bytes.HasPrefix(line, []byte("metric_name,")):
		return K6CSV, nil
	case bytes.Contains(line, []byte("sent_ns")):
		return CSV, nil
	case bytes.HasPrefix(start, []byte("PAR1")):
		return "", errors.New("it is a Parquet file, which cannot be read from a stream: give its path")
	case bytes.Contains(start, []byte("Result")) && bytes.IndexByte(start, 0xff) >= 0: // gob begins by describing its type
		return VegetaGob, nil
	case start[0] >= '0' && start[0] <= '9' && bytes.Count(line, []byte(",")) >= 11:
		return VegetaCSV, nil
	}
	return "", fmt.Errorf("its format is not known (want one of %s)", strings.Join(Inputs[1:], ", "))
}

// A stream is the source that reads a foreign recording.
type stream struct {
	in      *bufio.Reader
	closer  io.Closer
	options Options
	decode  func(*record.Record) error // the next record; io.EOF at the end
	read    int64
	ended   bool

	exact      bool // instants are weir's own
	sent, done step
	line       int64
	long       []byte // a line that did not fit into in
}

// Next decodes the next records.
func (s *stream) Next(batch []record.Record) (n int, err error) {
	for n < len(batch) {
		if s.ended {
			return n, io.EOF
		}
		if err := s.one(&batch[n]); err != nil {
			s.ended = true
			return n, s.explain(err)
		}
		n++
	}
	return n, nil
}

func (s *stream) one(r *record.Record) error {
	*r = record.Record{Seq: uint64(s.read), Cost: 1, Quota: record.NoQuota}
	if err := s.decode(r); err != nil {
		return err
	}
	if r.Done < r.Sent {
		return fmt.Errorf("it was done %v before it was sent", time.Duration(r.Sent-r.Done))
	}
	if s.options.Plan != "" {
		r.Plan = s.options.Plan
	} else if r.Plan == "" {
		r.Plan = "import"
	}
	s.sent.see(r.Sent)
	s.done.see(r.Done)
	s.read++
	return nil
}

// explain names the place of an error. What breaks off in its last record was cut
// short, which takes nothing from the records before it.
func (s *stream) explain(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if s.line > 0 {
		err = fmt.Errorf("%s line %d: %w", s.options.Name, s.line, err)
	} else {
		err = fmt.Errorf("%s record %d: %w", s.options.Name, s.read+1, err)
	}
	if _, more := s.in.Peek(1); more != nil && s.read > 0 {
		return &record.DamagedError{File: s.options.Name, Read: s.read, Err: err}
	}
	return err
}

// Granularity is the largest power of ten, up to a second, that all sent or all
// done instants are multiples of: never finer than the recorder's clock was.
func (s *stream) Granularity() time.Duration {
	if s.exact || s.read == 0 {
		return 0
	}
	return max(s.sent.granularity(), s.done.granularity())
}

// Close closes the input.
func (s *stream) Close() error {
	if s.closer == nil {
		return nil
	}
	return s.closer.Close()
}

// A step is how far apart instants can be seen to lie.
type step struct{ ns int64 }

func (s *step) see(t int64) {
	if s.ns == 0 {
		s.ns = int64(time.Second)
	}
	for s.ns > 1 && t%s.ns != 0 {
		s.ns /= 10
	}
}

func (s *step) granularity() time.Duration {
	if s.ns <= 1 {
		return 0
	}
	return time.Duration(s.ns)
}

// maxLine bounds the memory that one line can take.
const maxLine = 16 << 20

// nextLine returns the next line that is not empty. It is good until the next.
func (s *stream) nextLine() ([]byte, error) {
	for {
		line, err := s.in.ReadSlice('\n')
		s.long = s.long[:0]
		for errors.Is(err, bufio.ErrBufferFull) {
			if s.long = append(s.long, line...); len(s.long) > maxLine {
				s.line++
				return nil, fmt.Errorf("it is longer than %d bytes", maxLine)
			}
			line, err = s.in.ReadSlice('\n')
		}
		if len(s.long) > 0 {
			s.long = append(s.long, line...)
			line = s.long
		}
		if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
			return nil, err
		}
		s.line++
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
	}
}

// instant checks that t can be held in nanoseconds since the epoch, with room
// for a latency.
func instant(t time.Time) (int64, error) {
	if year := t.Year(); year < 1970 || year > 2200 {
		return 0, fmt.Errorf("its time %s is not between 1970 and 2200", t.Format(time.RFC3339))
	}
	return t.UnixNano(), nil
}

// instantNs is instant of a number.
func instantNs(ns int64) (int64, error) {
	if ns < 0 || ns > math.MaxInt64/10*8 {
		return 0, fmt.Errorf("its time %d ns is not between 1970 and 2200", ns)
	}
	return ns, nil
}

// maxLatency is far beyond any request.
const maxLatency = 1000 * time.Hour

func latency(d time.Duration) (int64, error) {
	if d < 0 || d > maxLatency {
		return 0, fmt.Errorf("its latency %v is not between 0 and %v", d, maxLatency)
	}
	return int64(d), nil
}

// settle sets outcome and error by the status.
func (o *Options) settle(r *record.Record, message string) {
	r.Outcome = record.OutcomeOf(r.Status, o.Throttle...)
	if r.Outcome == record.Failed {
		r.Error = ephemeral.ReplaceAllString(message, "")
	}
}

// ephemeral is the local end of a connection in an error, which differs for each:
// "read tcp 127.0.0.1:40011->127.0.0.1:8000: connection reset by peer".
var ephemeral = regexp.MustCompile(`[0-9.]+:[0-9]+->|\[[0-9a-f:.]*\]:[0-9]+->`)

// keyFromURL is the key that the URL's query carries.
func (o *Options) keyFromURL(address string) string {
	if o.KeyQuery == "" {
		return ""
	}
	_, query, _ := strings.Cut(address, "?")
	values, _ := url.ParseQuery(query) // what can be parsed of it
	return values.Get(o.KeyQuery)
}

// target is how a Record names what was asked.
func target(method, address string) string {
	return strings.TrimSpace(method + " " + address)
}
