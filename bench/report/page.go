package report

import (
	"html/template"
	"io"
)

// A Page is a page in the form of a report, with a content of its own. Like a
// report it needs nothing else, and only its own scripts can run in it.
type Page struct {
	Title   string
	Brand   string // beside weir's name, e.g. "identification"
	Body    template.HTML
	Data    any    // JSON for the script, in the element with the id "data"
	Script  string // runs when the page is there; has uPlot
	Styles  []template.CSS
	Scripts []template.JS
	Policy  string
	License string
}

var customPage = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{.Policy}}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{.Title}}</title>
{{range .Styles}}<style>{{.}}</style>
{{end -}}
</head>
<body>
<header><p class="brand">weir <span>{{.Brand}}</span></p></header>
<main>{{.Body}}</main>
<noscript><p class="note">The plots on this page are drawn by its own script, which this browser does not run.</p></noscript>
<footer><details><summary>Plots drawn with uPlot</summary><pre>{{.License}}</pre></details></footer>
<script type="application/json" id="data">{{.Data}}</script>
{{range .Scripts}}<script>{{.}}</script>
{{end -}}
</body>
</html>
`))

// Write writes the page with the report's styles and uPlot.
func (p Page) Write(w io.Writer) error {
	p.Policy = "default-src 'none'; script-src" + sources(uplotJS, p.Script) + "; style-src" + sources(uplotCSS, pageCSS) + "; base-uri 'none'; form-action 'none'"
	p.Styles = []template.CSS{template.CSS(uplotCSS), template.CSS(pageCSS)} //nolint:gosec // G203: embedded when weir is built
	p.Scripts = []template.JS{template.JS(uplotJS), template.JS(p.Script)}   //nolint:gosec // G203: embedded when weir is built
	p.License = uplotLicense
	return customPage.Execute(w, p)
}
