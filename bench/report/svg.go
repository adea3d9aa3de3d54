package report

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"math"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Colours that people with any colour vision tell apart (Okabe and Ito), the
// same in every plot of weir.
var (
	blue       = color.RGBA{0x00, 0x72, 0xB2, 0xff} // admitted
	orange     = color.RGBA{0xE6, 0x9F, 0x00, 0xff} // throttled
	vermillion = color.RGBA{0xD5, 0x5E, 0x00, 0xff} // failed
	ink        = color.RGBA{0x1f, 0x23, 0x28, 0xff}
	grey       = color.RGBA{0x8a, 0x8f, 0x98, 0xff}
	faint      = color.RGBA{0xe6, 0xe8, 0xeb, 0xff}
)

var outcomeColors = map[string]color.RGBA{"admitted": blue, "throttled": orange, "failed": vermillion}

// A plotKind is one of the plots that each plan has as a file.
type plotKind struct {
	file  string // without .svg
	title string
	draw  func(*Plan, *plot.Plot) error
}

var plotKinds = []plotKind{
	{"outcomes", "Requests per second by outcome", (*Plan).drawOutcomes},
	{"admitted", "Tokens admitted against capacity + rate·t", (*Plan).drawAdmitted},
	{"latency", "Latency by percentile", (*Plan).drawShares},
}

// plots are the plots that this plan has.
func (p *Plan) plots() []plotKind {
	if p.Witness == nil {
		return plotKinds
	}
	return append([]plotKind{{"witness", "The window that breaks the limit", (*Plan).drawWitness}}, plotKinds...)
}

// writeSVG draws one plot of a plan.
func (p *Plan) writeSVG(w io.Writer, kind plotKind) error {
	pl := plot.New()
	pl.Title.Text = p.Name + ": " + kind.title
	pl.Title.TextStyle.Font.Variant = "Sans"
	pl.Title.TextStyle.Font.Size = 13
	pl.Title.Padding = 8
	pl.Legend.Top = true
	pl.Legend.Left = true
	pl.Legend.Padding = 3
	pl.Legend.XOffs, pl.Legend.YOffs = 8, -4
	pl.Legend.TextStyle.Font.Variant = "Sans"
	pl.X.Min, pl.X.Max, pl.Y.Min = 0, 1, 0
	for _, axis := range []*plot.Axis{&pl.X, &pl.Y} {
		axis.Label.TextStyle.Font.Variant = "Sans"
		axis.Tick.Label.Font.Variant = "Sans"
		axis.Tick.Marker = plot.TickerFunc(numberTicks)
		axis.Color, axis.Tick.Color = grey, grey
		axis.Padding = 0
	}
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = faint, color.Transparent
	pl.Add(grid)
	if err := kind.draw(p, pl); err != nil {
		return fmt.Errorf("plot %s of plan %q: %w", kind.file, p.Name, err)
	}
	canvas := vgsvg.New(600, 300)
	pl.Draw(draw.Crop(draw.New(canvas), 6, -14, 6, -6))
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	_, err := w.Write(bytes.ReplaceAll(svg.Bytes(),
		[]byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif")))
	return err
}

// drawOutcomes stacks what ended each way in each step.
func (p *Plan) drawOutcomes(pl *plot.Plot) error {
	s := &p.PerSecond
	pl.X.Label.Text, pl.Y.Label.Text = "seconds since the plan started", "requests/s"
	pl.X.Max = math.Max(s.Step*float64(len(s.At)), 1)
	base := make([]float64, len(s.At))
	most := 0.0
	for _, part := range []struct {
		name   string
		values Column
	}{{"admitted", s.Admitted}, {"throttled", s.Throttled}, {"failed", s.Failed}} {
		if sum(part.values) == 0 {
			continue
		}
		top := make([]float64, len(base))
		for i := range top {
			top[i] = base[i] + part.values[i]
			most = math.Max(most, top[i])
		}
		area, err := plotter.NewPolygon(append(steps(s.At, top, s.Step), reversed(steps(s.At, base, s.Step))...))
		if err != nil {
			return err
		}
		area.Color, area.Width = outcomeColors[part.name], 0
		pl.Add(area)
		pl.Legend.Add(part.name, area)
		base = top
	}
	pl.Y.Max = math.Max(most*1.5, 1) // room for the legend
	if s.Limit > 0 && s.Limit <= pl.Y.Max*3 {
		pl.Y.Max = math.Max(pl.Y.Max, s.Limit*1.3)
		err := addLine(pl, "limit "+perSecond(s.Limit), plotter.XYs{{X: 0, Y: s.Limit}, {X: pl.X.Max, Y: s.Limit}}, ink, true)
		if err != nil {
			return err
		}
	}
	return nil
}

// drawAdmitted draws the admitted tokens of the busiest key and their bound.
func (p *Plan) drawAdmitted(pl *plot.Plot) error {
	c := p.Admitted
	pl.X.Label.Text, pl.Y.Label.Text = "seconds since the plan started", "tokens admitted"
	if c == nil {
		return nil
	}
	if p.KeyCount > 1 {
		pl.Y.Label.Text = "tokens admitted to the busiest key"
	}
	admitted := append(plotter.XYs{{}}, points(c.At, c.Admitted)...)
	pl.X.Max = c.At[len(c.At)-1]
	pl.Y.Max = math.Max(c.Admitted[len(c.Admitted)-1]*1.25, 1)
	if err := addLine(pl, "admitted", admitted, blue, false); err != nil {
		return err
	}
	if len(c.Allowed) == 0 || c.Allowed[len(c.Allowed)-1] > pl.Y.Max*5 {
		return nil
	}
	pl.Y.Max = math.Max(pl.Y.Max, c.Allowed[len(c.Allowed)-1]*1.1)
	return addLine(pl, "allowed: capacity + rate·t", points(c.At, c.Allowed), ink, true)
}

// drawWitness draws the tokens admitted within the broken window, a tick for
// each request, and what the limit allows.
func (p *Plan) drawWitness(pl *plot.Plot) error {
	w := p.Witness
	pl.X.Label.Text, pl.Y.Label.Text = "seconds since the window began", "tokens admitted"
	pl.X.Max, pl.Y.Max = math.Max(w.Seconds, 1e-6), w.Tokens*1.2
	if err := addLine(pl, fmt.Sprintf("admitted %s, %s too many", number(w.Tokens), number(math.Ceil(w.Excess))), points(w.At, w.Admitted), vermillion, false); err != nil {
		return err
	}
	ticks, err := plotter.NewScatter(points(w.At, make(Column, len(w.At))))
	if err != nil {
		return err
	}
	ticks.Shape, ticks.Color, ticks.Radius = draw.PlusGlyph{}, blue, 3
	pl.Add(ticks)
	return addLine(pl, "allowed: capacity + rate·t, "+number(math.Floor(w.Bound))+" at the end", points(w.At, w.Allowed), ink, true)
}

// drawShares draws latency by percentile, both axes logarithmic.
func (p *Plan) drawShares(pl *plot.Plot) error {
	s := &p.Shares
	pl.X.Label.Text, pl.Y.Label.Text = "percentile", "latency, planned to done"
	pl.X.Scale, pl.Y.Scale = plot.LogScale{}, plot.LogScale{}
	pl.X.Tick.Marker = plot.TickerFunc(percentileTicks)
	pl.Y.Tick.Marker = plot.TickerFunc(durationTicks)
	pl.X.Min, pl.X.Max = 1, 10
	low, high := math.Inf(1), 0.0
	for _, part := range []struct {
		name   string
		values Column
	}{{"admitted", s.Admitted}, {"throttled", s.Throttled}, {"failed", s.Failed}} {
		line := points(s.Over, part.values)
		if len(line) == 0 {
			continue
		}
		for i := range line {
			line[i].Y = math.Max(line[i].Y, 1)
			low, high = math.Min(low, line[i].Y), math.Max(high, line[i].Y)
			pl.X.Max = math.Max(pl.X.Max, line[i].X)
		}
		if err := addLine(pl, part.name, line, outcomeColors[part.name], false); err != nil {
			return err
		}
	}
	if high == 0 {
		low, high = float64(time.Microsecond), float64(time.Second)
	}
	pl.Y.Min = math.Pow(10, math.Floor(math.Log10(low)))
	pl.Y.Max = math.Max(math.Pow(10, math.Ceil(math.Log10(high*1.5))), pl.Y.Min*10)
	return nil
}

func addLine(pl *plot.Plot, name string, points plotter.XYs, c color.Color, dashed bool) error {
	line, err := plotter.NewLine(points)
	if err != nil {
		return err
	}
	line.Color, line.Width = c, 1.8
	if dashed {
		line.Width, line.Dashes = 1.2, []vg.Length{5, 3}
	}
	pl.Add(line)
	pl.Legend.Add(name, line)
	return nil
}

// points pairs two columns, leaving out what is missing.
func points(x, y Column) plotter.XYs {
	line := make(plotter.XYs, 0, len(x))
	for i := range x {
		if !math.IsNaN(y[i]) {
			line = append(line, plotter.XY{X: x[i], Y: y[i]})
		}
	}
	return line
}

// steps is a staircase over steps of one width.
func steps(x Column, y []float64, width float64) plotter.XYs {
	line := make(plotter.XYs, 0, 2*len(x))
	for i := range x {
		line = append(line, plotter.XY{X: x[i], Y: y[i]}, plotter.XY{X: x[i] + width, Y: y[i]})
	}
	return line
}

func reversed(line plotter.XYs) plotter.XYs {
	back := make(plotter.XYs, len(line))
	for i := range line {
		back[len(line)-1-i] = line[i]
	}
	return back
}

func sum(c Column) float64 {
	total := 0.0
	for _, x := range c {
		total += x
	}
	return total
}

// numberTicks are four to seven round numbers.
func numberTicks(low, high float64) []plot.Tick {
	step := math.Pow(10, math.Floor(math.Log10((high-low)/4)))
	for _, factor := range []float64{5, 2} {
		if (high-low)/(step*factor) >= 4 {
			step *= factor
			break
		}
	}
	ticks := []plot.Tick{}
	for i := math.Ceil(low / step); i*step <= high*1.0001; i++ {
		ticks = append(ticks, plot.Tick{Value: i * step, Label: number(i * step)})
	}
	return ticks
}

func percentileTicks(_, high float64) []plot.Tick {
	ticks := []plot.Tick{{Value: 1, Label: "0%"}}
	for over, decimals := 10.0, -1; over <= high*1.0001; over, decimals = over*10, decimals+1 {
		ticks = append(ticks, plot.Tick{Value: over, Label: fmt.Sprintf("%.*f%%", max(decimals, 0), 100-100/over)})
	}
	return ticks
}

func durationTicks(low, high float64) []plot.Tick {
	ticks := []plot.Tick{}
	for at := low; at <= high*1.0001; at *= 10 {
		ticks = append(ticks, plot.Tick{Value: at, Label: duration(time.Duration(math.Round(at)))})
	}
	return ticks
}
