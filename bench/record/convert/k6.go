package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/bench/record"
)

// duration is the one of a request's nine samples that tells all: its time is the
// end of the request, its value the milliseconds since the request began, and its
// tags are those of the request.
const duration = "http_req_duration"

// fromK6 takes what a sample tells. Connecting and the TLS handshake come before
// the duration begins, and the decision after, so [Sent, Done] holds it; also
// where no answer came, for then the duration counts the wait in vain. A request
// that could not be written to its end has a duration of 0.
func (o *Options) fromK6(r *record.Record, end int64, milliseconds float64, tag func(string) string) error {
	if math.IsNaN(milliseconds) || milliseconds < 0 || milliseconds > float64(maxLatency/time.Millisecond) {
		return fmt.Errorf("its duration %g ms is not between 0 and %v", milliseconds, maxLatency)
	}
	r.Done = end
	r.Sent = end - int64(math.Round(milliseconds*1e6))
	r.Planned = r.Sent
	r.Plan = tag("scenario")
	r.Target = target(tag("method"), tag("url"))
	if status := tag("status"); status != "" {
		code, err := strconv.ParseUint(status, 10, 16)
		if err != nil {
			return fmt.Errorf("status: %w", err)
		}
		r.Status = int(code)
	}
	message := tag("error")
	if code := tag("error_code"); message == "" && code != "" {
		message = "k6 error_code " + code
	}
	o.settle(r, message)
	if r.Key = o.keyFromURL(tag("url")); r.Key == "" && o.KeyHeader != "" {
		r.Key = tag(o.KeyHeader)
	} else if r.Key == "" {
		r.Key = tag("key")
	}
	return nil
}

func k6JSON(s *stream) func(*record.Record) error {
	return func(r *record.Record) error {
		for {
			line, err := s.nextLine()
			if err != nil {
				return err
			}
			if line[0] != '{' || line[len(line)-1] != '}' {
				return errors.New("it is not a JSON object")
			}
			if !bytes.Contains(line, []byte(duration)) { // most lines: not worth parsing
				continue
			}
			var sample struct {
				Metric, Type string
				Data         struct {
					Time  time.Time
					Value float64
					Tags  map[string]string
				}
			}
			if isPoint, err := parseSample(line, &sample, func() bool {
				return sample.Type == "Point" && sample.Metric == duration
			}); err != nil {
				return err
			} else if !isPoint {
				continue
			}
			end, err := instant(sample.Data.Time)
			if err != nil {
				return err
			}
			tags := sample.Data.Tags
			return s.options.fromK6(r, end, sample.Data.Value, func(name string) string { return tags[name] })
		}
	}
}

// parseSample parses a line. One of another type may look otherwise: its error
// does not count.
func parseSample(line []byte, sample any, isPoint func() bool) (bool, error) {
	err := json.Unmarshal(line, sample)
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		return false, err
	}
	if !isPoint() {
		return false, nil
	}
	return true, err
}

// k6CSV is the columns metric_name, timestamp, metric_value, one for each tag,
// and extra_tags. By default its timestamps are whole seconds, which
// Reader.Granularity then says.
func k6CSV(s *stream) func(*record.Record) error {
	rows := s.rows(0)
	var columns []string
	return func(r *record.Record) error {
		if columns == nil {
			header, err := rows()
			if err != nil {
				return err
			}
			columns = slices.Clone(header)
			if len(columns) < 3 || columns[0] != "metric_name" || columns[1] != "timestamp" || columns[2] != "metric_value" {
				return errors.New("its columns do not begin with metric_name,timestamp,metric_value")
			}
		}
		for {
			row, err := rows()
			if err != nil {
				return err
			}
			if row[0] != duration {
				continue
			}
			end, err := k6Time(row[1])
			if err != nil {
				return err
			}
			milliseconds, err := strconv.ParseFloat(row[2], 64)
			if err != nil {
				return fmt.Errorf("metric_value: %w", err)
			}
			return s.options.fromK6(r, end, milliseconds, func(name string) string { return k6Tag(columns, row, name) })
		}
	}
}

// k6Time reads any of k6's time formats; the unit of a number shows in its size.
func k6Time(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return 0, fmt.Errorf("timestamp: %w", err)
		}
		return instant(t)
	}
	switch {
	case n < 0:
	case n < 1e11:
		n *= 1e9
	case n < 1e14:
		n *= 1e6
	case n < 1e17:
		n *= 1e3
	}
	return instantNs(n)
}

func k6Tag(columns, row []string, name string) string {
	if i := slices.Index(columns, name); i > 2 {
		return row[i]
	}
	extra := slices.Index(columns, "extra_tags")
	if extra < 0 || !strings.Contains(row[extra], name) {
		return ""
	}
	values, _ := url.ParseQuery(row[extra]) // what can be parsed of it
	return values.Get(name)
}
