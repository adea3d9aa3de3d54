package convert

import (
	"bufio"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"weir/bench/record"
)

// Headers that Export adds to the answer's, so that an import gives back what a
// vegeta result has no place for.
const (
	headerKey     = "X-Weir-Key"
	headerCost    = "X-Weir-Cost"    // where it is not 1
	headerPlanned = "X-Weir-Planned" // ns since the epoch, where it is not Sent
)

// fromVegeta takes what a result tells.
func (o *Options) fromVegeta(r *record.Record, result *vegeta.Result) (err error) {
	if r.Sent, err = instant(result.Timestamp); err != nil {
		return err
	}
	took, err := latency(result.Latency)
	if err != nil {
		return err
	}
	r.Seq, r.Plan, r.Status = result.Seq, result.Attack, int(result.Code)
	r.Planned, r.Done = r.Sent, r.Sent+took
	r.Target = target(result.Method, result.URL)
	r.Written, r.Read = bytesOf(result.BytesOut), bytesOf(result.BytesIn)
	o.settle(r, result.Error)
	get := result.Headers.Get
	r.Quota = record.ParseQuota(get, r.Done)
	if r.Key = o.keyFromURL(result.URL); r.Key == "" && o.KeyHeader != "" {
		r.Key = get(o.KeyHeader)
	} else if r.Key == "" {
		r.Key = get(headerKey)
	}
	if cost, err := strconv.ParseInt(get(headerCost), 10, 64); err == nil && cost >= 0 {
		r.Cost = cost
	}
	if planned, err := strconv.ParseInt(get(headerPlanned), 10, 64); err == nil && planned > 0 {
		r.Planned = planned
	}
	return nil
}

func bytesOf(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

func vegetaGob(s *stream) func(*record.Record) error {
	decode := vegeta.NewDecoder(s.in)
	return func(r *record.Record) error {
		var result vegeta.Result
		if err := decode(&result); err != nil {
			return err
		}
		return s.options.fromVegeta(r, &result)
	}
}

// vegetaJSON reads lines by itself rather than by vegeta's decoder, which drops a
// last line without a newline and cannot tell which line is wrong.
func vegetaJSON(s *stream) func(*record.Record) error {
	return func(r *record.Record) error {
		line, err := s.nextLine()
		if err != nil {
			return err
		}
		var result struct {
			vegeta.Result
			Body skipped `json:"body"` // hides the Result's own
		}
		if err := json.Unmarshal(line, &result); err != nil {
			return err
		}
		return s.options.fromVegeta(r, &result.Result)
	}
}

// A skipped JSON value is not decoded: nothing asks for bodies.
type skipped struct{}

func (skipped) UnmarshalJSON([]byte) error { return nil }

// vegetaCSV is vegeta's 12 columns. It is not vegeta's decoder for the reasons
// that vegetaJSON is not.
func vegetaCSV(s *stream) func(*record.Record) error {
	rows := s.rows(12)
	return func(r *record.Record) error {
		row, err := rows()
		if err != nil {
			return err
		}
		var result vegeta.Result
		numbers := fields{row: row}
		ns := numbers.int(0, "timestamp")
		result.Code = uint16(numbers.uint(1, 16, "code"))
		result.Latency = time.Duration(numbers.int(2, "latency"))
		result.BytesOut = numbers.uint(3, 64, "bytes out")
		result.BytesIn = numbers.uint(4, 64, "bytes in")
		result.Seq = numbers.uint(8, 64, "seq")
		if numbers.err != nil {
			return numbers.err
		}
		if _, err := instantNs(ns); err != nil {
			return err
		}
		result.Timestamp = time.Unix(0, ns).UTC()
		result.Error, result.Attack, result.Method, result.URL = row[5], row[7], row[9], row[10]
		if result.Headers, err = decodeHeaders(row[11]); err != nil {
			return fmt.Errorf("headers: %w", err)
		}
		return s.options.fromVegeta(r, &result)
	}
}

func decodeHeaders(text string) (http.Header, error) {
	if text == "" {
		return nil, nil
	}
	raw := base64.NewDecoder(base64.StdEncoding, strings.NewReader(text))
	header, err := textproto.NewReader(bufio.NewReader(raw)).ReadMIMEHeader()
	if errors.Is(err, io.EOF) {
		err = errors.New("they end early")
	}
	return http.Header(header), err
}

// rows reads CSV rows of n columns and keeps the line.
func (s *stream) rows(n int) func() ([]string, error) {
	reader := csv.NewReader(s.in)
	reader.FieldsPerRecord = n
	reader.TrimLeadingSpace = true
	reader.ReuseRecord = true
	return func() ([]string, error) {
		row, err := reader.Read()
		if wrong := (*csv.ParseError)(nil); errors.As(err, &wrong) {
			s.line = int64(wrong.Line)
			return nil, wrong.Err
		}
		if err != nil {
			return nil, err
		}
		line, _ := reader.FieldPos(0)
		s.line = int64(line)
		return row, nil
	}
}

// fields reads numbers from a row until the first error, which it keeps.
type fields struct {
	row []string
	err error
}

func (f *fields) int(i int, name string) int64 {
	n, err := strconv.ParseInt(f.row[i], 10, 64)
	f.fail(name, err)
	return n
}

func (f *fields) uint(i, bits int, name string) uint64 {
	n, err := strconv.ParseUint(f.row[i], 10, bits)
	f.fail(name, err)
	return n
}

func (f *fields) fail(name string, err error) {
	if err != nil && f.err == nil {
		f.err = fmt.Errorf("%s: %w", name, err)
	}
}

// toVegeta is a record as vegeta would have recorded it: from sent to done. Seq
// must be dense and in the order of sending, or vegeta plot waits for ever.
func toVegeta(r *record.Record, seq uint64) *vegeta.Result {
	method, address, ok := strings.Cut(r.Target, " ")
	if !ok {
		method, address = "", r.Target
	}
	return &vegeta.Result{
		Attack: r.Plan, Seq: seq, Code: uint16(min(max(r.Status, 0), math.MaxUint16)),
		Timestamp: time.Unix(0, r.Sent).UTC(), Latency: time.Duration(r.Done - r.Sent),
		BytesOut: uint64(max(r.Written, 0)), BytesIn: uint64(max(r.Read, 0)),
		Error: r.Error, Method: method, URL: address, Headers: headersOf(r),
	}
}

// headersOf writes the headers that ParseQuota and fromVegeta read.
func headersOf(r *record.Record) http.Header {
	h, q := http.Header{}, &r.Quota
	set := func(name string, n float64) {
		if !math.IsNaN(n) {
			h.Set(name, decimal(n))
		}
	}
	set("X-Ratelimit-Limit", q.Limit)
	set("X-Ratelimit-Rate", q.Rate)
	set("X-Ratelimit-Remaining", q.Remaining)
	set("X-Ratelimit-Reset", q.Reset)
	set("Retry-After", q.RetryAfter)
	setItem(h, "Ratelimit", "r", q.FieldLeft, "t", q.FieldReset)
	setItem(h, "Ratelimit-Policy", "q", q.Quota, "w", q.Window)
	if q.DecidedAt > 0 {
		h.Set("X-Ratelimit-Decided-At", strconv.FormatInt(q.DecidedAt, 10))
	}
	if r.Key != "" {
		h.Set(headerKey, r.Key)
	}
	if r.Cost != 1 {
		h.Set(headerCost, strconv.FormatInt(r.Cost, 10))
	}
	if r.Planned != r.Sent {
		h.Set(headerPlanned, strconv.FormatInt(r.Planned, 10))
	}
	if len(h) == 0 {
		return nil
	}
	return h
}

func setItem(h http.Header, name, first string, a float64, second string, b float64) {
	item := `"default"`
	if !math.IsNaN(a) {
		item += ";" + first + "=" + decimal(a)
	}
	if !math.IsNaN(b) {
		item += ";" + second + "=" + decimal(b)
	}
	if !math.IsNaN(a) || !math.IsNaN(b) {
		h.Set(name, item)
	}
}

func decimal(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
