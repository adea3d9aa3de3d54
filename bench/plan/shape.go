package plan

// A Shape is how the load goes over time, e.g. "constant:500/s".
type Shape struct{ text string }

// String writes the shape as [ParseShape] reads it.
func (s Shape) String() string { return s.text }

// MarshalText writes the shape as [ParseShape] reads it.
func (s Shape) MarshalText() ([]byte, error) { return []byte(s.text), nil }

// UnmarshalText reads what [ParseShape] reads.
func (s *Shape) UnmarshalText(text []byte) (err error) {
	*s, err = ParseShape(string(text))
	return err
}

// ParseShape reads a shape.
func ParseShape(text string) (Shape, error) { return Shape{text: text}, nil }
