package convert_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/parquet-go/parquet-go"
	vegeta "github.com/tsenart/vegeta/v12/lib"
	"github.com/tsenart/vegeta/v12/lib/plot"

	"weir/bench/record"
	"weir/bench/record/convert"
)

var start = time.Date(2026, 11, 23, 18, 12, 0, 123456789, time.UTC).UnixNano()

// sample is n records of two plans in the order in which they were done, so not
// in that of sending, with gaps in their numbers.
func sample(n int) []record.Record {
	rng := rand.New(rand.NewPCG(1, 2))
	records := make([]record.Record, n)
	for i := range records {
		sent := start + int64(i)*1_000_000 + rng.Int64N(900_000)
		r := record.Record{
			Seq: uint64(3 * i), Plan: "overload", Key: fmt.Sprint("key-", rng.IntN(9)), Target: "GET http://127.0.0.1:8000/items?n=1",
			Cost: 1, Planned: sent - 1000, Sent: sent, Done: sent + 80_000 + rng.Int64N(40_000_000),
			Status: 200, Outcome: record.Admitted, Read: 35, Quota: record.NoQuota,
		}
		r.Quota.Limit, r.Quota.Rate, r.Quota.Remaining, r.Quota.DecidedAt = 20, 0.5, 3.25, sent/1000+40
		r.Quota.FieldLeft, r.Quota.FieldReset, r.Quota.Quota, r.Quota.Window = 3, 1, 20, 4
		switch {
		case i%7 == 0:
			r.Status, r.Outcome, r.Error, r.Quota = 0, record.Failed, `Get "http://127.0.0.1:8000/": EOF, "twice"`, record.NoQuota
		case i%3 == 0:
			r.Status, r.Outcome, r.Cost, r.Quota.RetryAfter = 429, record.Throttled, 3, 2
		case i%5 == 0:
			r.Plan, r.Key, r.Planned = "steady", "", r.Sent
		}
		records[i] = r
	}
	slices.SortFunc(records, func(a, b record.Record) int { return int(a.Done - b.Done) })
	return records
}

func segments(tb testing.TB, records []record.Record) (dir string) {
	tb.Helper()
	dir = tb.TempDir()
	w, err := record.Create(dir)
	if err != nil {
		tb.Fatal(err)
	}
	if err := errors.Join(w.Append(records), w.Close()); err != nil {
		tb.Fatal(err)
	}
	return dir
}

func export(tb testing.TB, dir, format string) []byte {
	tb.Helper()
	var out bytes.Buffer
	damaged, err := convert.Export(&out, format, func() (*record.Reader, error) { return record.Open(dir) }, nil)
	if err != nil || len(damaged) > 0 {
		tb.Fatalf("Export(%s): %v, damaged: %v", format, err, damaged)
	}
	return out.Bytes()
}

func collect(r *record.Reader) (all []record.Record) {
	for batch := range r.Batches() {
		all = append(all, batch...)
	}
	return all
}

func mustImport(tb testing.TB, in io.Reader, o convert.Options) []record.Record {
	tb.Helper()
	r, err := convert.Import(in, o)
	if err != nil {
		tb.Fatal(err)
	}
	all := collect(r)
	if r.Err() != nil || len(r.Damaged()) > 0 {
		tb.Fatalf("Import: %v, damaged: %v", r.Err(), r.Damaged())
	}
	return all
}

func TestExportThenImportGivesTheRecordsBack(t *testing.T) {
	t.Parallel()
	want := sample(2500)
	dir := segments(t, want)
	for _, format := range convert.Outputs {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			exported := export(t, dir, format)
			want := slices.Clone(want)
			if format != convert.CSV { // vegeta's numbers are dense
				for i := range want {
					want[i].Seq = 0
				}
			}
			for _, zip := range []bool{false, true} {
				got := mustImport(t, zipped(t, exported, zip), convert.Options{})
				if format != convert.CSV {
					for i := range got {
						got[i].Seq = 0
					}
				}
				if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" {
					t.Fatalf("gzip %t, -exported +imported:\n%.2000s", zip, diff)
				}
			}
		})
	}
}

func zipped(tb testing.TB, data []byte, zip bool) io.Reader {
	tb.Helper()
	if !zip {
		return bytes.NewReader(data)
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return &out
}

// Vegeta's own decoders, report and plot take what Export writes. The plot takes
// an attack only when its numbers are dense and grow with time.
func TestVegetaTakesWhatIsExported(t *testing.T) {
	t.Parallel()
	records := sample(2500)
	dir := segments(t, records)
	for _, format := range []string{convert.VegetaGob, convert.VegetaCSV, convert.VegetaJSON} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			decode := vegeta.DecoderFor(bytes.NewReader(export(t, dir, format)))
			if decode == nil {
				t.Fatal("vegeta does not know the format")
			}
			var metrics vegeta.Metrics
			page := plot.New()
			seen := map[string]map[uint64]bool{"overload": {}, "steady": {}}
			for n := 0; ; n++ {
				var result vegeta.Result
				err := decode(&result)
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("result %d: %v", n, err)
				}
				metrics.Add(&result)
				if err := page.Add(&result); err != nil {
					t.Fatalf("plot result %d: %v", n, err)
				}
				seen[result.Attack][result.Seq] = true
			}
			metrics.Close()
			if metrics.Requests != uint64(len(records)) {
				t.Errorf("vegeta counts %d requests, want %d", metrics.Requests, len(records))
			}
			for attack, numbers := range seen {
				for n := range uint64(len(numbers)) {
					if !numbers[n] {
						t.Fatalf("attack %s has %d results but none numbered %d", attack, len(numbers), n)
					}
				}
			}
			page.Close()
			if _, err := page.WriteTo(io.Discard); err != nil {
				t.Errorf("plot: %v", err)
			}
		})
	}
}

// What vegeta wrote itself, without any header of ours.
func TestImportOfVegetasOwn(t *testing.T) {
	t.Parallel()
	result := &vegeta.Result{
		Attack: "", Seq: 7, Code: 429, Timestamp: time.Unix(0, start), Latency: time.Millisecond, BytesIn: 9, BytesOut: 4,
		Error: "429 Too Many Requests", Body: []byte("too many"), Method: "GET", URL: "http://h/items?user=42",
		Headers: map[string][]string{"Retry-After": {"2"}, "X-Client": {"c1"}},
	}
	want := record.Record{
		Seq: 7, Plan: "import", Cost: 1, Target: "GET http://h/items?user=42", Planned: start, Sent: start, Done: start + 1e6,
		Status: 429, Outcome: record.Throttled, Written: 4, Read: 9, Quota: record.NoQuota,
	}
	want.Quota.RetryAfter = 2
	for format, encoder := range map[string]func(io.Writer) vegeta.Encoder{
		"gob": vegeta.NewEncoder, "csv": vegeta.NewCSVEncoder, "json": vegeta.NewJSONEncoder,
	} {
		for _, test := range []struct {
			options convert.Options
			key     string
		}{
			{convert.Options{}, ""},
			{convert.Options{KeyHeader: "X-Client"}, "c1"},
			{convert.Options{KeyQuery: "user"}, "42"},
		} {
			var recording bytes.Buffer
			if err := encoder(&recording).Encode(result); err != nil {
				t.Fatal(err)
			}
			want.Key = test.key
			got := mustImport(t, &recording, test.options)
			if diff := cmp.Diff([]record.Record{want}, got, cmpopts.EquateNaNs()); diff != "" {
				t.Errorf("%s, %+v, -want +got:\n%s", format, test.options, diff)
			}
		}
	}
}

const k6Lines = `{"type":"Metric","data":{"name":"http_req_duration","type":"trend","contains":"time","thresholds":[],"submetrics":[{"name":"http_req_duration{a:b}"}]},"metric":"http_req_duration"}
{"metric":"http_reqs","type":"Point","data":{"time":"2026-11-23T18:12:01.000000123Z","value":1,"tags":{"method":"GET","scenario":"spike","status":"200","url":"http://h/items","X-API-Key":"k1"}}}
{"metric":"http_req_duration","type":"Point","data":{"time":"2026-11-23T18:12:01.000000123Z","value":1.5,"tags":{"method":"GET","scenario":"spike","status":"200","url":"http://h/items","X-API-Key":"k1"}}}
{"metric":"http_req_waiting","type":"Point","data":{"time":"2026-11-23T18:12:01.000000123Z","value":1.2,"tags":{"method":"GET","status":"200"}}}
{"metric":"http_req_duration","type":"Point","data":{"time":"2026-11-23T19:12:02+01:00","value":0,"tags":{"method":"GET","scenario":"spike","status":"0","url":"http://h/items","error":"read tcp 10.0.0.1:40011->10.0.0.2:80: connection reset","error_code":"1220"}}}
{"metric":"http_req_duration","type":"Point","data":{"time":"2026-11-23T18:12:03Z","value":2,"tags":{"method":"GET","scenario":"spike","status":"429","url":"http://h/items","error_code":"1429","key":"k2"}}}
`

func TestImportOfK6JSON(t *testing.T) {
	t.Parallel()
	second := time.Date(2026, 11, 23, 18, 12, 1, 0, time.UTC).UnixNano()
	base := record.Record{Plan: "spike", Target: "GET http://h/items", Cost: 1, Quota: record.NoQuota}
	answered, failed, throttled := base, base, base
	answered.Done, answered.Sent, answered.Status, answered.Outcome, answered.Key = second+123, second+123-1_500_000, 200, record.Admitted, "k1"
	failed.Seq, failed.Done, failed.Sent = 1, second+1e9, second+1e9
	failed.Error = "read tcp 10.0.0.2:80: connection reset"
	throttled.Seq, throttled.Done, throttled.Sent, throttled.Status, throttled.Outcome = 2, second+2e9, second+2e9-2e6, 429, record.Throttled
	want := []record.Record{answered, failed, throttled}
	for i := range want {
		want[i].Planned = want[i].Sent
	}
	got := mustImport(t, strings.NewReader(k6Lines), convert.Options{KeyHeader: "X-API-Key"})
	if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := mustImport(t, strings.NewReader(k6Lines), convert.Options{}); got[2].Key != "k2" || got[0].Key != "" {
		t.Errorf("without KeyHeader the keys are %q and %q, want the tag named key: none and k2", got[0].Key, got[2].Key)
	}
}

const k6Rows = `metric_name,timestamp,metric_value,error,error_code,method,scenario,status,url,extra_tags,metadata
http_reqs,1795457521,1.000000,,,GET,soak,200,http://h/,,
http_req_duration,1795457521,1.500000,,,GET,soak,200,http://h/,key=k1&other=2,
http_req_duration,1795457522,2.250000,,1429,GET,soak,429,http://h/,key=k%202,
`

func TestImportOfK6CSVSaysHowCoarseItsClockIs(t *testing.T) {
	t.Parallel()
	r, err := convert.Import(strings.NewReader(k6Rows), convert.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := collect(r)
	if r.Err() != nil || len(got) != 2 {
		t.Fatalf("read %d records, want 2: %v", len(got), r.Err())
	}
	if got[0].Done != 1795457521e9 || got[0].Sent != 1795457521e9-1_500_000 || got[0].Key != "k1" || got[1].Key != "k 2" || got[1].Outcome != record.Throttled {
		t.Errorf("got %+v", got)
	}
	if r.Granularity() != time.Second {
		t.Errorf("Granularity = %v, want 1s: the timestamps are whole seconds", r.Granularity())
	}
}

func TestGranularity(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		ns   []int64
		want time.Duration
	}{
		{"a clock of nanoseconds", []int64{start, start + 11}, 0},
		{"a clock of microseconds", []int64{1795457521_000_123_000, 1795457521_000_200_000}, time.Microsecond},
		{"a clock of milliseconds", []int64{1795457521_001_000_000, 1795457521_100_000_000}, time.Millisecond},
		{"nothing read", nil, 0},
	} {
		var rows bytes.Buffer
		encode := vegeta.NewCSVEncoder(&rows)
		for _, ns := range test.ns {
			if err := encode(&vegeta.Result{Code: 200, Timestamp: time.Unix(0, ns), Latency: 1234567}); err != nil {
				t.Fatal(err)
			}
		}
		r, err := convert.Import(&rows, convert.Options{Format: convert.VegetaCSV})
		if err != nil {
			t.Fatal(err)
		}
		collect(r)
		if got := r.Granularity(); got != test.want {
			t.Errorf("%s: Granularity = %v, want %v", test.name, got, test.want)
		}
	}
}

func TestErrorsNameThePlace(t *testing.T) {
	t.Parallel()
	vegetaRow := "1795457521000000000,200,1000,0,0,,,a,0,GET,http://h/,\n"
	for _, test := range []struct {
		name, input string
		want        []string
	}{
		{"nothing", "", []string{"empty"}},
		{"prose", "hello\n", []string{"not known", convert.VegetaGob}},
		{"Parquet in a stream", "PAR1....", []string{"Parquet", "path"}},
		{"vegeta JSON, bad line 2", "{\"attack\":\"a\",\"timestamp\":\"2026-11-23T18:12:00Z\"}\n{]\n\n", []string{"in.dat line 2"}},
		{"vegeta JSON, latency below 0", "{\"timestamp\":\"2026-11-23T18:12:00Z\",\"latency\":-1}\n", []string{"line 1", "latency"}},
		{"vegeta JSON, no time", "{\"attack\":\"a\"}\n", []string{"line 1", "time"}},
		{"vegeta CSV, bad code", vegetaRow + strings.Replace(vegetaRow, "200", "2x0", 1) + vegetaRow, []string{"line 2", "code", `"2x0"`}},
		{"vegeta CSV, a field short", vegetaRow + "1,2\n" + vegetaRow, []string{"line 2", "number of fields"}},
		{"k6 JSON, bad value", strings.Replace(k6Lines, `"value":1.5`, `"value":-1.5`, 1), []string{"line 3", "-1.5"}},
		{"k6 JSON, bad status", strings.Replace(k6Lines, `"status":"0"`, `"status":"ok"`, 1), []string{"line 5", "status"}},
		{"k6 CSV, bad time", strings.Replace(k6Rows, "duration,1795457521", "duration,soon", 1), []string{"line 3", "timestamp"}},
		{"csv, no done", "seq,plan,sent_ns,outcome\n", []string{"line 1", `"done_ns"`}},
		{"csv, bad outcome", "sent_ns,done_ns,outcome\n1,2,admitted\n1,2,fine\n1,2,failed\n", []string{"line 3", `"fine"`}},
		{"csv, done before sent", "sent_ns,done_ns,outcome\n2,1,admitted\n", []string{"line 2", "before"}},
	} {
		r, err := convert.Import(strings.NewReader(test.input), convert.Options{Name: "in.dat"})
		if err == nil {
			collect(r)
			err = r.Err()
		}
		for _, want := range append(test.want, "in.dat") {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v does not say %s", test.name, err, want)
			}
		}
	}
}

// A recorder that was killed leaves half a record behind.
func TestRecordingCutShortKeepsWhatWasWhole(t *testing.T) {
	t.Parallel()
	dir := segments(t, sample(200))
	for _, format := range convert.Outputs {
		whole := export(t, dir, format)
		r, err := convert.Import(bytes.NewReader(whole[:len(whole)-40]), convert.Options{Name: "cut"})
		if err != nil {
			t.Fatal(err)
		}
		if got := collect(r); len(got) < 198 || r.Err() != nil || len(r.Damaged()) != 1 {
			t.Errorf("%s: read %d of 200, error %v, damaged %v; want nearly all and a warning", format, len(got), r.Err(), r.Damaged())
		}
	}
}

func TestOpenTakesAnyKind(t *testing.T) {
	t.Parallel()
	want := sample(50)
	dir := segments(t, want)
	rows := filepath.Join(dir, "rows.csv")
	data := export(t, dir, convert.CSV)
	if err := os.WriteFile(rows, data, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "000001.parquet"), rows, "-"} {
		r, err := convert.Open(path, bytes.NewReader(data), convert.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, collect(r), cmpopts.EquateNaNs()); diff != "" {
			t.Errorf("Open(%s), -want +got:\n%.1000s", path, diff)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := convert.Open(filepath.Join(dir, "none"), nil, convert.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open of a missing file = %v", err)
	}
}

func TestCSVHasTheColumnsOfASegment(t *testing.T) {
	t.Parallel()
	dir := segments(t, sample(1))
	data, err := os.ReadFile(filepath.Join(dir, "000001.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, field := range file.Schema().Fields() {
		want = append(want, field.Name())
	}
	header, _, _ := strings.Cut(string(export(t, dir, convert.CSV)), "\n")
	if diff := cmp.Diff(want, strings.Split(header, ",")); diff != "" {
		t.Errorf("-segment +csv:\n%s", diff)
	}
}

// FuzzImport feeds any bytes to every reader: none panics, and every record that
// comes out is one that the judge can take.
func FuzzImport(f *testing.F) {
	dir := segments(f, sample(5))
	for i, format := range convert.Inputs[1:] {
		if slices.Contains(convert.Outputs, format) {
			f.Add(uint8(i), export(f, dir, format))
		}
	}
	f.Add(uint8(3), []byte(k6Lines))
	f.Add(uint8(4), []byte(k6Rows))
	f.Fuzz(func(t *testing.T, format uint8, data []byte) {
		formats := append([]string{convert.Auto}, convert.Inputs...)
		r, err := convert.Import(bytes.NewReader(data), convert.Options{Format: formats[int(format)%len(formats)], KeyQuery: "key"})
		if err != nil {
			return
		}
		n := 0
		for batch := range r.Batches() {
			for _, one := range batch {
				if one.Done < one.Sent || one.Sent < -math.MaxInt64/2 || one.Plan == "" {
					t.Errorf("record %+v is none", one)
				}
			}
			if n += len(batch); n > 1<<20 {
				t.Fatalf("more than %d records from %d bytes", n, len(data))
			}
		}
		if g := r.Granularity(); g < 0 || g > time.Second {
			t.Errorf("Granularity = %v", g)
		}
	})
}

func BenchmarkImport(b *testing.B) {
	dir := segments(b, sample(20_000))
	inputs := map[string][]byte{convert.K6JSON: []byte(strings.Repeat(k6Lines, 5000))}
	for _, format := range convert.Outputs {
		inputs[format] = export(b, dir, format)
	}
	for format, data := range inputs {
		b.Run(format, func(b *testing.B) {
			n := 0
			for b.Loop() {
				r, err := convert.Import(bytes.NewReader(data), convert.Options{})
				if err != nil {
					b.Fatal(err)
				}
				for batch := range r.Batches() {
					n += len(batch)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

func BenchmarkExport(b *testing.B) {
	const count = 20_000
	dir := segments(b, sample(count))
	for _, format := range convert.Outputs {
		b.Run(format, func(b *testing.B) {
			for b.Loop() {
				_, err := convert.Export(io.Discard, format, func() (*record.Reader, error) { return record.Open(dir) }, nil)
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*count)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
