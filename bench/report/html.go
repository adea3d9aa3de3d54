package report

import (
	"crypto/sha256"
	_ "embed" // the page's parts
	"encoding/base64"
	"html/template"
	"io"
	"strings"
)

// The page's parts. uPlot 1.6.32 is Leon Sorokin's, under the MIT licence in
// assets/uPlot.LICENSE, which the page carries along.
var (
	//go:embed assets/report.html.tmpl
	pageText string
	//go:embed assets/report.css
	pageCSS string
	//go:embed assets/report.js
	pageJS string
	//go:embed assets/uPlot.min.css
	uplotCSS string
	//go:embed assets/uPlot.iife.min.js
	uplotJS string
	//go:embed assets/uPlot.LICENSE
	uplotLicense string
)

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"count": count, "number": number, "duration": duration, "perSecond": perSecond, "share": share,
	"id": fileName, "plural": func(n int, noun string) string { return plural(int64(n), noun) },
	"heading": heading, "class": func(verdict string) string { return strings.ReplaceAll(verdict, " ", "-") },
	"notes": (*Report).notes, "facts": (*Report).facts, "aboutQuantiles": func() string { return aboutQuantiles },
	"charts": charts, "evidence": (*Plan).evidenceTable, "accusations": (*Plan).accusations, "outcomes": (*Plan).outcomeTable,
	"keys": (*Plan).keyTable, "targets": (*Plan).targetTable, "slower": (*Plan).slowerLines, "waits": (*Plan).waitTable, "redis": (*Plan).redisLine,
	"failures": (*Plan).errorTable, "latency": Quantiles.text,
}).Parse(pageText))

// A page is what the template shows.
type page struct {
	*Report

	Policy  string
	Styles  []template.CSS
	Scripts []template.JS
	License string
}

// WriteHTML writes the report as one page that needs nothing else: no network,
// no other file. Its content security policy allows only the very scripts and
// styles inside it, so nothing that a run recorded can become code.
func (r *Report) WriteHTML(w io.Writer) error {
	return pageTemplate.Execute(w, &page{
		Report:  r,
		Policy:  "default-src 'none'; script-src" + sources(uplotJS, pageJS) + "; style-src" + sources(uplotCSS, pageCSS) + "; base-uri 'none'; form-action 'none'",
		Styles:  []template.CSS{template.CSS(uplotCSS), template.CSS(pageCSS)}, //nolint:gosec // G203: embedded when weir is built
		Scripts: []template.JS{template.JS(uplotJS), template.JS(pageJS)},      //nolint:gosec // G203: embedded when weir is built
		License: uplotLicense,
	})
}

// heading capitalises the head of a column, except "p50" and its like.
func heading(text string) string {
	if len(text) > 1 && text[0] == 'p' && text[1] >= '0' && text[1] <= '9' {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// sources names parts by their hashes, as a content security policy wants it.
func sources(parts ...string) string {
	var text strings.Builder
	for _, part := range parts {
		hash := sha256.Sum256([]byte(part))
		text.WriteString(" 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'")
	}
	return text.String()
}

// chartData is what the page's script draws of one plan.
type chartData struct {
	PerSecond PerSecond   `json:"per_second"`
	Admitted  *Cumulative `json:"admitted"`
	Sum       *Cumulative `json:"sum"`
	Latency   Latency     `json:"latency"`
	Shares    Shares      `json:"shares"`
	Witness   *Witness    `json:"witness"`
}

func charts(p *Plan) chartData {
	return chartData{p.PerSecond, p.Admitted, p.Sum, p.Latency, p.Shares, p.Witness}
}
