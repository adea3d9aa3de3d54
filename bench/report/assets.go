package report

// UPlot is the plotting library that the pages of weir share: script, style and
// the licence that goes along with them.
func UPlot() (script, style, license string) { return uplotJS, uplotCSS, uplotLicense }
