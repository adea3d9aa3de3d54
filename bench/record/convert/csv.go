package convert

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"weir/bench/record"
)

// A csvColumn is one field of a record as text; "" is absent.
type csvColumn struct {
	name string
	get  func(*record.Record) string
	set  func(*record.Record, string) error
}

// csvColumns are named as a segment's.
var csvColumns = []csvColumn{
	{
		"seq",
		func(r *record.Record) string { return strconv.FormatUint(r.Seq, 10) },
		func(r *record.Record, text string) (err error) { r.Seq, err = strconv.ParseUint(text, 10, 64); return },
	},
	textColumn("plan", func(r *record.Record) *string { return &r.Plan }),
	textColumn("key", func(r *record.Record) *string { return &r.Key }),
	textColumn("target", func(r *record.Record) *string { return &r.Target }),
	intColumn("cost", func(r *record.Record) *int64 { return &r.Cost }),
	intColumn("planned_ns", func(r *record.Record) *int64 { return &r.Planned }),
	intColumn("sent_ns", func(r *record.Record) *int64 { return &r.Sent }),
	intColumn("done_ns", func(r *record.Record) *int64 { return &r.Done }),
	{
		"status",
		func(r *record.Record) string { return strconv.Itoa(r.Status) },
		func(r *record.Record, text string) (err error) { r.Status, err = strconv.Atoi(text); return },
	},
	{
		"outcome",
		func(r *record.Record) string { return r.Outcome.String() },
		func(r *record.Record, text string) (err error) { r.Outcome, err = record.ParseOutcome(text); return },
	},
	textColumn("error", func(r *record.Record) *string { return &r.Error }),
	intColumn("written_bytes", func(r *record.Record) *int64 { return &r.Written }),
	intColumn("read_bytes", func(r *record.Record) *int64 { return &r.Read }),
	{
		"decided_at_us",
		func(r *record.Record) string {
			if r.Quota.DecidedAt == 0 {
				return ""
			}
			return strconv.FormatInt(r.Quota.DecidedAt, 10)
		},
		func(r *record.Record, text string) (err error) {
			r.Quota.DecidedAt, err = strconv.ParseInt(text, 10, 64)
			return
		},
	},
	floatColumn("limit_tokens", func(r *record.Record) *float64 { return &r.Quota.Limit }),
	floatColumn("rate_tokens_per_s", func(r *record.Record) *float64 { return &r.Quota.Rate }),
	floatColumn("remaining_tokens", func(r *record.Record) *float64 { return &r.Quota.Remaining }),
	floatColumn("reset", func(r *record.Record) *float64 { return &r.Quota.Reset }),
	floatColumn("retry_after_s", func(r *record.Record) *float64 { return &r.Quota.RetryAfter }),
	floatColumn("field_left_tokens", func(r *record.Record) *float64 { return &r.Quota.FieldLeft }),
	floatColumn("field_reset_s", func(r *record.Record) *float64 { return &r.Quota.FieldReset }),
	floatColumn("quota_tokens", func(r *record.Record) *float64 { return &r.Quota.Quota }),
	floatColumn("window_s", func(r *record.Record) *float64 { return &r.Quota.Window }),
}

func textColumn(name string, field func(*record.Record) *string) csvColumn {
	return csvColumn{
		name,
		func(r *record.Record) string { return *field(r) },
		func(r *record.Record, text string) error { *field(r) = strings.Clone(text); return nil },
	}
}

func intColumn(name string, field func(*record.Record) *int64) csvColumn {
	return csvColumn{
		name,
		func(r *record.Record) string { return strconv.FormatInt(*field(r), 10) },
		func(r *record.Record, text string) (err error) {
			*field(r), err = strconv.ParseInt(text, 10, 64)
			return
		},
	}
}

func floatColumn(name string, field func(*record.Record) *float64) csvColumn {
	return csvColumn{
		name,
		func(r *record.Record) string {
			if math.IsNaN(*field(r)) {
				return ""
			}
			return decimal(*field(r))
		},
		func(r *record.Record, text string) (err error) { *field(r), err = strconv.ParseFloat(text, 64); return },
	}
}

// ownCSV reads rows by their header, so columns may be missing or in another
// order. sent_ns, done_ns and outcome are needed.
func ownCSV(s *stream) func(*record.Record) error {
	rows := s.rows(0)
	var columns []*csvColumn // of each field of a row; nil is not known
	return func(r *record.Record) (err error) {
		if columns == nil {
			if columns, err = csvHeader(rows); err != nil {
				return err
			}
		}
		row, err := rows()
		if err != nil {
			return err
		}
		r.Planned = math.MinInt64
		for i, text := range row {
			if columns[i] == nil || text == "" {
				continue
			}
			if err := columns[i].set(r, text); err != nil {
				return fmt.Errorf("%s: %w", columns[i].name, err)
			}
		}
		if r.Planned == math.MinInt64 {
			r.Planned = r.Sent
		}
		if _, err := instantNs(r.Sent); err != nil {
			return err
		}
		_, err = instantNs(r.Done)
		return err
	}
}

func csvHeader(rows func() ([]string, error)) ([]*csvColumn, error) {
	header, err := rows()
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"sent_ns", "done_ns", "outcome"} {
		if !slices.Contains(header, name) {
			return nil, fmt.Errorf("its header has no column %q", name)
		}
	}
	columns := make([]*csvColumn, len(header))
	for i, name := range header {
		known := slices.IndexFunc(csvColumns, func(c csvColumn) bool { return c.name == name })
		if known < 0 {
			continue
		}
		if slices.Contains(columns, &csvColumns[known]) {
			return nil, fmt.Errorf("its header has two columns %q", name)
		}
		columns[i] = &csvColumns[known]
	}
	return columns, nil
}

// csvEncoder writes the header and returns what writes a record.
func csvEncoder(w io.Writer) (encode func(*record.Record) error, flush func() error, err error) {
	out := csv.NewWriter(w)
	row := make([]string, len(csvColumns))
	for i, column := range csvColumns {
		row[i] = column.name
	}
	encode = func(r *record.Record) error {
		for i, column := range csvColumns {
			row[i] = column.get(r)
		}
		return out.Write(row)
	}
	flush = func() error { out.Flush(); return out.Error() }
	return encode, flush, errors.Join(out.Write(row))
}
