// Command chart draws what the benchmark of package peers measured: decisions a
// second and the p99 of a decision against the number of callers, for every
// peer whose state is in Redis.
//
//	go test -bench . -count 5 > peers.txt
//	go run ./chart peers.txt > peers.svg
//	go run ./chart -table peers.txt > peers.md    # the same in figures, and all peers
//
// A point is the median of the rounds. Both axes are logarithmic. What
// redis-benchmark reaches has no callers to be drawn against, and is a dashed line.
package main

import (
	"cmp"
	"fmt"
	"image/color"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/perf/benchfmt"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"weir/bench/peers"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(args []string, stdout io.Writer) error {
	write := svg
	if len(args) > 0 && args[0] == "-table" {
		write, args = table, args[1:]
	}
	if len(args) != 1 {
		return fmt.Errorf("got %d arguments, want [-table] and the file that `go test -bench` wrote", len(args))
	}
	file, err := os.Open(args[0])
	if err != nil {
		return fmt.Errorf("read benchmarks: %w", err)
	}
	defer file.Close() // it was only read
	cells, err := read(file, args[0])
	if err != nil {
		return err
	}
	return write(stdout, cells)
}

// A cell is one peer under one load; its values are those of the rounds.
type cell struct {
	peer, outcome string
	callers       int
}

// The name that the benchmark gives redis-benchmark, and its calls in flight.
const (
	reference        = "redis-benchmark-P64"
	referenceCallers = 3200
)

// The two panels of a row.
var units = []struct{ unit, label string }{{"decisions/s", "decisions/s"}, {legendUnit, "p99 of a decision"}}

// legendUnit is the unit of the panel whose top left corner no line crosses: it
// has the legend.
const legendUnit = "p99-sec"

func read(r io.Reader, name string) (map[cell]map[string][]float64, error) {
	cells := make(map[cell]map[string][]float64)
	for reader := benchfmt.NewReader(r, name); reader.Scan(); {
		result, ok := reader.Result().(*benchfmt.Result)
		if !ok {
			continue
		}
		c, err := parse(string(result.Name.Full()))
		if err != nil {
			return nil, err
		}
		if cells[c] == nil {
			cells[c] = make(map[string][]float64)
		}
		for _, v := range result.Values {
			cells[c][v.Unit] = append(cells[c][v.Unit], v.Value)
		}
	}
	if len(cells) == 0 {
		return nil, fmt.Errorf("%s holds no benchmark of package peers", name)
	}
	return cells, nil
}

// parse reads a name like Take/peer=weir/callers=64/outcome=admitted-2.
func parse(name string) (c cell, err error) {
	if cut := strings.LastIndexByte(name, '-'); cut > 0 {
		name = name[:cut]
	}
	for part := range strings.SplitSeq(name, "/") {
		key, value, _ := strings.Cut(part, "=")
		switch key {
		case "peer":
			c.peer = value
		case "outcome":
			c.outcome = value
		case "callers":
			if c.callers, err = strconv.Atoi(value); err != nil {
				return c, fmt.Errorf("benchmark %q: callers %q is no number", name, value)
			}
		}
	}
	return c, nil
}

// Colours that people with any colour vision tell apart (Okabe and Ito). All of
// ours have the first, with dashes that differ.
var (
	ourColor    = color.RGBA{0xD5, 0x5E, 0x00, 0xff}
	ourDashes   = [][]vg.Length{nil, {7, 3}, {2, 2}, {8, 2, 2, 2}}
	otherColors = []color.RGBA{
		{0x1f, 0x23, 0x28, 0xff}, {0x56, 0xB4, 0xE9, 0xff}, {0x00, 0x72, 0xB2, 0xff}, {0x00, 0x9E, 0x73, 0xff}, {0xE6, 0x9F, 0x00, 0xff}, {0xCC, 0x79, 0xA7, 0xff},
	}
)

// A look is how one peer is drawn.
type look struct {
	peer   string
	color  color.RGBA
	dashes []vg.Length
	width  vg.Length
}

// looks are those of the peers with their state in Redis, in the order of the
// list.
func looks() []look {
	var list []look
	ours, others := 0, 0
	for _, peer := range peers.All() {
		switch {
		case !peer.Redis:
		case strings.HasPrefix(peer.Name, "weir"):
			list = append(list, look{peer.Name, ourColor, ourDashes[ours%len(ourDashes)], 2.2})
			ours++
		default:
			list = append(list, look{peer.Name, otherColors[others%len(otherColors)], nil, 1.3})
			others++
		}
	}
	return list
}

var (
	grey  = color.RGBA{0x8a, 0x8f, 0x98, 0xff}
	faint = color.RGBA{0xe6, 0xe8, 0xeb, 0xff}
)

// svg draws a row for each outcome, a panel for each unit.
func svg(w io.Writer, cells map[cell]map[string][]float64) error {
	outcomes := []string{"admitted", "throttled"}
	canvas := vgsvg.New(900, 640)
	tiles := draw.Tiles{Rows: len(outcomes), Cols: len(units), PadX: 18, PadY: 14, PadTop: 6, PadBottom: 6, PadLeft: 6, PadRight: 14}
	page := draw.New(canvas)
	for row, outcome := range outcomes {
		for col, u := range units {
			p, err := panel(cells, outcome, u.unit, u.label)
			if err != nil {
				return fmt.Errorf("draw %s %s: %w", outcome, u.unit, err)
			}
			p.Draw(tiles.At(page, col, row))
		}
	}
	var text strings.Builder
	if _, err := canvas.WriteTo(&text); err != nil {
		return fmt.Errorf("write chart: %w", err)
	}
	_, err := io.WriteString(w, strings.ReplaceAll(text.String(),
		"font-family:Liberation Sans", "font-family:Liberation Sans,Arial,Helvetica,sans-serif"))
	return err //nolint:wrapcheck // stdout says enough
}

func panel(cells map[cell]map[string][]float64, outcome, unit, label string) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = map[string]string{"admitted": "every take admitted", "throttled": "most takes throttled"}[outcome]
	p.X.Label.Text, p.Y.Label.Text = "callers", label
	p.Title.TextStyle.Font.Variant, p.Title.TextStyle.Font.Size = "Sans", 12
	p.Legend.TextStyle.Font.Variant, p.Legend.TextStyle.Font.Size = "Sans", 9
	p.Legend.ThumbnailWidth = 34
	p.Legend.Left, p.Legend.Top, p.Legend.XOffs = true, true, 6
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle.Font.Variant, axis.Tick.Label.Font.Variant = "Sans", "Sans"
		axis.Color, axis.Tick.Color = grey, grey
	}
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = faint, color.Transparent
	p.Add(grid)
	low, high := math.Inf(1), 0.0
	widest := 1
	ticks := map[int]bool{}
	for _, l := range looks() {
		line := points(cells, l.peer, outcome, unit)
		for _, at := range line {
			low, high = math.Min(low, at.Y), math.Max(high, at.Y)
			widest = max(widest, int(at.X))
			ticks[int(at.X)] = true
		}
		if err := add(p, l, line, unit == legendUnit); err != nil {
			return nil, err
		}
	}
	if high == 0 {
		return nil, fmt.Errorf("no peer has %s", unit)
	}
	if y, ok := median(cells[cell{reference, outcome, referenceCallers}][unit]); ok && unit == units[0].unit {
		high = math.Max(high, y)
		line, err := plotter.NewLine(plotter.XYs{{X: 1, Y: y}, {X: float64(widest), Y: y}})
		if err != nil {
			return nil, err
		}
		line.Color, line.Width, line.Dashes = grey, 1.2, []vg.Length{5, 3}
		label, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: 1, Y: y}}, Labels: []string{"redis-benchmark -P 64"}})
		if err != nil {
			return nil, err
		}
		label.TextStyle[0].Font.Variant, label.TextStyle[0].Font.Size, label.TextStyle[0].Color = "Sans", 9, grey
		label.Offset = vg.Point{X: 3, Y: 3}
		p.Add(line, label)
	}
	p.X.Min, p.X.Max = 0.9, math.Max(float64(widest)*1.1, 2)
	p.Y.Min, p.Y.Max = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high*1.01)))
	p.X.Tick.Marker = at(slices.Sorted(maps.Keys(ticks)))
	p.Y.Tick.Marker = plot.TickerFunc(decades)
	return p, nil
}

// points are the medians of a peer, by callers.
func points(cells map[cell]map[string][]float64, peer, outcome, unit string) plotter.XYs {
	var line plotter.XYs
	for c, values := range cells {
		if m, ok := median(values[unit]); ok && c.peer == peer && c.outcome == outcome {
			line = append(line, plotter.XY{X: float64(c.callers), Y: math.Max(m, 1e-8)})
		}
	}
	slices.SortFunc(line, func(a, b plotter.XY) int { return cmp.Compare(a.X, b.X) })
	return line
}

func add(p *plot.Plot, how look, line plotter.XYs, legend bool) error {
	if len(line) == 0 {
		return nil
	}
	l, dots, err := plotter.NewLinePoints(line)
	if err != nil {
		return fmt.Errorf("%s: %w", how.peer, err)
	}
	l.Color, l.Width, l.Dashes = how.color, how.width, how.dashes
	dots.Color, dots.Shape, dots.Radius = how.color, draw.CircleGlyph{}, 2.2
	p.Add(l, dots)
	if legend {
		p.Legend.Add(how.peer, l)
	}
	return nil
}

// at ticks these numbers.
func at(numbers []int) plot.TickerFunc {
	return func(_, _ float64) []plot.Tick {
		ticks := make([]plot.Tick, len(numbers))
		for i, n := range numbers {
			ticks[i] = plot.Tick{Value: float64(n), Label: strconv.Itoa(n)}
		}
		return ticks
	}
}

// decades ticks the powers of ten.
func decades(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for y := low; y <= high*1.001; y *= 10 {
		label := strconv.FormatFloat(y, 'f', -1, 64)
		switch {
		case y < 0.9e-6:
			label = strconv.FormatFloat(y*1e9, 'f', 0, 64) + " ns"
		case y < 0.9e-3:
			label = strconv.FormatFloat(y*1e6, 'f', 0, 64) + " µs"
		case y < 0.9:
			label = strconv.FormatFloat(y*1e3, 'f', 0, 64) + " ms"
		case y < 9:
			label += " s"
		case y >= 1e6:
			label = strconv.FormatFloat(y/1e6, 'f', 0, 64) + "M"
		case y >= 1e3:
			label = strconv.FormatFloat(y/1e3, 'f', 0, 64) + "k"
		}
		ticks = append(ticks, plot.Tick{Value: y, Label: label})
	}
	return ticks
}
