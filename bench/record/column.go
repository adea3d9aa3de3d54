package record

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/parquet-go/parquet-go"
)

// A column walks over one column of a row group, page by page. Pages of
// different columns end at different rows, so each column keeps its own place.
//
// It takes whatever encoding a page has: segments may have been rewritten by
// DuckDB or pandas.
type column struct {
	kind   parquet.Kind
	intern func([]byte) string
	pages  parquet.Pages
	page   parquet.Page
	levels []byte // definition levels of the page, one for each row; nil when no row can be null
	full   byte   // the definition level of a row that is not null
	rows   int    // of the page
	row    int    // next row in the page
	value  int    // next value in the page: nulls have none

	ints    []int64
	shorts  []int32
	floats  []float64
	bytes   []byte
	offsets []uint32
	indexes []int32 // into the dictionary, when the page has one

	dictionary parquet.Dictionary // of the values below
	dictInts   []int64
	dictFloats []float64
	dictTexts  []string
}

var errShort = errors.New("fewer values than rows")

func (c *column) close() {
	if c.page != nil {
		parquet.Release(c.page)
		c.page = nil
	}
	if c.pages != nil {
		_ = c.pages.Close() // it was only read
		c.pages = nil
	}
}

// advance makes the next page with rows current.
func (c *column) advance() error {
	for c.row >= c.rows {
		if c.page != nil {
			parquet.Release(c.page)
			c.page = nil
		}
		page, err := c.pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return errShort
		}
		if err != nil {
			return err
		}
		if err := c.enter(page); err != nil {
			return err
		}
	}
	return nil
}

func (c *column) enter(page parquet.Page) error {
	c.page, c.rows, c.row, c.value = page, int(page.NumRows()), 0, 0
	c.levels = page.DefinitionLevels()
	if len(c.levels) == 0 {
		c.levels = nil
	} else if len(c.levels) != c.rows {
		return errShort
	}
	data := page.Data()
	if dictionary := page.Dictionary(); dictionary != nil {
		c.indexes = data.Int32()
		if dictionary != c.dictionary {
			c.dictionary = dictionary
			c.learn(dictionary)
		}
		return nil
	}
	c.indexes = nil
	switch c.kind { //nolint:exhaustive // wants lets no other kind through
	case parquet.Int64:
		c.ints = data.Int64()
	case parquet.Int32:
		c.shorts = data.Int32()
	case parquet.Double:
		c.floats = data.Double()
	case parquet.ByteArray:
		c.bytes, c.offsets = data.ByteArray()
	}
	return nil
}

// learn turns a whole dictionary into Go values, so that a text which a million
// rows share is made once.
func (c *column) learn(dictionary parquet.Dictionary) {
	c.dictInts, c.dictFloats, c.dictTexts = c.dictInts[:0], c.dictFloats[:0], c.dictTexts[:0]
	for i := range int32(dictionary.Len()) {
		switch v := dictionary.Index(i); c.kind { //nolint:exhaustive // as in enter
		case parquet.Int64:
			c.dictInts = append(c.dictInts, v.Int64())
		case parquet.Int32:
			c.dictInts = append(c.dictInts, int64(v.Int32()))
		case parquet.Double:
			c.dictFloats = append(c.dictFloats, v.Double())
		case parquet.ByteArray:
			c.dictTexts = append(c.dictTexts, c.intern(v.ByteArray()))
		}
	}
}

// null is the place of a value that is not there.
const null = -1

// each calls set for the next n rows with the place of the row's value, for int,
// float and text to look at.
func (c *column) each(n int, set func(i, at int)) error {
	for i := 0; i < n; {
		if err := c.advance(); err != nil {
			return err
		}
		run := min(n-i, c.rows-c.row)
		if c.levels == nil {
			for j := range run {
				set(i+j, c.value+j)
			}
			c.value += run
		} else {
			for j, level := range c.levels[c.row : c.row+run] {
				if level == c.full {
					set(i+j, c.value)
					c.value++
				} else {
					set(i+j, null)
				}
			}
		}
		c.row += run
		i += run
	}
	return nil
}

func (c *column) int(at int) int64 {
	switch {
	case at == null:
		return 0
	case c.indexes != nil:
		return c.dictInts[c.indexes[at]]
	case c.kind == parquet.Int32:
		return int64(c.shorts[at])
	default:
		return c.ints[at]
	}
}

func (c *column) float(at int) float64 {
	switch {
	case at == null:
		return math.NaN()
	case c.indexes != nil:
		return c.dictFloats[c.indexes[at]]
	default:
		return c.floats[at]
	}
}

func (c *column) text(at int) string {
	switch {
	case at == null:
		return ""
	case c.indexes != nil:
		return c.dictTexts[c.indexes[at]]
	default:
		return c.intern(c.bytes[c.offsets[at]:c.offsets[at+1]])
	}
}

// wants says whether a column of this type can feed a field that needs one of
// the kinds.
func wants(name string, leaf parquet.LeafColumn, kinds ...parquet.Kind) error {
	if leaf.MaxRepetitionLevel > 0 {
		return fmt.Errorf("column %q holds lists, want one value for each row", name)
	}
	for _, kind := range kinds {
		if leaf.Node.Type().Kind() == kind {
			return nil
		}
	}
	return fmt.Errorf("column %q is %s, want %s", name, leaf.Node.Type(), kinds[0])
}
